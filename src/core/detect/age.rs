//! How old a worker's events are when they arrive, by its own clock against ours, without ever comparing the two.
//!
//! The delay (arrival − timestamp) is meaningless by itself: it holds the difference of two clocks. But a worker's
//! smallest delay lately is that of an event that was not held up, so what a delay exceeds it by is time on the way.
//! A clock that steps back makes every later delay greater, and looks like a hold-up that never ends; what tells the two
//! apart is that held events come in a burst, and those after a step come one by one, as far apart as they were sent.

use std::time::Duration;

use crate::time::Mono;

/// How long one bucket of smallest delays lasts; two of them are kept, so the smallest is of the last 5 to 10 min.
/// Raising it lets a slowly drifting clock look like a hold-up for longer.
const BUCKET: Duration = Duration::from_secs(300);
/// Nothing is on its way for longer: what seems older had its clock set back.
pub(super) const MAX_AGE: Duration = Duration::from_secs(600);
/// Beats that arrive closer together than this, in seconds, came in a burst: the shortest interval that is believed is
/// half a second.
const BURST: f64 = 0.2;
/// And so did beats that arrive in less than this part of the time that lies between their timestamps.
const AS_SENT: f64 = 0.75;

/// One worker's delays.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transit {
    /// The smallest delay in seconds of this bucket, and of the one before; infinite where there is none.
    smallest: [f64; 2],
    turned: Mono,
    /// Arrival and timestamp of the newest beat, in seconds.
    newest: Option<(f64, f64)>,
}

impl Transit {
    /// Nothing is known yet.
    pub(super) const fn new(at: Mono) -> Self {
        Self {
            smallest: [f64::INFINITY; 2],
            turned: at,
            newest: None,
        }
    }

    /// The age of a beat that arrived at `at`, and bears the timestamp `sent`. Beats are what the usual delay is
    /// learned from.
    pub(super) fn beat(&mut self, at: Mono, sent: f64) -> Duration {
        self.turn(at);
        let arrived = seconds(at);
        let delay = arrived - sent;
        if let Some((before, sent_before)) = self.newest
            && one_by_one(arrived - before, sent - sent_before)
        {
            // Two in a row: one alone may be the first of a burst.
            let usual = delay.min(before - sent_before);
            if usual > self.usual() {
                self.smallest = [usual, f64::INFINITY];
            }
        }
        self.smallest[0] = self.smallest[0].min(delay);
        self.newest = Some((arrived, sent));
        self.excess(delay)
    }

    /// The age of another event of the same worker.
    pub(super) fn age(&self, at: Mono, sent: f64) -> Duration {
        self.excess(seconds(at) - sent)
    }

    fn usual(&self) -> f64 {
        self.smallest[0].min(self.smallest[1])
    }

    /// What a delay exceeds the usual one by; zero where none is known.
    fn excess(&self, delay: f64) -> Duration {
        let excess = delay - self.usual();
        Duration::try_from_secs_f64(excess.max(0.0)).map_or(Duration::ZERO, |age| age.min(MAX_AGE))
    }

    fn turn(&mut self, at: Mono) {
        let since = at.since(self.turned);
        if since >= BUCKET {
            let before = if since < BUCKET * 2 {
                self.smallest[0]
            } else {
                f64::INFINITY
            };
            self.smallest = [f64::INFINITY, before];
            self.turned = at;
        }
    }
}

/// Whether two beats came one by one, about as far apart as they were sent, and not in a burst. A clock that stands still
/// or steps makes timestamps lie closer together than they should, which is no burst.
fn one_by_one(arrivals: f64, timestamps: f64) -> bool {
    arrivals >= BURST && arrivals >= timestamps * AS_SENT
}

fn seconds(at: Mono) -> f64 {
    at.as_micros() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: f64 = 50_000.0;

    fn at(secs: f64) -> Mono {
        Mono::from_micros((secs * 1e6) as u64)
    }

    #[test]
    fn what_was_held_up_is_as_old_as_it_is_and_the_next_is_on_time() {
        let mut transit = Transit::new(at(START));
        for n in 0..10 {
            assert_eq!(
                transit.beat(at(START + f64::from(n) * 2.0), f64::from(n) * 2.0),
                Duration::ZERO
            );
        }
        // A link that was half open for 50 s: all at once, with their true timestamps.
        for n in 10..35 {
            let age = transit.beat(at(START + 68.5), f64::from(n) * 2.0).as_secs_f64();
            assert!((age - (68.5 - f64::from(n) * 2.0)).abs() < 0.001, "{n}: {age}");
        }
        assert!(transit.beat(at(START + 70.0), 70.0) < Duration::from_millis(1));
    }

    #[test]
    fn a_timestamp_from_the_far_future_does_not_age_what_comes_after_it() {
        let mut transit = Transit::new(at(START));
        transit.beat(at(START), 100.0);
        transit.beat(at(START + 2.0), 9e9);
        assert_eq!(transit.beat(at(START + 4.0), 104.0), MAX_AGE);
        assert_eq!(transit.beat(at(START + 6.0), 106.0), Duration::ZERO);
    }

    #[test]
    fn a_clock_that_stands_still_makes_nobody_old() {
        let mut transit = Transit::new(at(START));
        for n in 0..100 {
            let age = transit.beat(at(START + f64::from(n) * 2.0), 100.0);
            assert!(age <= Duration::from_secs(2), "{age:?}");
        }
    }

    proptest! {
        /// Whatever the worker's clock shows, and however it drifts and steps: who is on time is on time, from the second
        /// beat after a step on.
        #[test]
        fn a_clock_ages_nobody(
            offset in -10_000.0..10_000_000.0_f64,
            drift in -0.001..0.001_f64,
            interval in 0.5..60.0_f64,
            jitter in prop::collection::vec(0.0..0.02_f64, 50..400),
            steps in prop::collection::vec((10_usize..400, -3600.0..3600.0_f64), 0..4),
        ) {
            let mut transit = Transit::new(at(START));
            let (mut shift, mut since_step) = (0.0, 0);
            for (n, late) in jitter.iter().enumerate() {
                for (when, by) in &steps {
                    if *when == n {
                        shift += by;
                        since_step = 0;
                    }
                }
                let truly = n as f64 * interval;
                let sent = 20_000.0 + offset + shift + truly * (1.0 + drift);
                let age = transit.beat(at(START + truly + late), sent);
                if since_step >= 1 || n == 0 {
                    // What remains is the jitter, and what the clock has drifted since the last beat.
                    prop_assert!(age.as_secs_f64() < 0.05 + interval * 0.001, "beat {n}: {age:?}");
                }
                since_step += 1;
            }
        }

        /// A flush proves what its newest proves: each event is as old as it truly is, whatever the clock shows.
        #[test]
        fn a_flush_is_as_old_as_it_is(
            offset in -10_000.0..10_000_000.0_f64,
            before in 3_u32..100,
            held in 2_u32..120,
        ) {
            let mut transit = Transit::new(at(START));
            for n in 0..before {
                transit.beat(at(START + f64::from(n) * 2.0), offset + f64::from(n) * 2.0);
            }
            let arrives = f64::from(before + held - 1) * 2.0 + 0.7;
            for n in before..before + held {
                let sent = f64::from(n) * 2.0;
                let age = transit.beat(at(START + arrives), offset + sent).as_secs_f64();
                prop_assert!((age - (arrives - sent)).abs() < 0.01, "{age} of {}", arrives - sent);
            }
        }
    }
}
