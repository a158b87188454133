//! What Headcount traces and logs, on its way into the queues: a layer of `tracing`'s subscriber, always there, and closed
//! until a configuration opens it.
//!
//! A log record bears the trace that it belongs to: that of the span that it was written in; else of the incident that it
//! names in its field `incident`; else of the run of a job, where it has the fields `job` and `id`. Secrets are taken out later, by
//! the thread that sends (`scrub.rs`); why a task has failed does not get that far.

use std::cell::Cell;
use std::fmt::Debug;
use std::sync::Arc;

use headcount_actors::vitals;
use headcount_core::alert::IncidentId;
use headcount_core::trace::{Context, SpanId, SpanKind, TRACEPARENT, TraceId};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use opentelemetry_proto::tonic::trace::v1::Span;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context as Around, Filter};
use tracing_subscriber::registry::{LookupSpan, Scope};

use super::Otlp;
use super::wire::{self, MAX_ATTRIBUTES, MAX_LINE, MAX_TEXT};
use crate::bounded::{Bounded, marked};

thread_local! {
    /// Whether this thread is the exporter's: what it writes would come back to it, and cause more of it.
    static EXPORTS: Cell<bool> = const { Cell::new(false) };
}

/// Says that this thread is the exporter's.
pub(super) fn this_thread_exports() {
    EXPORTS.set(true);
}

/// What holds lines back.
pub trait Limit: Send + Sync {
    /// Whether a line is to be sent. It is asked once of each that the [`Gate`] lets through.
    fn lets_through(&self, event: &Event<'_>) -> bool;
}

/// The layer; to be installed with its [`Gate`].
pub struct OtlpLayer {
    pub(super) otlp: Otlp,
    pub(super) limit: Option<Arc<dyn Limit>>,
}

/// What gets through to the layer: nothing while it is closed, at the cost of one relaxed read of an atomic.
pub struct Gate(pub(super) Otlp);

/// Targets of crates that say what those who use them say better, or that the exporter itself uses: as the log has it, and the
/// HTTP client's.
const QUIET: [&str; 10] = [
    "lapin",
    "async_rs",
    "redis",
    "hyper",
    "hyper_util",
    "h2",
    "reqwest",
    "rustls",
    "actix_server",
    "mio",
];

/// Fields of what is said of a task that are not sent: the words of its exception may be what it was given.
const REASONS: [&str; 3] = ["error", "reason", "why"];

fn is_quiet(target: &str) -> bool {
    let root = target.split("::").next().unwrap_or(target);
    QUIET.contains(&root)
}

impl Gate {
    fn lets_through(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() {
            self.0.wants_spans() && *metadata.level() <= Level::INFO && metadata.target().starts_with("headcount")
        } else {
            *metadata.level() <= self.0.log_level() && !is_quiet(metadata.target())
        }
    }
}

impl<S> Filter<S> for Gate {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Around<'_, S>) -> bool {
        self.lets_through(metadata)
    }

    /// Remembered for each place in the program, and asked again whenever the gate is opened or closed.
    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.lets_through(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let spans = if self.0.wants_spans() {
            LevelFilter::INFO
        } else {
            LevelFilter::OFF
        };
        Some(spans.max(self.0.log_level()))
    }
}

/// A span that is under way.
struct Begun {
    context: Context,
    parent: Option<SpanId>,
    since: u64,
    attributes: Vec<KeyValue>,
    failed: bool,
}

impl<S> Layer<S> for OtlpLayer
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, around: Around<'_, S>) {
        let Some(span) = around.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let above = span
            .scope()
            .skip(1)
            .find_map(|span| span.extensions().get::<Begun>().map(|begun| begun.context));
        let name = attributes.metadata().name();
        let (context, parent) = match above {
            Some(above) => (below(above, name, wire::now()), Some(above.span)),
            None => self.task(&fields),
        };
        let begun = Begun {
            context,
            parent,
            since: wire::now(),
            attributes: fields.attributes,
            failed: false,
        };
        span.extensions_mut().insert(begun);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, around: Around<'_, S>) {
        let Some(span) = around.span(id) else { return };
        // Before the lock: what is recorded here is others' code, which may log, and so ask for this span.
        let mut fields = Fields::default();
        values.record(&mut fields);
        let mut extensions = span.extensions_mut();
        if let Some(begun) = extensions.get_mut::<Begun>() {
            begun.failed |= fields.state.as_deref() == Some("FAILURE");
            let room = MAX_ATTRIBUTES.saturating_sub(begun.attributes.len());
            begun.attributes.extend(fields.attributes.into_iter().take(room));
        }
    }

    fn on_event(&self, event: &Event<'_>, around: Around<'_, S>) {
        if EXPORTS.get() || self.limit.as_ref().is_some_and(|limit| !limit.lets_through(event)) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let within = around
            .event_scope(event)
            .and_then(|mut scope: Scope<'_, S>| {
                scope.find_map(|span| span.extensions().get::<Begun>().map(|begun| begun.context))
            })
            .or_else(|| self.context(&fields));
        if fields.of_a_task || vitals::duty().is_some_and(|duty| duty.kind == vitals::TASK) {
            fields
                .attributes
                .retain(|attribute| !REASONS.contains(&attribute.key.as_str()));
        }
        let at = wire::now();
        let (severity, word) = severity(event.metadata().level());
        let record = LogRecord {
            time_unix_nano: at,
            observed_time_unix_nano: at,
            severity_number: severity.into(),
            severity_text: word.to_owned(),
            body: Some(AnyValue {
                value: Some(Value::StringValue(fields.message)),
            }),
            attributes: fields.attributes,
            flags: within.map_or(0, |context| wire::flags(context.sampled)),
            trace_id: within.map(|context| context.trace.bytes().to_vec()).unwrap_or_default(),
            span_id: within.map(|context| context.span.bytes().to_vec()).unwrap_or_default(),
            ..LogRecord::default()
        };
        self.otlp.log(event.metadata().target(), record);
    }

    fn on_close(&self, id: Id, around: Around<'_, S>) {
        let Some(span) = around.span(&id) else { return };
        let begun = span.extensions_mut().remove::<Begun>();
        let Some(begun) = begun.filter(|begun| begun.context.sampled) else {
            return;
        };
        let is_task = span.name() == "task";
        let kind = if is_task {
            SpanKind::Consumer
        } else {
            SpanKind::Internal
        };
        self.otlp.span(Span {
            trace_id: begun.context.trace.bytes().to_vec(),
            span_id: begun.context.span.bytes().to_vec(),
            parent_span_id: begun.parent.map(|parent| parent.bytes().to_vec()).unwrap_or_default(),
            flags: wire::flags(true),
            name: span.name().to_owned(),
            kind: wire::kind(kind).into(),
            start_time_unix_nano: begun.since,
            end_time_unix_nano: wire::now().max(begun.since),
            attributes: begun.attributes,
            status: Some(wire::status(begun.failed.then(|| "failed".to_owned()))),
            ..Span::default()
        });
    }
}

