//! Metrics of Headcount's own Celery nodes.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::BrokerLabel;
use super::jobs::RUNTIME_BUCKETS;

/// Labels of a task that a node has run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NodeTaskLabel {
    /// The broker's name in the configuration.
    pub broker: String,
    /// The task.
    pub task: String,
    /// What it came to, in Celery's words: `SUCCESS`, `FAILURE`, `RETRY` or `REVOKED`.
    pub state: &'static str,
}

/// Labels of how long a task ran.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NodeRuntimeLabel {
    /// The broker's name in the configuration.
    pub broker: String,
    /// The task.
    pub task: String,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct NodeMeters {
    /// `headcount_node_tasks_total{broker,task,state}`.
    pub tasks: Family<NodeTaskLabel, Counter<u64, AtomicU64>>,
    /// `headcount_node_runtime_seconds{broker,task}`: of all runs, whatever they came to.
    pub runtime: Family<NodeRuntimeLabel, Histogram, fn() -> Histogram>,
    /// `headcount_node_refused_total{broker}`.
    pub refused: Family<BrokerLabel, Counter<u64, AtomicU64>>,
    /// `headcount_node_waiting{broker}`: tasks that wait for their time.
    pub waiting: Family<BrokerLabel, Gauge<i64, AtomicI64>>,
    /// `headcount_node_unsent_total{broker}`.
    pub unsent: Family<BrokerLabel, Counter<u64, AtomicU64>>,
}

impl Default for NodeMeters {
    fn default() -> Self {
        Self {
            tasks: Family::default(),
            runtime: Family::new_with_constructor(|| Histogram::new(RUNTIME_BUCKETS)),
            refused: Family::default(),
            waiting: Family::default(),
            unsent: Family::default(),
        }
    }
}

impl NodeMeters {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "headcount_node_tasks",
            "Tasks that Headcount's own node has brought to an end",
            self.tasks.clone(),
        );
        registry.register(
            "headcount_node_runtime_seconds",
            "How long tasks of Headcount's own node ran",
            self.runtime.clone(),
        );
        registry.register(
            "headcount_node_refused",
            "Messages to Headcount's own node that were no tasks of its, and were rejected",
            self.refused.clone(),
        );
        registry.register(
            "headcount_node_waiting",
            "Tasks that Headcount's own node has taken, and that wait for their time (ETA or countdown); at 65,000 it takes no others",
            self.waiting.clone(),
        );
        registry.register(
            "headcount_node_unsent",
            "Tasks that were to follow one of Headcount's own node, could not be sent, and are lost",
            self.unsent.clone(),
        );
    }
}
