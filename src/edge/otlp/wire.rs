//! What goes over the wire: OTLP's own messages.

use std::time::{SystemTime, UNIX_EPOCH};

use headcount_core::time::Wall;
use headcount_core::trace::{self, SpanKind};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use prost::Message;

use super::config::Config;
use super::queue::Weighs;
use crate::bounded::marked;
use crate::host::host_name;

/// The longest text of an attribute, in bytes: what is longer is cut. New Relic takes 4,095 characters.
pub(super) const MAX_TEXT: usize = 4_000;

/// The longest line of a log, in bytes.
pub(super) const MAX_LINE: usize = 16 * 1024;

/// Attributes of one span or one log record.
pub(super) const MAX_ATTRIBUTES: usize = 64;

/// What an entry takes in memory beside its contents, about.
const OVERHEAD: usize = 256;

/// W3C's flag that a trace is kept.
const SAMPLED: u32 = 1;

/// A log record with the target that it came from.
pub(super) struct Line {
    pub(super) target: &'static str,
    pub(super) record: LogRecord,
}

impl Weighs for Span {
    fn bytes(&self) -> usize {
        self.encoded_len() + OVERHEAD
    }
}

impl Weighs for Line {
    fn bytes(&self) -> usize {
        self.record.encoded_len() + OVERHEAD
    }
}

/// Nanoseconds since the Unix epoch, now.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

fn nanos(at: Wall) -> u64 {
    u64::try_from(at.as_micros()).unwrap_or(0).saturating_mul(1_000)
}

fn short(text: String, most: usize) -> String {
    if text.len() > most { marked(&text, most) } else { text }
}

/// One attribute.
pub(super) fn attribute(key: impl Into<String>, value: Value) -> KeyValue {
    let value = match value {
        Value::StringValue(text) => Value::StringValue(short(text, MAX_TEXT)),
        other => other,
    };
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// One attribute that is a text.
pub(super) fn text(key: impl Into<String>, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

/// A span as it is sent; kept, or it would not be.
pub(super) fn span(span: trace::Span) -> Span {
    let attributes = span.fields.into_iter().take(MAX_ATTRIBUTES).map(|(key, value)| {
        let value = match value {
            trace::Value::Text(text) => Value::StringValue(text),
            trace::Value::Number(number) => Value::IntValue(number),
            trace::Value::Yes(yes) => Value::BoolValue(yes),
        };
        attribute(key, value)
    });
    Span {
        trace_id: span.trace.bytes().to_vec(),
        span_id: span.id.bytes().to_vec(),
        parent_span_id: span.parent.map(|parent| parent.bytes().to_vec()).unwrap_or_default(),
        flags: SAMPLED,
        name: span.name.to_owned(),
        kind: kind(span.kind).into(),
        start_time_unix_nano: nanos(span.began),
        end_time_unix_nano: nanos(span.ended),
        attributes: attributes.collect(),
        status: Some(status(span.failed)),
        ..Span::default()
    }
}

pub(super) const fn kind(kind: SpanKind) -> span::SpanKind {
    match kind {
        SpanKind::Internal => span::SpanKind::Internal,
        SpanKind::Client => span::SpanKind::Client,
        SpanKind::Producer => span::SpanKind::Producer,
        SpanKind::Consumer => span::SpanKind::Consumer,
    }
}

/// Nothing is said of what went well, as OpenTelemetry wants it.
pub(super) fn status(failed: Option<String>) -> Status {
    match failed {
        Some(why) => Status {
            message: short(why, MAX_TEXT),
            code: StatusCode::Error.into(),
        },
        None => Status::default(),
    }
}

/// W3C's flags of a trace.
pub(super) const fn flags(sampled: bool) -> u32 {
    if sampled { SAMPLED } else { 0 }
}

/// Who sends: the same for all that this Headcount sends.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    resource: Resource,
    version: &'static str,
}

impl Sender {
    pub(super) fn new(config: &Config, version: &'static str, instance: String) -> Self {
        let usual = [
            ("service.name", config.service_name.clone()),
            ("service.version", version.to_owned()),
            ("service.instance.id", instance),
            ("host.name", host_name()),
            ("process.pid", std::process::id().to_string()),
            ("telemetry.sdk.name", "headcount".to_owned()),
            ("telemetry.sdk.language", "rust".to_owned()),
            ("telemetry.sdk.version", version.to_owned()),
        ];
        let usual = usual
            .into_iter()
            .filter(|(key, value)| !value.is_empty() && !config.resource.contains_key(*key))
            .map(|(key, value)| text(key, value));
        let own = config.resource.iter().map(|(key, value)| text(key, value));
        Self {
            resource: Resource {
                attributes: usual.chain(own).collect(),
                ..Resource::default()
            },
            version,
        }
    }

    fn scope(&self, name: &str) -> Option<InstrumentationScope> {
        Some(InstrumentationScope {
            name: name.to_owned(),
            version: self.version.to_owned(),
            ..InstrumentationScope::default()
        })
    }

    pub(super) fn traces(&self, spans: Vec<Span>) -> Vec<u8> {
        let scope_spans = ScopeSpans {
            scope: self.scope("headcount"),
            spans,
            ..ScopeSpans::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![scope_spans],
                ..ResourceSpans::default()
            }],
        }
        .encode_to_vec()
    }

    pub(super) fn metrics(&self, metrics: Vec<Metric>) -> Vec<u8> {
        let scope_metrics = ScopeMetrics {
            scope: self.scope("headcount"),
            metrics,
            ..ScopeMetrics::default()
        };
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource.clone()),
                scope_metrics: vec![scope_metrics],
                ..ResourceMetrics::default()
            }],
        }
        .encode_to_vec()
    }

    /// Each target is a scope of its own, as OpenTelemetry's bridges have it.
    pub(super) fn logs(&self, lines: Vec<Line>) -> Vec<u8> {
        let mut scopes: Vec<(&'static str, Vec<LogRecord>)> = Vec::new();
        for line in lines {
            match scopes.iter_mut().find(|(target, _)| *target == line.target) {
                Some((_, records)) => records.push(line.record),
                None => scopes.push((line.target, vec![line.record])),
            }
        }
        let scope_logs = scopes.into_iter().map(|(target, log_records)| ScopeLogs {
            scope: self.scope(target),
            log_records,
            ..ScopeLogs::default()
        });
        ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(self.resource.clone()),
                scope_logs: scope_logs.collect(),
                ..ResourceLogs::default()
            }],
        }
        .encode_to_vec()
    }
}
