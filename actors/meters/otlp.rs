//! What became of the program's own telemetry.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// One of the three kinds of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Data points.
    Metrics,
    /// Log records.
    Logs,
}

impl Signal {
    /// All of them.
    pub const ALL: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

    /// The word that the paths of OTLP have.
    pub const fn as_str(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
            Signal::Logs => "logs",
        }
    }
}

/// One label: the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SignalLabel {
    /// `traces`, `metrics` or `logs`.
    pub signal: &'static str,
}

/// A counter for each signal.
type BySignal = Family<SignalLabel, Counter<u64, AtomicU64>>;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct OtlpMeters {
    /// `headcount_otlp_sent_total{signal}`.
    pub sent: BySignal,
    /// `headcount_otlp_dropped_total{signal}`.
    pub dropped: BySignal,
}

impl OtlpMeters {
    /// One counter of a family.
    pub fn of(family: &BySignal, signal: Signal) -> Counter<u64, AtomicU64> {
        family
            .get_or_create(&SignalLabel {
                signal: signal.as_str(),
            })
            .clone()
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "headcount_otlp_sent",
            "Spans, data points and log records that a collector has accepted",
            self.sent.clone(),
        );
        registry.register(
            "headcount_otlp_dropped",
            "Spans, data points and log records that were dropped: the collector was away for too long, or refused them",
            self.dropped.clone(),
        );
    }
}
