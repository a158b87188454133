//! Redis shows connections, not workers. The ledger keeps which connections vanished when, and whether that explains a
//! worker's silence.
//!
//! A worker holds two publish/subscribe connections (gossip and control; one with `--without-gossip`), which appear and
//! vanish together; after a SIGKILL they are gone within 0.2 s (measured). How many each has is learned when all are
//! known to be connected. Others subscribe too: a Flower, a second Headcount, workers that nobody watches. So a
//! disappearance that coincides with a silence is that worker's only if those that are left are too few for all who live,
//! it has not been claimed by a goodbye, and no more workers are silent than have vanished: otherwise nothing is said.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use compact_str::CompactString;
use rustc_hash::FxHashMap;

use super::worker::Target;
use crate::time::Mono;

/// The most connections of one worker: gossip and control.
const MOST_PER_WORKER: usize = 2;
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
/// The most workers that are kept apart, living or silent; of further ones nothing is said.
const MAX_ASKERS: usize = 20_000;
/// Whose last sign of life came before its goodbye is not counted among the living for so long.
const FAREWELL_HOLDS: Duration = Duration::from_secs(60);
/// A worker has subscribed so long after its first word, online: it talks to its peers for 1 s before (measured). Raising it
/// delays what is learned of workers that answer nothing.
const SUBSCRIBES_WITHIN: Duration = Duration::from_secs(3);
/// A worker that was found gone so often stays gone until it is heard again.
const STICKS_AFTER: u32 = 3;

/// Connections that vanished between two looks.
#[derive(Clone, Debug)]
struct Group {
    from: Mono,
    to: Mono,
    connections: usize,
    /// Connections that belonged to workers who said goodbye, or whose loss is settled.
    claimed: usize,
}

impl Group {
    /// How many connections are in it that nobody has claimed.
    fn unclaimed(&self) -> usize {
        self.connections.saturating_sub(self.claimed)
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
    /// Its connections may have vanished, or those of somebody else.
    open: bool,
}

/// One who lives, as far as is known.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// When its process was first heard.
    began: Mono,
    heard: Mono,
    asked: Mono,
    /// It has answered, so it has subscribed.
    answered: bool,
}

impl Member {
    /// Whether its connections have been there for a look to see.
    fn has_subscribed(&self) -> bool {
        self.answered || self.heard.since(self.began) >= SUBSCRIBES_WITHIN
    }
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
    /// All whose connections should stand.
    members: FxHashMap<CompactString, Member>,
    /// Who said goodbye lately.
    farewells: FxHashMap<CompactString, Mono>,
    /// Connections of each worker; none until it is learned, and zero where some have none.
    each: Option<usize>,
    /// Whoever gave a sign of life since then is connected by those that are open now.
    stood_from: Option<Mono>,
}

impl ConnectionLedger {
    /// Takes a look: all publish/subscribe connections that the broker sees at `at`, by the broker's numbers.
    pub fn look(&mut self, at: Mono, connections: impl IntoIterator<Item = u64>) {
        let now: BTreeSet<u64> = connections.into_iter().collect();
        let gone = self.open.difference(&now).count();
        if let Some(from) = self.looked.filter(|_| gone > 0) {
            self.vanish(from, at, gone);
            self.stood_from = Some(at + SLACK);
        } else if now != self.open {
            self.stood_from = self.stood_from.max(Some(at));
        }
        while self.vanished.len() > MAX_GROUPS
            || self.vanished.front().is_some_and(|group| at.since(group.to) > KEPT_FOR)
        {
            self.vanished.pop_front();
        }
        // Who is no longer asked about has been let go, or is well.
        self.askers.retain(|_, asker| at.since(asker.asked) < KEPT_FOR);
        self.members.retain(|_, member| at.since(member.asked) < KEPT_FOR);
        self.farewells.retain(|_, said| at.since(*said) < FAREWELL_HOLDS);
        self.watched_since.get_or_insert(at);
        self.open = now;
        self.looked = Some(at);
        self.learn();
    }

