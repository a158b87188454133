//! What Headcount is to reach in the simulator, and whether it did.

use headcount_simulate::report::Quantiles;
use headcount_simulate::run::{Detector, Measured, Plan, Results};
use headcount_simulate::score::Tally;

use super::words::worker_days;

/// A goal, and what came of it.
pub(super) struct Goal {
    /// What is to be reached.
    pub(super) what: &'static str,
    /// What was, in words.
    pub(super) came: String,
    /// Whether that is enough; none where it was not tried.
    pub(super) reached: Option<bool>,
}

/// The goals, for whatever was run.
pub(super) fn of(plan: &Plan, results: &Results) -> Vec<Goal> {
    let own = results
        .measured
        .iter()
        .find(|measured| measured.detector == Detector::Headcount);
    let Some(own) = own else { return Vec::new() };
    let quiet = own.total(plan, |scenario| scenario.quiet);
    let all = own.total(plan, |_| true);
    let crash = only(plan, own, &["sigkill"]);
    let silent = only(plan, own, &["power-loss", "sigstop", "partition"]);
    let stalled = only(plan, own, &["stalled"]);
    let absent = stalled.variants.get("consumer absent").cloned().unwrap_or_default();
    let broker = only(plan, own, &["broker-out", "failover"]);
    let flapping = only(plan, own, &["flapping"]);
    vec![
        Goal {
            what: "no false alarm in the quiet scenarios",
            came: format!(
                "{} in {} worker-days",
                quiet.false_alarms,
                worker_days(quiet.worker_days)
            ),
            reached: (quiet.worker_days > 0.0).then_some(quiet.false_alarms == 0),
        },
        Goal {
            what: "nor in the others",
            came: format!(
                "{} in {} worker-days",
                all.false_alarms - quiet.false_alarms,
                worker_days(all.worker_days - quiet.worker_days)
            ),
            reached: (all.worker_days > quiet.worker_days).then_some(all.false_alarms == quiet.false_alarms),
        },
        Goal {
            what: "nothing missed",
            came: format!("{} of {} failures", all.missed, all.failures),
            reached: (all.failures > 0).then_some(all.missed == 0),
        },
        quantile(
            "crash with a closed connection: p50 ≤ 5.2 s",
            &crash.detect,
            5.2,
            |q| q.p50,
        ),
        quantile(
            "crash with a closed connection: p99 ≤ 6.5 s",
            &crash.detect,
            6.5,
            |q| q.p99,
        ),
        quantile("silent loss: p99 ≤ 16 s", &silent.detect, 16.0, |q| q.p99),
        quantile("stalled: p99 ≤ 75 s", &stalled.detect, 75.0, |q| q.p99),
        quantile("stalled, its consumer absent: ≤ 20 s", &absent, 20.0, |q| q.max),
        quantile("broker out: ≤ 5 s", &broker.detect, 5.0, |q| q.max),
        Goal {
            what: "one message for each worker that flaps",
            came: format!("{} messages, {} such workers", flapping.messages, flapping.failures),
            reached: (flapping.failures > 0).then_some(flapping.messages <= flapping.failures),
        },
        Goal {
            what: "one message for each incident",
            came: format!(
                "{} messages, {} incidents, {} failures",
                all.messages, all.incidents, all.failures
            ),
            reached: (all.incidents > 0).then_some(all.messages == all.incidents),
        },
    ]
}

fn only(plan: &Plan, measured: &Measured, names: &[&str]) -> Tally {
    measured.total(plan, |scenario| names.contains(&scenario.name))
}

fn quantile(what: &'static str, times: &[u64], most: f64, which: fn(&Quantiles) -> Option<f64>) -> Goal {
    let measured = which(&Quantiles::of(times));
    Goal {
        what,
        came: measured.map_or_else(|| "none was found".to_owned(), |seconds| format!("{seconds:.1} s")),
        reached: measured.map(|seconds| seconds <= most),
    }
}
