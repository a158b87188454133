//! The metrics of `[[stats]]` pipelines.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::ports::stats::Standing;

/// One label: the pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PipelineLabel {
    /// Its name in the configuration.
    pub pipeline: String,
}

impl PipelineLabel {
    /// Of a pipeline.
    pub fn of(pipeline: &str) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
        }
    }
}

type Count = Family<PipelineLabel, Counter<u64, AtomicU64>>;
type Level<N, A> = Family<PipelineLabel, Gauge<N, A>>;

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct StatsMeters {
    /// `headcount_stats_documents_total{pipeline}`: read by this Headcount.
    pub documents: Count,
    /// `headcount_stats_bad_total{pipeline}`: documents that were put aside.
    pub bad: Count,
    /// `headcount_stats_rollups_total{pipeline}`: roll-ups that all sinks took.
    pub rollups: Count,
    /// `headcount_stats_refused_total{pipeline}`: roll-ups that a sink refused, and that were put aside.
    pub refused: Count,
    /// `headcount_stats_fenced_total{pipeline}`: steps that were not committed, because the lease was lost.
    pub fenced: Count,
    /// `headcount_stats_cut_short_total{pipeline}`: how often `settle` was cut short, because too many documents came.
    pub cut_short: Count,
    /// `headcount_stats_failures_total{pipeline}`: failures that are tried again.
    pub failures: Count,
    /// `headcount_stats_lag_documents{pipeline}`.
    pub lag_documents: Level<u64, AtomicU64>,
    /// `headcount_stats_lag_seconds{pipeline}`.
    pub lag_seconds: Level<f64, AtomicU64>,
    /// `headcount_stats_unpublished{pipeline}`.
    pub unpublished: Level<u64, AtomicU64>,
}

impl StatsMeters {
    /// Shows how a pipeline stands.
    pub fn show(&self, pipeline: &PipelineLabel, standing: &Standing) {
        self.lag_documents.get_or_create(pipeline).set(standing.lag_documents);
        self.unpublished.get_or_create(pipeline).set(standing.unpublished);
        match standing.lag {
            Some(lag) => drop(self.lag_seconds.get_or_create(pipeline).set(lag.as_secs_f64())),
            // Better no figure than one that is not true any more.
            None => drop(self.lag_seconds.remove(pipeline)),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let counts: [(&str, &str, &Count); 7] = [
            (
                "headcount_stats_documents",
                "Documents that a pipeline has read",
                &self.documents,
            ),
            (
                "headcount_stats_bad",
                "Documents that could not be counted, and were put aside",
                &self.bad,
            ),
            (
                "headcount_stats_rollups",
                "Roll-ups that all sinks of a pipeline have taken",
                &self.rollups,
            ),
            (
                "headcount_stats_refused",
                "Roll-ups that a sink refused for good, and that were put aside",
                &self.refused,
            ),
            (
                "headcount_stats_fenced",
                "Steps that were not committed, because the lease was lost",
                &self.fenced,
            ),
            (
                "headcount_stats_cut_short",
                "How often those that come late were waited for less than settle, because too many documents came",
                &self.cut_short,
            ),
            (
                "headcount_stats_failures",
                "Failures of a pipeline that are tried again",
                &self.failures,
            ),
        ];
        for (name, help, count) in counts {
            registry.register(name, help, count.clone());
        }
        registry.register(
            "headcount_stats_lag_documents",
            "Documents that a pipeline has still to read",
            self.lag_documents.clone(),
        );
        registry.register(
            "headcount_stats_lag_seconds",
            "How old the oldest of the documents is that a pipeline has still to read",
            self.lag_seconds.clone(),
        );
        registry.register(
            "headcount_stats_unpublished",
            "States that wait to be published",
            self.unpublished.clone(),
        );
    }
}
