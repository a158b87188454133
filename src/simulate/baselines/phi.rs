//! Phi accrual (Hayashibara et al., 2004) as Akka has it (`akka.remote.PhiAccrualFailureDetector`).

use headcount_core::celery::WorkerKind;

use super::{Alarm, Baseline, Pauses, alarm, never_after};
use crate::world::{BEAT, Moment, SEC, Said, Slot, Watcher};

/// `akka.cluster.failure-detector` in akka-cluster's reference.conf: threshold 8.0, and the three that follow.
const THRESHOLDS: [f64; 10] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0];
/// `max-sample-size`.
const MAX_SAMPLES: usize = 1_000;
/// `min-std-deviation`, in seconds.
const MIN_DEVIATION: f64 = 0.1;
/// `acceptable-heartbeat-pause`, in seconds.
const ACCEPTABLE_PAUSE: f64 = 3.0;

/// The rule. Each threshold has histories of its own: an interval counts only if its worker was held alive in it.
#[derive(Debug)]
pub struct Phi {
    /// For each threshold, how many deviations above the mean it is crossed.
    crossings: Vec<f64>,
    workers: Vec<Option<Watched>>,
    pauses: Pauses,
    alarms: Vec<Vec<Alarm>>,
}

#[derive(Clone, Debug)]
struct Watched {
    heard: Moment,
    histories: Vec<History>,
}

/// The last intervals of a worker, in seconds.
#[derive(Clone, Debug)]
struct History {
    samples: Vec<f32>,
    next: usize,
    sum: f64,
    squares: f64,
}

impl Phi {
    /// With Akka's defaults, and the threshold swept.
    pub fn new() -> Self {
        Self {
            crossings: THRESHOLDS.iter().map(|phi| crossing(*phi)).collect(),
            workers: Vec::new(),
            pauses: Pauses::default(),
            alarms: vec![Vec::new(); THRESHOLDS.len()],
        }
    }
}

impl Default for Phi {
    fn default() -> Self {
        Self::new()
    }
}

impl History {
    /// Akka's first guess: the heartbeat interval as the mean, a quarter of it as the deviation.
    fn first() -> Self {
        let mut history = Self {
            samples: Vec::new(),
            next: 0,
            sum: 0.0,
            squares: 0.0,
        };
        let mean = BEAT as f64 / SEC as f64;
        history.add(mean - mean / 4.0);
        history.add(mean + mean / 4.0);
        history
    }

    fn add(&mut self, interval: f64) {
        let interval = interval as f32;
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push(interval);
        } else {
            let old = f64::from(std::mem::replace(&mut self.samples[self.next], interval));
            self.sum -= old;
            self.squares -= old * old;
            self.next = (self.next + 1) % MAX_SAMPLES;
        }
        let interval = f64::from(interval);
        self.sum += interval;
        self.squares += interval * interval;
    }

    /// After how much silence phi crosses a threshold.
    fn patience(&self, crossing: f64) -> f64 {
        let count = self.samples.len() as f64;
        let mean = self.sum / count;
        let deviation = (self.squares / count - mean * mean).max(0.0).sqrt().max(MIN_DEVIATION);
        mean + ACCEPTABLE_PAUSE + crossing * deviation
    }
}

impl Watcher for Phi {
    fn connected(&mut self, _: Moment, _: bool) {}

    fn blocked(&mut self, _: Moment, _: bool) {}

    fn canary(&mut self, _: Moment) {}

    fn said(&mut self, now: Moment, _: &str, said: &Said) {
        let place = said.slot as usize;
        if place >= self.workers.len() {
            self.workers.resize(place + 1, None);
        }
        if said.kind == WorkerKind::Offline {
            self.silence_ends(place, now, None);
            self.workers[place] = None;
            return;
        }
        if self.workers[place].is_some() {
            self.silence_ends(place, now, Some(()));
        } else {
            self.workers[place] = Some(Watched {
                heard: now,
                histories: vec![History::first(); THRESHOLDS.len()],
            });
        }
    }

    fn was_paused(&mut self, from: Moment, to: Moment) {
        self.pauses.add(from, to);
    }
}

impl Phi {
    /// A worker is heard, or says goodbye, or all is over.
    fn silence_ends(&mut self, place: usize, now: Moment, beat: Option<()>) {
        let Some(Some(worker)) = self.workers.get_mut(place) else {
            return;
        };
        let interval = (now - worker.heard) as f64 / SEC as f64;
        let slot = Slot::try_from(place).unwrap_or(0);
        for ((history, crossing), alarms) in worker.histories.iter_mut().zip(&self.crossings).zip(&mut self.alarms) {
            // Whatever the history, the mean and its pause come first.
            let due = history.patience(*crossing);
            if interval <= due {
                if beat.is_some() {
                    history.add(interval);
                }
            } else {
                let due = worker.heard + (due * SEC as f64) as Moment;
                alarms.extend(alarm(&self.pauses, slot, due, now));
            }
        }
        worker.heard = now;
    }
}

impl Baseline for Phi {
    fn name(&self) -> &'static str {
        "phi"
    }

    fn thresholds(&self) -> Vec<f64> {
        THRESHOLDS.to_vec()
    }

    fn finish(&mut self, end: Moment) -> Vec<Vec<Alarm>> {
        for place in 0..self.workers.len() {
            self.silence_ends(place, end, None);
        }
        let mut alarms = std::mem::take(&mut self.alarms);
        for alarm in alarms.iter_mut().flatten() {
            alarm.cleared = never_after(end, alarm.cleared);
        }
        alarms
    }
}

/// Phi of a silence that is `y` deviations longer than the mean, by Akka's approximation of the normal distribution.
fn phi(y: f64) -> f64 {
    let e = (-y * (1.5976 + 0.070566 * y * y)).exp();
    if y > 0.0 {
        -(e / (1.0 + e)).log10()
    } else {
        -(1.0 - 1.0 / (1.0 + e)).log10()
    }
}

/// Where phi crosses a threshold: it only grows.
fn crossing(threshold: f64) -> f64 {
    let (mut low, mut high) = (-10.0, 20.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if phi(middle) < threshold {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crossing_is_where_phi_is_the_threshold() {
        for threshold in THRESHOLDS {
            let y = crossing(threshold);
            assert!((phi(y) - threshold).abs() < 1e-6, "{threshold}: {y}");
        }
        assert!((phi(0.0) - 2_f64.log10()).abs() < 1e-9, "one half at the mean");
    }

    /// "around 5.5 seconds with default settings" (Akka's reference.conf), for beats of 1 s: 1 + 3 + 8's crossing.
    #[test]
    fn a_steady_worker_is_dead_about_when_akka_says() {
        let mut history = History::first();
        for _ in 0..MAX_SAMPLES {
            history.add(1.0);
        }
        let patience = history.patience(crossing(8.0));
        assert!((4.4..5.6).contains(&patience), "{patience}");
    }
}
