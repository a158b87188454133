//! Counts task events by fleet, name, outcome and minute, on the event lane.
//!
//! Only `task-sent` and `task-received` carry a task's name; what follows is joined by the task's id.

use std::collections::VecDeque;

use compact_str::{CompactString, ToCompactString};
use rustc_hash::FxHashMap;

use super::TaskCount;
use crate::celery::{TaskEvent, TaskKind};
use crate::detect::table::FleetIndex;
use crate::hash::fnv1a;
use crate::time::Wall;

/// The most tasks whose name is remembered until they end; of the oldest beyond it the later events count without a
/// name. Each costs about 60 bytes.
pub const MAX_IN_FLIGHT: usize = 200_000;
/// The most task names that are kept apart; further ones count as [`OTHER`].
pub const MAX_NAMES: usize = 5_000;
/// The longest name that is kept whole, in bytes.
pub const MAX_NAME: usize = 200;
/// The name that stands for all beyond [`MAX_NAMES`].
pub const OTHER: &str = "other";

/// Microseconds of a minute.
const MINUTE: i64 = 60_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Name(u32);

/// The place of the empty name: a task whose `task-received` was not seen.
const NAMELESS: Name = Name(0);

/// The counts since the last drain, and the names of the tasks that are under way.
#[derive(Debug)]
pub struct Tally {
    names: Vec<CompactString>,
    index: FxHashMap<CompactString, Name>,
    in_flight: FxHashMap<u64, Name>,
    order: VecDeque<u64>,
    counts: FxHashMap<(FleetIndex, Name, TaskKind, i64), u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            names: vec![CompactString::default()],
            index: FxHashMap::default(),
            in_flight: FxHashMap::default(),
            order: VecDeque::new(),
            counts: FxHashMap::default(),
        }
    }
}

impl Tally {
    /// Counts one event of a worker of `fleet` that arrived at `now`.
    pub fn count(&mut self, now: Wall, fleet: FleetIndex, event: &TaskEvent<'_>) {
        let key = hash(event.uuid);
        let name = match event.name {
            Some(name) => {
                let name = self.name(name);
                self.remember(key, name);
                name
            }
            None => self.in_flight.get(&key).copied().unwrap_or(NAMELESS),
        };
        if is_end(event.kind) {
            self.in_flight.remove(&key);
        }
        let minute = now.as_micros().div_euclid(MINUTE);
        *self.counts.entry((fleet, name, event.kind, minute)).or_insert(0) += 1;
    }

    /// Whether nothing has been counted since the last drain.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Hands over all counts; `fleet` gives the name of a fleet.
    pub fn drain(&mut self, fleet: impl Fn(FleetIndex) -> CompactString) -> Vec<TaskCount> {
        let names = &self.names;
        self.counts
            .drain()
            .map(|((index, name, outcome, minute), count)| TaskCount {
                fleet: fleet(index),
                task: names.get(name.0 as usize).cloned().unwrap_or_default(),
                outcome,
                minute: Wall::from_micros(minute.saturating_mul(MINUTE)),
                count,
            })
            .collect()
    }

    fn name(&mut self, name: &str) -> Name {
        let name = cut(name);
        if let Some(known) = self.index.get(name) {
            return *known;
        }
        let name = if self.names.len() > MAX_NAMES { OTHER } else { name };
        if let Some(known) = self.index.get(name) {
            return *known;
        }
        let place = Name(u32::try_from(self.names.len()).unwrap_or(NAMELESS.0));
        self.names.push(name.to_compact_string());
        self.index.insert(name.to_compact_string(), place);
        place
    }

    fn remember(&mut self, key: u64, name: Name) {
        if self.in_flight.insert(key, name).is_none() {
            self.order.push_back(key);
        }
        // What has ended is still in the order: it goes when its turn comes.
        while self.order.len() > MAX_IN_FLIGHT {
            if let Some(oldest) = self.order.pop_front() {
                self.in_flight.remove(&oldest);
            }
        }
    }
}

fn is_end(kind: TaskKind) -> bool {
    matches!(
        kind,
        TaskKind::Succeeded | TaskKind::Failed | TaskKind::Revoked | TaskKind::Rejected
    )
}

/// The longest beginning of at most [`MAX_NAME`] bytes.
fn cut(name: &str) -> &str {
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// 64 bits of an id: with 200,000 under way, two share one with a probability of 10⁻⁹.
fn hash(uuid: &str) -> u64 {
    fnv1a(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::roster::Roster;
    use crate::detect::table::WorkerTable;
    use crate::time::Mono;

    fn event<'a>(kind: TaskKind, uuid: &'a str, name: Option<&'a str>) -> TaskEvent<'a> {
        TaskEvent {
            hostname: "sms@h",
            ..TaskEvent::sample(kind, uuid, name)
        }
    }

    fn fleet() -> FleetIndex {
        let mut table = WorkerTable::new(Roster::discovering());
        let beat = crate::celery::WorkerEvent {
            kind: crate::celery::WorkerKind::Online,
            hostname: "sms@h",
            pid: None,
            clock: None,
            timestamp: None,
            freq: None,
            active: None,
            processed: None,
            sw_ident: None,
            sw_ver: None,
            sw_sys: None,
        };
        table.worker(Mono::default(), &beat);
        table
            .task(Mono::default(), &event(TaskKind::Started, "u", None))
            .unwrap()
    }

    #[test]
    fn what_follows_is_joined_by_the_id() {
        let (mut tally, fleet) = (Tally::default(), fleet());
        let noon = Wall::from_micros(12 * 3600 * 1_000_000 + 5);
        tally.count(noon, fleet, &event(TaskKind::Received, "u1", Some("sms.send")));
        tally.count(noon, fleet, &event(TaskKind::Succeeded, "u1", None));
        tally.count(noon, fleet, &event(TaskKind::Succeeded, "u1", None));
        tally.count(noon, fleet, &event(TaskKind::Failed, "u2", None));
        let mut counts = tally.drain(|_| "sms".into());
        counts.sort_by(|a, b| (a.outcome, &a.task).cmp(&(b.outcome, &b.task)));
        let seen: Vec<_> = counts.iter().map(|c| (c.task.as_str(), c.outcome, c.count)).collect();
        assert_eq!(
            seen,
            [
                ("sms.send", TaskKind::Received, 1),
                ("", TaskKind::Succeeded, 1),
                ("sms.send", TaskKind::Succeeded, 1),
                ("", TaskKind::Failed, 1)
            ]
        );
        assert!(
            counts
                .iter()
                .all(|c| c.minute == Wall::from_micros(12 * 3600 * 1_000_000))
        );
        assert!(tally.is_empty());
    }

    #[test]
    fn names_and_tasks_are_bounded() {
        let (mut tally, fleet) = (Tally::default(), fleet());
        let now = Wall::default();
        for n in 0..MAX_IN_FLIGHT + 100 {
            let (uuid, name) = (n.to_string(), format!("task{}", n % (MAX_NAMES + 50)));
            tally.count(now, fleet, &event(TaskKind::Received, &uuid, Some(&name)));
        }
        assert_eq!(tally.in_flight.len(), MAX_IN_FLIGHT);
        assert!(tally.names.len() <= MAX_NAMES + 2);
        assert!(tally.drain(|_| "sms".into()).iter().any(|count| count.task == OTHER));
    }
}
