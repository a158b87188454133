//! An error as an event of Sentry's.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use sentry::integrations::backtrace::ProcessStacktraceIntegration;
use sentry::protocol::{Breadcrumb, EnvelopeItem, Event, Map, Transaction};
use sentry::{Client, ClientOptions, Envelope, Transport, TransportFactory, TransportOptions};

use super::config::Config;
use super::lock;
use super::repeats::Due;
use super::report::Report;

/// The address of clients that send nothing themselves: where things go, the courier knows.
const NOWHERE: &str = "https://headcount@localhost/1";

/// What is the same of all clients of Sentry's library here.
pub(super) fn options() -> ClientOptions {
    let mut options = ClientOptions::new()
        .default_integrations(false)
        .add_integration(ProcessStacktraceIntegration::new())
        .send_default_pii(false)
        .max_breadcrumbs(0)
        .in_app_include(vec!["headcount"]);
    options.dsn = NOWHERE.parse().ok();
    options
}

/// Makes events, by a client that keeps what it would send.
pub(super) struct Maker {
    client: Client,
    made: Made,
}

impl Maker {
    pub(super) fn new() -> Self {
        let made = Made::default();
        let client = Client::with_options(options().transport(made.clone()));
        Self { client, made }
    }

    /// The event as Sentry's library completes it, before it is cleaned.
    pub(super) fn event(&self, config: &Config, due: Due, trail: Vec<Breadcrumb>) -> Option<Event<'static>> {
        self.client.capture_event(event(config, due, trail), None);
        let made = lock(&self.made.0).take()?;
        made.into_items().find_map(|item| match item {
            EnvelopeItem::Event(event) => Some(*event),
            _ => None,
        })
    }
}

/// The last that was made.
#[derive(Clone, Default)]
struct Made(Arc<Mutex<Option<Envelope>>>);

impl TransportFactory for Made {
    fn create_transport_with_options(&self, _: TransportOptions) -> Arc<dyn Transport> {
        Arc::new(self.clone())
    }
}

impl Transport for Made {
    fn send_envelope(&self, envelope: Envelope) {
        *lock(&self.0) = Some(envelope);
    }
}

/// Says in a trace which Headcount it is of, and nothing of anybody else.
pub(super) fn release(trace: &mut Transaction<'_>, config: &Config) {
    let own = |text: &str| Some(Cow::Owned(text.to_owned()));
    trace.release = own(&config.release);
    trace.environment = own(&config.environment);
    trace.server_name = own(&config.server_name);
    (trace.user, trace.request) = (None, None);
}

fn event(config: &Config, due: Due, trail: Vec<Breadcrumb>) -> Event<'static> {
    let report = due.report;
    let own = |text: &str| Some(Cow::Owned(text.to_owned()));
    let mut event = Event {
        level: report.level,
        fingerprint: Cow::Owned(fingerprint(&report)),
        logger: Some(report.logger),
        timestamp: due.at,
        release: own(&config.release),
        environment: own(&config.environment),
        server_name: own(&config.server_name),
        platform: Cow::Borrowed("rust"),
        tags: owned(report.tags),
        extra: owned(report.extra),
        ..Event::default()
    };
    event.extra.insert("times".to_owned(), due.times.into());
    match report.exception {
        Some(exception) => event.exception.values.push(exception),
        None => event.message = Some(report.message),
    }
    event.breadcrumbs.values = trail;
    event
}

fn owned<V>(named: BTreeMap<&'static str, V>) -> Map<String, V> {
    named
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// By a report without secrets, what Sentry puts into one issue: the same error, of whichever fleet or broker, and of the failures of tasks those of one task
/// by one exception.
fn fingerprint(report: &Report) -> Vec<Cow<'static, str>> {
    let tag = |name: &str| report.tags.get(name).cloned();
    [Some(report.logger.clone()), Some(report.template())]
        .into_iter()
        .chain(["task", "job", "exception"].map(tag))
        .flatten()
        .map(Cow::Owned)
        .collect()
}
