//! The program's own metrics (CONTRACT, section Metrics). Counters are atomics; the event lane adds once a batch.

pub mod jobs;
pub mod node;
pub mod otlp;
pub mod sentry;
pub mod series;
pub mod stats;
pub mod store;

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub use jobs::{JobLabel, JobMeters, RunLabel};
pub use node::NodeMeters;
pub use series::SharedSeries;

/// One label: the broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BrokerLabel {
    /// Its name in the configuration.
    pub broker: String,
}

/// One label: the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FleetLabel {
    /// The fleet's name.
    pub fleet: String,
}

/// Labels of a notification.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NotificationLabel {
    /// The notifier's name.
    pub notifier: String,
    /// `delivered`, `retried`, `refused`, or `waived` where the channel had nothing to recover from.
    pub outcome: &'static str,
}

/// One label: the actor.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ActorLabel {
    /// Its kind, such as `FleetProber`.
    pub actor: String,
}

/// One label: the level of a line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LevelLabel {
    /// `error`, `warn` or `info`.
    pub level: String,
}

/// Counts by level; each that can storm is there from the start, as a rate needs it.
#[derive(Clone, Debug)]
pub struct LevelCounter(Family<LevelLabel, Counter<u64, AtomicU64>>);

impl Default for LevelCounter {
    fn default() -> Self {
        let family = Family::default();
        for level in ["error", "warn", "info"] {
            drop(family.get_or_create(&LevelLabel { level: level.into() }));
        }
        Self(family)
    }
}

impl LevelCounter {
    /// Counts one; `level` in any case.
    pub fn count(&self, level: &str) {
        let level = level.to_ascii_lowercase();
        self.0.get_or_create(&LevelLabel { level }).inc();
    }
}

/// Bounds of the probe histogram, in seconds: an idle worker answers in 1 to 20 ms, a busy machine within a second.
const PROBE_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// A histogram of probe latencies.
pub type ProbeSeconds = Family<FleetLabel, Histogram, fn() -> Histogram>;

/// All that actors count and measure themselves. Gauges of workers, fleets and incidents are not here: they are
/// read from the status model when somebody scrapes, so a retired worker's series ends by itself.
#[derive(Clone, Debug)]
pub struct Meters {
    /// `headcount_events_received_total{broker}`.
    pub events_received: Family<BrokerLabel, Counter<u64, AtomicU64>>,
    /// `headcount_events_malformed_total{broker}`.
    pub events_malformed: Family<BrokerLabel, Counter<u64, AtomicU64>>,
    /// `headcount_events_lost_total{broker}`.
    pub events_lost: Family<BrokerLabel, Counter<u64, AtomicU64>>,
    /// `headcount_probe_seconds{fleet}`.
    pub probe_seconds: ProbeSeconds,
    /// `headcount_probe_failures_total{fleet}`.
    pub probe_failures: Family<FleetLabel, Counter<u64, AtomicU64>>,
    /// `headcount_task_counts_lost_total`.
    pub task_counts_lost: Counter<u64, AtomicU64>,
    /// `headcount_notifications_total{notifier,outcome}`.
    pub notifications: Family<NotificationLabel, Counter<u64, AtomicU64>>,
    /// `headcount_actor_restarts_total{actor}`.
    pub actor_restarts: Family<ActorLabel, Counter<u64, AtomicU64>>,
    /// `headcount_log_suppressed_total{level}`. The log's own, which outlives these.
    pub log_suppressed: LevelCounter,
    /// `headcount_jobs_…`.
    pub jobs: JobMeters,
    /// `headcount_node_…`.
    pub node: NodeMeters,
    /// Those of pipelines.
    pub stats: stats::StatsMeters,
    /// `headcount_store_…`.
    pub store: store::StoreMeters,
    /// What lanes count of workers' tasks. Not registered: a scrape shows them beside the status model.
    pub series: SharedSeries,
    /// `headcount_otlp_…`.
    pub otlp: otlp::OtlpMeters,
    /// `headcount_sentry_…`. Those of the way to Sentry, which outlives these.
    pub sentry: sentry::SentryMeters,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            events_received: Family::default(),
            events_malformed: Family::default(),
            events_lost: Family::default(),
            probe_seconds: Family::new_with_constructor(|| Histogram::new(PROBE_BUCKETS)),
            probe_failures: Family::default(),
            task_counts_lost: Counter::default(),
            notifications: Family::default(),
            actor_restarts: Family::default(),
            log_suppressed: LevelCounter::default(),
            jobs: JobMeters::default(),
            node: NodeMeters::default(),
            stats: stats::StatsMeters::default(),
            store: store::StoreMeters::default(),
            series: SharedSeries::default(),
            otlp: otlp::OtlpMeters::default(),
            sentry: sentry::SentryMeters::default(),
        }
    }
}

impl Meters {
    /// Names of the counters that outlive these: whoever begins anew with all others goes on with them.
    pub const LASTING: [&str; 3] = [
        "headcount_log_suppressed_total",
        "headcount_sentry_sent_total",
        "headcount_sentry_dropped_total",
    ];

    /// Enters all of them into a registry. prometheus-client adds `_total` to a counter's name itself.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "headcount_events_received",
            "Events received from a broker",
            self.events_received.clone(),
        );
        registry.register(
            "headcount_events_malformed",
            "Messages that could not be read, and were dropped",
            self.events_malformed.clone(),
        );
        registry.register(
            "headcount_events_lost",
            "Events that are known to have been lost before they could be read",
            self.events_lost.clone(),
        );
        registry.register(
            "headcount_probe_seconds",
            "Time until a worker answered a ping",
            self.probe_seconds.clone(),
        );
        registry.register(
            "headcount_probe_failures",
            "Probes that could not be made, which tell nothing of the workers",
            self.probe_failures.clone(),
        );
        registry.register(
            "headcount_task_counts_lost",
            "Task events that were left out of the counts: the store had failed for too long, or there were too many kinds",
            self.task_counts_lost.clone(),
        );
        registry.register(
            "headcount_notifications",
            "Messages to people, by outcome",
            self.notifications.clone(),
        );
        registry.register(
            "headcount_actor_restarts",
            "Restarts of the program's own actors after a panic",
            self.actor_restarts.clone(),
        );
        self.jobs.register(registry);
        self.node.register(registry);
        self.stats.register(registry);
        self.store.register(registry);
        self.otlp.register(registry);
        self.register_lasting(registry);
    }

    /// Those of [`Meters::LASTING`].
    fn register_lasting(&self, registry: &mut Registry) {
        registry.register(
            "headcount_log_suppressed",
            "Lines that were left out of the log in a storm of one message, and only counted",
            self.log_suppressed.0.clone(),
        );
        self.sentry.register(registry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_known_by_name() {
        let mut registry = Registry::default();
        Meters::default().register_lasting(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut names: Vec<String> = types
            .map(|kind| format!("{}_total", kind.strip_suffix(" counter").unwrap()))
            .collect();
        names.sort_unstable();
        let mut known = Meters::LASTING;
        known.sort_unstable();
        assert_eq!(names, known);
    }
}
