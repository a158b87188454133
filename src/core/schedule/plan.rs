//! Which slots are to be run now, which were missed, and when to look again.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::timing::Timing;
use crate::hash::fnv1a;
use crate::span::Span;
use crate::time::Wall;

/// A slot that is noticed so long after it was due is still on time: Headcount was restarted, or its machine was busy.
/// Raising it makes a restart run what happened before it where `missed = "skip"` says not to.
pub const ON_TIME: Duration = Duration::from_secs(60);

/// The most missed slots of a job that `missed = "all"` runs at once, the newest. Raising it makes a long absence a burst
/// of that many tasks.
pub const MAX_MISSED: usize = 1_000;

/// The longest that missed slots may be looked back for.
pub const MAX_WITHIN: Span = Span::from_secs(31 * 86_400);

/// The longest jitter.
pub const MAX_JITTER: Span = Span::from_secs(86_400);

/// What to do about slots that nobody was there to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// Nothing.
    Skip,
    /// Run once for all of them, as Celery's beat does.
    #[default]
    Once,
    /// Run each, the oldest first, at most [`MAX_MISSED`].
    All,
}

/// When a job runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The name of the job.
    pub job: String,
    /// Its slots.
    pub timing: Timing,
    /// Each slot is due up to so much later: how much, its name and the slot decide.
    pub jitter: Span,
    /// What to do about missed slots.
    pub missed: Missed,
    /// How far back slots are missed at all.
    pub within: Span,
}

/// One moment of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// The moment that the timing names, by which the slot is known.
    pub at: Wall,
    /// When it is to run: the same, and the jitter.
    pub due: Wall,
}

/// What a plan comes to at some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// To be run now, in this order.
    pub run: Vec<Slot>,
    /// How many slots are passed over.
    pub skipped: u64,
    /// The last slot that is settled with this, run or passed over; none if nothing is due.
    pub settled: Option<Slot>,
    /// The first slot that is not due yet.
    pub next: Option<Slot>,
}

impl Plan {
    /// What is due at `now`, given that everything up to and with the slot `settled` is settled.
    pub fn due(&self, settled: Wall, now: Wall) -> Due {
        let horizon = now - self.within.duration() - self.jitter.duration();
        let mut due = Due::default();
        let mut found: VecDeque<Slot> = VecDeque::new();
        let keep = if self.missed == Missed::All { MAX_MISSED } else { 1 };
        let mut count = 0;
        let mut after = settled.max(horizon);
        while let Some(at) = self.timing.next(after) {
            let slot = self.slot(at);
            // Slots of a job keep their order: one whose jitter is short waits for one before it whose jitter is long.
            if slot.due > now {
                due.next = Some(slot);
                break;
            }
            if found.len() == keep {
                found.pop_front();
            }
            found.push_back(slot);
            count += 1;
            after = at;
        }
        due.settled = found.back().copied();
        let late = due.settled.is_some_and(|last| now.since(last.due) > ON_TIME);
        if late && self.missed == Missed::Skip {
            found.clear();
        }
        due.run = found.into();
        due.skipped = count - due.run.len() as u64;
        due
    }

    /// A slot with its jitter. The same on every machine: a hash of the job's name and the slot.
    pub fn slot(&self, at: Wall) -> Slot {
        let jitter = u64::try_from(self.jitter.duration().as_micros()).unwrap_or(0);
        let due = match jitter {
            0 => at,
            jitter => at + Duration::from_micros(mixed(&self.job, at) % jitter),
        };
        Slot { at, due }
    }
}

/// FNV-1a over both, then splitmix64's end, for evenness in the low bits.
fn mixed(job: &str, at: Wall) -> u64 {
    let mut mixed = fnv1a(&format!("{job}\0{}", at.as_micros()));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
