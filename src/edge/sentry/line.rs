//! The line to Sentry: opened with a configuration, closed without one, and changed while the program runs.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use headcount_actors::ports::{FailureBook, SharedFailureBook, TaskFailures};
use headcount_core::time::Mono;
use secrecy::SecretString;
use sentry::integrations::backtrace::ProcessStacktraceIntegration;
use sentry::integrations::tracing::SpanLayer;
use sentry::protocol::{EnvelopeItem, Event, Level};
use sentry::{Client, ClientOptions, Envelope, Hub, Transport, TransportFactory, TransportOptions};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::clean::clean_trace;
use super::config::Config;
use super::gate::Gate;
use super::layer::Notices;
use super::panics;
use super::post::Post;
use super::repeats::{Due, Repeats};
use super::report::{PANIC, Report, Told};
use super::trail::Trail;
pub use crate::notifiers::OpenError;
use crate::secrets::Secrets;

/// How often it is looked which windows are over.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The address of the one client, which is never spoken to: where things go, the line says (`post.rs`).
const NOWHERE: &str = "https://headcount@localhost/1";

/// Sentry, for the life of the program. Cheap to clone.
#[derive(Clone)]
pub struct Sentry(Arc<Inner>);

struct Inner {
    /// For errors and breadcrumbs.
    gate: Gate,
    /// For spans: closed where no trace is sampled.
    traces: Gate,
    rate: Arc<AtomicU32>,
    slot: Slot,
    repeats: Mutex<Repeats>,
    trail: Mutex<Trail>,
    looking: Mutex<Option<AbortHandle>>,
    client: Arc<Client>,
    began: Instant,
}

/// What is open, if anything is.
#[derive(Clone, Default)]
struct Slot(Arc<RwLock<Option<Arc<Line>>>>);

struct Line {
    config: Config,
    secrets: Secrets,
    post: Arc<Post>,
}

impl std::fmt::Debug for Sentry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sentry")
            .field("open", &self.0.gate.is_open())
            .finish_non_exhaustive()
    }
}

impl Default for Sentry {
    fn default() -> Self {
        Self::new()
    }
}

impl Sentry {
    /// A closed one. It starts no thread.
    pub fn new() -> Self {
        let (slot, rate) = (Slot::default(), Arc::<AtomicU32>::default());
        let (before, sampled) = (slot.clone(), rate.clone());
        let mut options = ClientOptions::new()
            .transport(slot.clone())
            .default_integrations(false)
            .add_integration(ProcessStacktraceIntegration::new())
            .before_send(move |event| before.current().and_then(|line| line.secrets.clean(&event)))
            .traces_sampler(move |_| f32::from_bits(sampled.load(Ordering::Relaxed)))
            .send_default_pii(false)
            .max_breadcrumbs(0)
            .in_app_include(vec!["headcount"]);
        options.dsn = NOWHERE.parse().ok();
        Self(Arc::new(Inner {
            gate: Gate::default(),
            traces: Gate::default(),
            rate,
            slot,
            repeats: Mutex::new(Repeats::new(Duration::ZERO)),
            trail: Mutex::default(),
            looking: Mutex::default(),
            client: Arc::new(Client::with_options(options)),
            began: Instant::now(),
        }))
    }

