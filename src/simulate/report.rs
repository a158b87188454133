//! The figures of a run in the shape that `simulate --json` promises (CONTRACT, section Command line).

use serde::Serialize;

use crate::run::{Plan, Results};
use crate::score::Tally;
use crate::world::{Moment, SEC};

/// The whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What all chance came from.
    pub seed: u64,
    /// Each detector at each threshold.
    pub detectors: Vec<DetectorReport>,
}

/// One detector at one threshold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DetectorReport {
    /// Which.
    pub name: &'static str,
    /// Of Headcount its `down_after` in seconds, of `celery` per cent of the interval, of `timeout` seconds, of `phi`
    /// phi, of `ping` misses.
    pub threshold: f64,
    /// Each scenario.
    pub scenarios: Vec<Figures>,
    /// All of them together.
    pub total: Figures,
}

/// The figures of one scenario, or of all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// The scenario's name, or `total`.
    pub name: &'static str,
    /// What is true of it.
    pub truth: &'static str,
    /// Workers, times days.
    pub worker_days: f64,
    /// Alarms about nobody who had failed.
    pub false_alarms: u64,
    /// Failures that must be found.
    pub failures: u64,
    /// Those that were not.
    pub missed: u64,
    /// Stretches of trouble that people were told of.
    pub incidents: u64,
    /// Alarms that people got.
    pub messages: u64,
    /// Failures that were found for the right reason.
    pub diagnosis_right: u64,
    /// From a failure to its first alarm, in seconds.
    pub detect_s: Quantiles,
    /// From the end of a failure to when that was told, in seconds.
    pub clear_s: Quantiles,
}

/// Quantiles of a time, in seconds; none of nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half of them take no longer.
    pub p50: Option<f64>,
    /// 99 % of them take no longer.
    pub p99: Option<f64>,
    /// None takes longer.
    pub max: Option<f64>,
}

impl Quantiles {
    /// By nearest rank: each is a time that was measured.
    pub fn of(times: &[Moment]) -> Self {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let rank = |share: f64| {
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.max(1) - 1).map(|time| seconds(*time))
        };
        Self {
            p50: rank(0.5),
            p99: rank(0.99),
            max: rank(1.0),
        }
    }
}

/// In seconds, to the millisecond.
fn seconds(time: Moment) -> f64 {
    (time as f64 / SEC as f64 * 1e3).round() / 1e3
}

impl Figures {
    /// A tally's.
    pub fn of(name: &'static str, truth: &'static str, tally: &Tally) -> Self {
        Self {
            name,
            truth,
            worker_days: (tally.worker_days * 1e3).round() / 1e3,
            false_alarms: tally.false_alarms,
            failures: tally.failures,
            missed: tally.missed,
            incidents: tally.incidents,
            messages: tally.messages,
            diagnosis_right: tally.diagnosis_right,
            detect_s: Quantiles::of(&tally.detect),
            clear_s: Quantiles::of(&tally.clear),
        }
    }
}

impl Report {
    /// The figures of a run.
    pub fn of(plan: &Plan, results: &Results) -> Self {
        let detectors = results.measured.iter().map(|measured| {
            let scenarios = plan.scenarios.iter().zip(&measured.scenarios);
            DetectorReport {
                name: measured.detector.name(),
                threshold: measured.threshold,
                scenarios: scenarios
                    .map(|(scenario, tally)| Figures::of(scenario.name, scenario.truth, tally))
                    .collect(),
                total: Figures::of("total", "all", &measured.total(plan, |_| true)),
            }
        });
        Self {
            seed: plan.seed,
            detectors: detectors.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let times: Vec<Moment> = (1..=200).map(|second| second * SEC).collect();
        let quantiles = Quantiles::of(&times);
        assert_eq!(
            (quantiles.p50, quantiles.p99, quantiles.max),
            (Some(100.0), Some(198.0), Some(200.0))
        );
        assert_eq!(Quantiles::of(&[]), Quantiles::default());
        assert_eq!(Quantiles::of(&[5_200_400]).p99, Some(5.2));
    }
}
