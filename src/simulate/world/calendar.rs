//! What will happen, in the order of time; what falls on one moment happens in the order in which it was entered.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A moment of the simulated world, in microseconds since its beginning.
pub type Moment = u64;

/// One millisecond, in [`Moment`]s.
pub const MS: Moment = 1_000;
/// One second.
pub const SEC: Moment = 1_000 * MS;
/// One minute.
pub const MIN: Moment = 60 * SEC;
/// One hour.
pub const HOUR: Moment = 60 * MIN;
/// Never.
pub const NEVER: Moment = Moment::MAX;

/// The calendar.
#[derive(Debug)]
pub(super) struct Calendar<T> {
    entries: BinaryHeap<Reverse<Entry<T>>>,
    entered: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: Moment,
    order: u64,
    what: T,
}

impl<T> Calendar<T> {
    pub(super) fn new() -> Self {
        Self {
            entries: BinaryHeap::new(),
            entered: 0,
        }
    }

    pub(super) fn enter(&mut self, at: Moment, what: T) {
        let order = self.entered;
        self.entered += 1;
        self.entries.push(Reverse(Entry { at, order, what }));
    }

    /// When the next thing happens.
    pub(super) fn next_at(&self) -> Moment {
        self.entries.peek().map_or(NEVER, |Reverse(entry)| entry.at)
    }

    pub(super) fn pop(&mut self) -> Option<(Moment, T)> {
        self.entries.pop().map(|Reverse(entry)| (entry.at, entry.what))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
