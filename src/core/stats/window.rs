//! Which buckets are open, and the roll-ups in them.

use std::collections::BTreeMap;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::bucket::{Width, on_calendar};
use super::group::{Group, key};
use super::plan::Plan;
use super::rollup::Rollup;
use super::value::{Bad, Value, Why};
use crate::time::Wall;

/// The most roll-ups, one for each group in each open bucket, that are in memory at once. With a few numbers each costs
/// some 500 bytes, so these are about 100 MB; a quantile adds some hundred bytes, a `distinct` up to 8 KiB.
pub const MAX_OPEN: usize = 200_000;

/// When buckets are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// How long a bucket is.
    pub width: Width,
    /// How long after its end a bucket still takes documents. Raising it keeps more buckets in memory.
    pub late: Duration,
    /// How far ahead of the clock the time of a document may be: clocks differ. What is beyond is bad, or a document from
    /// the year 3000 would keep a bucket open until then.
    pub ahead: Duration,
}

impl Window {
    /// The start of the oldest bucket that is open at `now`: all before it are closed.
    pub fn floor(&self, now: Wall) -> Wall {
        // A bucket is closed once its end is so long ago: the oldest open one is that of the moment itself.
        self.width.start(now - self.late)
    }

    /// The start of the bucket that a document of this time belongs to.
    ///
    /// # Errors
    /// It has no time, or one before `floor` (those are closed), or too far ahead of `now`.
    pub fn place(&self, floor: Wall, now: Wall, time: &Value<'_>) -> Result<Wall, Why> {
        let Value::Date(time) = *time else {
            return Err(Why::Kind {
                expected: "a date",
                found: time.kind(),
            });
        };
        if !on_calendar(time) {
            return Err(Why::Calendar);
        }
        if time > now + self.ahead {
            return Err(Why::Future);
        }
        let bucket = self.width.start(time);
        if bucket < floor {
            return Err(Why::Late);
        }
        Ok(bucket)
    }
}

/// The roll-ups of the open buckets. One for each reader.
#[derive(Debug)]
pub struct Open {
    buckets: BTreeMap<Wall, FxHashMap<Group, Entry>>,
    rollups: usize,
    /// What they take, groups and all: about so many bytes.
    bytes: usize,
    most: usize,
    /// The key of the document that is being folded.
    key: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    rollup: Rollup,
    changed: bool,
}

/// What an entry takes in its map beside what it has on the heap. A map that grows is half empty at worst.
const PLACE: usize = 2 * size_of::<(Group, Entry)>();

fn bytes(group: &Group, rollup: &Rollup) -> usize {
    PLACE + group.as_bytes().len() + rollup.heap()
}

/// There is no room for a group that is new: close or write out some first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A roll-up with its place.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The start of its bucket.
    pub bucket: Wall,
    /// Its group.
    pub group: Group,
    /// Its state.
    pub rollup: Rollup,
}

impl Default for Open {
    fn default() -> Self {
        Self::with_room(MAX_OPEN)
    }
}

impl Open {
    /// With room for so many roll-ups, [`MAX_OPEN`] at most.
    pub fn with_room(most: usize) -> Self {
        Self {
            buckets: BTreeMap::new(),
            rollups: 0,
            bytes: 0,
            most: most.min(MAX_OPEN),
            key: Vec::new(),
        }
    }

    /// How many roll-ups there are.
    pub const fn len(&self) -> usize {
        self.rollups
    }

