//! The line to Sentry: opened with a configuration, closed without one, and changed while the program runs.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use headcount_actors::meters::sentry::SentryMeters;
use headcount_actors::ports::{FailureBook, SharedFailureBook, TaskFailures};
use secrecy::SecretString;
use sentry::integrations::tracing::SpanLayer;
use sentry::protocol::Level;
use sentry::{Client, Envelope, Hub, Transport, TransportFactory, TransportOptions};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::config::Config;
use super::courier::Courier;
use super::gate::Gate;
use super::layer::Notices;
use super::report::{Report, Told};
use super::rest::Pace;
use super::trail::Trail;
use super::{event, lock, panics};
pub use crate::notifiers::OpenError;
use crate::secrets::Secrets;

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
    trail: Arc<Mutex<Trail>>,
    /// To which spans are told.
    client: Arc<Client>,
    meters: SentryMeters,
    pace: Pace,
}

/// What is open, if anything is.
#[derive(Clone, Default)]
struct Slot(Arc<RwLock<Option<Arc<Line>>>>);

struct Line {
    config: Config,
    courier: Courier,
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
        Self::with_pace(Pace::default())
    }

    pub(super) fn with_pace(pace: Pace) -> Self {
        let (slot, rate) = (Slot::default(), Arc::<AtomicU32>::default());
        let sampled = rate.clone();
        let options = event::options()
            .transport(slot.clone())
            .traces_sampler(move |_| f32::from_bits(sampled.load(Ordering::Relaxed)));
        Self(Arc::new(Inner {
            gate: Gate::default(),
            traces: Gate::default(),
            rate,
            slot,
            trail: Arc::default(),
            client: Arc::new(Client::with_options(options)),
            meters: SentryMeters::default(),
            pace,
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
        let Some(config) = config else {
            self.close(flush).await;
            return Ok(());
        };
        let secrets = Secrets::new(secrets);
        let rate = config.traces_sample_rate;
        match self.0.slot.current().filter(|line| line.config == config) {
            Some(line) => line.courier.set_secrets(secrets),
            None => {
                self.close(flush).await;
                let (trail, meters) = (self.0.trail.clone(), self.0.meters.clone());
                let courier = Courier::start(&config, secrets, trail, meters, self.0.pace)?;
                self.0.slot.set(Some(Arc::new(Line { config, courier })));
            }
        }
        self.0.rate.store(rate.to_bits(), Ordering::Relaxed);
        self.0.gate.set(true);
        self.0.traces.set(rate > 0.0);
        Ok(())
    }

    /// Closes it: what was counted and not sent is sent, the most frequent first, within so long at most.
    pub async fn close(&self, within: Duration) {
        self.0.gate.set(false);
        self.0.traces.set(false);
        if let Some(line) = self.0.slot.set(None) {
            line.courier.close(within).await;
        }
    }

    /// What became of all that was told, for the metrics.
    pub fn meters(&self) -> SentryMeters {
        self.0.meters.clone()
    }

    /// The daemon cannot start, or cannot go on. Nothing happens while it is closed.
    pub fn fatal(&self, error: &str) {
        self.tell(Report::fatal(error), 1);
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
        if let Some(line) = self.open_line() {
            line.courier.tell(report, times);
        }
    }

    /// Something was said that is no error.
    pub(super) fn leave(&self, level: Level, target: &str, told: Told) {
        lock(&self.0.trail).add(level, target, told);
    }

    /// There was a panic on this thread; `report` makes the report, with the stack where it is asked for.
    pub(super) fn panicked(&self, report: impl Fn(bool) -> Report) {
        if let Some(line) = self.open_line() {
            line.courier.tell_panic(report);
        }
    }

    fn open_line(&self) -> Option<Arc<Line>> {
        let open = self.0.gate.is_open();
        open.then(|| self.0.slot.current()).flatten()
    }
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

/// Spans come this way, and nothing else.
impl Transport for Slot {
    fn send_envelope(&self, envelope: Envelope) {
        if let Some(line) = self.current() {
            line.courier.tell_trace(envelope);
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
        if let Some(line) = self.sentry.open_line() {
            line.courier.tell_failures(broker, failures);
        }
    }
}