    fn vanish(&mut self, from: Mono, to: Mono, connections: usize) {
        let share = self.share();
        // A look may fall between the two of one worker.
        let torn = self
            .vanished
            .back()
            .is_some_and(|last| last.to == from && !last.unclaimed().is_multiple_of(share));
        let torn = if torn { self.vanished.pop_back() } else { None };
        let mut group = Group {
            from: torn.as_ref().map_or(from, |torn| torn.from),
            to,
            connections: connections + torn.as_ref().map_or(0, |torn| torn.connections),
            claimed: torn.map_or(0, |torn| torn.claimed),
        };
        self.leave(&mut group);
        self.vanished.push_back(group);
    }

    /// Learns how many connections each worker has, when all have given a sign of life since one last came or went. Not
    /// while one starts: it says that it is online before it subscribes, and may be killed in between.
    fn learn(&mut self) {
        let Some(from) = self.stood_from else { return };
        let all_here = self
            .members
            .values()
            .all(|member| member.heard >= from && member.has_subscribed());
        if all_here && self.leaving.is_empty() && !self.members.is_empty() {
            self.each = Some((self.open.len() / self.members.len()).min(MOST_PER_WORKER));
        }
    }

    /// Connections that one worker takes with it; as many as it may have, until that is learned.
    fn share(&self) -> usize {
        self.each.unwrap_or(MOST_PER_WORKER).max(1)
    }

    /// The broker was out: whatever was known of its connections is void.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// A worker said goodbye: its connections have just vanished, or they will, when it has finished its tasks.
    pub fn goodbye(&mut self, at: Mono, hostname: &CompactString) {
        self.members.remove(hostname);
        if self.farewells.len() < MAX_ASKERS {
            self.farewells.insert(hostname.clone(), at);
        }
        let share = self.share();
        let own = self
            .vanished
            .iter_mut()
            .rev()
            .find(|group| group.unclaimed() >= share && group.explains(at, Duration::ZERO));
        match own {
            Some(group) => group.claimed += share,
            None if self.leaving.len() < MAX_GROUPS => {
                self.leaving.insert(hostname.clone(), at);
            }
            None => {}
        }
    }

    /// A worker that said goodbye is back: it had only reconnected.
    pub fn returned(&mut self, hostname: &CompactString) {
        self.leaving.remove(hostname);
        self.farewells.remove(hostname);
    }

    /// Those who said goodbye leave with a group that has vanished, the earliest first.
    fn leave(&mut self, group: &mut Group) {
        self.leaving.retain(|_, said| group.to.since(*said) < GOODBYE_WAITS);
        let mut earliest: Vec<_> = self.leaving.iter().map(|(name, said)| (*said, name.clone())).collect();
        earliest.sort_unstable();
        let share = self.share();
        for (_, name) in earliest.into_iter().take(group.unclaimed() / share) {
            self.leaving.remove(&name);
            group.claimed += share;
        }
    }

    /// Whether the connections of a worker stand that was asked, and has or has not answered; none where that cannot be
    /// told.
    pub fn presence(&mut self, at: Mono, target: &Target, answered: bool) -> Option<bool> {
        let heard = if answered { Some(at) } else { target.last_heard };
        if let Some(heard) = heard {
            self.count(at, target, heard, answered);
        }
        // Who answers is connected, whatever the looks say.
        if answered {
            self.askers.remove(&target.hostname);
            return Some(true);
        }
        let looked = self.looked.filter(|looked| at.since(*looked) < FRESH_FOR)?;
        let heard = heard?;
        if at < heard + target.patience {
            self.askers.remove(&target.hostname);
            return (!self.open.is_empty()).then_some(true);
        }
        let known = self.askers.get(&target.hostname).filter(|asker| asker.heard == heard);
        if known.is_none() && self.askers.len() >= MAX_ASKERS {
            return None;
        }
        let asker = Asker {
            heard,
            patience: target.patience,
            asked: at,
            gone: known.map_or(0, |asker| asker.gone),
            open: known.is_some_and(|asker| asker.open),
        };
        self.askers.insert(target.hostname.clone(), asker);
        if asker.gone >= STICKS_AFTER {
            return Some(false);
        }
        // Of a time before the first look, and of one that is no longer kept, nothing is known; and the look has to be
        // newer than the last sign of life to say anything about what came after it.
        let watched = self.watched_since.is_some_and(|since| since <= heard);
        if !watched || looked < heard || at.since(heard) >= KEPT_FOR {
            return None;
        }
        let present = self.charge(at, &asker);
        let gone = asker.gone + u32::from(present == Some(false));
        let open = present.is_none();
        self.askers
            .insert(target.hostname.clone(), Asker { gone, open, ..asker });
        if gone >= STICKS_AFTER {
            self.settle(&target.hostname, &asker);
        }
        present
    }

