//! What `actors/lane.rs` does after decoding: events are folded, and what has changed is passed on fleet by fleet.

use headcount_core::celery::{TaskEvent, WorkerEvent};
use headcount_core::detect::ledger::ConnectionLedger;
use headcount_core::detect::roster::Roster;
use headcount_core::detect::table::WorkerTable;
use headcount_core::detect::{Sighting, Word};
use headcount_core::time::Mono;

use compact_str::CompactString;

/// The lane of one broker.
#[derive(Debug)]
pub(super) struct Lane {
    table: WorkerTable,
    /// By the table's fleet index.
    doors: Vec<Door>,
    told: Mono,
}

#[derive(Debug)]
struct Door {
    fleet: usize,
    outgoing: Vec<Sighting>,
}

impl Lane {
    pub(super) fn new(roster: Roster, now: Mono) -> Self {
        Self {
            table: WorkerTable::new(roster),
            doors: Vec::new(),
            told: now,
        }
    }

    pub(super) fn worker(&mut self, at: Mono, event: &WorkerEvent<'_>) {
        self.table.worker(at, event);
    }

    pub(super) fn task(&mut self, at: Mono, event: &TaskEvent<'_>) {
        self.table.task(at, event);
    }

    /// Those who have fallen silent with tasks under way are told of with the next [`Lane::flush`].
    pub(super) fn notice_silence(&mut self, at: Mono) {
        self.table.notice_silence(at);
    }

    /// When it last passed something on.
    pub(super) const fn told(&self) -> Mono {
        self.told
    }

    /// The name of a fleet that has been heard of, and has no door yet.
    pub(super) fn unopened(&self) -> Option<&CompactString> {
        self.table.fleets().get(self.doors.len())
    }

    /// Gives the next fleet its door.
    pub(super) fn open(&mut self, fleet: usize) {
        self.doors.push(Door {
            fleet,
            outgoing: Vec::new(),
        });
    }

    pub(super) const fn doors(&self) -> usize {
        self.doors.len()
    }

    /// Takes what has changed out of the table.
    pub(super) fn flush(&mut self, now: Mono, ledger: &mut ConnectionLedger) {
        self.told = now;
        let doors = &mut self.doors;
        self.table.drain(|fleet, sighting| {
            let Some(door) = doors.get_mut(fleet.get()) else {
                return false;
            };
            match sighting.word {
                Word::Goodbye => ledger.goodbye(now, &sighting.hostname),
                Word::Online => ledger.returned(&sighting.hostname),
                Word::Nothing => {}
            }
            door.outgoing.push(sighting);
            true
        });
    }

    /// What is for one fleet, if anything is.
    pub(super) fn load(&mut self, door: usize) -> Option<(usize, Vec<Sighting>)> {
        let door = self.doors.get_mut(door)?;
        (!door.outgoing.is_empty()).then(|| (door.fleet, std::mem::take(&mut door.outgoing)))
    }

    /// Takes the room of a load back, so that the next needs none of its own.
    pub(super) fn give_back(&mut self, door: usize, mut load: Vec<Sighting>) {
        load.clear();
        if let Some(door) = self.doors.get_mut(door) {
            door.outgoing = load;
        }
    }
}
