//! The only place that reads the clocks.

use headcount_core::time::{Mono, Now, Wall};

/// Reads both clocks of the machine. The monotonic one goes on in suspend, so that a suspended machine shows as a long
/// step, which the observed clock leaves out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// Both clocks, now.
    pub fn now(self) -> Now {
        Now {
            mono: machine::mono(),
            wall: machine::wall(),
        }
    }

    /// The monotonic clock alone.
    pub fn mono(self) -> Mono {
        machine::mono()
    }
}

#[cfg(not(test))]
mod machine {
    use std::time::{SystemTime, UNIX_EPOCH};

    use rustix::time::{ClockId, clock_gettime};

    use super::{Mono, Wall};

    pub(super) fn mono() -> Mono {
        let read = clock_gettime(ClockId::Boottime);
        let micros = read
            .tv_sec
            .saturating_mul(1_000_000)
            .saturating_add(read.tv_nsec / 1_000);
        Mono::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    pub(super) fn wall() -> Wall {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_micros());
        Wall::from_micros(i64::try_from(wall).unwrap_or(i64::MAX))
    }
}

/// In this crate's own tests both clocks follow tokio's, which a test can pause: it then jumps to the next timer as
/// soon as nobody has anything to do.
#[cfg(test)]
pub(crate) mod machine {
    use std::cell::Cell;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Mono, Wall};

    /// Where the wall clock of every test begins: in January 2026.
    const EPOCH: Wall = Wall::from_micros(1_768_000_000_000_000);

    thread_local! {
        /// A moment of tokio's clock, and what the monotonic clock shows then.
        static ANCHOR: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
    }

    /// From now on the clocks go on from `at`: each runtime has a clock of its own, and the world has one.
    pub(crate) fn go_on_from(at: Duration) {
        ANCHOR.set(Some((Instant::now(), at)));
    }

    /// How long the world has existed when the wall clock shows this.
    pub(crate) fn elapsed_at(wall: Wall) -> Duration {
        wall.since(EPOCH)
    }

    /// How long the world has existed.
    pub(crate) fn elapsed() -> Duration {
        let (anchor, at) = ANCHOR.get().unwrap_or_else(|| {
            go_on_from(Duration::from_secs(1));
            (Instant::now(), Duration::from_secs(1))
        });
        at + anchor.elapsed()
    }

    pub(super) fn mono() -> Mono {
        Mono::default() + elapsed()
    }

    pub(super) fn wall() -> Wall {
        EPOCH + elapsed()
    }
}
