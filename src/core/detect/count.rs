//! How many workers a fleet has, how many it should have, and what that makes of it.

use std::collections::BTreeMap;

use compact_str::CompactString;

use super::fleet::{Expected, FleetSpec, Minimum};
use super::observed::Seen;
use super::rules;
use super::state::{FleetState, WorkerState};
use super::worker::Worker;
use crate::alert::Missing;

/// A fleet, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) up: u32,
    pub(super) suspect: u32,
    pub(super) down: u32,
    unknown: u32,
    /// Said goodbye a moment ago; may be back at once.
    awaited: u32,
    pub(super) expected: u32,
    pub(super) minimum: u32,
}

impl Count {
    /// Counts those who count: all of them, or only those of whom the fleet gives the names.
    pub(super) fn of(spec: &FleetSpec, workers: &BTreeMap<CompactString, Worker>, ever_seen: bool, t: Seen) -> Self {
        let mut count = Count::default();
        let counts = |worker: &&Worker| match &spec.expected {
            Expected::Names(names) => names.contains(worker.hostname()),
            Expected::Auto | Expected::Count(_) => true,
        };
        workers.values().filter(counts).for_each(|worker| count.add(worker, t));
        count.expected = match &spec.expected {
            Expected::Auto => {
                let learned = count.up + count.unknown + count.down;
                let wanted = match spec.minimum {
                    Minimum::Given(minimum) => minimum,
                    Minimum::OneOnceSeen => u32::from(ever_seen),
                    Minimum::OneWhileExpected => 0,
                };
                learned.saturating_sub(stand_ins(workers)).max(wanted)
            }
            Expected::Count(expected) => *expected,
            Expected::Names(names) => u32::try_from(names.len()).unwrap_or(u32::MAX),
        };
        count.minimum = match spec.minimum {
            Minimum::Given(minimum) => minimum,
            Minimum::OneOnceSeen => 1,
            Minimum::OneWhileExpected => count.expected.min(1),
        };
        count
    }

    /// What that makes of the fleet. `in_grace`: after a start or an outage, as long as who is unknown may yet be heard.
    pub(super) fn state(&self, sees: bool, in_grace: bool) -> FleetState {
        let perhaps = self.up + self.unknown + self.awaited;
        if !sees {
            FleetState::Unknown
        } else if self.up >= self.expected {
            FleetState::Healthy
        } else if in_grace {
            FleetState::Unknown
        } else if perhaps < self.minimum {
            FleetState::Down
        } else if perhaps < self.expected && self.up >= self.minimum {
            FleetState::Degraded
        } else if perhaps < self.expected || self.unknown > 0 {
            FleetState::Unknown
        } else {
            // Short only of those who said goodbye a moment ago: a rolling restart.
            FleetState::Healthy
        }
    }

    fn add(&mut self, worker: &Worker, t: Seen) {
        if worker.is_alive() {
            self.up += 1;
            self.suspect += u32::from(worker.is_suspect());
        } else if worker.diagnosis().is_some() {
            self.down += 1;
        } else if let Some(at) = worker.offline_since() {
            self.awaited += u32::from(t.since(at) < rules::ROLLOUT_GRACE);
        } else {
            self.unknown += 1;
        }
    }
}

/// How many of the vanished have been replaced: workers under new names that appeared since.
fn stand_ins(workers: &BTreeMap<CompactString, Worker>) -> u32 {
    let down = || workers.values().filter(|worker| worker.diagnosis().is_some());
    let Some(first_lost) = down().min_by_key(|worker| worker.since()) else {
        return 0;
    };
    let newcomers = workers
        .values()
        .filter(|worker| worker.is_alive() && worker.appeared_after(first_lost))
        .count();
    u32::try_from(newcomers.min(down().count())).unwrap_or(u32::MAX)
}

/// Whether a worker is one of those that an alert would name.
pub(super) fn is_missing(spec: &FleetSpec, worker: &Worker, t: Seen) -> bool {
    let fixed = match &spec.expected {
        Expected::Auto => false,
        Expected::Count(_) => true,
        Expected::Names(names) => names.contains(worker.hostname()),
    };
    let left_for_good = || {
        worker
            .offline_since()
            .is_some_and(|at| t.since(at) >= rules::ROLLOUT_GRACE)
    };
    worker.diagnosis().is_some() || (fixed && left_for_good())
}

/// Those whose names the fleet was given, and of whom nothing has ever been heard.
pub(super) fn never_seen<'a>(
    spec: &'a FleetSpec,
    workers: &'a BTreeMap<CompactString, Worker>,
) -> impl Iterator<Item = Missing> + 'a {
    let names = match &spec.expected {
        Expected::Names(names) => names.as_slice(),
        Expected::Auto | Expected::Count(_) => &[],
    };
    names
        .iter()
        .filter(|name| !workers.contains_key(*name))
        .map(|name| Missing {
            hostname: name.clone(),
            state: WorkerState::Unknown,
            diagnosis: None,
            last_seen: None,
        })
}
