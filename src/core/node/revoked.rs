//! Ids of tasks that are not to be run.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::time::Mono;

/// How many are kept, and for how long: Celery's own bounds. In memory only: after a restart of Headcount a task that was
/// revoked is run, unless other workers know of it and it comes to them.
const MAX_REVOKED: usize = 50_000;
const KEPT_FOR: Duration = Duration::from_secs(10_800);

/// The ids, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Revoked {
    since: BTreeMap<String, Mono>,
    order: VecDeque<(Mono, String)>,
}

impl Revoked {
    pub(super) fn add(&mut self, id: &str, now: Mono) {
        self.since.insert(id.to_owned(), now);
        self.order.push_back((now, id.to_owned()));
        // An id that was revoked twice stands in the order twice, and only the later counts.
        while self.since.len() > MAX_REVOKED || self.order.len() > 2 * MAX_REVOKED {
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
        if let Some((since, id)) = self.order.pop_front()
            && self.since.get(&id) == Some(&since)
        {
            self.since.remove(&id);
        }
    }
}
