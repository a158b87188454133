//! What Headcount tells of itself by OTLP over HTTP, to New Relic or any collector: traces, metrics and logs.
//!
//! A thread of its own sends what waits in bounded queues. Nobody waits for it: while a collector is away, slow or full,
//! what does not fit is dropped and counted, and nothing else happens. The messages are the official ones
//! (`opentelemetry-proto`); its SDK (0.33) is not used, because it takes metrics from its own instruments alone, not from a
//! registry that is there already, and because its queues are bounded in number and not in bytes, and what they drop is in no
//! counter: they say the sum in a line of the log when they are shut down.

mod config;
mod export;
mod exposition;
mod layer;
mod look;
mod meters;
mod points;
mod post;
mod queue;
mod scrub;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use headcount_actors::ports::traces::Tracer;
use headcount_core::trace::{self, TraceId};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

pub use config::{Config, Temporality, endpoint, header};
pub use export::{Exporting, Metrics};
pub use layer::{Gate, Limit, OtlpLayer};
pub use look::{Look, look};

use queue::Queue;

/// Where telemetry goes: there for the life of the program, and closed until [`Otlp::open`].
#[derive(Clone, Default)]
pub struct Otlp(Arc<Hub>);

#[derive(Default)]
struct Hub {
    /// The gravest level that is not sent as a log is one beyond it: 0 is none at all, 5 all.
    logs: AtomicUsize,
    spans: AtomicBool,
    line: RwLock<Option<Arc<Waiting>>>,
    points: Kept,
}

/// What is known of the counters, of which some go on while exporters come and go. One at a time has it, for as long as it runs.
type Kept = Arc<tokio::sync::Mutex<Option<points::Points>>>;

/// What waits while it is open.
struct Waiting {
    spans: Queue<Span>,
    logs: Queue<wire::Line>,
    rate: f64,
}

const LEVELS: [LevelFilter; 6] = [
    LevelFilter::OFF,
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
    LevelFilter::TRACE,
];

impl Otlp {
    /// The layer for `tracing`'s subscriber, with its gate, and what holds back lines if anything does.
    pub fn layer<S>(&self, limit: Option<Arc<dyn Limit>>) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    {
        OtlpLayer {
            otlp: self.clone(),
            limit,
        }
        .with_filter(Gate(self.clone()))
        .boxed()
    }

    fn wants_spans(&self) -> bool {
        self.0.spans.load(Ordering::Relaxed)
    }

    fn log_level(&self) -> LevelFilter {
        let level = self.0.logs.load(Ordering::Relaxed);
        LEVELS.get(level).copied().unwrap_or(LevelFilter::OFF)
    }

    fn keeps_trace(&self, trace: TraceId) -> bool {
        self.waiting().is_some_and(|waiting| trace.is_sampled(waiting.rate))
    }

    fn span(&self, span: Span) {
        if let Some(waiting) = self.waiting() {
            waiting.spans.push(span);
        }
    }

    fn log(&self, target: &'static str, record: LogRecord) {
        if let Some(waiting) = self.waiting() {
            waiting.logs.push(wire::Line { target, record });
        }
    }

    fn waiting(&self) -> Option<Arc<Waiting>> {
        self.0.line.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets through what a configuration wants, or nothing any more.
    fn set(&self, line: Option<(Arc<Waiting>, LevelFilter)>) {
        let (waiting, level) = line.map_or((None, LevelFilter::OFF), |(waiting, level)| (Some(waiting), level));
        let spans = waiting.as_ref().is_some_and(|waiting| waiting.rate > 0.0);
        *self.0.line.write().unwrap_or_else(PoisonError::into_inner) = waiting;
        let level = LEVELS.iter().position(|known| *known == level).unwrap_or(0);
        self.0.logs.store(level, Ordering::Relaxed);
        self.0.spans.store(spans, Ordering::Relaxed);
        // Every place in the program that could be let through is asked again.
        tracing::callsite::rebuild_interest_cache();
    }
}

impl Tracer for Otlp {
    fn is_open(&self) -> bool {
        self.wants_spans()
    }

    fn keeps(&self, trace: TraceId) -> bool {
        self.wants_spans() && self.keeps_trace(trace)
    }

    fn take(&self, span: trace::Span) {
        if self.wants_spans()
            && let Some(waiting) = self.waiting()
            && span.trace.is_sampled(waiting.rate)
        {
            waiting.spans.push(wire::span(span));
        }
    }
}
