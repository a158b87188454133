//! How long to wait before the next try: doubling, bounded, and reset only after a healthy stretch.

use std::time::Duration;

use headcount_core::doubling::doubled;
use headcount_core::hash::fnv1a;

/// The first wait.
const FIRST: Duration = Duration::from_millis(200);
/// The longest wait for a broker that cannot be reached: its return should be noticed soon.
const LONGEST: Duration = Duration::from_secs(5);
/// The longest wait where user, password or permission were refused: asking often looks like an attack.
const LONGEST_REFUSED: Duration = Duration::from_secs(30);
/// A session that stood for so long was healthy; after a shorter one the waits go on growing.
const HEALTHY_AFTER: Duration = Duration::from_secs(20);

/// The waits of one thing that is tried again and again.
#[derive(Clone, Debug)]
pub struct Backoff {
    failures: u32,
    seed: u64,
}

impl Backoff {
    /// Waits for a broker; brokers of different names wait a little differently.
    pub fn for_brokers(name: &str) -> Self {
        let seed = fnv1a(name);
        Self { failures: 0, seed }
    }

    /// The wait after a try that came to nothing.
    pub fn after_failure(&mut self) -> Duration {
        self.next(LONGEST)
    }

    /// The wait after a try that was refused.
    pub fn after_refusal(&mut self) -> Duration {
        self.next(LONGEST_REFUSED)
    }

    /// The wait after a session that stood for `stood`.
    pub fn after_session(&mut self, stood: Duration) -> Duration {
        self.stood(stood);
        self.next(LONGEST)
    }

    /// Says that it has gone well for `stood`, whatever comes next.
    pub fn stood(&mut self, stood: Duration) {
        if stood >= HEALTHY_AFTER {
            self.failures = 0;
        }
    }

    fn next(&mut self, longest: Duration) -> Duration {
        let doubled = doubled(FIRST, self.failures, longest);
        self.failures = self.failures.saturating_add(1);
        // Up to a fifth more, so that many of them do not come back in step (splitmix64, for its evenness).
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32;
        doubled + doubled.mul_f64(mixed as f64 / f64::from(u32::MAX) / 5.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_its_bound_and_resets_only_after_a_healthy_stretch() {
        let mut backoff = Backoff::for_brokers("main");
        let waits: Vec<_> = (0..8).map(|_| backoff.after_failure()).collect();
        assert!(waits[0] >= FIRST && waits[0] <= FIRST.mul_f64(1.2));
        assert!(waits[3] >= FIRST * 8);
        assert!(waits.iter().all(|wait| *wait <= LONGEST.mul_f64(1.2)));
        assert!(
            backoff.after_session(Duration::from_secs(1)) >= LONGEST,
            "a short session changes nothing"
        );
        assert!(backoff.after_session(HEALTHY_AFTER) <= FIRST.mul_f64(1.2));
    }
}
