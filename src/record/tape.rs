//! What several threads write and one takes away: the records since the last second.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headcount_actors::clock::Clock;
use headcount_core::time::Now;
use headcount_simulate::trace::{Encoder, Frame, Record};

/// The most that may wait for the disk, in bytes: about a minute of a busy broker. A disk that is farther behind than
/// that will not catch up, and Headcount must not take all memory meanwhile.
const MAX_WAITING: usize = 64 << 20;

/// The tape. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tape(Arc<Mutex<Written>>);

#[derive(Debug, Default)]
struct Written {
    encoder: Encoder,
    counts: Counts,
    full: bool,
}

/// How much has been recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Events, of workers and of tasks.
    pub(crate) events: u64,
    /// Answers of workers, to whatever was asked; who did not answer a probe counts too.
    pub(crate) answers: u64,
    /// Records that no frame has room for.
    pub(crate) left_out: u64,
}

/// What was on the tape.
pub(crate) struct Taken {
    /// Whole, and without a gap.
    pub(crate) frames: Vec<Frame>,
    /// So much was waiting that the records after these had to be left out.
    pub(crate) full: bool,
}

/// The tape, while somebody writes.
pub(crate) struct Pen<'a> {
    written: MutexGuard<'a, Written>,
    now: Now,
}

impl Tape {
    /// Several records of one moment.
    pub(crate) fn pen(&self) -> Pen<'_> {
        let written = self.get();
        // Read under the lock, so that records stand in the order of their times.
        let now = Clock.now();
        Pen { written, now }
    }

    /// One record, now.
    pub(crate) fn write(&self, record: &Record<'_>) {
        self.pen().write(record);
    }

    /// Takes what has been written since the last call.
    pub(crate) fn take(&self) -> Taken {
        let mut written = self.get();
        Taken {
            frames: written.encoder.take(),
            full: written.full,
        }
    }

    /// How much has been recorded.
    pub(crate) fn counts(&self) -> Counts {
        let written = self.get();
        Counts {
            left_out: written.encoder.left_out(),
            ..written.counts
        }
    }

    #[cfg(test)]
    pub(crate) fn is_full(&self) -> bool {
        self.get().full
    }

    fn get(&self) -> MutexGuard<'_, Written> {
        // A panic in the middle of a record leaves a damaged frame at worst, and that ends the recording.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pen<'_> {
    pub(crate) fn write(&mut self, record: &Record<'_>) {
        let written = &mut *self.written;
        // Once a record was left out no other follows: what is on the tape has no gap.
        if written.full || written.encoder.waiting() > MAX_WAITING {
            written.full = true;
            return;
        }
        match record {
            Record::Worker(_) | Record::Task(_) => written.counts.events += 1,
            Record::Probed(answers) => written.counts.answers += answers.len() as u64,
            Record::Told(told) => written.counts.answers += told.len() as u64,
            Record::Found(found) => written.counts.answers += found.len() as u64,
            _ => {}
        }
        written.encoder.write(self.now, record);
    }
}
