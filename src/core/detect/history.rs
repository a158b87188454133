//! What a fleet has been like for a day: how many it had, and whether its workers keep their names.
//!
//! A fleet with steady names is judged by its names. One whose names keep changing, such as pods that are scaled or
//! reclaimed all day, is judged by their number: 0.8 × the median of the last 24 h.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::observed::Seen;

/// How long one sample lasts, in observed time.
const SAMPLE: Duration = Duration::from_secs(300);
/// How many are kept: 24 h.
const MAX_SAMPLES: usize = 288;
/// Names keep changing where at least so many have been replaced within the day …
const MIN_TURNOVER: u32 = 3;
/// … and at least this share of the fleet, one in so many …
const TURNOVER_SHARE: u32 = 4;
/// … on so many occasions: newcomers in so many different samples. One deployment is over sooner, and says nothing about
/// how losses heal afterwards. Raising it learns later that a fleet is scaled all the time.
const OCCASIONS: usize = 4;
/// The share of the usual number that is expected of a fleet that is judged by number: 4 of 5.
const USUAL: (u32, u32) = (4, 5);

/// Five minutes of a fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Workers that were up at its end.
    #[serde(default)]
    pub up: u32,
    /// New names that appeared.
    #[serde(default)]
    pub came: u32,
    /// Names that left, or were replaced.
    #[serde(default)]
    pub went: u32,
}

/// The ring of samples.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    samples: VecDeque<Sample>,
    current: Sample,
    next: Seen,
    /// The median of the day, where the fleet is to be judged by it.
    usual: Option<u32>,
}

impl History {
    /// What is remembered. Time in which nobody looked is left out.
    pub(super) fn remembered(samples: Vec<Sample>, t: Seen) -> Self {
        let surplus = samples.len().saturating_sub(MAX_SAMPLES);
        let mut history = Self {
            samples: samples.into_iter().skip(surplus).collect(),
            current: Sample::default(),
            next: t + SAMPLE,
            usual: None,
        };
        history.learn();
        history
    }

    /// What to remember.
    pub(super) fn memory(&self) -> Vec<Sample> {
        self.samples.iter().copied().collect()
    }

    /// A new name appeared.
    pub(super) fn came(&mut self) {
        self.current.came = self.current.came.saturating_add(1);
    }

    /// A name left for good, or was replaced.
    pub(super) fn went(&mut self) {
        self.current.went = self.current.went.saturating_add(1);
    }

    /// Time passes, with so many up.
    pub(super) fn advance(&mut self, t: Seen, up: u32) {
        if t < self.next {
            return;
        }
        self.next = t + SAMPLE;
        self.samples.push_back(Sample { up, ..self.current });
        self.current = Sample::default();
        if self.samples.len() > MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.learn();
    }

    /// The median of the day, where the fleet's names keep changing.
    pub(super) const fn usual(&self) -> Option<u32> {
        self.usual
    }

    fn learn(&mut self) {
        let sum = |of: fn(&Sample) -> u32| self.samples.iter().map(of).fold(0_u32, u32::saturating_add);
        let turnover = sum(|sample| sample.came).min(sum(|sample| sample.went));
        let occasions = self.samples.iter().filter(|sample| sample.came > 0).count();
        let median = self.median();
        let changing =
            turnover >= MIN_TURNOVER && turnover >= median.div_ceil(TURNOVER_SHARE) && occasions >= OCCASIONS;
        self.usual = changing.then_some(median);
    }

    fn median(&self) -> u32 {
        let mut ups: Vec<u32> = self.samples.iter().map(|sample| sample.up).collect();
        ups.sort_unstable();
        ups.get(ups.len() / 2).copied().unwrap_or(0)
    }
}

/// What is expected of a fleet that is judged by number: 0.8 × the usual, or 0.8 × those whom it has and has lost, if
/// that is less (it has been scaled down), rounded up, so that a fleet of four misses each.
pub(super) fn expected_by_count(usual: u32, present_and_lost: u32) -> u32 {
    let base = u64::from(usual.min(present_and_lost));
    let share = (base * u64::from(USUAL.0)).div_ceil(u64::from(USUAL.1));
    u32::try_from(share).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(samples: usize, each: impl Fn(usize) -> Sample) -> History {
        let mut history = History::remembered(Vec::new(), Seen::default());
        for n in 0..samples {
            let sample = each(n);
            (0..sample.came).for_each(|_| history.came());
            (0..sample.went).for_each(|_| history.went());
            history.advance(Seen::default() + SAMPLE * (u32::try_from(n).unwrap() + 1), sample.up);
        }
        history
    }

    #[test]
    fn steady_names_are_not_judged_by_number_and_changing_ones_are() {
        let steady = run(300, |_| Sample {
            up: 10,
            came: 0,
            went: 0,
        });
        assert_eq!(steady.usual(), None);
        let pods = run(20, |n| Sample {
            up: 10,
            came: u32::from(n % 3 == 0),
            went: u32::from(n % 3 == 0),
        });
        assert_eq!(pods.usual(), Some(10));
    }

    #[test]
    fn one_deployment_does_not_make_a_fleet_of_changing_names() {
        let deployed = run(40, |n| Sample {
            up: 10,
            came: if n < 2 { 5 } else { 0 },
            went: if n < 2 { 5 } else { 0 },
        });
        assert_eq!(deployed.usual(), None);
        let grown = run(40, |_| Sample {
            up: 10,
            came: 1,
            went: 0,
        });
        assert_eq!(grown.usual(), None, "who only grows replaces nobody");
    }

    #[test]
    fn a_day_is_kept_and_survives_a_restart() {
        let history = run(1_000, |_| Sample {
            up: 10,
            came: 1,
            went: 1,
        });
        assert_eq!(history.memory().len(), MAX_SAMPLES);
        let again = History::remembered(history.memory(), Seen::default());
        assert_eq!(again.usual(), Some(10));
    }

    #[test]
    fn four_fifths_rounded_up() {
        for (usual, there, expected) in [(10, 10, 8), (4, 4, 4), (5, 5, 4), (100, 50, 40), (0, 9, 0), (1, 1, 1)] {
            assert_eq!(expected_by_count(usual, there), expected, "{usual} {there}");
        }
        assert!(expected_by_count(u32::MAX, u32::MAX) > 3_000_000_000);
    }
}