    /// Keeps who lives: whoever was heard of within its patience, until its loss is settled, or it says goodbye.
    fn count(&mut self, at: Mono, target: &Target, heard: Mono, answered: bool) {
        let lives = at < heard + target.patience;
        let leaves = self.leaving.contains_key(&target.hostname)
            || self
                .farewells
                .get(&target.hostname)
                .is_some_and(|said| heard <= *said + SLACK);
        if let Some(member) = self.members.get_mut(&target.hostname) {
            let before = *member;
            member.asked = at;
            member.heard = member.heard.max(heard);
            member.answered |= answered;
            if target.process_from > before.began {
                // Another process, which has no connection yet; those of the one before have gone.
                (member.began, member.answered) = (target.process_from, answered);
                if before.has_subscribed() {
                    self.claim(before.heard, target.patience);
                }
            }
        } else if lives && !leaves && self.members.len() < MAX_ASKERS {
            let member = Member {
                began: target.process_from,
                heard,
                asked: at,
                answered,
            };
            self.members.insert(target.hostname.clone(), member);
        }
        // Otherwise at the next look: here it would be done for each of many at once.
        if self.each.is_none() {
            self.learn();
        }
    }

    /// Whether what has vanished was the silent one's.
    fn charge(&self, at: Mono, asker: &Asker) -> Option<bool> {
        let mine = |group: &&Group| group.unclaimed() > 0 && group.explains(asker.heard, asker.patience);
        let groups: Vec<&Group> = self.vanished.iter().filter(mine).collect();
        if groups.is_empty() {
            return (!self.open.is_empty() && self.has_seen_all()).then_some(true);
        }
        // Where no number has been learned, or some workers have none, what has gone may be anybody's.
        let each = self.each.filter(|each| *each > 0)?;
        let vanished: usize = groups.iter().map(|group| group.unclaimed() / each).sum();
        // So many of those who live have lost theirs, even if whatever is left is one of theirs.
        let lost = self.members.len().saturating_sub(self.open.len() / each);
        let rival = |silent: &&Asker| groups.iter().any(|group| group.explains(silent.heard, silent.patience));
        let unsettled = self.askers.values().filter(|silent| silent.gone < STICKS_AFTER);
        let (rivals, others): (Vec<&Asker>, Vec<&Asker>) = unsettled
            .filter(|silent| silent.open || at.since(silent.asked) < FRESH_FOR)
            .partition(rival);
        let elsewhere = others.iter().filter(|silent| silent.open).count();
        let charged = vanished.min(lost.saturating_sub(elsewhere));
        (rivals.len() <= charged).then_some(false)
    }

    /// Whether those that are open, and those that have vanished and are nobody's yet, are enough for all who live. If not,
    /// somebody has none that a look could have seen: one that was killed while it started, before it subscribed.
    fn has_seen_all(&self) -> bool {
        let Some(each) = self.each.filter(|each| *each > 0) else {
            return true;
        };
        let unclaimed: usize = self.vanished.iter().map(|group| group.unclaimed() / each).sum();
        self.members.len() <= self.open.len() / each + unclaimed
    }

    /// A loss that was found often enough claims what vanished with it, and is no rival of others any more.
    fn settle(&mut self, hostname: &CompactString, asker: &Asker) {
        self.members.remove(hostname);
        self.claim(asker.heard, asker.patience);
    }

