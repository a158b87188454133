//! Redis shows connections, not workers. The ledger keeps which connections vanished when, and whether that explains a
//! worker's silence.
//!
//! A worker holds two publish/subscribe connections (gossip and control), which appear and vanish together; after a
//! SIGKILL both are gone within 0.2 s (measured). So a disappearance that coincides with a silence is that worker's,
//! unless it has been claimed by a goodbye, or more workers are silent than have vanished: then nothing is said.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use compact_str::CompactString;
use rustc_hash::FxHashMap;

use super::worker::Target;
use crate::time::Mono;

/// Connections of one worker: gossip and control.
const PER_WORKER: u32 = 2;
/// How old the last look may be to say anything.
const FRESH_FOR: Duration = Duration::from_secs(4);
/// A last beat is sent up to this long before its arrival is noted, and a look takes its time.
const SLACK: Duration = Duration::from_millis(1_500);
/// How long a disappearance is kept: far beyond every deadline at which it could explain a silence.
const KEPT_FOR: Duration = Duration::from_secs(120);
/// The most disappearances that are kept; the oldest are let go.
const MAX_GROUPS: usize = 1_000;
/// How long a goodbye waits for its connections to vanish: a worker that finishes its tasks first can take that long.
/// Raising it lets an old goodbye explain a later disappearance, which then is told later, as a silence.
const GOODBYE_WAITS: Duration = Duration::from_secs(1_800);
/// The most silent workers that are kept apart; of further ones nothing is said.
const MAX_ASKERS: usize = 20_000;
/// A worker that was found gone so often stays gone until it is heard again.
const STICKS_AFTER: u32 = 3;

/// Connections that vanished between two looks.
#[derive(Clone, Debug)]
struct Group {
    from: Mono,
    to: Mono,
    connections: u32,
    claimed: u32,
}

impl Group {
    /// How many workers' connections are in it that nobody has claimed.
    fn spare(&self) -> u32 {
        self.connections.div_ceil(PER_WORKER).saturating_sub(self.claimed)
    }

    /// Whether it can explain that a worker which was last heard at `heard` missed its next beat.
    fn explains(&self, heard: Mono, patience: Duration) -> bool {
        self.to + SLACK >= heard && self.from <= heard + patience
    }
}

#[derive(Clone, Copy, Debug)]
struct Asker {
    heard: Mono,
    patience: Duration,
    asked: Mono,
    gone: u32,
}

/// The ledger of one broker.
#[derive(Clone, Debug, Default)]
pub struct ConnectionLedger {
    open: BTreeSet<u64>,
    looked: Option<Mono>,
    /// The first look: what happened before it is not known.
    watched_since: Option<Mono>,
    vanished: VecDeque<Group>,
    /// Who said goodbye, and is still connected.
    leaving: FxHashMap<CompactString, Mono>,
    askers: FxHashMap<CompactString, Asker>,
}

impl ConnectionLedger {
    /// Takes a look: all publish/subscribe connections that the broker sees at `at`, by the broker's numbers.
    pub fn look(&mut self, at: Mono, connections: impl IntoIterator<Item = u64>) {
        let now: BTreeSet<u64> = connections.into_iter().collect();
        if let Some(from) = self.looked {
            let gone = u32::try_from(self.open.difference(&now).count()).unwrap_or(u32::MAX);
            if gone > 0 {
                let mut group = Group {
                    from,
                    to: at,
                    connections: gone,
                    claimed: 0,
                };
                self.leave(&mut group);
                self.vanished.push_back(group);
            }
        }
        while self.vanished.len() > MAX_GROUPS
            || self.vanished.front().is_some_and(|group| at.since(group.to) > KEPT_FOR)
        {
            self.vanished.pop_front();
        }
        // Who is no longer asked about has been let go, or is well.
        self.askers.retain(|_, asker| at.since(asker.asked) < KEPT_FOR);
        self.watched_since.get_or_insert(at);
        self.open = now;
        self.looked = Some(at);
    }

    /// The broker was out: whatever was known of its connections is void.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// A worker said goodbye: its connections have just vanished, or they will, when it has finished its tasks.
    pub fn goodbye(&mut self, at: Mono, hostname: &CompactString) {
        let own = self
            .vanished
            .iter_mut()
            .rev()
            .find(|group| group.spare() > 0 && group.explains(at, Duration::ZERO));
        match own {
            Some(group) => group.claimed += 1,
            None if self.leaving.len() < MAX_GROUPS => {
                self.leaving.insert(hostname.clone(), at);
            }
            None => {}
        }
    }

    /// A worker that said goodbye is back: it had only reconnected.
    pub fn returned(&mut self, hostname: &CompactString) {
        self.leaving.remove(hostname);
    }

