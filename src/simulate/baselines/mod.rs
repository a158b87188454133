//! What Headcount is measured against, each with its threshold swept in one pass over the very same events.
//!
//! All of them are read generously: a goodbye is no alarm, and whoever's own machine was paused reads what waits before
//! it judges.

pub mod phi;
pub mod ping;
pub mod silence;

use crate::world::{Moment, NEVER, Slot};

/// A worker that was held alive is held dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Whose.
    pub slot: Slot,
    /// When.
    pub at: Moment,
    /// When it was held alive again; never, if it was not.
    pub cleared: Moment,
}

/// The pauses of a monitor's machine: a rule that would speak within one speaks at its end, if it still has to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pauses(Vec<(Moment, Moment)>);

impl Pauses {
    pub(crate) fn add(&mut self, from: Moment, to: Moment) {
        self.0.push((from, to));
    }

    /// When a rule that is due at `due` speaks; none if what is heard at `heard` keeps it from speaking.
    pub(crate) fn speaks(&self, due: Moment, heard: Moment) -> Option<Moment> {
        let paused = self.0.iter().rev().find(|(from, to)| *from <= due && due <= *to);
        match paused {
            Some((_, to)) => (*to < heard).then_some(*to),
            None => (due < heard).then_some(due),
        }
    }
}

/// The end of a silence.
pub(crate) fn alarm(pauses: &Pauses, slot: Slot, due: Moment, heard: Moment) -> Option<Alarm> {
    pauses.speaks(due, heard).map(|at| Alarm {
        slot,
        at,
        cleared: heard,
    })
}

/// A rule with its swept thresholds.
pub trait Baseline {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Its thresholds.
    fn thresholds(&self) -> Vec<f64>;
    /// At the end of all: the alarms of each threshold.
    fn finish(&mut self, end: Moment) -> Vec<Vec<Alarm>>;
}

/// Whoever was never heard again was not cleared.
pub(crate) const fn never_after(end: Moment, cleared: Moment) -> Moment {
    if cleared >= end { NEVER } else { cleared }
}