    /// What vanished when one was silent that was last heard then is its own, and nobody else's.
    fn claim(&mut self, heard: Mono, patience: Duration) {
        let share = self.share();
        let own = self
            .vanished
            .iter_mut()
            .find(|group| group.unclaimed() >= share && group.explains(heard, patience));
        if let Some(own) = own {
            own.claimed += share;
        }
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
            process_from: at(0),
            patience: Duration::from_secs(3),
        }
    }

    /// A ledger that has seen these answer after the first look.
    fn knows(names: &[&str], looks: &[(u64, &[u64])]) -> ConnectionLedger {
        let mut ledger = ConnectionLedger::default();
        for (index, (ms, connections)) in looks.iter().enumerate() {
            ledger.look(at(*ms), connections.iter().copied());
            for name in names.iter().filter(|_| index == 0) {
                assert_eq!(ledger.presence(at(*ms), &target(name, *ms), true), Some(true));
            }
        }
        ledger
    }

    /// One that knows three workers, and saw connections go at 11 s, when they were last heard at 10 s.
    fn three(before: &[u64], after: &[u64]) -> ConnectionLedger {
        let looks = [(9_000, before), (10_000, before), (11_000, after), (14_000, after)];
        knows(&["a", "b", "c"], &looks)
    }

    fn silent(ledger: &mut ConnectionLedger, ms: u64, name: &str) -> Option<bool> {
        ledger.presence(at(ms), &target(name, 10_000), false)
    }

    #[test]
    fn a_disappearance_that_coincides_with_a_silence_is_that_workers() {
        let mut ledger = three(&[1, 2, 3, 4, 5, 6], &[3, 4, 5, 6]);
        assert_eq!(silent(&mut ledger, 14_000, "a"), Some(false));
        let lately = target("b", 13_500);
        assert_eq!(ledger.presence(at(14_000), &lately, false), Some(true), "heard lately");
    }

    #[test]
    fn a_frozen_workers_connections_stand() {
        let mut ledger = three(&[1, 2, 3, 4, 5, 6], &[1, 2, 3, 4, 5, 6]);
        assert_eq!(silent(&mut ledger, 14_000, "a"), Some(true));
    }

    #[test]
    fn an_old_disappearance_explains_nothing() {
        let mut ledger = knows(
            &["a", "b"],
            &[(1_000, &[1, 2, 3, 4]), (2_000, &[3, 4]), (14_000, &[3, 4])],
        );
        assert_eq!(silent(&mut ledger, 14_000, "b"), Some(true));
    }

    #[test]
    fn subscriptions_of_others_are_nobodys_loss() {
        // Two of others, as if of a worker, go in a pause.
        let mut ledger = three(&[1, 2, 3, 4, 5, 6, 7, 8], &[1, 2, 3, 4, 5, 6]);
        for _ in 0..5 {
            assert_eq!(silent(&mut ledger, 14_000, "a"), None);
        }
        // One, and nobody is short of any.
        let mut ledger = three(&[1, 2, 3, 4, 5, 6, 7], &[1, 2, 3, 4, 5, 6]);
        assert_eq!(silent(&mut ledger, 14_000, "a"), None);
        // Beside one of others a worker's loss shows as ever, …
        let mut ledger = three(&[1, 2, 3, 4, 5, 6, 7], &[3, 4, 5, 6, 7]);
        assert_eq!(silent(&mut ledger, 14_000, "a"), Some(false));
        // … beside two it cannot be told from theirs, unless more have gone than they have.
        let mut ledger = three(&[1, 2, 3, 4, 5, 6, 7, 8], &[3, 4, 5, 6, 7, 8]);
        assert_eq!(silent(&mut ledger, 14_000, "a"), None);
        let mut ledger = three(&[1, 2, 3, 4, 5, 6, 7, 8], &[5, 6]);
        assert_eq!(silent(&mut ledger, 14_000, "a"), Some(false));
    }

    #[test]
    fn a_loss_that_stayed_open_explains_what_is_missing_later() {
        // One is killed beside two connections of others, so nothing is said; then those go too, in another's pause.
        let mut ledger = three(&[1, 2, 3, 4, 5, 6, 7, 8], &[3, 4, 5, 6, 7, 8]);
        assert_eq!(silent(&mut ledger, 14_000, "a"), None);
        for name in ["b", "c"] {
            ledger.presence(at(30_000), &target(name, 30_000), true);
        }
        ledger.look(at(31_000), [3, 4, 5, 6, 7, 8]);
        silent(&mut ledger, 31_000, "a");
        ledger.look(at(32_000), [3, 4, 5, 6]);
        ledger.look(at(35_000), [3, 4, 5, 6]);
        assert_eq!(ledger.presence(at(35_000), &target("b", 31_500), false), None);
    }

    #[test]
    fn without_gossip_a_worker_has_one() {
        let mut ledger = three(&[1, 2, 3], &[3]);
        assert_eq!(silent(&mut ledger, 14_000, "a"), Some(false));
        assert_eq!(silent(&mut ledger, 14_000, "b"), Some(false));
        for _ in 0..STICKS_AFTER {
            silent(&mut ledger, 14_500, "a");
            silent(&mut ledger, 14_500, "b");
        }
        assert_eq!(silent(&mut ledger, 15_000, "a"), Some(false));
        assert_eq!(silent(&mut ledger, 15_000, "b"), Some(false));
        // And without remote control none: nothing can be told.
        let mut ledger = three(&[1], &[]);
        assert_eq!(silent(&mut ledger, 14_000, "a"), None);
    }

    #[test]
    fn the_two_of_one_worker_may_go_in_two_looks() {
        let looks: [(u64, &[u64]); 4] = [
            (9_000, &[1, 2, 3, 4]),
            (11_000, &[2, 3, 4]),
            (12_000, &[3, 4]),
            (14_000, &[3, 4]),
        ];
        let mut ledger = knows(&["a", "b"], &looks);
        assert_eq!(silent(&mut ledger, 14_000, "a"), Some(false));
    }

    #[test]
    fn whoever_reconnects_is_not_gone() {
        let looks: [(u64, &[u64]); 3] = [(9_000, &[1, 2, 3, 4]), (11_000, &[3, 4]), (14_000, &[3, 4, 5, 6])];
        let mut ledger = knows(&["a", "b"], &looks);
        assert_ne!(silent(&mut ledger, 14_000, "a"), Some(false));
    }

    #[test]
    fn more_silent_workers_than_vanished_ones_leave_it_open() {
        let mut ledger = three(&[1, 2, 3, 4, 5, 6], &[3, 4, 5, 6]);
        assert_eq!(silent(&mut ledger, 14_000, "a"), Some(false));
        assert_eq!(ledger.presence(at(14_000), &target("b", 10_100), false), None);
        let again = silent(&mut ledger, 14_500, "a");
        assert_eq!(again, None, "and takes back the first word");
    }

    #[test]
    fn whose_loss_is_settled_has_claimed_its_own() {
        let mut ledger = three(&[1, 2, 3, 4, 5, 6], &[3, 4, 5, 6]);
        for _ in 0..STICKS_AFTER {
            assert_eq!(silent(&mut ledger, 14_000, "a"), Some(false));
        }
        // A living one that fell silent about then, and goes on being asked about.
        for second in 15..60 {
            ledger.look(at(second * 1_000), [3, 4, 5, 6]);
            let busy = target("b", 10_500);
            assert_eq!(
                ledger.presence(at(second * 1_000), &busy, false),
                Some(true),
                "{second}"
            );
        }
    }

    #[test]
    fn of_a_time_before_the_first_look_nothing_is_said() {
        let mut ledger = knows(&["b", "c"], &[(11_000, &[3, 4, 5, 6]), (14_000, &[3, 4, 5, 6])]);
        assert_eq!(silent(&mut ledger, 14_000, "a"), None);
        let mut ledger = knows(&["a", "b"], &[(9_000, &[1, 2, 3, 4]), (400_000, &[3, 4])]);
        assert_eq!(silent(&mut ledger, 400_000, "a"), None);
    }

    #[test]
    fn all_of_a_fleet_at_once() {
        let mut ledger = three(&[1, 2, 3, 4, 5, 6], &[]);
        for name in ["a", "b", "c"] {
            assert_eq!(silent(&mut ledger, 14_000, name), Some(false), "{name}");
        }
    }

    #[test]
    fn a_goodbye_claims_its_own_whether_it_comes_before_or_after_they_vanish() {
        let before = {
            let mut ledger = knows(&["a", "b"], &[(9_000, &[1, 2, 3, 4]), (10_000, &[1, 2, 3, 4])]);
            ledger.goodbye(at(10_500), &"b".into());
            ledger.look(at(11_000), [3, 4]);
            ledger
        };
        let after = {
            let mut ledger = knows(&["a", "b"], &[(9_000, &[1, 2, 3, 4]), (11_000, &[3, 4])]);
            ledger.goodbye(at(11_500), &"b".into());
            ledger
        };
        for mut ledger in [before, after] {
            ledger.look(at(14_000), [3, 4]);
            assert_eq!(silent(&mut ledger, 14_000, "a"), Some(true));
        }
    }

    #[test]
    fn a_long_drain_is_waited_for_and_a_mere_reconnect_is_not() {
        let mut ledger = knows(&["a", "b"], &[(9_000, &[1, 2, 3, 4])]);
        ledger.goodbye(at(10_000), &"b".into());
        ledger.look(at(600_000), [1, 2, 3, 4]);
        ledger.presence(at(600_500), &target("a", 600_500), true);
        ledger.look(at(601_000), [3, 4]);
        ledger.look(at(604_000), [3, 4]);
        assert_eq!(ledger.presence(at(604_000), &target("a", 600_500), false), Some(true));

        let mut ledger = knows(&["a", "b"], &[(9_000, &[1, 2, 3, 4]), (10_000, &[1, 2, 3, 4])]);
        ledger.goodbye(at(10_000), &"b".into());
        ledger.returned(&"b".into());
        assert_eq!(ledger.presence(at(11_000), &target("b", 10_500), false), Some(true));
        ledger.look(at(12_000), [3, 4]);
        ledger.look(at(15_000), [3, 4]);
        assert_eq!(ledger.presence(at(15_000), &target("a", 11_000), false), Some(false));
    }

    #[test]
    fn gone_sticks_until_heard_again() {
        let mut ledger = three(&[1, 2, 3, 4, 5, 6], &[3, 4, 5, 6]);
        for _ in 0..STICKS_AFTER {
            assert_eq!(silent(&mut ledger, 14_000, "a"), Some(false));
        }
        for second in 14..400 {
            ledger.look(at(second * 1000), [3, 4, 5, 6]);
            assert_eq!(silent(&mut ledger, second * 1000, "a"), Some(false), "{second}");
        }
        ledger.look(at(400_000), [3, 4, 5, 6, 8, 9]);
        assert_eq!(ledger.presence(at(400_000), &target("a", 399_900), false), Some(true));
    }

    #[test]
    fn who_was_killed_before_it_subscribed_is_not_seen_to_be_connected() {
        let mut ledger = three(&[1, 2, 3, 4, 5, 6], &[3, 4, 5, 6]);
        for _ in 0..STICKS_AFTER {
            assert_eq!(silent(&mut ledger, 14_000, "a"), Some(false));
        }
        says_online_and_is_killed(&mut ledger);
        // One that subscribed is.
        ledger.look(at(150_000), [3, 4, 5, 6, 7, 8]);
        ledger.presence(at(150_000), &target("a", 150_000), false);
        ledger.look(at(155_000), [3, 4, 5, 6, 7, 8]);
        assert_eq!(ledger.presence(at(155_000), &target("a", 150_000), false), Some(true));
    }

    /// It is started again before it is known to have crashed: what vanished was the process before.
    #[test]
    fn who_was_killed_before_it_subscribed_is_not_shown_by_what_its_process_before_lost() {
        let mut ledger = three(&[1, 2, 3, 4, 5, 6], &[3, 4, 5, 6]);
        assert_eq!(silent(&mut ledger, 14_000, "a"), Some(false));
        says_online_and_is_killed(&mut ledger);
    }

    /// One of two that are left is seen to come again, but not to be connected.
    fn says_online_and_is_killed(ledger: &mut ConnectionLedger) {
        let online = Target {
            process_from: at(30_000),
            ..target("a", 30_000)
        };
        for second in 30..150 {
            ledger.look(at(second * 1_000), [3, 4, 5, 6]);
            for lives in ["b", "c"] {
                ledger.presence(at(second * 1_000), &target(lives, second * 1_000), true);
            }
            let present = ledger.presence(at(second * 1_000), &online, false);
            assert!(second < 33 || present.is_none(), "{second}: {present:?}");
        }
    }

    #[test]
    fn a_stale_look_says_nothing() {
        let mut ledger = knows(&["a"], &[(9_000, &[1, 2])]);
        assert_eq!(silent(&mut ledger, 20_000, "a"), None);
        assert_eq!(
            ConnectionLedger::default().presence(at(0), &target("a", 0), false),
            None
        );
    }
}