    /// About how many bytes they take in memory.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.rollups == 0
    }

    /// Folds a document into the bucket that starts there: the values of the fields that are grouped by, and of those that are
    /// measured. No allocation, but for a group that is new.
    ///
    /// # Errors
    /// The document is bad, and nothing of it was counted.
    pub fn fold(
        &mut self,
        plan: &Plan,
        bucket: Wall,
        group: &[Value<'_>],
        values: &[Value<'_>],
    ) -> Result<Result<(), Full>, Bad> {
        let mut bytes = std::mem::take(&mut self.key);
        let made = key(&mut bytes, plan.group_by(), group);
        let outcome = made.and_then(|()| self.fold_key(plan, bucket, &bytes, values));
        self.key = bytes;
        outcome
    }

    fn fold_key(
        &mut self,
        plan: &Plan,
        bucket: Wall,
        key: &[u8],
        values: &[Value<'_>],
    ) -> Result<Result<(), Full>, Bad> {
        let known = self.buckets.get_mut(&bucket).and_then(|groups| groups.get_mut(key));
        if let Some(entry) = known {
            let before = entry.rollup.heap();
            entry.rollup.fold(plan, values)?;
            entry.changed = true;
            self.bytes = (self.bytes + entry.rollup.heap()).saturating_sub(before);
            return Ok(Ok(()));
        }
        if self.rollups >= self.most {
            return Ok(Err(Full));
        }
        let mut rollup = Rollup::new(plan);
        rollup.fold(plan, values)?;
        self.put(bucket, Group::from_key(key), rollup, true);
        Ok(Ok(()))
    }

    /// Adds a roll-up to the one of the same bucket and group: what a database has worked out, or what a store had kept (which
    /// has not `changed`). Where there is no room it comes back.
    pub fn merge(&mut self, placed: Placed, changed: bool) -> Result<(), Placed> {
        let known = self.buckets.get_mut(&placed.bucket);
        if let Some(entry) = known.and_then(|groups| groups.get_mut(&placed.group)) {
            let before = entry.rollup.heap();
            entry.rollup.merge(&placed.rollup);
            entry.changed |= changed;
            self.bytes = (self.bytes + entry.rollup.heap()).saturating_sub(before);
            return Ok(());
        }
        if self.rollups >= self.most {
            return Err(placed);
        }
        self.put(placed.bucket, placed.group, placed.rollup, changed);
        Ok(())
    }

    fn put(&mut self, bucket: Wall, group: Group, rollup: Rollup, changed: bool) {
        self.bytes += bytes(&group, &rollup);
        let entry = Entry { rollup, changed };
        if self.buckets.entry(bucket).or_default().insert(group, entry).is_none() {
            self.rollups += 1;
        }
    }

    /// Calls `each` with every roll-up that has changed since the last call, the oldest buckets first. They stay.
    pub fn changed(&mut self, mut each: impl FnMut(Wall, &Group, &Rollup)) {
        for (bucket, groups) in &mut self.buckets {
            for (group, entry) in groups.iter_mut().filter(|(_, entry)| entry.changed) {
                each(*bucket, group, &entry.rollup);
                entry.changed = false;
            }
        }
    }

    /// The start of the oldest bucket that has a roll-up.
    pub fn oldest(&self) -> Option<Wall> {
        self.buckets.keys().next().copied()
    }

    /// Takes out all buckets that start before `floor`, the oldest first; of each roll-up, whether it has changed since
    /// [`Open::changed`] was last called.
    pub fn close(&mut self, floor: Wall) -> Vec<(Placed, bool)> {
        let open = self.buckets.split_off(&floor);
        let closed = std::mem::replace(&mut self.buckets, open);
        let closed: Vec<_> = closed
            .into_iter()
            .flat_map(|(bucket, groups)| {
                groups.into_iter().map(move |(group, Entry { rollup, changed })| {
                    let placed = Placed { bucket, group, rollup };
                    (placed, changed)
                })
            })
            .collect();
        self.rollups -= closed.len();
        let freed: usize = closed
            .iter()
            .map(|(placed, _)| bytes(&placed.group, &placed.rollup))
            .sum();
        self.bytes = self.bytes.saturating_sub(freed);
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::measure::{Field, Measure};

    const MINUTE: i64 = 60_000_000;

    fn at(minutes: i64) -> Wall {
        Wall::from_micros(minutes * MINUTE)
    }

    fn window() -> Window {
        Window {
            width: Width::MINUTE,
            late: Duration::from_secs(120),
            ahead: Duration::from_secs(5),
        }
    }

    fn plan() -> Plan {
        let fields: [Field; 1] = ["g".parse().unwrap()];
        let measures: [(&str, Measure); 2] = [("n", Measure::Count), ("s", "sum(x)".parse().unwrap())];
        Plan::new(&fields, measures.iter().map(|(name, measure)| (*name, measure))).unwrap()
    }

    #[test]
    fn a_bucket_is_open_until_its_end_is_as_long_ago_as_data_may_be_late() {
        let (window, now) = (window(), at(100));
        assert_eq!(window.floor(now), at(98));
        let floor = window.floor(now);
        let place = |time: Wall| window.place(floor, now, &Value::Date(time));
        assert_eq!(place(at(98)), Ok(at(98)));
        assert_eq!(place(Wall::from_micros(at(98).as_micros() - 1)), Err(Why::Late));
        assert_eq!(place(now + Duration::from_secs(5)), Ok(at(100)));
        assert_eq!(place(now + Duration::from_secs(6)), Err(Why::Future));
        assert_eq!(place(Wall::from_micros(i64::MAX)), Err(Why::Calendar));
        assert_eq!(place(Wall::from_micros(-1)), Err(Why::Calendar));
        // A moment before the bucket closes, and that moment.
        assert_eq!(window.floor(Wall::from_micros(at(101).as_micros() - 1)), at(98));
        assert_eq!(window.floor(at(101)), at(99));
        let missing = window.place(floor, now, &Value::Null).unwrap_err().to_string();
        assert_eq!(missing, "expected a date, found null");
    }

    #[test]
    fn folding_closing_and_room() {
        let (plan, mut open) = (plan(), Open::with_room(3));
        let fold = |open: &mut Open, minute, group: &'static str, x| {
            open.fold(&plan, at(minute), &[Value::text(group)], &[Value::Int(x)])
                .unwrap()
        };
        assert_eq!(fold(&mut open, 1, "a", 1), Ok(()));
        assert_eq!(fold(&mut open, 1, "b", 2), Ok(()));
        assert_eq!(fold(&mut open, 2, "a", 3), Ok(()));
        assert_eq!(fold(&mut open, 2, "b", 4), Err(Full));
        assert_eq!(fold(&mut open, 1, "a", 5), Ok(()));
        assert_eq!((open.len(), open.oldest()), (3, Some(at(1))));

        let bad = open
            .fold(&plan, at(1), &[Value::text("a")], &[Value::text("x")])
            .unwrap_err();
        assert_eq!(bad.to_string(), "field `x`: expected a number, found a text");
        let bad = open.fold(&plan, at(1), &[Value::Other("a list")], &[]).unwrap_err();
        assert_eq!(bad.to_string(), "field `g`: expected a scalar, found a list");
        assert_eq!(open.len(), 3, "a bad document makes no group");

        let seen = |open: &mut Open| {
            let mut seen = Vec::new();
            open.changed(|bucket, group, rollup| {
                let measures: Vec<_> = rollup.finish(&plan).map(|(_, value)| value).collect();
                seen.push((bucket, group.values(), measures));
            });
            seen.sort_by_key(|(bucket, group, _)| (*bucket, format!("{group:?}")));
            seen
        };
        let int = |n| Value::Int(n);
        let expected = [
            (at(1), vec![Value::text("a")], vec![int(2), int(6)]),
            (at(1), vec![Value::text("b")], vec![int(1), int(2)]),
            (at(2), vec![Value::text("a")], vec![int(1), int(3)]),
        ];
        assert_eq!(seen(&mut open), expected);
        assert_eq!(seen(&mut open), []);

        assert_eq!(open.fold(&plan, at(1), &[Value::text("b")], &[]).unwrap(), Ok(()));
        let mut closed = open.close(at(2));
        closed.sort_by_key(|(placed, _)| placed.group.clone());
        let changed: Vec<_> = closed
            .iter()
            .map(|(placed, changed)| (placed.bucket, *changed))
            .collect();
        assert_eq!(changed, [(at(1), false), (at(1), true)]);
        assert_eq!((open.len(), open.oldest()), (1, Some(at(2))));
        for (placed, changed) in closed {
            open.merge(placed, changed).unwrap();
        }
        assert_eq!(open.len(), 3);
        assert_eq!(seen(&mut open).len(), 1);
    }

    #[test]
    fn the_bytes_of_what_is_open_are_known() {
        let fields: [Field; 1] = ["g".parse().unwrap()];
        let measures: [(&str, Measure); 2] = [("p", "p50(x)".parse().unwrap()), ("d", "distinct(x)".parse().unwrap())];
        let plan = Plan::new(&fields, measures.iter().map(|(name, measure)| (*name, measure))).unwrap();
        let mut open = Open::with_room(10);
        let fold = |open: &mut Open, minute, x: i64| {
            let x = [Value::Int(x)];
            open.fold(&plan, at(minute), &[Value::text("a")], &x).unwrap().unwrap();
        };
        fold(&mut open, 1, 1);
        let one = open.bytes();
        assert!((200..2_000).contains(&one), "{one}");
        // Each value fills eight bytes, and some a bin of sixteen.
        (0..1_000).for_each(|x| fold(&mut open, 1, x));
        let exact = open.bytes();
        assert!((one + 8_000..one + 40_000).contains(&exact), "{exact}");
        // Beyond a thousand they are an estimate, of one size.
        (1_000..1_100).for_each(|x| fold(&mut open, 1, x));
        let estimate = open.bytes();
        (1_100..1_200).for_each(|x| fold(&mut open, 1, x));
        assert!(open.bytes() <= estimate + 1_000, "{} of {estimate}", open.bytes());
        fold(&mut open, 2, 1);
        let before = open.bytes();
        let closed = open.close(at(2));
        assert_eq!(open.bytes(), one);
        for (placed, changed) in closed {
            open.merge(placed, changed).unwrap();
        }
        assert_eq!(open.bytes(), before);
        open.close(at(9));
        assert_eq!(open.bytes(), 0);
    }

    #[test]
    fn a_state_from_the_store_goes_on() {
        let (plan, mut open) = (plan(), Open::with_room(1));
        open.fold(&plan, at(1), &[Value::Int(7)], &[Value::Int(1)])
            .unwrap()
            .unwrap();
        let (placed, _) = open.close(at(9)).remove(0);
        open.merge(placed.clone(), false).unwrap();
        open.merge(placed.clone(), false).unwrap();
        let other = Placed {
            bucket: at(3),
            ..placed
        };
        let refused = open.merge(other, true).unwrap_err();
        assert_eq!(refused.bucket, at(3));
        let mut changed = 0;
        open.changed(|_, _, _| changed += 1);
        assert_eq!(changed, 0);
        assert_eq!(open.close(at(9))[0].0.rollup.documents(), 2);
    }
}
