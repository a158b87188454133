//! Who has been lost and not been replaced: each loss leaves an open slot, and a worker under a new name fills one.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use compact_str::CompactString;

use super::observed::Seen;
use super::rules;

/// How many newcomers that have replaced nobody yet are kept: they may turn out to stand in for somebody whose loss is
/// found a moment later. The oldest are let go.
const MAX_SPARE: usize = 1_000;
/// How long a newcomer may stand in for a loss that is found later: beyond every deadline of a silence, the excuse of a
/// busy solo pool included.
const SPARE_FOR: Duration = Duration::from_secs(900);

/// One loss.
#[derive(Clone, Copy, Debug)]
struct Lost {
    /// When it was found.
    found: Seen,
    /// Since when somebody stands in for it.
    replaced: Option<Seen>,
}

/// The slots of one fleet.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    lost: BTreeMap<CompactString, Lost>,
    spare: VecDeque<Seen>,
    open: u32,
}

impl Slots {
    /// A worker was found lost that was last alive at `life`. Returns whether somebody stands in for it already.
    pub(super) fn fell(&mut self, hostname: &CompactString, life: Seen, t: Seen) -> bool {
        self.settle(hostname);
        self.spare.retain(|came| t.since(*came) < SPARE_FOR);
        let stand_in = self.spare.iter().position(|came| *came > life);
        let replaced = stand_in.and_then(|place| self.spare.remove(place));
        self.open += u32::from(replaced.is_none());
        self.lost.insert(hostname.clone(), Lost { found: t, replaced });
        replaced.is_some()
    }

    /// A loss that is remembered from before a restart.
    pub(super) fn remembered(&mut self, hostname: &CompactString, replaced: bool, t: Seen) {
        self.settle(hostname);
        self.open += u32::from(!replaced);
        let replaced = replaced.then_some(t);
        self.lost.insert(hostname.clone(), Lost { found: t, replaced });
    }

    /// A worker came under a new name: it stands in for whoever was lost first. Returns whether there was anybody.
    pub(super) fn came(&mut self, t: Seen) -> bool {
        let first = self
            .lost
            .values_mut()
            .filter(|lost| lost.replaced.is_none())
            .min_by_key(|lost| lost.found);
        match first {
            Some(lost) => {
                lost.replaced = Some(t);
                self.open -= 1;
                true
            }
            None => {
                self.spare.push_back(t);
                if self.spare.len() > MAX_SPARE {
                    self.spare.pop_front();
                }
                false
            }
        }
    }

    /// A worker is no longer lost: it returned, said goodbye after all, or is forgotten.
    pub(super) fn settle(&mut self, hostname: &CompactString) {
        if let Some(lost) = self.lost.remove(hostname) {
            self.open -= u32::from(lost.replaced.is_none());
        }
    }

    /// How many have been lost and not been replaced.
    pub(super) const fn open(&self) -> u32 {
        self.open
    }

    /// How many of those were found lost less than `span` ago.
    pub(super) fn open_lately(&self, span: Duration, t: Seen) -> u32 {
        let young = |lost: &&Lost| lost.replaced.is_none() && t.since(lost.found) < span;
        u32::try_from(self.lost.values().filter(young).count()).unwrap_or(u32::MAX)
    }

    /// Whether somebody stands in for a worker.
    pub(super) fn is_replaced(&self, hostname: &CompactString) -> bool {
        self.lost.get(hostname).is_some_and(|lost| lost.replaced.is_some())
    }

    /// Whether somebody has stood in for it for so long that it can be let go.
    pub(super) fn is_over(&self, hostname: &CompactString, t: Seen) -> bool {
        let replaced = self.lost.get(hostname).and_then(|lost| lost.replaced);
        replaced.is_some_and(|since| t.since(since) >= rules::REPLACED_AFTER)
    }

    /// Those for whom somebody stands in, to be remembered.
    pub(super) fn replaced(&self) -> Vec<CompactString> {
        let replaced = self.lost.iter().filter(|(_, lost)| lost.replaced.is_some());
        replaced.map(|(hostname, _)| hostname.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Seen {
        Seen::default() + Duration::from_secs(secs)
    }

    #[test]
    fn a_newcomer_fills_the_slot_of_whoever_was_lost_first() {
        let mut slots = Slots::default();
        assert!(!slots.fell(&"a".into(), at(1), at(7)));
        slots.fell(&"b".into(), at(3), at(9));
        assert_eq!(slots.open(), 2);
        assert!(slots.came(at(10)));
        assert_eq!((slots.open(), slots.replaced()), (1, vec!["a".into()]));
        assert!(!slots.is_over(&"a".into(), at(69)));
        assert!(slots.is_over(&"a".into(), at(70)));
        slots.settle(&"b".into());
        assert_eq!(slots.open(), 0);
    }

    #[test]
    fn who_came_before_the_loss_was_found_stands_in_if_it_came_after_the_last_sign_of_life() {
        let mut slots = Slots::default();
        slots.came(at(1));
        slots.came(at(5));
        assert!(slots.fell(&"a".into(), at(3), at(9)));
        assert!(!slots.fell(&"b".into(), at(3), at(9)), "each stands in for one");
    }

    #[test]
    fn a_stand_in_that_is_lost_too_and_replaced_leaves_nothing_open() {
        let mut slots = Slots::default();
        slots.fell(&"a".into(), at(0), at(6));
        slots.came(at(10));
        slots.fell(&"c".into(), at(20), at(26));
        slots.came(at(30));
        assert_eq!(slots.open(), 0);
    }

    #[test]
    fn whoever_returns_or_is_found_lost_again_is_counted_once() {
        let mut slots = Slots::default();
        for _ in 0..3 {
            slots.fell(&"a".into(), at(0), at(6));
        }
        assert_eq!(slots.open(), 1);
        slots.settle(&"a".into());
        slots.settle(&"a".into());
        assert_eq!(slots.open(), 0);
    }
}