impl OtlpLayer {
    /// Where a task's span hangs: on what its message says, or else on the task that sent it.
    fn task(&self, fields: &Fields) -> (Context, Option<SpanId>) {
        let id = fields.id.as_deref().unwrap_or_default();
        let first = fields.retries.is_none_or(|retries| retries == 0);
        let span = |trace: TraceId| match first {
            true => SpanId::of_task(id),
            false => SpanId::of(trace, &[id, &fields.retries.unwrap_or_default().to_string()]),
        };
        if let Some(sent) = fields.traceparent.as_deref().and_then(Context::parse) {
            let context = Context {
                span: span(sent.trace),
                ..sent
            };
            return (context, Some(sent.span));
        }
        let trace = TraceId::of_task(fields.root_id.as_deref().unwrap_or(id));
        let context = Context {
            trace,
            span: span(trace),
            sampled: self.otlp.keeps_trace(trace),
        };
        // A task that is tried again is a part of its first try's trace, and so of that.
        let parent = fields.parent_id.as_deref().map(SpanId::of_task);
        (context, parent.or_else(|| (!first).then(|| SpanId::of_task(id))))
    }

    /// What an event says of itself.
    fn context(&self, fields: &Fields) -> Option<Context> {
        let trace = match (&fields.incident, fields.job, &fields.id) {
            (Some(incident), ..) => TraceId::of_incident(&IncidentId(incident.as_str().into())),
            (None, true, Some(id)) => TraceId::of_task(id),
            _ => return None,
        };
        Some(Context {
            trace,
            span: SpanId::root(trace),
            sampled: self.otlp.keeps_trace(trace),
        })
    }
}

/// A span inside another one.
fn below(above: Context, name: &str, now: u64) -> Context {
    Context {
        span: SpanId::of(above.trace, &[name, &above.span.to_string(), &now.to_string()]),
        ..above
    }
}

const fn severity(level: &Level) -> (SeverityNumber, &'static str) {
    match *level {
        Level::TRACE => (SeverityNumber::Trace, "TRACE"),
        Level::DEBUG => (SeverityNumber::Debug, "DEBUG"),
        Level::INFO => (SeverityNumber::Info, "INFO"),
        Level::WARN => (SeverityNumber::Warn, "WARN"),
        Level::ERROR => (SeverityNumber::Error, "ERROR"),
    }
}

/// The longest text of a field, in bytes.
fn most(name: &str) -> usize {
    if name == "message" { MAX_LINE } else { MAX_TEXT }
}

/// The fields of a span or an event, with those noted that say where it belongs.
#[derive(Default)]
struct Fields {
    message: String,
    attributes: Vec<KeyValue>,
    incident: Option<String>,
    /// It speaks of a task, or of a job's.
    of_a_task: bool,
    job: bool,
    id: Option<String>,
    root_id: Option<String>,
    parent_id: Option<String>,
    traceparent: Option<String>,
    state: Option<String>,
    retries: Option<u64>,
}

impl Fields {
    fn put(&mut self, name: &'static str, value: Value) {
        if self.attributes.len() < MAX_ATTRIBUTES {
            self.attributes.push(wire::attribute(name, value));
        }
    }

    fn text(&mut self, name: &'static str, text: String) {
        match name {
            "message" => {
                self.message = text;
                return;
            }
            // It is in the span's own ids.
            TRACEPARENT => {
                self.traceparent = Some(text);
                return;
            }
            "incident" => self.incident = Some(text.clone()),
            "id" => self.id = Some(text.clone()),
            "root_id" => self.root_id = Some(text.clone()),
            "parent_id" => self.parent_id = Some(text.clone()),
            "state" => self.state = Some(text.clone()),
            "job" => (self.job, self.of_a_task) = (true, true),
            "task" => self.of_a_task = true,
            _ => {}
        }
        self.put(name, Value::StringValue(text));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let name = field.name();
        self.text(name, Bounded::debug(value, most(name)).marked());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let name = field.name();
        self.text(name, marked(value, most(name)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), Value::IntValue(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "retries" {
            self.retries = Some(value);
        }
        self.put(field.name(), Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), Value::DoubleValue(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), Value::BoolValue(value));
    }
}
