//! The only place that reads the clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use headcount_core::time::{Mono, Now, Wall};
use rustix::time::{ClockId, clock_gettime};

/// Reads both clocks of the machine. The monotonic one goes on in suspend, so that a suspended machine shows as a long
/// step, which the observed clock leaves out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// Both clocks, now.
    pub fn now(self) -> Now {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_micros());
        Now {
            mono: self.mono(),
            wall: Wall::from_micros(i64::try_from(wall).unwrap_or(i64::MAX)),
        }
    }

    /// The monotonic clock alone.
    pub fn mono(self) -> Mono {
        let read = clock_gettime(ClockId::Boottime);
        let micros = read
            .tv_sec
            .saturating_mul(1_000_000)
            .saturating_add(read.tv_nsec / 1_000);
        Mono::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}
