//! Workers of a broker that belong to no fleet. They are left alone; but whoever wrote the fleets' patterns wants to be told
//! whom they do not match, since a mistake in one looks like a fleet that is well.

use std::time::Duration;

use compact_str::CompactString;

use crate::names;
use crate::time::Mono;

/// How long after its last sign of life a stranger is still counted: discovery asks those that never speak once a minute.
pub const COUNTED_FOR: Duration = Duration::from_secs(5 * 60);
/// How often they are counted. It looks at every name that is known.
pub const COUNT_EVERY: Duration = Duration::from_secs(5);
/// So many of them are named when they are told of.
pub const NAMED: usize = 5;

/// How long they are gathered before they are told of: those that only answer are known some 8 s after a start.
const GATHER: Duration = Duration::from_secs(15);
/// How soon it is told that there are new ones. Where names change with each start there always are.
const TOLD_AGAIN: Duration = Duration::from_secs(3600);

/// The strangers of one broker at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strangers {
    /// When they were counted.
    pub at: Mono,
    /// How many were heard of within [`COUNTED_FOR`].
    pub count: usize,
    /// When the newest of them was heard of for the first time.
    pub newest: Mono,
    /// [`NAMED`] of them at most, the newest, in the order of their names.
    pub names: Vec<CompactString>,
}

impl Strangers {
    /// Counts those who were heard of for the first and the last time then.
    pub fn count<'a>(at: Mono, known: impl Iterator<Item = (&'a CompactString, Mono, Mono)>) -> Self {
        let mut newest: Vec<(Mono, &CompactString)> = Vec::with_capacity(NAMED + 1);
        let mut count = 0;
        for (name, first, _) in known.filter(|(_, _, last)| at.since(*last) <= COUNTED_FOR) {
            count += 1;
            let place = newest.partition_point(|(other, above)| (*other, name) > (first, *above));
            if place < NAMED {
                newest.insert(place, (first, name));
                newest.truncate(NAMED);
            }
        }
        let mut names: Vec<CompactString> = newest.iter().map(|(_, name)| (*name).clone()).collect();
        names.sort_unstable();
        Self {
            at,
            count,
            newest: newest.first().map(|(first, _)| *first).unwrap_or_default(),
            names,
        }
    }

    /// Some of their names, and how many more there are.
    pub fn in_words(&self) -> String {
        names::and_more(&self.names, self.count)
    }
}

/// When people are told of strangers: once, and again only when there are new ones after a while.
#[derive(Clone, Debug, Default)]
pub struct Telling {
    /// Those who were there by then have been told of.
    told: Option<Mono>,
    /// Since when there have been others.
    since: Option<Mono>,
}

impl Telling {
    /// Whether now is the time; then they count as told.
    pub fn is_due(&mut self, strangers: &Strangers) -> bool {
        let now = strangers.at;
        if strangers.count == 0 || self.told.is_some_and(|told| strangers.newest <= told) {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let rested = self.told.is_none_or(|told| now.since(told) >= TOLD_AGAIN);
        if !rested || now.since(since) < GATHER {
            return false;
        }
        *self = Self {
            told: Some(now),
            since: None,
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::from_micros(seconds * 1_000_000)
    }

    fn counted(now: u64, known: &[(&str, u64, u64)]) -> Strangers {
        let known: Vec<(CompactString, Mono, Mono)> = known
            .iter()
            .map(|(name, first, last)| ((*name).into(), at(*first), at(*last)))
            .collect();
        Strangers::count(at(now), known.iter().map(|(name, first, last)| (name, *first, *last)))
    }

    #[test]
    fn those_of_late_are_counted_and_the_newest_are_named() {
        let known = [
            ("gone@h", 0, 100),
            ("f@h", 7, 400),
            ("e@h", 1, 400),
            ("d@h", 2, 400),
            ("c@h", 3, 400),
            ("b@h", 4, 400),
            ("a@h", 5, 400),
        ];
        let strangers = counted(401, &known);
        assert_eq!((strangers.count, strangers.newest), (6, at(7)));
        assert_eq!(strangers.in_words(), "a@h, b@h, c@h, d@h, f@h and 1 more");
        assert_eq!(counted(401, &known[..2]).in_words(), "f@h");
        assert_eq!(
            counted(401, &known[..1]),
            Strangers {
                at: at(401),
                ..Strangers::default()
            }
        );
    }

    #[test]
    fn they_are_told_of_once_and_again_only_when_new_ones_have_come_after_a_while() {
        let mut telling = Telling::default();
        let mut told = Vec::new();
        for now in (5..20_000).step_by(5) {
            let mut known = vec![("a@h", 1, now)];
            // One comes soon after they were told of, one much later.
            known.extend((now > 60).then_some(("b@h", 60, now)));
            known.extend((now > 9_000).then_some(("c@h", 9_000, now)));
            if telling.is_due(&counted(now, &known)) {
                told.push(now);
            }
        }
        assert_eq!(told, [20, 3_620, 9_020]);
    }

    #[test]
    fn nobody_is_told_of_when_there_is_nobody() {
        let mut telling = Telling::default();
        assert!((0..100).all(|now| !telling.is_due(&counted(now, &[]))));
    }
}
