//! What is counted of each signal.

use std::sync::atomic::AtomicU64;

use headcount_actors::meters::otlp::OtlpMeters as Meters;
pub(super) use headcount_actors::meters::otlp::Signal;
use prometheus_client::metrics::counter::Counter;

/// Counts what is dropped of one signal.
#[derive(Clone, Debug)]
pub(super) struct Drops(Counter<u64, AtomicU64>);

impl Drops {
    pub(super) fn of(meters: &Meters, signal: Signal) -> Self {
        Self(Meters::of(&meters.dropped, signal))
    }

    pub(super) fn add(&self, count: usize) {
        self.0.inc_by(count as u64);
    }
}
