//! The log: for people on a terminal, fields for the journal, JSON for whoever collects it elsewhere.
//!
//! What is traced passes the filter (`levels.rs`), which can be changed at any time, then the limit on storms (`storm.rs`), and
//! is written by one of the crates' layers (`sink.rs`). All of these hear of spans, so that which of them writes can be changed.
//! Lines for a collector have a level of their own, and the same limit (`limit.rs`).

mod filter;
mod levels;
mod limit;
mod sink;
mod storm;
mod subject;
mod text;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use headcount_actors::clock::Clock;
use headcount_actors::meters::LevelCounter;
use headcount_edge::http::{LogLevel, LogLevels};
use headcount_edge::otlp::{Limit, Otlp};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, reload};

pub use self::filter::{BadFilter, Filter};
use self::levels::Levels;
use self::limit::OfOtlp;
pub use self::sink::Format;
use self::sink::{Output, Sinks};
use self::storm::{More, Sink, Storm};

/// How often summaries of storms that are over are looked for, and filters that were set for a while.
const TICK: Duration = Duration::from_secs(1);

/// Exchanges the filter of the layer.
type Apply = dyn Fn(EnvFilter) + Send + Sync;

/// The log, for whoever changes it while the program runs.
#[derive(Clone)]
pub struct Logs {
    shared: Arc<Shared>,
    levels: Arc<Mutex<Levels>>,
    apply: Arc<Apply>,
    /// What is wrong with `RUST_LOG`.
    wrong: Option<Arc<BadFilter>>,
}

/// What the layer and its handle share.
struct Shared {
    /// Who writes, and what writes in the same way what the log says of itself.
    sink: RwLock<(Output, Dispatch)>,
    /// Sends a collector what the log says of itself.
    collector: Dispatch,
    storm: Mutex<Storm>,
    started: Instant,
    suppressed: LevelCounter,
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Logs")
    }
}

/// The layer of the log, and its handle. What it says of itself goes to `otlp` too.
pub(super) fn layer<S>(level: &str, otlp: &Otlp) -> (Box<dyn Layer<S> + Send + Sync>, Logs)
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let collector = sink::own(otlp.layer(None));
    assemble(level, Sinks::open(), sink::open(Format::Auto), collector)
}

fn assemble<S>(
    level: &str,
    sinks: Sinks<S>,
    sink: (Output, Dispatch),
    collector: Dispatch,
) -> (Box<dyn Layer<S> + Send + Sync>, Logs)
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let usual = Filter::parse(level).unwrap_or_default();
    let (environment, wrong) = match std::env::var("RUST_LOG").map(|text| Filter::of_environment(&text)) {
        Ok(Ok(filter)) => (filter, None),
        Ok(Err(why)) => (None, Some(Arc::new(why))),
        Err(_) => (None, None),
    };
    let levels = Levels::new(usual, environment);
    let (filter, handle) = reload::Layer::new(levels.effective().to_env_filter());
    let shared = Arc::new(Shared {
        sink: RwLock::new(sink),
        collector,
        storm: Mutex::new(Storm::default()),
        started: Instant::now(),
        suppressed: LevelCounter::default(),
    });
    let logs = Logs {
        shared: shared.clone(),
        levels: Arc::new(Mutex::new(levels)),
        apply: Arc::new(move |filter| {
            // It fails where the subscriber is gone, and then there is nobody to tell.
            let _ = handle.reload(filter);
        }),
        wrong,
    };
    // Beside the filter and not in it: a directive for a part of a crate, or for all within a span, counts more than one for the crate.
    // Its hint is the other's: without one nobody would know that nothing finer is wanted.
    let never = filter_fn(filter::may_be_written).with_max_level_hint(LevelFilter::TRACE);
    let filter = filter.and(never);
    (LogLayer { shared, sinks }.with_filter(filter).boxed(), logs)
}

impl Logs {
    /// Says in the log, which is there now, that `RUST_LOG` is of no use.
    pub(super) fn tell_wrong_environment(&self) {
        if let Some(why) = &self.wrong {
            tracing::warn!(%why, "RUST_LOG is wrong and passed over; correct it, or set [log] level");
        }
    }

    /// Takes what the configuration says. A filter that was set while the program ran is over with this.
    pub fn configure(&self, level: &Filter, format: Format) {
        if self.shared.sink().0 != Output::of(format) {
            *self.shared.sink.write().unwrap_or_else(PoisonError::into_inner) = sink::open(format);
        }
        self.change(|levels| levels.configure(level.clone()));
    }

    /// Whether it is written as text, for somebody who reads it as it comes.
    pub fn is_for_people(&self) -> bool {
        self.shared.sink().0 == Output::Text
    }

    /// Looks after the log once a second, for ever.
    pub async fn keep(self) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            let now = self.shared.now();
            let more = self.shared.storm().due(now);
            self.shared.tell(more);
            let mut levels = self.levels();
            if levels.expire(now) {
                (self.apply)(levels.effective().to_env_filter());
                let filter = levels.effective().to_string();
                drop(levels);
                tracing::info!(filter, "the log's filter was set for a while, which is over");
            }
        }
    }

    /// The limit on storms, for the lines that go to a collector.
    pub(super) fn limit(&self) -> Arc<dyn Limit> {
        Arc::new(OfOtlp(self.shared.clone()))
    }

    /// Says what was left out and is not told yet: the program, or what writes lines, ends.
    pub fn finish(&self) {
        let more = self.shared.storm().finish(self.shared.now());
        self.shared.tell(more);
    }

    /// What was left out, by level, for the metrics.
    pub fn suppressed(&self) -> LevelCounter {
        self.shared.suppressed.clone()
    }

    fn levels(&self) -> MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, how: impl FnOnce(&mut Levels)) -> LogLevel {
        let mut levels = self.levels();
        let before = levels.effective().clone();
        how(&mut levels);
        if *levels.effective() != before {
            (self.apply)(levels.effective().to_env_filter());
        }
        levels.show()
    }
}

impl LogLevels for Logs {
    fn show(&self) -> LogLevel {
        self.levels().show()
    }

    fn set(&self, filter: &str, lasts: Option<Duration>) -> Result<LogLevel, String> {
        let filter = Filter::parse(filter).map_err(|why| why.to_string())?;
        let until = lasts.map(|lasts| (self.shared.now() + lasts, Clock.now().wall + lasts));
        Ok(self.change(|levels| levels.set(filter, until)))
    }

    fn reset(&self) -> LogLevel {
        self.change(Levels::reset)
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn sink(&self) -> (Output, Dispatch) {
        self.sink.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn storm(&self) -> MutexGuard<'_, Storm> {
        self.storm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, more: Vec<More>) {
        if !more.is_empty() {
            let (_, sink) = self.sink();
            for more in &more {
                sink::write_more(&sink, more, more.held.log);
                sink::write_more(&self.collector, more, more.held.otlp);
            }
        }
    }
}

/// Writes what has passed the filter, unless it is a storm.
struct LogLayer<S> {
    shared: Arc<Shared>,
    sinks: Sinks<S>,
}

impl<S> Layer<S> for LogLayer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.sinks
            .each(|sink| sink.on_new_span(attributes, id, context.clone()));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.sinks.each(|sink| sink.on_record(id, values, context.clone()));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if self.shared.lets_through(event, Sink::Log) {
            self.sinks.of(self.shared.sink().0).on_event(event, context);
        }
    }
}

#[cfg(test)]
mod tests;
