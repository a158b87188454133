//! The longest of some spans lately, where lately is a day or two: what comes once a night is remembered until the next.

use std::time::Duration;

use super::super::observed::Seen;

/// How long one bucket lasts, in observed time. Two are kept, so that the longest is of the last 24 to 48 h. Raising it
/// lets one long span excuse others for longer.
const BUCKET: Duration = Duration::from_secs(24 * 3600);
/// The longest that is believed to be usual: five times as much is more than a day. Raising it lets a hang that somebody
/// ended at last excuse the next one for longer.
const MAX: Duration = Duration::from_secs(6 * 3600);

/// The longest of some spans lately.
#[derive(Clone, Copy, Debug)]
pub(super) struct Longest {
    /// Of this bucket, and of the one before.
    longest: [Duration; 2],
    turned: Seen,
}

impl Longest {
    /// None yet.
    pub(super) const fn new(t: Seen) -> Self {
        Self {
            longest: [Duration::ZERO; 2],
            turned: t,
        }
    }

    /// One that is remembered from before a restart of Headcount: for one more bucket, since it is not known how old it is.
    pub(super) fn remembered(longest: Duration, t: Seen) -> Self {
        Self {
            longest: [Duration::ZERO, longest.min(MAX)],
            turned: t,
        }
    }

    /// One more, that ended at `t`.
    pub(super) fn add(&mut self, t: Seen, span: Duration) {
        let since = t.since(self.turned);
        if since >= BUCKET {
            let [last, _] = self.longest;
            let before = if since < BUCKET * 2 { last } else { Duration::ZERO };
            *self = Self {
                longest: [Duration::ZERO, before],
                turned: t,
            };
        }
        let [newest, before] = self.longest;
        self.longest = [newest.max(span.min(MAX)), before];
    }

    /// The longest lately.
    pub(super) fn get(&self) -> Duration {
        let [newest, before] = self.longest;
        newest.max(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const MINUTES: Duration = Duration::from_secs(30 * 60);

    fn at(hours: u32) -> Seen {
        Seen::default() + HOUR * hours
    }

    /// What a worker does that runs one task of half an hour each night, and thousands of short ones by day.
    #[test]
    fn what_comes_once_a_night_is_remembered_until_the_next() {
        for begins in 0..24 {
            let mut run = Longest::new(at(0));
            for night in 0..10 {
                let ends = at(begins + 24 * night);
                run.add(ends, MINUTES);
                let mut t = ends;
                while t < at(begins + 24 * (night + 1)) {
                    t = t + Duration::from_secs(20);
                    run.add(t, Duration::from_millis(300));
                    assert_eq!(run.get(), MINUTES);
                }
            }
        }
    }

    #[test]
    fn what_does_not_come_again_is_forgotten_in_two_days() {
        let mut run = Longest::new(at(0));
        run.add(at(1), MINUTES);
        for hour in 1..=48 {
            run.add(at(hour), Duration::from_secs(1));
        }
        assert_eq!(run.get(), Duration::from_secs(1));
        run.add(at(50), MINUTES);
        run.add(at(500), Duration::from_secs(1));
        assert_eq!(run.get(), Duration::from_secs(1), "nor after a long idle time");
    }

    #[test]
    fn a_restart_keeps_it_for_a_day_and_the_bound_holds() {
        let mut run = Longest::remembered(MINUTES, at(0));
        run.add(at(23), Duration::ZERO);
        assert_eq!(run.get(), MINUTES);
        run.add(at(25), Duration::ZERO);
        assert_eq!(run.get(), Duration::ZERO);
        run.add(at(26), HOUR * 100);
        assert_eq!(run.get(), HOUR * 6);
        assert_eq!(Longest::remembered(Duration::MAX, at(0)).get(), HOUR * 6);
    }
}
