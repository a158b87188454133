//! A worker is dead when no beat has come for so long: Celery's own rule, and any fixed timeout.

use headcount_core::celery::WorkerKind;

use super::{Alarm, Baseline, Pauses, alarm, never_after};
use crate::world::{BEAT, Moment, SEC, Said, Slot, Watcher};

/// What the thresholds of a rule are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// Per cent of the heartbeat interval that the worker tells of itself, as `celery.events.state` counts.
    Percent,
    /// Seconds.
    Seconds,
}

/// Celery's `HEARTBEAT_EXPIRE_WINDOW` is 200 (celery/events/state.py): alive for two intervals after the last beat
/// arrived, by the receiver's clock.
const CELERY: [f64; 11] = [
    200.0, 250.0, 300.0, 400.0, 500.0, 600.0, 750.0, 1_000.0, 1_500.0, 3_000.0, 6_000.0,
];
/// Celery exporters hold a worker for gone after 300 s by default.
const TIMEOUT: [f64; 13] = [
    4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 20.0, 30.0, 60.0, 120.0, 300.0,
];

/// The rule.
#[derive(Debug)]
pub struct Silence {
    name: &'static str,
    thresholds: Vec<f64>,
    /// Each threshold as a span, for workers that beat as all simulated ones do.
    spans: Vec<Moment>,
    shortest: Moment,
    /// When each worker was last heard, while it is watched.
    heard: Vec<Option<Moment>>,
    pauses: Pauses,
    alarms: Vec<Vec<Alarm>>,
}

impl Silence {
    /// `celery.events.state.Worker.alive`, its expire window swept.
    pub fn celery() -> Self {
        Self::new("celery", Unit::Percent, &CELERY)
    }

    /// A fixed timeout, swept.
    pub fn timeout() -> Self {
        Self::new("timeout", Unit::Seconds, &TIMEOUT)
    }

    fn new(name: &'static str, unit: Unit, thresholds: &[f64]) -> Self {
        let span = |threshold: &f64| match unit {
            Unit::Percent => (BEAT as f64 * threshold / 100.0) as Moment,
            Unit::Seconds => (threshold * SEC as f64) as Moment,
        };
        let spans: Vec<Moment> = thresholds.iter().map(span).collect();
        Self {
            name,
            thresholds: thresholds.to_vec(),
            shortest: spans.iter().copied().min().unwrap_or(0),
            alarms: vec![Vec::new(); spans.len()],
            spans,
            heard: Vec::new(),
            pauses: Pauses::default(),
        }
    }

    /// Whether a worker is alive at `now` by the rule with its `n`-th threshold.
    pub fn is_alive(&self, slot: Slot, n: usize, now: Moment) -> bool {
        let heard = self.heard.get(slot as usize).copied().flatten();
        let span = self.spans.get(n).copied().unwrap_or(0);
        heard.is_some_and(|heard| now < heard + span)
    }

    fn silent(&mut self, slot: Slot, since: Moment, until: Moment, end: bool) {
        if until - since <= self.shortest {
            return;
        }
        for (span, alarms) in self.spans.iter().zip(&mut self.alarms) {
            if until - since > *span
                && let Some(mut alarm) = alarm(&self.pauses, slot, since + span, until)
            {
                if end {
                    alarm.cleared = never_after(until, alarm.cleared);
                }
                alarms.push(alarm);
            }
        }
    }
}

impl Watcher for Silence {
    fn connected(&mut self, _: Moment, _: bool) {}

    fn blocked(&mut self, _: Moment, _: bool) {}

    fn canary(&mut self, _: Moment) {}

    fn said(&mut self, now: Moment, _: &str, said: &Said) {
        let place = said.slot as usize;
        if place >= self.heard.len() {
            self.heard.resize(place + 1, None);
        }
        let before = self.heard[place];
        if let Some(before) = before {
            self.silent(said.slot, before, now, false);
        }
        self.heard[place] = (said.kind != WorkerKind::Offline).then_some(now);
    }

    fn was_paused(&mut self, from: Moment, to: Moment) {
        self.pauses.add(from, to);
    }
}

impl Baseline for Silence {
    fn name(&self) -> &'static str {
        self.name
    }

    fn thresholds(&self) -> Vec<f64> {
        self.thresholds.clone()
    }

    fn finish(&mut self, end: Moment) -> Vec<Vec<Alarm>> {
        for slot in 0..self.heard.len() {
            if let Some(heard) = self.heard[slot] {
                self.silent(Slot::try_from(slot).unwrap_or(0), heard, end, true);
            }
        }
        std::mem::take(&mut self.alarms)
    }
}
