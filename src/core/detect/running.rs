//! The tasks of one worker that are under way, so that those which it leaves behind can be named.

use std::hash::Hasher;

use compact_str::{CompactString, ToCompactString};
use rustc_hash::{FxHashMap, FxHasher};

use super::sighting::Unfinished;
use crate::celery::{TaskEvent, TaskKind};

/// The most tasks of one worker that are kept; of further ones each takes the place of another. Each costs 13 bytes.
/// Raising it makes each event of a worker with so many cost more: they are looked through.
pub const MAX_TASKS: usize = 128;
/// The most task names that are kept apart; tasks of further ones have none.
pub const MAX_TASK_NAMES: usize = 5_000;
/// The longest task name that is kept, in bytes; tasks with longer ones have none.
const MAX_TASK_NAME: usize = 200;
/// So many names of unfinished tasks are told.
const MAX_TOLD: usize = 5;

/// A task's name, as a place in [`TaskNames`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name(u16);

/// Of a task whose `task-received` was not heard.
const NAMELESS: Name = Name(u16::MAX);
const _: () = assert!(MAX_TASK_NAMES < u16::MAX as usize);

/// The names of all workers' tasks.
#[derive(Debug, Default)]
pub(super) struct TaskNames {
    names: Vec<CompactString>,
    index: FxHashMap<CompactString, Name>,
}

impl TaskNames {
    /// The place of a name. No allocation, but for one that is new.
    fn of(&mut self, name: Option<&str>) -> Name {
        let Some(name) = name.filter(|name| name.len() <= MAX_TASK_NAME) else {
            return NAMELESS;
        };
        if let Some(known) = self.index.get(name) {
            return *known;
        }
        let place = u16::try_from(self.names.len()).unwrap_or(u16::MAX);
        if self.names.len() >= MAX_TASK_NAMES {
            return NAMELESS;
        }
        self.names.push(name.to_compact_string());
        self.index.insert(name.to_compact_string(), Name(place));
        Name(place)
    }

    fn text(&self, name: Name) -> Option<&CompactString> {
        self.names.get(usize::from(name.0))
    }
}

/// One worker's tasks that were received and have not ended. Looked through for each event: a worker holds a few, and
/// their ids lie together.
#[derive(Clone, Debug, Default)]
pub(super) struct Running {
    /// 64 bits of each id.
    ids: Vec<u64>,
    tasks: Vec<(Name, bool)>,
    begun: u32,
    /// Whose place the next takes, when there is no room.
    next: usize,
}

impl Running {
    /// Takes an event of a task of this worker.
    pub(super) fn fold(&mut self, names: &mut TaskNames, event: &TaskEvent<'_>) {
        let id = hash(event.uuid);
        match event.kind {
            TaskKind::Received => {
                if self.place(id).is_none() {
                    self.add(id, names.of(event.name), false);
                }
            }
            TaskKind::Started => match self.place(id).and_then(|place| self.tasks.get_mut(place)) {
                Some((_, begun)) => {
                    self.begun += u32::from(!*begun);
                    *begun = true;
                }
                None => self.add(id, NAMELESS, true),
            },
            TaskKind::Succeeded
            | TaskKind::Failed
            | TaskKind::Retried
            | TaskKind::Revoked
            | TaskKind::Rejected
            | TaskKind::Cancelled => {
                if let Some(place) = self.place(id) {
                    self.ids.swap_remove(place);
                    let (_, begun) = self.tasks.swap_remove(place);
                    self.begun -= u32::from(begun);
                }
            }
            TaskKind::Sent | TaskKind::Custom => {}
        }
    }

    /// How many have begun and not ended.
    pub(super) fn begun(&self) -> u32 {
        self.begun
    }

