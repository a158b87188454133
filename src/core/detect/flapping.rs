//! Workers that fall and return again and again: told once, and then left alone until they are steady.
//!
//! BGP's damping of route flaps (RFC 2439, sections 4.2 and 4.4) is the model: each fall adds to a penalty, which halves
//! with time; above one figure a worker is held to flap, and below a lower one it is steady again.

use std::collections::BTreeMap;
use std::time::Duration;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::observed::Seen;

/// After so long without a fall half of the penalty is forgotten. Raising it keeps a worker that has become steady from
/// being told so for longer.
const HALF_LIFE: Duration = Duration::from_secs(600);
/// From this penalty on a worker flaps: three falls within about two and a half minutes reach it, or four within eight.
/// Raising it lets more pairs of down and up be told first.
const SUPPRESS: f64 = 2.7;
/// Below this it is steady again: about a quarter of an hour after the last of three falls.
const REUSE: f64 = 1.0;
/// The most that a penalty grows to, so that it is steady again within twenty minutes however long it flapped.
const MOST: f64 = 3.5;
/// A penalty below this is forgotten altogether.
const NOTHING: f64 = 0.1;
/// A worker that stays down for so long does not flap, it is lost. Raising it delays the news of a loss that was
/// preceded by flapping.
pub(super) const STAYS_DOWN: Duration = Duration::from_secs(120);

/// One worker's penalty, in thousandths, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PenaltyMemory {
    /// The whole node name.
    pub hostname: CompactString,
    /// What is left of its falls; one fall is 1,000. Rounded, so that it need not be written down at every moment.
    pub penalty: u32,
    /// Whether it is held to flap.
    pub flaps: bool,
}

#[derive(Clone, Copy, Debug)]
struct Penalty {
    value: f64,
    at: Seen,
    flaps: bool,
    fell: Seen,
}

impl Penalty {
    fn left(&self, t: Seen) -> f64 {
        let halvings = t.since(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.value * (-halvings).exp2()
    }
}

/// The penalties of a fleet's workers: of those that have fallen lately.
#[derive(Clone, Debug, Default)]
pub(super) struct Flapping {
    penalties: BTreeMap<CompactString, Penalty>,
}

impl Flapping {
    /// What is remembered. Time in which nobody looked has healed nothing.
    pub(super) fn remembered(memory: Vec<PenaltyMemory>, t: Seen) -> Self {
        let penalty = |one: PenaltyMemory| {
            let value = (f64::from(one.penalty) / 1_000.0).min(MOST);
            let flaps = one.flaps && value >= REUSE;
            let penalty = Penalty {
                value,
                at: t,
                flaps,
                fell: t,
            };
            (one.hostname, penalty)
        };
        Self {
            penalties: memory.into_iter().map(penalty).collect(),
        }
    }

    /// What to remember.
    pub(super) fn memory(&self, t: Seen) -> Vec<PenaltyMemory> {
        /// Written down to a tenth of a fall.
        const STEP: f64 = 10.0;
        let kept = self.penalties.iter().map(|(hostname, penalty)| PenaltyMemory {
            hostname: hostname.clone(),
            penalty: ((penalty.left(t) * STEP).ceil() * 1_000.0 / STEP) as u32,
            flaps: penalty.flaps,
        });
        kept.collect()
    }

    /// A worker has fallen.
    pub(super) fn fell(&mut self, hostname: &CompactString, t: Seen) {
        let penalty = self.penalties.entry(hostname.clone()).or_insert(Penalty {
            value: 0.0,
            at: t,
            flaps: false,
            fell: t,
        });
        penalty.value = (penalty.left(t) + 1.0).min(MOST);
        penalty.at = t;
        penalty.fell = t;
        penalty.flaps |= penalty.value >= SUPPRESS;
    }

    /// Time passes: who has been steady for long enough flaps no more, and who is no longer `known` is forgotten.
    pub(super) fn advance(&mut self, t: Seen, known: impl Fn(&CompactString) -> bool) {
        self.penalties.retain(|hostname, penalty| {
            let left = penalty.left(t);
            penalty.flaps &= left >= REUSE;
            left >= NOTHING && known(hostname)
        });
    }

    /// Whether anybody flaps.
    pub(super) fn any(&self) -> bool {
        self.penalties.values().any(|penalty| penalty.flaps)
    }

    /// Whether a worker flaps: `down`, if it is down now. One that stays down is lost, and flaps no more.
    pub(super) fn has(&self, hostname: &CompactString, down: bool, t: Seen) -> bool {
        self.penalties
            .get(hostname)
            .is_some_and(|penalty| penalty.flaps && !(down && t.since(penalty.fell) >= STAYS_DOWN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Seen {
        Seen::default() + Duration::from_secs(secs)
    }

    fn after(falls: &[u64]) -> Flapping {
        let mut flapping = Flapping::default();
        for fall in falls {
            flapping.fell(&"a".into(), at(*fall));
        }
        flapping
    }

    #[test]
    fn how_many_falls_in_which_time_are_flapping() {
        let table: [(&[u64], bool); 7] = [
            (&[0], false),
            (&[0, 10], false),
            (&[0, 60, 120], true),
            (&[0, 40, 80], true),
            (&[0, 200, 400], false),
            (&[0, 100, 200, 300], true),
            (&[0, 600, 1_200, 1_800, 2_400], false),
        ];
        for (falls, flaps) in table {
            let last = at(*falls.last().unwrap());
            assert_eq!(after(falls).has(&"a".into(), false, last), flaps, "{falls:?}");
        }
    }

    #[test]
    fn it_is_steady_again_after_a_quarter_of_an_hour_and_forgotten_later() {
        let mut flapping = after(&[0, 40, 80]);
        flapping.advance(at(80 + 800), |_| true);
        assert!(flapping.any());
        flapping.advance(at(80 + 1_000), |_| true);
        assert!(!flapping.any());
        flapping.advance(at(80 + 3_600), |_| true);
        assert!(flapping.memory(at(80 + 3_600)).is_empty());
    }

    #[test]
    fn who_stays_down_is_lost() {
        let flapping = after(&[0, 40, 80]);
        assert!(flapping.has(&"a".into(), true, at(80 + 119)));
        assert!(!flapping.has(&"a".into(), true, at(80 + 120)));
        assert!(flapping.has(&"a".into(), false, at(80 + 120)));
    }

    #[test]
    fn penalties_survive_a_restart() {
        let before = after(&[0, 40, 80]);
        let again = Flapping::remembered(before.memory(at(90)), Seen::default());
        assert!(again.has(&"a".into(), false, Seen::default()));
        let mild = Flapping::remembered(after(&[0]).memory(at(1)), Seen::default());
        assert!(!mild.any());
    }
}
