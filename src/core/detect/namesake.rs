//! Two processes under one name. Redis lets both run, and each sends its beats under the name that they share; RabbitMQ
//! refuses the second (both measured). A restart looks alike at first: what tells them apart is that the process which was
//! replaced goes on beating.

use std::time::Duration;

use crate::time::Mono;

/// How long one of the two may be silent before the other is believed to be alone. Raising it delays only that.
const SILENT_AT_MOST: Duration = Duration::from_secs(20);
/// So many beats beside those of its successor make a namesake: a single one may have been late.
const BEATS: u32 = 2;

/// The process that had a name before the one that is known by it now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Namesake {
    pid: u32,
    last: Mono,
    beats: u32,
}

impl Namesake {
    /// A process whose name has been taken over by another.
    pub(super) const fn replaced(pid: u32, last: Mono) -> Self {
        Self { pid, last, beats: 0 }
    }

    /// Takes a beat of `pid`, while the process that is known by the name beat last at `successor`. Whether it is this
    /// one's, and beside the other: then it is no restart.
    pub(super) fn beats_beside(&mut self, at: Mono, pid: u32, successor: Mono) -> bool {
        if self.pid != pid || at.since(successor) > SILENT_AT_MOST {
            return false;
        }
        self.last = at;
        self.beats = self.beats.saturating_add(1);
        true
    }

    /// Its process, if it lives beside its successor.
    pub(super) fn alive(&self, at: Mono) -> Option<u32> {
        (self.beats >= BEATS && at.since(self.last) <= SILENT_AT_MOST).then_some(self.pid)
    }
}

#[cfg(test)]
mod tests {
    use super::super::roster::Roster;
    use super::super::sighting::{Sighting, Word};
    use super::super::table::WorkerTable;
    use super::*;
    use crate::celery::{WorkerEvent, WorkerKind};

    /// What is told after an event of process `pid` at a second.
    fn say(table: &mut WorkerTable, second: u32, pid: u32, kind: WorkerKind) -> Option<Sighting> {
        let event = WorkerEvent {
            kind,
            hostname: "sms@h1",
            pid: Some(pid),
            clock: Some(u64::from(second)),
            timestamp: Some(f64::from(second)),
            freq: Some(2.0),
            active: Some(0),
            processed: Some(u64::from(pid)),
            sw_ident: None,
            sw_ver: None,
            sw_sys: None,
        };
        table.worker(Mono::from_micros(u64::from(second) * 1_000_000), &event);
        let mut told = None;
        table.drain(|_, sighting| {
            told = Some(sighting);
            true
        });
        told
    }

    /// Two that beat by turns: 1 each even second, 2 each odd one.
    fn twins() -> WorkerTable {
        let mut table = WorkerTable::new(Roster::discovering());
        for second in 0..=10 {
            say(&mut table, second, 1 + second % 2, WorkerKind::Heartbeat);
        }
        table
    }

    #[test]
    fn two_that_beat_by_turns_are_two_and_the_counts_are_those_of_one() {
        let mut table = twins();
        for second in 11..60 {
            let told = say(&mut table, second, 1 + second % 2, WorkerKind::Heartbeat).unwrap();
            assert_eq!((told.pid, told.namesake), (Some(2), Some(1)), "{second}");
            assert_eq!((told.processed, told.word), (Some(2), Word::Nothing), "{second}");
            assert_eq!(told.beats, 1);
        }
    }

    #[test]
    fn a_restart_is_not_two() {
        let mut table = WorkerTable::new(Roster::discovering());
        say(&mut table, 0, 1, WorkerKind::Heartbeat);
        say(&mut table, 2, 2, WorkerKind::Online);
        for second in 3..60 {
            let told = say(&mut table, second, 2, WorkerKind::Heartbeat).unwrap();
            assert_eq!((told.pid, told.namesake), (Some(2), None), "{second}");
        }
    }

    #[test]
    fn whichever_of_the_two_ends_the_other_is_alone_after_a_while() {
        for left in [1, 2] {
            let mut table = twins();
            let mut told = None;
            for second in 11..40 {
                told = say(&mut table, second, left, WorkerKind::Heartbeat);
                assert!(told.is_some(), "it keeps the name alive at {second}");
            }
            let told = told.unwrap();
            assert_eq!((told.pid, told.namesake), (Some(left), None), "{left} is left");
        }
    }

    #[test]
    fn a_goodbye_of_one_is_taken_back_by_the_next_beat_of_the_other() {
        let mut table = twins();
        assert_eq!(say(&mut table, 11, 2, WorkerKind::Offline).unwrap().word, Word::Goodbye);
        assert_eq!(
            say(&mut table, 12, 1, WorkerKind::Heartbeat).unwrap().word,
            Word::Online
        );
        assert!(
            say(&mut twins(), 11, 1, WorkerKind::Offline).is_none(),
            "that of the other says nothing"
        );
    }
}
