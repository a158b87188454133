//! How many workers a fleet has, how many it should have, and what that makes of it.

use std::time::Duration;

use super::flapping::Flapping;
use super::history::{History, expected_by_count};
use super::observed::Seen;
use super::rules;
use super::slots::Slots;
use super::spec::{Expected, FleetSpec, Minimum};
use super::state::{FleetState, Trouble};
use super::verdict::Finding;
use super::worker::Worker;
use super::workers::Workers;
use crate::alert::Severity;

/// What a count needs to know beside the workers themselves.
#[derive(Clone, Copy)]
pub(super) struct Books<'a> {
    pub(super) spec: &'a FleetSpec,
    pub(super) slots: &'a Slots,
    pub(super) flapping: &'a Flapping,
    pub(super) history: &'a History,
    /// Whether the fleet has ever had a worker.
    pub(super) ever_seen: bool,
    /// Whether it has been found short already.
    pub(super) short: bool,
    /// How long a worker that said goodbye is awaited.
    pub(super) awaited_for: Duration,
}

/// A fleet, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) up: u32,
    pub(super) suspect: u32,
    pub(super) down: u32,
    pub(super) stalled: u32,
    /// Of the stalled, those that are stuck in what they have taken.
    stuck: u32,
    unknown: u32,
    /// Said goodbye a moment ago, or fell in a fleet whose losses are usually replaced: may be back at once.
    awaited: u32,
    flaps_up: u32,
    flaps_down: u32,
    /// Of those that flap and are down, the ones for whom somebody stands in: they are counted by whoever does.
    flaps_replaced: u32,
    pub(super) expected: u32,
    pub(super) minimum: u32,
}

impl Count {
    /// Counts those who count: all of them, or only those of whom the fleet gives the names.
    pub(super) fn of(books: Books<'_>, workers: &Workers, t: Seen) -> Self {
        let mut count = Count::default();
        let flaps = books.flapping.any();
        match &books.spec.expected {
            Expected::Names(names) => workers
                .values()
                .filter(|worker| names.contains(worker.hostname()))
                .for_each(|worker| count.add(books, worker, flaps, t)),
            Expected::Auto | Expected::Count(_) => {
                workers.values().for_each(|worker| count.add(books, worker, flaps, t))
            }
        }
        count.expected = match &books.spec.expected {
            Expected::Auto => count.learned(books, t).max(match books.spec.minimum {
                Minimum::Given(minimum) => minimum,
                Minimum::OneOnceSeen => u32::from(books.ever_seen),
                Minimum::OneWhileExpected => 0,
            }),
            Expected::Count(expected) => *expected,
            Expected::Names(names) => u32::try_from(names.len()).unwrap_or(u32::MAX),
        };
        count.minimum = match books.spec.minimum {
            Minimum::Given(minimum) => minimum,
            Minimum::OneOnceSeen => 1,
            Minimum::OneWhileExpected => count.expected.min(1),
        };
        count
    }

    /// Whoever is there, and whoever vanished and was not replaced; in a fleet whose names keep changing, by number.
    fn learned(&mut self, books: Books<'_>, t: Seen) -> u32 {
        let present = self.up + self.stalled + self.unknown;
        let open = books.slots.open();
        let Some(usual) = books.history.usual() else {
            return present + open;
        };
        // Its losses are usually replaced, and that takes a moment; half of it at once is no such loss, and while it is
        // short for that reason nothing is well again before the number is.
        if open < present && !books.short {
            self.awaited += books.slots.open_lately(rules::REPLACED_WITHIN, t);
        }
        expected_by_count(usual, present + open)
    }

    /// What that makes of the fleet. `in_grace`: after a start or an outage, as long as who is unknown may yet be heard.
    pub(super) fn state(&self, sees: bool, in_grace: bool) -> FleetState {
        let perhaps = self.up + self.unknown + self.awaited;
        let alive = self.up + self.stalled;
        if !sees {
            FleetState::Unknown
        } else if self.up >= self.expected && self.stalled == 0 {
            FleetState::Healthy
        } else if in_grace {
            FleetState::Unknown
        } else if perhaps + self.stalled < self.minimum {
            FleetState::Down
        } else if (perhaps < self.expected || self.stalled > 0) && (alive >= self.minimum || self.unknown == 0) {
            // Under the minimum only if those who said goodbye a moment ago do not come back: the loss is sure.
            FleetState::Degraded
        } else if perhaps < self.expected || self.unknown > 0 {
            FleetState::Unknown
        } else {
            // Short only of those who said goodbye a moment ago: a rolling restart.
            FleetState::Healthy
        }
    }

    /// What people are to be told of it: those that flap neither worsen it nor make it well.
    pub(super) fn finding(&self, sees: bool, in_grace: bool) -> Finding {
        let steady = Self {
            up: self.up + self.flaps_down,
            ..*self
        };
        let severity = match steady.state(sees, in_grace) {
            FleetState::Unknown => return Finding::Unknown,
            FleetState::Healthy if self.flaps_up + self.flaps_down + self.flaps_replaced == 0 => return Finding::Well,
            FleetState::Healthy => Severity::Flapping,
            FleetState::Down => Severity::Down,
            FleetState::Degraded if steady.up + self.unknown + self.awaited + self.stalled < self.expected => {
                Severity::Degraded
            }
            FleetState::Degraded if self.stalled > self.stuck => Severity::Stalled,
            FleetState::Degraded if self.stalled > 0 => Severity::Stuck,
            FleetState::Degraded => Severity::Degraded,
        };
        Finding::Trouble {
            severity,
            up: self.up - self.flaps_up,
        }
    }

    /// Whether nobody is missing in any way, so that nobody need be looked for.
    pub(super) fn is_whole(&self, finding: Finding) -> bool {
        finding == Finding::Well && self.down + self.stalled == 0
    }

    fn add(&mut self, books: Books<'_>, worker: &Worker, flaps: bool, t: Seen) {
        let down = worker.diagnosis().is_some();
        let flaps = flaps && books.flapping.has(worker.hostname(), down, t);
        if worker.is_stalled() {
            self.stalled += 1;
            self.stuck += u32::from(worker.trouble() == Some(Trouble::Stuck));
        } else if worker.is_alive() {
            self.up += 1;
            self.suspect += u32::from(worker.is_suspect());
            self.flaps_up += u32::from(flaps);
        } else if down {
            self.down += 1;
            let replaced = flaps && books.slots.is_replaced(worker.hostname());
            self.flaps_down += u32::from(flaps && !replaced);
            self.flaps_replaced += u32::from(replaced);
        } else if let Some(at) = worker.offline_since() {
            self.awaited += u32::from(t.since(at) < books.awaited_for);
        } else {
            self.unknown += 1;
        }
    }
}
