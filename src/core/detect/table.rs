//! The event lane's table of workers: each event is folded into its worker's row, and a row that has changed is told as
//! one [`Sighting`], however many events there were.

use std::time::Duration;

use compact_str::{CompactString, ToCompactString};
use rustc_hash::FxHashMap;

use super::roster::Roster;
use super::running::TaskNames;
use super::sighting::Sighting;
use super::strangers::Strangers;
use crate::celery::{TaskEvent, TaskKind, WorkerEvent};
use crate::time::Mono;

mod namesake;
mod row;

use row::Row;

/// The most workers of one broker that are kept apart, those of no fleet among them; events of others are counted as
/// refused. A row costs about 400 bytes, and some for each task under way.
pub const MAX_ROWS: usize = 100_000;
/// The most fleets that one broker's workers make, discovered ones included: a hostile name must not start an actor
/// without end.
pub const MAX_FLEETS: usize = 500;
/// A row that has not been touched for so long is dropped when room is needed.
const IDLE_AFTER: Duration = Duration::from_secs(3600);
/// How often a full table is swept, at most: it looks at every row, and a flood of new names must not make that each
/// event's cost.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// How late an event can be: after a break of 12 s, what was sent before it has arrived up to 14 s later (measured).
const LATE_AT_MOST: Duration = Duration::from_secs(20);

/// A fleet's place in the order in which this table first heard of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FleetIndex(u32);

impl FleetIndex {
    /// As an index.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// One worker, for as long as it has a row: a number that no other worker of this table gets, or got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(u32);

impl WorkerId {
    /// The number, under [`WorkerId::END`].
    pub const fn get(self) -> u32 {
        self.0
    }

    /// No number is as high as this; beyond, they begin anew. At a thousand new names a second that is after three weeks, and
    /// then nobody remembers the first.
    pub const END: u32 = 1 << 31;
}

/// Who sent an event, and of which fleet that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The fleet.
    pub fleet: FleetIndex,
    /// The worker.
    pub worker: WorkerId,
}

/// The table. One for each broker, owned by its event lane.
#[derive(Debug)]
pub struct WorkerTable {
    roster: Roster,
    fleets: Vec<CompactString>,
    index: FxHashMap<CompactString, Place>,
    rows: Vec<Row>,
    dirty: Vec<u32>,
    names: TaskNames,
    refused: u64,
    swept: Mono,
    next_id: u32,
}

/// Where a hostname's events go.
#[derive(Clone, Copy, Debug)]
enum Place {
    Row(u32),
    /// Of no fleet that is watched: remembered, so that the patterns are not tried again for each event.
    Stranger {
        first: Mono,
        last: Mono,
    },
    /// No worker's name, or that of one of ours: remembered for the same reason.
    Nowhere,
}

impl Place {
    /// Notes a sign of life. Returns the row that it belongs to, if there is one.
    fn heard(&mut self, at: Mono) -> Option<u32> {
        match self {
            Self::Row(row) => Some(*row),
            Self::Stranger { last, .. } => {
                *last = at;
                None
            }
            Self::Nowhere => None,
        }
    }
}

impl WorkerTable {
    /// An empty table.
    pub fn new(roster: Roster) -> Self {
        Self {
            roster,
            fleets: Vec::new(),
            index: FxHashMap::default(),
            rows: Vec::new(),
            dirty: Vec::new(),
            names: TaskNames::default(),
            refused: 0,
            swept: Mono::default(),
            next_id: 0,
        }
    }

    /// The fleets heard of so far, by index.
    pub fn fleets(&self) -> &[CompactString] {
        &self.fleets
    }

    /// Events that were left out because the table is full, since the last call.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Folds one event of a worker about itself. Returns who it is, if it is watched. No allocation, but for a name that is
    /// new.
    pub fn worker(&mut self, at: Mono, event: &WorkerEvent<'_>) -> Option<Seat> {
        let place = self.row(at, event.hostname)?;
        let row = self.rows.get_mut(place as usize)?;
        if row.fold(at, event) && row.becomes_dirty() {
            self.dirty.push(place);
        }
        Some(row.seat())
    }

