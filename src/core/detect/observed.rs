//! Observed time: a clock that stands still while Headcount cannot see.
//!
//! Every deadline of a worker runs on it, so neither a broker's outage nor a pause of Headcount's own process can ever
//! count as a worker's silence.

use std::time::Duration;

use crate::time::Mono;

/// A moment on the observed clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen(u64);

impl Seen {
    /// How much has been observed since `earlier`; zero if it is not earlier at all.
    pub const fn since(self, earlier: Seen) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Seen {
    type Output = Seen;

    fn add(self, span: Duration) -> Seen {
        Seen(
            self.0
                .saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

impl std::ops::Sub<Duration> for Seen {
    type Output = Seen;

    fn sub(self, span: Duration) -> Seen {
        Seen(
            self.0
                .saturating_sub(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

/// The clock. It begins blind.
#[derive(Clone, Debug)]
pub struct ObservedClock {
    read: Seen,
    last: Mono,
    sees: bool,
    late: bool,
}

/// How much one reading may add. The owner ticks several times a second; a longer gap means that Headcount itself was
/// paused, and that time was not observed. Raising it lets longer pauses of our own count as a worker's silence.
pub const MAX_STEP: Duration = Duration::from_secs(1);

impl ObservedClock {
    /// A clock that has seen nothing yet.
    pub const fn new(now: Mono) -> Self {
        Self {
            read: Seen(0),
            last: now,
            sees: false,
            late: false,
        }
    }

    /// Brings the clock up to `now` and reads it.
    pub fn advance(&mut self, now: Mono) -> Seen {
        let passed = now.since(self.last);
        self.late |= self.sees && passed > MAX_STEP;
        let step = passed.min(MAX_STEP);
        if now > self.last {
            self.last = now;
        }
        if self.sees {
            self.read = self.read + step;
        }
        self.read
    }

    /// Whether a reading came late since this was last asked: Headcount itself was paused.
    pub fn take_late(&mut self) -> bool {
        std::mem::take(&mut self.late)
    }

    /// Begins or ceases to see, from `now` on.
    pub fn set_sight(&mut self, now: Mono, sees: bool) {
        self.advance(now);
        self.sees = sees;
    }

    /// What it showed when it was last brought up to date.
    pub const fn read(&self) -> Seen {
        self.read
    }

    /// Whether the clock runs.
    pub const fn sees(&self) -> bool {
        self.sees
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_micros(ms * 1000)
    }

    #[test]
    fn stands_still_while_blind() {
        let mut clock = ObservedClock::new(at(0));
        assert_eq!(clock.advance(at(900)), Seen::default());
        clock.set_sight(at(1_000), true);
        let start = clock.advance(at(1_000));
        assert_eq!(clock.advance(at(1_500)).since(start), Duration::from_millis(500));
        clock.set_sight(at(1_700), false);
        assert_eq!(clock.advance(at(99_000)).since(start), Duration::from_millis(700));
    }

    #[test]
    fn a_pause_of_our_own_is_not_observed() {
        let mut clock = ObservedClock::new(at(0));
        clock.set_sight(at(0), true);
        let start = clock.advance(at(0));
        assert!(!clock.take_late());
        assert_eq!(clock.advance(at(120_000)).since(start), MAX_STEP);
        assert!(clock.take_late() && !clock.take_late(), "and is told once");
    }

    #[test]
    fn never_runs_backwards() {
        let mut clock = ObservedClock::new(at(5_000));
        clock.set_sight(at(5_000), true);
        let read = clock.advance(at(5_400));
        assert_eq!(clock.advance(at(1_000)), read);
        assert_eq!(clock.advance(at(5_500)).since(read), Duration::from_millis(100));
    }
}
