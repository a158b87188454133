//! How long Sentry is left alone after failures.

use std::time::Duration;

use headcount_core::doubling::doubled;
use tokio::time::Instant;

/// How often it is looked which windows are over, and whether Sentry may be asked again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long Sentry is left alone after a failure; it doubles with each that follows.
const FIRST_REST: Duration = Duration::from_secs(1);
/// The longest. Raising it tells later that there were errors while Sentry was away.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// The times of it: these are for Sentry's sake, so a stand-in for it need not wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) look_every: Duration,
    pub(super) first_rest: Duration,
    pub(super) longest_rest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            look_every: LOOK_EVERY,
            first_rest: FIRST_REST,
            longest_rest: LONGEST_REST,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Rest {
    pace: Pace,
    failures: u32,
    until: Option<Instant>,
}

impl Rest {
    pub(super) fn new(pace: Pace) -> Self {
        Self {
            pace,
            failures: 0,
            until: None,
        }
    }

    pub(super) fn failed(&mut self) {
        let rest = doubled(self.pace.first_rest, self.failures, self.pace.longest_rest);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(Instant::now() + rest);
    }

    /// It works.
    pub(super) fn end(&mut self) {
        *self = Self::new(self.pace);
    }

    pub(super) fn is_over(&self) -> bool {
        self.until.is_none_or(|until| until <= Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rests_double_up_to_a_minute_and_end_with_the_first_that_is_taken() {
        let mut rest = Rest::new(Pace::default());
        assert!(rest.is_over());
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            rest.failed();
            tokio::time::advance(Duration::from_millis(seconds * 1_000 - 1)).await;
            assert!(!rest.is_over(), "{seconds}");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(rest.is_over(), "{seconds}");
        }
        rest.failed();
        rest.end();
        assert!(rest.is_over());
    }
}