    /// The layers by which it sees what is traced. They cost one look at a flag while it is closed.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let notices = Notices(self.clone()).with_filter(self.0.gate.clone());
        let spans = SpanLayer::new().with_filter(self.0.traces.clone());
        notices.and_then(spans)
    }

    /// Makes it the one that spans and panics of this program are told to. Before any other thread is started: each gets its own
    /// view of what is sampled from the first.
    pub fn install(&self) {
        Hub::main().bind_client(Some(self.0.client.clone()));
        panics::watch(self);
    }

    /// Opens it with a configuration, changes it to that, or closes it where there is none. `secrets` are all of the
    /// configuration's, of which none is ever sent.
    ///
    /// # Errors
    /// If its way cannot be set up; it is closed then.
    pub async fn open(
        &self,
        config: Option<Config>,
        secrets: &[SecretString],
        flush: Duration,
    ) -> Result<(), OpenError> {
        let current = self.0.slot.current();
        let Some(config) = config else {
            self.close(flush).await;
            return Ok(());
        };
        let same = current.filter(|line| line.config == config);
        let post = match same {
            Some(line) => line.post.clone(),
            None => {
                self.close(flush).await;
                let post = Arc::new(Post::open(&config)?);
                *lock(&self.0.repeats) = Repeats::new(config.error_window.duration());
                post
            }
        };
        let rate = config.traces_sample_rate;
        self.0.rate.store(rate.to_bits(), Ordering::Relaxed);
        let secrets = Secrets::new(secrets);
        self.0.slot.set(Some(Arc::new(Line { config, secrets, post })));
        self.0.gate.set(true);
        self.0.traces.set(rate > 0.0);
        let mut looking = lock(&self.0.looking);
        if looking.is_none() {
            let sentry = self.clone();
            let look = async move {
                let mut ticks = tokio::time::interval(LOOK_EVERY);
                loop {
                    ticks.tick().await;
                    let now = sentry.now();
                    let due = lock(&sentry.0.repeats).close(now);
                    due.into_iter().for_each(|due| sentry.send(due));
                }
            };
            *looking = Some(tokio::spawn(look).abort_handle());
        }
        Ok(())
    }

    /// Closes it: what was counted and not sent is sent, within so long at most.
    pub async fn close(&self, within: Duration) {
        self.0.gate.set(false);
        self.0.traces.set(false);
        if let Some(looking) = lock(&self.0.looking).take() {
            looking.abort();
        }
        let due = lock(&self.0.repeats).close_all();
        due.into_iter().for_each(|due| self.send(due));
        let Some(line) = self.0.slot.set(None) else { return };
        // What is left then is lost: Headcount stops, whoever does not answer.
        let _ = line.post.flush(within).await;
    }

    /// The daemon cannot start, or cannot go on. Nothing happens while it is closed.
    pub fn fatal(&self, error: &str) {
        let mut report = Report::new("headcount", "Headcount cannot go on");
        report.level = Level::Fatal;
        report.extra.insert("error", error.into());
        self.tell(report, 1);
    }

    #[cfg(test)]
    pub(super) fn client(&self) -> Arc<Client> {
        self.0.client.clone()
    }

    /// Who takes the failures of watched tasks; none where nobody wants them.
    pub fn failures(&self, config: Option<&Config>) -> Option<SharedFailureBook> {
        let config = config.filter(|config| !config.task_failures.is_empty())?.clone();
        let sentry = self.clone();
        Some(Arc::new(Failures { config, sentry }))
    }

    /// An error has happened so many times.
    pub(super) fn tell(&self, report: Report, times: u64) {
        if !self.0.gate.is_open() {
            return;
        }
        let due = lock(&self.0.repeats).note(self.now(), report, times);
        if let Some(due) = due {
            self.send(due);
        }
    }

    /// Something was said that is no error.
    pub(super) fn leave(&self, level: Level, target: &str, told: Told) {
        lock(&self.0.trail).add(level, target, told);
    }

    /// There was a panic on this thread; `report` makes the report, with the stack where it is asked for.
    pub(super) fn panicked(&self, report: impl Fn(bool) -> Report) {
        if !self.0.gate.is_open() {
            return;
        }
        // Not if this very thread is in the books already: waiting for itself it would wait for ever.
        let Ok(mut repeats) = self.0.repeats.try_lock() else {
            return;
        };
        let due = repeats.note(self.now(), report(false), 1);
        drop(repeats);
        if let Some((sent, times)) = due {
            // The stack takes long to read, so it is read for those that are sent alone.
            // Where there are too many kinds it is another report that is sent.
            let whole = if sent.logger == PANIC { report(true) } else { sent };
            self.send((whole, times));
        }
    }

    fn send(&self, (report, times): Due) {
        let Some(line) = self.0.slot.current() else { return };
        let config = &line.config;
        let own = |text: &str| Some(Cow::Owned(text.to_owned()));
        let mut event = Event {
            level: report.level,
            fingerprint: Cow::Owned(fingerprint(&report)),
            logger: Some(report.logger),
            release: own(&config.release),
            environment: own(&config.environment),
            server_name: own(&config.server_name),
            platform: Cow::Borrowed("rust"),
            tags: report
                .tags
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            extra: report
                .extra
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            ..Event::default()
        };
        event.extra.insert("times".to_owned(), times.into());
        match report.exception {
            Some(exception) => event.exception.values.push(exception),
            None => event.message = Some(report.message),
        }
        if let Ok(trail) = self.0.trail.try_lock() {
            event.breadcrumbs.values = trail.list();
        }
        self.0.client.capture_event(event, None);
    }

    fn now(&self) -> Mono {
        let micros = self.0.began.elapsed().as_micros();
        Mono::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

/// What Sentry puts into one issue: the same error, of whichever fleet or broker, and of the failures of tasks those of one task
/// by one exception.
fn fingerprint(report: &Report) -> Vec<Cow<'static, str>> {
    let tag = |name: &str| report.tags.get(name).cloned();
    [Some(report.logger.clone()), Some(report.template.clone())]
        .into_iter()
        .chain(["task", "job", "exception"].map(tag))
        .flatten()
        .map(Cow::Owned)
        .collect()
}