    /// Those who said goodbye leave with a group that has vanished, the earliest first.
    fn leave(&mut self, group: &mut Group) {
        self.leaving.retain(|_, said| group.to.since(*said) < GOODBYE_WAITS);
        let mut earliest: Vec<_> = self.leaving.iter().map(|(name, said)| (*said, name.clone())).collect();
        earliest.sort_unstable();
        for (_, name) in earliest.into_iter().take(group.spare() as usize) {
            self.leaving.remove(&name);
            group.claimed += 1;
        }
    }

    /// Whether the worker's connections stand; none where that cannot be told.
    pub fn presence(&mut self, at: Mono, target: &Target) -> Option<bool> {
        let looked = self.looked.filter(|looked| at.since(*looked) < FRESH_FOR)?;
        let heard = target.last_heard?;
        if at < heard + target.patience {
            self.askers.remove(&target.hostname);
            return (!self.open.is_empty()).then_some(true);
        }
        let known = self.askers.get(&target.hostname).filter(|asker| asker.heard == heard);
        let gone = known.map_or(0, |asker| asker.gone);
        if known.is_none() && self.askers.len() >= MAX_ASKERS {
            return None;
        }
        let asker = Asker {
            heard,
            patience: target.patience,
            asked: at,
            gone,
        };
        self.askers.insert(target.hostname.clone(), asker);
        if gone >= STICKS_AFTER {
            return Some(false);
        }
        // Of a time before the first look, and of one that is no longer kept, nothing is known; and the look has to be
        // newer than the last sign of life to say anything about what came after it.
        let watched = self.watched_since.is_some_and(|since| since <= heard);
        if !watched || looked < heard || at.since(heard) >= KEPT_FOR {
            return None;
        }
        let explains = |group: &&Group| group.explains(heard, target.patience);
        let spare: u32 = self.vanished.iter().filter(explains).map(Group::spare).sum();
        if spare == 0 {
            return (!self.open.is_empty()).then_some(true);
        }
        if self.rivals(at, target, heard) > spare {
            return None;
        }
        let gone = gone + 1;
        self.askers.insert(target.hostname.clone(), Asker { gone, ..asker });
        if gone >= STICKS_AFTER
            && let Some(own) = self
                .vanished
                .iter_mut()
                .find(|group| group.spare() > 0 && explains(&&**group))
        {
            own.claimed += 1;
        }
        Some(false)
    }

