//! Metrics of scheduled jobs.

use std::sync::atomic::AtomicU64;

use headcount_core::schedule::{Run, RunState};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// One label: the job.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct JobLabel {
    /// Its name in the configuration.
    pub job: String,
}

/// Labels of a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RunLabel {
    /// The job.
    pub job: String,
    /// The state that it has come to.
    pub state: &'static str,
}

/// Bounds of the delay between the moment that a task was due and the broker's yes, in seconds.
const DELAY_BUCKETS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0, 3600.0];
/// Bounds of how long runs of tasks take, in seconds.
pub(super) const RUNTIME_BUCKETS: [f64; 10] = [0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];

type Histograms = Family<JobLabel, Histogram, fn() -> Histogram>;

/// See the module. What several Headcounts on one store hear of a run is counted by the first of them.
#[derive(Clone, Debug)]
pub struct JobMeters {
    /// `headcount_jobs_runs_total{job,state}`.
    pub runs: Family<RunLabel, Counter<u64, AtomicU64>>,
    /// `headcount_jobs_slots_missed_total{job}`.
    pub slots_missed: Family<JobLabel, Counter<u64, AtomicU64>>,
    /// `headcount_jobs_delay_seconds{job}`.
    pub delay: Histograms,
    /// `headcount_jobs_runtime_seconds{job}`.
    pub runtime: Histograms,
    /// `headcount_jobs_next_run_timestamp_seconds{job}`.
    pub next: Family<JobLabel, Gauge<f64, AtomicU64>>,
    /// `headcount_jobs_last_success_timestamp_seconds{job}`.
    pub last_success: Family<JobLabel, Gauge<f64, AtomicU64>>,
}

impl Default for JobMeters {
    fn default() -> Self {
        Self {
            runs: Family::default(),
            slots_missed: Family::default(),
            delay: Family::new_with_constructor(|| Histogram::new(DELAY_BUCKETS)),
            runtime: Family::new_with_constructor(|| Histogram::new(RUNTIME_BUCKETS)),
            next: Family::default(),
            last_success: Family::default(),
        }
    }
}

impl JobMeters {
    /// Counts the state that a run has come to.
    pub fn count(&self, run: &Run) {
        self.add(run, run.state);
        let label = JobLabel {
            job: run.job.to_string(),
        };
        match (run.state, run.sent_at, run.ended_at) {
            (RunState::Sent, Some(sent), _) => {
                let delay = sent.since(run.due).as_secs_f64();
                self.delay.get_or_create(&label).observe(delay);
            }
            (RunState::Succeeded, _, Some(ended)) => {
                let seconds = ended.as_micros() as f64 / 1e6;
                self.last_success.get_or_create(&label).set(seconds);
            }
            _ => {}
        }
        if let Some(runtime) = run.runtime.filter(|_| !run.state.is_open()) {
            self.runtime.get_or_create(&label).observe(runtime);
        }
    }

    /// Counts a run that was not begun because too many are under way.
    pub fn count_skipped(&self, run: &Run) {
        self.add(run, RunState::Skipped);
    }

    fn add(&self, run: &Run, state: RunState) {
        let label = RunLabel {
            job: run.job.to_string(),
            state: state.as_str(),
        };
        self.runs.get_or_create(&label).inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "headcount_jobs_runs",
            "Runs of scheduled jobs, by each state that they came to",
            self.runs.clone(),
        );
        registry.register(
            "headcount_jobs_slots_missed",
            "Slots of jobs that were passed over because nobody was there to run them",
            self.slots_missed.clone(),
        );
        registry.register(
            "headcount_jobs_delay_seconds",
            "Time from when a job was due until the broker had its task",
            self.delay.clone(),
        );
        registry.register(
            "headcount_jobs_runtime_seconds",
            "How long runs of jobs took, by the worker's own account",
            self.runtime.clone(),
        );
        registry.register(
            "headcount_jobs_next_run_timestamp_seconds",
            "When a job is due next, in seconds since the Unix epoch; NaN if never",
            self.next.clone(),
        );
        registry.register(
            "headcount_jobs_last_success_timestamp_seconds",
            "When a run of a job last ended well, in seconds since the Unix epoch",
            self.last_success.clone(),
        );
    }
}
