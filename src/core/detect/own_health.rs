//! Own health: doubt yourself before the peer.
//!
//! Dadgar, Phillips and Currey, "Lifeguard: Local Health Awareness for More Accurate Failure Detection" (2018), section
//! "Local Health Aware Probe"; memberlist's `awareness.go` is the model. There each sign that the observer itself is slow
//! raises a score from 0 to 8, each probe that goes well lowers it, and every timeout is multiplied by score + 1. Here
//! one good stretch lowers it, and only the deadlines of silence are stretched, to four times at most: a crash that the
//! broker confirms needs no good health of ours to be believed.

use std::time::Duration;

use super::observed::Seen;

/// The worst score, as in Lifeguard.
const WORST: u8 = 8;
/// After so long without trouble of our own the score falls by one. Raising it keeps the deadlines long for longer: from
/// the worst score it takes eight times as much to be well again.
const GOOD_STRETCH: Duration = Duration::from_secs(15);
/// How many times the deadlines are as long at the worst score. Raising it delays the discovery of a frozen worker by a
/// Headcount that is struggling.
const LONGEST: f64 = 4.0;
/// In a round of probes at least so many that beat on time must have been asked before their silence is taken for ours.
pub(super) const MANY: usize = 4;

/// How much Headcount has to doubt itself: 0, not at all, to 8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doubt(u8);

impl Doubt {
    /// How many times as long a deadline of silence becomes at most.
    pub const LONGEST: f64 = LONGEST;

    /// The score itself.
    pub const fn score(self) -> u8 {
        self.0
    }

    /// Whether there is any.
    pub const fn is_some(self) -> bool {
        self.0 > 0
    }

    /// By how much the deadlines of silence are stretched: 1 + (4 − 1) × score / 8.
    pub fn factor(self) -> f64 {
        1.0 + (LONGEST - 1.0) * f64::from(self.0) / f64::from(WORST)
    }

    /// A deadline of silence, stretched.
    pub fn stretch(self, deadline: Duration) -> Duration {
        if self.is_some() {
            deadline.mul_f64(self.factor())
        } else {
            deadline
        }
    }
}

/// The score, and since when all is well.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnHealth {
    doubt: Doubt,
    well_since: Seen,
}

impl OwnHealth {
    /// A sign that it is us: a tick came late, a probe could not be made, our own canary was late, or workers that beat
    /// on time missed one round of probes together.
    pub(super) fn suffered(&mut self, t: Seen) {
        // What has gone well until now counts, also where nobody has looked since.
        self.advance(t);
        self.doubt = Doubt((self.doubt.0 + 1).min(WORST));
        self.well_since = t;
    }

    /// Time passes.
    pub(super) fn advance(&mut self, t: Seen) {
        while self.doubt.is_some() && t.since(self.well_since) >= GOOD_STRETCH {
            self.doubt.0 -= 1;
            self.well_since = self.well_since + GOOD_STRETCH;
        }
    }

    pub(super) const fn doubt(self) -> Doubt {
        self.doubt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Seen {
        Seen::default() + Duration::from_secs(secs)
    }

    #[test]
    fn deadlines_stretch_with_the_score_up_to_four_times() {
        let mut health = OwnHealth::default();
        assert_eq!(health.doubt().stretch(Duration::from_secs(15)), Duration::from_secs(15));
        let table = [(1, 1.375), (4, 2.5), (8, 4.0), (20, 4.0)];
        let mut suffered = 0;
        for (times, factor) in table {
            while suffered < times {
                health.suffered(at(0));
                suffered += 1;
            }
            assert_eq!(health.doubt().factor(), factor, "{times}");
        }
    }

    #[test]
    fn each_good_stretch_takes_one_away() {
        let mut health = OwnHealth::default();
        health.suffered(at(0));
        health.suffered(at(10));
        health.advance(at(24));
        assert_eq!(health.doubt().score(), 2);
        health.advance(at(25));
        assert_eq!(health.doubt().score(), 1);
        health.advance(at(300));
        assert_eq!(health.doubt().score(), 0);
        health.suffered(at(301));
        health.advance(at(302));
        assert_eq!(health.doubt().score(), 1, "long health before is no credit");
    }

    #[test]
    fn a_stretch_that_went_well_counts_also_where_nobody_looked() {
        let mut health = OwnHealth::default();
        health.suffered(at(0));
        health.suffered(at(16));
        assert_eq!(health.doubt().score(), 1);
    }
}
