//! What a worker leaves behind for after a restart of Headcount, and how it comes back from it.

use std::time::Duration;

use compact_str::CompactString;

use super::{Stage, Worker};
use crate::detect::memory::{WorkMemory, WorkerMemory};
use crate::detect::observed::Seen;
use crate::detect::rhythm::Rhythm;
use crate::detect::state::{Diagnosis, WorkerState};
use crate::detect::work::Work;
use crate::time::Now;

/// Runs shorter than this are not remembered: five of them are less than any sensible `stuck_after`.
const RUN_REMEMBERED: u64 = 60;

/// A run as it is remembered, in seconds: coarsely, since what is remembered is written whenever it changes.
fn remembered_run(run: Duration) -> u64 {
    match run.as_secs() {
        short if short < RUN_REMEMBERED => 0,
        long => long.checked_next_power_of_two().unwrap_or(long),
    }
}

impl Worker {
    /// A worker that is remembered from before a restart: what was alive comes back as `unknown`, what was down is
    /// still down, so that nothing is told twice.
    pub(in crate::detect) fn remembered(memory: WorkerMemory, t: Seen, now: Now) -> Self {
        let stage = match (memory.state, memory.diagnosis) {
            (WorkerState::Down, diagnosis) => Stage::Down {
                diagnosis: diagnosis.unwrap_or(Diagnosis::Unreachable),
                signs: 0,
            },
            (WorkerState::Offline, _) => Stage::Offline { at: t },
            _ => Stage::Unknown,
        };
        let kept = !matches!(stage, Stage::Unknown);
        let mut worker = Self::new(memory.hostname, t, now);
        worker.pid = memory.pid;
        worker.stage = stage;
        worker.since = if kept { memory.since } else { now.wall };
        worker.rhythm = Rhythm::with_interval(memory.interval_us.map(Duration::from_micros));
        worker.ever_answered = memory.answers;
        worker.ever_present = memory.shows_presence;
        worker.last_seen = memory.last_seen;
        worker.away_before = now.wall.since(memory.last_seen.unwrap_or(memory.since));
        worker.pool = memory.pool;
        let run = Duration::from_secs(memory.work.longest_run_s);
        worker.work = Work::remembered(t, memory.queues, run, memory.work.trouble);
        worker
    }

    /// What to remember of it.
    pub(in crate::detect) fn memory(&self, address: &CompactString) -> WorkerMemory {
        WorkerMemory {
            hostname: self.hostname.clone(),
            address: address.clone(),
            pid: self.pid,
            state: self.state(),
            diagnosis: self.diagnosis(),
            since: self.since,
            last_seen: self.last_seen,
            interval_us: self
                .rhythm
                .known_interval()
                .and_then(|i| u64::try_from(i.as_micros()).ok()),
            pool: self.pool,
            queues: self.work.consumed().to_vec(),
            work: WorkMemory {
                trouble: self.work.trouble(),
                longest_run_s: remembered_run(self.work.longest_run()),
            },
            answers: self.ever_answered,
            shows_presence: self.ever_present,
        }
    }
}
