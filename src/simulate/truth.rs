//! What is true, and must be found: the simulator knows it, and no detector does.

use compact_str::CompactString;
use headcount_core::detect::Diagnosis;

use crate::world::{Moment, SEC, Slot};

/// Silent or disconnected for up to so long a worker is healthy, and any alarm is false.
pub const HEALTHY: Moment = 10 * SEC;
/// Silent or disconnected for so long it has failed, and must be found. What lies between is not scored.
pub const FAILED: Moment = 20 * SEC;
/// An alarm that comes so long after its failure was over is late, and not false: it was being written.
pub const LATE: Moment = 3 * SEC;

/// Whose failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Workers: gone, or silent.
    Workers,
    /// The consuming of workers that are alive.
    Work,
    /// The broker.
    Broker,
}

/// One failure.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Whose.
    pub of: Of,
    /// The workers that fail. Of a broker: none.
    pub who: Vec<(Slot, CompactString)>,
    /// When it begins.
    pub from: Moment,
    /// From when on it could be seen: later, where the monitor was paused.
    pub visible: Moment,
    /// When it is over; never, where nobody comes back.
    pub to: Moment,
    /// Whether it must be found; one that is neither short nor long enough may be.
    pub scored: bool,
    /// The right diagnoses. A broker's has none.
    pub diagnoses: &'static [Diagnosis],
    /// What it is called in a breakdown of detection times, such as `cancelled`.
    pub variant: &'static str,
}

impl Failure {
    /// Whether an alarm at `at` may be about it.
    pub const fn covers(&self, at: Moment) -> bool {
        self.from <= at && at <= self.to.saturating_add(LATE)
    }

    /// Whether it is about the worker in `slot`.
    pub fn is_of(&self, slot: Slot) -> bool {
        self.who.iter().any(|(own, _)| *own == slot)
    }

    /// Whether it is about the worker of this name.
    pub fn names(&self, hostname: &str) -> bool {
        self.who.iter().any(|(_, own)| own == hostname)
    }
}