    /// Forgets all: another process took the place of the one that had them, or their ends were not heard.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.tasks.clear();
        self.begun = 0;
    }

    /// Those that have begun and not ended, by name, the most frequent first.
    pub(super) fn unfinished(&self, names: &TaskNames) -> Unfinished {
        let mut begun: Vec<Name> = self
            .tasks
            .iter()
            .filter(|(_, begun)| *begun)
            .map(|(name, _)| *name)
            .collect();
        begun.sort_unstable();
        let mut counted: Vec<(CompactString, u32)> = begun
            .chunk_by(|a, b| a == b)
            .filter_map(|same| Some((names.text(*same.first()?)?.clone(), u32::try_from(same.len()).ok()?)))
            .collect();
        counted.sort_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
        counted.truncate(MAX_TOLD);
        Unfinished {
            total: self.begun,
            names: counted,
        }
    }

    fn place(&self, id: u64) -> Option<usize> {
        self.ids.iter().position(|known| *known == id)
    }

    fn add(&mut self, id: u64, name: Name, begun: bool) {
        if self.ids.len() < MAX_TASKS {
            self.ids.push(id);
            self.tasks.push((name, begun));
        } else {
            self.next = (self.next + 1) % MAX_TASKS;
            if let (Some(old), Some(task)) = (self.ids.get_mut(self.next), self.tasks.get_mut(self.next)) {
                self.begun -= u32::from(task.1);
                (*old, *task) = (id, (name, begun));
            }
        }
        self.begun += u32::from(begun);
    }
}

/// 64 bits of an id: among a worker's [`MAX_TASKS`], two share one with a probability of 10⁻¹⁵.
fn hash(uuid: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(uuid.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event<'a>(kind: TaskKind, uuid: &'a str, name: Option<&'a str>) -> TaskEvent<'a> {
        TaskEvent {
            kind,
            hostname: "sms@h1",
            timestamp: None,
            uuid,
            name,
            queue: None,
            runtime: None,
            has_eta: false,
            retries: 0,
        }
    }

    fn words(running: &Running, names: &TaskNames) -> String {
        let (count, names) = running.unfinished(names).in_words();
        count + &names
    }

    #[test]
    fn what_has_begun_and_not_ended_is_named() {
        let (mut names, mut running) = (TaskNames::default(), Running::default());
        for (uuid, name) in [
            ("a", "sms.send"),
            ("b", "sms.purge"),
            ("c", "sms.send"),
            ("d", "sms.send"),
        ] {
            running.fold(&mut names, &event(TaskKind::Received, uuid, Some(name)));
        }
        for uuid in ["a", "b", "c", "e"] {
            running.fold(&mut names, &event(TaskKind::Started, uuid, None));
        }
        assert_eq!(words(&running, &names), "4 tasks: sms.send x2, sms.purge, 1 other");
        running.fold(&mut names, &event(TaskKind::Retried, "a", None));
        running.fold(&mut names, &event(TaskKind::Succeeded, "b", None));
        running.fold(&mut names, &event(TaskKind::Succeeded, "unknown", None));
        running.fold(&mut names, &event(TaskKind::Failed, "e", None));
        assert_eq!(words(&running, &names), "1 task: sms.send");
    }

    proptest! {
        /// Whatever comes, in whatever order: the bounds hold, and as many are told as there are.
        #[test]
        fn bounds_hold(events in prop::collection::vec((0_u8..8, 0_u16..400), 0..2_000)) {
            let kinds = [
                TaskKind::Received, TaskKind::Received, TaskKind::Started, TaskKind::Started,
                TaskKind::Succeeded, TaskKind::Failed, TaskKind::Retried, TaskKind::Custom,
            ];
            let (mut names, mut running) = (TaskNames::default(), Running::default());
            for (kind, id) in events {
                let (id, name) = (id.to_string(), format!("t{}", id % 7));
                running.fold(&mut names, &event(kinds[usize::from(kind)], &id, Some(&name)));
                prop_assert!(running.ids.len() <= MAX_TASKS && running.ids.len() == running.tasks.len());
                let begun = running.tasks.iter().filter(|(_, begun)| *begun).count();
                prop_assert_eq!(running.begun() as usize, begun);
            }
            let told = running.unfinished(&names);
            prop_assert!(told.names.iter().map(|(_, n)| n).sum::<u32>() <= told.total);
        }
    }
}