    /// How many silent workers, this one among them, the same disappearances would explain. Whose was settled has claimed
    /// its own, and is no rival.
    fn rivals(&self, at: Mono, target: &Target, heard: Mono) -> u32 {
        let unclaimed = |group: &&Group| group.spare() > 0 && group.explains(heard, target.patience);
        let groups: Vec<&Group> = self.vanished.iter().filter(unclaimed).collect();
        let rival = |asker: &&Asker| {
            asker.gone < STICKS_AFTER
                && at.since(asker.asked) < FRESH_FOR
                && groups.iter().any(|group| group.explains(asker.heard, asker.patience))
        };
        u32::try_from(self.askers.values().filter(rival).count()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_micros(ms * 1000)
    }

    fn target(name: &str, heard: u64) -> Target {
        Target {
            hostname: name.into(),
            last_heard: Some(at(heard)),
            patience: Duration::from_secs(3),
        }
    }

    fn watched(looks: &[(u64, &[u64])]) -> ConnectionLedger {
        let mut ledger = ConnectionLedger::default();
        for (ms, connections) in looks {
            ledger.look(at(*ms), connections.iter().copied());
        }
        ledger
    }

    #[test]
    fn a_disappearance_that_coincides_with_a_silence_is_that_workers() {
        let mut ledger = watched(&[(9_000, &[1, 2, 3, 4]), (11_000, &[3, 4]), (14_000, &[3, 4])]);
        assert_eq!(ledger.presence(at(14_000), &target("a", 10_000)), Some(false));
        assert_eq!(
            ledger.presence(at(14_000), &target("b", 13_500)),
            Some(true),
            "heard lately"
        );
    }

    #[test]
    fn a_frozen_workers_connections_stand() {
        let mut ledger = watched(&[(9_000, &[1, 2, 3, 4]), (14_000, &[1, 2, 3, 4])]);
        assert_eq!(ledger.presence(at(14_000), &target("a", 10_000)), Some(true));
    }

    #[test]
    fn an_old_disappearance_explains_nothing() {
        let mut ledger = watched(&[(1_000, &[1, 2, 3, 4]), (2_000, &[3, 4]), (14_000, &[3, 4])]);
        assert_eq!(ledger.presence(at(14_000), &target("b", 10_000)), Some(true));
    }

    #[test]
    fn more_silent_workers_than_vanished_ones_leave_it_open() {
        let mut ledger = watched(&[(9_000, &[1, 2, 3, 4]), (11_000, &[3, 4]), (14_000, &[3, 4])]);
        assert_eq!(ledger.presence(at(14_000), &target("a", 10_000)), Some(false));
        assert_eq!(ledger.presence(at(14_000), &target("b", 10_100)), None);
        assert_eq!(
            ledger.presence(at(14_500), &target("a", 10_000)),
            None,
            "and takes back the first word"
        );
    }

    #[test]
    fn whose_loss_is_settled_has_claimed_its_own() {
        let mut ledger = watched(&[(9_000, &[1, 2, 3, 4]), (11_000, &[3, 4]), (14_000, &[3, 4])]);
        for _ in 0..STICKS_AFTER {
            assert_eq!(ledger.presence(at(14_000), &target("killed", 10_000)), Some(false));
        }
        // A living one that fell silent about then, and goes on being asked about.
        for second in 15..60 {
            ledger.look(at(second * 1_000), [3, 4]);
            assert_eq!(
                ledger.presence(at(second * 1_000), &target("busy", 10_500)),
                Some(true),
                "{second}"
            );
        }
    }

    #[test]
    fn of_a_time_before_the_first_look_nothing_is_said() {
        let mut ledger = watched(&[(11_000, &[3, 4]), (14_000, &[3, 4])]);
        assert_eq!(ledger.presence(at(14_000), &target("a", 10_000)), None);
        let mut ledger = watched(&[(9_000, &[1, 2, 3, 4]), (400_000, &[3, 4])]);
        assert_eq!(ledger.presence(at(400_000), &target("a", 10_000)), None);
    }

    #[test]
    fn all_of_a_fleet_at_once() {
        let mut ledger = watched(&[(9_000, &[1, 2, 3, 4, 5, 6]), (11_000, &[]), (14_000, &[])]);
        for name in ["a", "b", "c"] {
            assert_eq!(
                ledger.presence(at(14_000), &target(name, 10_000)),
                Some(false),
                "{name}"
            );
        }
    }

    #[test]
    fn a_goodbye_claims_its_own_whether_it_comes_before_or_after_they_vanish() {
        let before = {
            let mut ledger = watched(&[(9_000, &[1, 2, 3, 4]), (10_000, &[1, 2, 3, 4])]);
            ledger.goodbye(at(10_500), &"leaver".into());
            ledger.look(at(11_000), [3, 4]);
            ledger
        };
        let after = {
            let mut ledger = watched(&[(9_000, &[1, 2, 3, 4]), (11_000, &[3, 4])]);
            ledger.goodbye(at(11_500), &"leaver".into());
            ledger
        };
        for mut ledger in [before, after] {
            ledger.look(at(14_000), [3, 4]);
            assert_eq!(ledger.presence(at(14_000), &target("frozen", 10_000)), Some(true));
        }
    }

    #[test]
    fn a_long_drain_is_waited_for_and_a_mere_reconnect_is_not() {
        let mut ledger = watched(&[(9_000, &[1, 2, 3, 4])]);
        ledger.goodbye(at(10_000), &"drains".into());
        ledger.look(at(600_000), [1, 2, 3, 4]);
        ledger.look(at(601_000), [3, 4]);
        ledger.look(at(604_000), [3, 4]);
        assert_eq!(ledger.presence(at(604_000), &target("busy", 600_500)), Some(true));

        let mut ledger = watched(&[(9_000, &[1, 2, 3, 4]), (10_000, &[1, 2, 3, 4])]);
        ledger.goodbye(at(10_000), &"back".into());
        ledger.returned(&"back".into());
        ledger.look(at(12_000), [3, 4]);
        ledger.look(at(15_000), [3, 4]);
        assert_eq!(ledger.presence(at(15_000), &target("crashed", 11_000)), Some(false));
    }

    #[test]
    fn gone_sticks_until_heard_again() {
        let mut ledger = watched(&[(9_000, &[1, 2, 3, 4]), (11_000, &[3, 4]), (14_000, &[3, 4])]);
        for _ in 0..STICKS_AFTER {
            assert_eq!(ledger.presence(at(14_000), &target("a", 10_000)), Some(false));
        }
        for second in 14..400 {
            ledger.look(at(second * 1000), [3, 4]);
            assert_eq!(
                ledger.presence(at(second * 1000), &target("a", 10_000)),
                Some(false),
                "{second}"
            );
        }
        ledger.look(at(400_000), [3, 4, 8, 9]);
        assert_eq!(ledger.presence(at(400_000), &target("a", 399_900)), Some(true));
    }

    #[test]
    fn a_stale_look_says_nothing() {
        let mut ledger = watched(&[(9_000, &[1, 2])]);
        assert_eq!(ledger.presence(at(20_000), &target("a", 10_000)), None);
        assert_eq!(ConnectionLedger::default().presence(at(0), &target("a", 0)), None);
    }
}
