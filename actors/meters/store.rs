//! Metrics of the store: whether it takes and gives what actors want of it.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// See the module. Whoever watches over the store writes them, and nobody else.
#[derive(Clone, Debug, Default)]
pub struct StoreMeters {
    /// `headcount_store_failing`: 1 from the first failure until all that failed has worked, or is wanted no more.
    pub failing: Gauge<u64, AtomicU64>,
    /// `headcount_store_failures_total`: tries that failed.
    pub failures: Counter<u64, AtomicU64>,
}

impl StoreMeters {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "headcount_store_failing",
            "Whether the store fails: 1 until it has taken what it refused",
            self.failing.clone(),
        );
        registry.register(
            "headcount_store_failures",
            "Calls of the store that failed, and are made again",
            self.failures.clone(),
        );
    }
}