    /// Folds one event about a task: a sign of life of its worker. Returns who that is. One that is not known yet, and
    /// takes or begins a task, is a worker: it may run without heartbeats. No allocation, but for a name that is new.
    pub fn task(&mut self, at: Mono, event: &TaskEvent<'_>) -> Option<Seat> {
        let place = match self.index.get_mut(event.hostname) {
            Some(place) => place.heard(at)?,
            None if matches!(event.kind, TaskKind::Received | TaskKind::Started) => self.row(at, event.hostname)?,
            _ => return None,
        };
        let row = self.rows.get_mut(place as usize)?;
        // Producers and the code inside of tasks send these two, with a clock and a pid of their own.
        if !matches!(event.kind, TaskKind::Sent | TaskKind::Custom) {
            row.fold_task(at, event, &mut self.names);
            if row.becomes_dirty() {
                self.dirty.push(place);
            }
        }
        Some(row.seat())
    }

    /// Notes that a worker which belongs to no fleet has answered: it may be one that never speaks by itself.
    pub fn stranger_answered(&mut self, at: Mono, hostname: &str) {
        if self.roster.leaves_alone(hostname) {
            self.row(at, hostname);
        }
    }

    /// Those who belong to no fleet. Looks at every name that is known: once in a few seconds is enough.
    pub fn strangers(&self, at: Mono) -> Strangers {
        let strangers = self.index.iter().filter_map(|(name, place)| match place {
            Place::Stranger { first, last } => Some((name, *first, *last)),
            Place::Row(_) | Place::Nowhere => None,
        });
        Strangers::count(at, strangers)
    }

    /// Marks those who have fallen silent with tasks under way, so that the next [`WorkerTable::drain`] tells of these.
    /// Looks at every row: once a second is enough.
    pub fn notice_silence(&mut self, at: Mono) {
        for (place, row) in (0_u32..).zip(&mut self.rows) {
            if row.falls_silent(at) && row.becomes_dirty() {
                self.dirty.push(place);
            }
        }
    }

    /// Hands over everything that has changed since the last call, row by row. A row that `tell` refuses (its receiver
    /// is busy) stays, and goes on folding.
    pub fn drain(&mut self, mut tell: impl FnMut(FleetIndex, Sighting) -> bool) {
        let (rows, names) = (&mut self.rows, &self.names);
        self.dirty.retain(|&place| {
            let Some(row) = rows.get_mut(place as usize) else {
                return false;
            };
            let told = tell(row.fleet(), row.sighting(names));
            if told {
                row.told();
            }
            !told
        });
    }

    /// The row of a hostname; made, if it is new, belongs to a fleet, and there is room.
    fn row(&mut self, at: Mono, hostname: &str) -> Option<u32> {
        if let Some(place) = self.index.get_mut(hostname) {
            return place.heard(at);
        }
        if self.index.len() >= MAX_ROWS {
            if at.since(self.swept) >= SWEEP_EVERY {
                self.swept = at;
                self.drop_idle(at);
            }
            if self.index.len() >= MAX_ROWS {
                self.refused += 1;
                return None;
            }
        }
        let Some(fleet) = self.roster.fleet_of(hostname).and_then(|name| self.fleet(name)) else {
            if hostname.len() <= super::roster::MAX_HOSTNAME {
                let place = if self.roster.leaves_alone(hostname) {
                    Place::Stranger { first: at, last: at }
                } else {
                    Place::Nowhere
                };
                self.index.insert(hostname.to_compact_string(), place);
            }
            return None;
        };
        let place = u32::try_from(self.rows.len()).ok()?;
        let worker = WorkerId(self.next_id);
        self.next_id = (self.next_id + 1) % WorkerId::END;
        self.rows.push(Row::new(hostname, Seat { fleet, worker }, at));
        self.index.insert(hostname.to_compact_string(), Place::Row(place));
        Some(place)
    }

    fn fleet(&mut self, name: CompactString) -> Option<FleetIndex> {
        if let Some(at) = self.fleets.iter().position(|known| *known == name) {
            return u32::try_from(at).ok().map(FleetIndex);
        }
        if self.fleets.len() >= MAX_FLEETS {
            self.refused += 1;
            return None;
        }
        self.fleets.push(name);
        u32::try_from(self.fleets.len() - 1).ok().map(FleetIndex)
    }

    /// Drops what has not been touched for an hour, and all that belongs nowhere.
    fn drop_idle(&mut self, at: Mono) {
        self.rows.retain(|row| row.is_dirty() || row.idle(at) < IDLE_AFTER);
        self.index.clear();
        self.dirty.clear();
        for (place, row) in (0_u32..).zip(&self.rows) {
            self.index.insert(row.hostname().clone(), Place::Row(place));
            if row.is_dirty() {
                self.dirty.push(place);
            }
        }
    }
}

#[cfg(test)]
mod tests;
