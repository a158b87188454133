//! Ids of tasks that are not to be run.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::time::Mono;

/// How many are kept, and for how long: Celery's own bounds. In memory only: after a restart of Headcount a task that was
/// revoked is run, unless another worker knows of it and tells (mingle).
const MAX_REVOKED: usize = 50_000;
const KEPT_FOR: Duration = Duration::from_secs(10_800);

/// The most bytes of ids that are kept. Celery's are UUIDs, of which so many take a fifth of it; but a command may name others.
const MAX_BYTES: usize = 8 << 20;

/// The ids, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Revoked {
    since: BTreeMap<String, Mono>,
    order: VecDeque<(Mono, String)>,
    /// Of the ids in the order.
    bytes: usize,
}

impl Revoked {
    pub(super) fn add(&mut self, id: &str, now: Mono) {
        self.since.insert(id.to_owned(), now);
        self.order.push_back((now, id.to_owned()));
        self.bytes += id.len();
        // An id that was revoked twice stands in the order twice, and only the later counts.
        while self.since.len() > MAX_REVOKED || self.order.len() > 2 * MAX_REVOKED || self.bytes > MAX_BYTES {
            self.drop_oldest();
        }
    }

    pub(super) fn contains(&self, id: &str, now: Mono) -> bool {
        self.since.get(id).is_some_and(|since| now.since(*since) < KEPT_FOR)
    }

    /// Those that still count.
    pub(super) fn ids(&mut self, now: Mono) -> Vec<String> {
        while self
            .order
            .front()
            .is_some_and(|(since, _)| now.since(*since) >= KEPT_FOR)
        {
            self.drop_oldest();
        }
        let current = |entry: &&(Mono, String)| self.since.get(&entry.1) == Some(&entry.0);
        self.order.iter().filter(current).map(|(_, id)| id.clone()).collect()
    }

    fn drop_oldest(&mut self) {
        let Some((since, id)) = self.order.pop_front() else {
            return;
        };
        self.bytes -= id.len();
        if self.since.get(&id) == Some(&since) {
            self.since.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ids_push_out_the_oldest() {
        let mut revoked = Revoked::default();
        let (now, long) = (Mono::default(), "x".repeat(MAX_BYTES / 2));
        for id in ["first", "second", &long] {
            revoked.add(id, now);
        }
        assert!(revoked.contains("first", now));
        revoked.add(&format!("{}y", &long[7..]), now);
        assert!(!revoked.contains("first", now) && revoked.contains("second", now) && revoked.contains(&long, now));
        revoked.add(&"z".repeat(MAX_BYTES + 1), now);
        assert_eq!(
            (revoked.ids(now).len(), revoked.bytes),
            (0, 0),
            "one that is too long is not kept"
        );
    }
}