impl Slot {
    fn current(&self) -> Option<Arc<Line>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, line: Option<Arc<Line>>) -> Option<Arc<Line>> {
        std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), line)
    }
}

impl TransportFactory for Slot {
    fn create_transport_with_options(&self, _: TransportOptions) -> Arc<dyn Transport> {
        Arc::new(self.clone())
    }
}

impl Transport for Slot {
    fn send_envelope(&self, envelope: Envelope) {
        let Some(line) = self.current() else { return };
        let mut clean = Envelope::new();
        for item in envelope.into_items() {
            match item {
                // It has been cleaned before it came here (`before_send`).
                EnvelopeItem::Event(event) => clean.add_item(*event),
                EnvelopeItem::Transaction(mut trace) => {
                    let own = |text: &str| Some(Cow::Owned(text.to_owned()));
                    trace.release = own(&line.config.release);
                    trace.environment = own(&line.config.environment);
                    trace.server_name = own(&line.config.server_name);
                    (trace.user, trace.request) = (None, None);
                    match clean_trace(&line.secrets, &*trace) {
                        Some(trace) => clean.add_item(trace),
                        None => continue,
                    }
                }
                _ => {}
            }
        }
        if clean.items().next().is_some() {
            line.post.send(clean);
        }
    }
}

/// The failures of the tasks of some fleets.
#[derive(Debug)]
struct Failures {
    config: Config,
    sentry: Sentry,
}

impl FailureBook for Failures {
    fn wants(&self, fleet: &str) -> bool {
        self.config.wants(fleet)
    }

    fn failed(&self, broker: &str, failures: Vec<TaskFailures>) {
        for failure in failures {
            let (task, exception) = (&failure.task, &failure.exception);
            let mut report = Report::new("celery.task", format!("{task} failed: {exception}"));
            // The task and the exception are tags: what is the same of all of them is that they failed.
            report.template = "a watched task failed".to_owned();
            let tags = [
                ("broker", broker),
                ("fleet", &*failure.fleet),
                ("task", &**task),
                ("exception", &**exception),
            ];
            tags.into_iter().for_each(|(name, value)| report.tag(name, value));
            self.sentry.tell(report, failure.count);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
