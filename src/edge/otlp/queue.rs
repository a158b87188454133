//! What waits to be sent: bounded in number and in bytes, and what does not fit is counted.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::meters::Drops;

/// Something that takes up memory while it waits.
pub(super) trait Weighs {
    /// About so many bytes.
    fn bytes(&self) -> usize;
}

/// A queue of one signal. The newest is dropped where there is no room: what has waited longest tells how it began.
pub(super) struct Queue<T> {
    held: Mutex<Held<T>>,
    /// Rung when a batch is full.
    pub(super) full: Notify,
    drops: Drops,
    limits: Limits,
}

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// So many.
    pub(super) items: usize,
    /// So many bytes.
    pub(super) bytes: usize,
    /// So many are sent at once.
    pub(super) batch: usize,
    /// So many bytes are sent at once.
    pub(super) batch_bytes: usize,
}

struct Held<T> {
    items: VecDeque<T>,
    bytes: usize,
}

impl<T: Weighs> Queue<T> {
    pub(super) fn new(limits: Limits, drops: Drops) -> Self {
        Self {
            held: Mutex::new(Held {
                items: VecDeque::new(),
                bytes: 0,
            }),
            full: Notify::new(),
            drops,
            limits,
        }
    }

    /// Puts something in. It never waits for more than the moment in which somebody else does the same.
    pub(super) fn push(&self, item: T) {
        let bytes = item.bytes();
        let mut held = self.held();
        if held.items.len() >= self.limits.items || held.bytes + bytes > self.limits.bytes {
            drop(held);
            self.drops.add(1);
            return;
        }
        held.bytes += bytes;
        held.items.push_back(item);
        let full = held.items.len() >= self.limits.batch;
        drop(held);
        if full {
            self.full.notify_one();
        }
    }

    /// Takes the oldest: as many as are sent at once.
    pub(super) fn take(&self) -> Vec<T> {
        let mut held = self.held();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(item) = held.items.front() {
            let more = item.bytes();
            let room = batch.is_empty() || bytes + more <= self.limits.batch_bytes;
            if batch.len() >= self.limits.batch || !room {
                break;
            }
            bytes += more;
            batch.extend(held.items.pop_front());
        }
        held.bytes = held.bytes.saturating_sub(bytes);
        batch
    }

    /// Drops all that waits, counts it, and says how much that was.
    pub(super) fn clear(&self) -> usize {
        let mut held = self.held();
        let left = held.items.len();
        held.items.clear();
        held.bytes = 0;
        drop(held);
        self.drops.add(left);
        left
    }

    fn held(&self) -> MutexGuard<'_, Held<T>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headcount_actors::meters::otlp::{OtlpMeters, Signal};

    impl Weighs for &'static str {
        fn bytes(&self) -> usize {
            self.len()
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let meters = OtlpMeters::default();
        let limits = Limits {
            items: 3,
            bytes: 10,
            batch: 2,
            batch_bytes: 6,
        };
        let queue = Queue::new(limits, Drops::of(&meters, Signal::Logs));
        let dropped = || OtlpMeters::of(&meters.dropped, Signal::Logs).get();
        ["aaaa", "bbbb", "cccc"].into_iter().for_each(|item| queue.push(item));
        assert_eq!(dropped(), 1, "twelve bytes are too many");
        ["c", "d"].into_iter().for_each(|item| queue.push(item));
        assert_eq!(dropped(), 2, "four are too many");
        assert_eq!(queue.take(), ["aaaa"], "with the next it would be eight bytes");
        assert_eq!(queue.take(), ["bbbb", "c"]);
        queue.push("longer");
        assert_eq!(queue.take(), ["longer"], "one always goes");
        queue.push("left");
        queue.clear();
        assert_eq!((dropped(), queue.take().len()), (3, 0));
    }
}
