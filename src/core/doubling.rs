//! How long what fails is left alone: twice as long after each failure, up to a bound.

use std::time::Duration;

/// The wait after so many failures before this one.
pub fn doubled(first: Duration, failures: u32, longest: Duration) -> Duration {
    2_u32
        .checked_pow(failures)
        .map_or(longest, |times| first.saturating_mul(times).min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_its_bound_however_often_it_fails() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(60));
        let waits = [0, 1, 2, 5, 6, 31, 32, u32::MAX].map(|failures| doubled(first, failures, longest).as_secs());
        assert_eq!(waits, [1, 2, 4, 32, 60, 60, 60, 60]);
        assert_eq!(doubled(Duration::MAX, 1, Duration::MAX), Duration::MAX);
    }
}
