//! What the event lane gathers between two times that it hands over. No lock, no allocation and no text for an event, but for
//! names that are new.

use compact_str::{CompactString, ToCompactString};
use rustc_hash::FxHashMap;

use super::super::tally::{NAMELESS, Name, Names};
use super::super::task::LONGEST;
use super::book::{Book, Cell, Label, Labels};
use super::buckets::{QUEUE_WAIT, RUNTIME};
use super::{OTHER, UNKNOWN_EXCEPTION};
use crate::celery::{TaskEvent, TaskKind};
use crate::detect::table::WorkerId;
use crate::time::Mono;

/// The most combinations of worker, task and queue that a lane keeps apart until it hands over; what comes beyond counts as
/// [`OTHER`]. One costs about 350 bytes.
pub(super) const MAX_ROWS: usize = 20_000;
/// The most hosts of producers that a lane keeps apart.
pub(super) const MAX_PRODUCERS: usize = 5_000;

/// The most names of senders that a lane remembers.
const MAX_HOSTNAMES: usize = 2 * MAX_ROWS;

/// Who sent an event.
#[derive(Clone, Copy, Debug)]
pub(in crate::stats) enum Source<'a> {
    /// A worker, and its node name.
    Worker(WorkerId, &'a str),
    /// Somebody who sends tasks, by a name such as `gen12@host`.
    Producer(&'a str),
}

/// What an event says of time, once it is joined to its task. In seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::stats) struct Heard {
    /// How long the task ran that has succeeded.
    pub(in crate::stats) runtime: Option<f64>,
    /// How long a task waited that was started, from when it was sent or was to begin.
    pub(in crate::stats) queue_wait: Option<f64>,
    /// What Flower's gauge of the time in the worker is set to.
    pub(in crate::stats) prefetch: Option<f64>,
}

/// The place of a sender: a worker's number, or a producer's with the highest bit set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place(u32);

impl Place {
    /// All that found no room.
    const OTHER: Self = Self(u32::MAX);

    const fn of_worker(worker: WorkerId) -> Self {
        Self(worker.get())
    }

    /// The highest bit is free: see [`WorkerId::END`].
    const fn of_producer(host: u32) -> Self {
        Self(WorkerId::END | host)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    place: Place,
    task: Name,
    queue: Name,
}

#[derive(Debug)]
struct Row {
    key: Key,
    cell: Cell,
    dirty: bool,
    prefetch: Option<f64>,
}

/// What has been gathered.
#[derive(Debug, Default)]
pub(in crate::stats) struct Gather {
    index: FxHashMap<Key, u32>,
    rows: Vec<Row>,
    dirty: Vec<u32>,
    /// Failures by their exception, of a row.
    failures: FxHashMap<(u32, Name), u64>,
    exceptions: Names,
    hostnames: FxHashMap<Place, CompactString>,
    producers: FxHashMap<CompactString, u32>,
    /// Events that counted as [`OTHER`] because there were too many rows.
    folded: u64,
}

impl Gather {
    /// Counts one event about a task whose name and queue are these.
    pub(in crate::stats) fn note(
        &mut self,
        source: Source<'_>,
        (task, queue): (Name, Name),
        event: &TaskEvent<'_>,
        heard: Heard,
    ) {
        let (place, hostname) = match source {
            Source::Worker(worker, hostname) => (Place::of_worker(worker), hostname),
            Source::Producer(name) => {
                let host = host(name);
                (self.producer(host), host)
            }
        };
        let key = Key { place, task, queue };
        let at = match self.index.get(&key) {
            Some(at) => *at,
            None => self.open(key, hostname),
        };
        let Some(row) = self.rows.get_mut(at as usize) else {
            return;
        };
        if !row.dirty {
            row.dirty = true;
            self.dirty.push(at);
        }
        row.cell.count(event.kind, 1);
        if let Some(seconds) = heard.runtime.filter(sane) {
            row.cell.runtime.add(&RUNTIME, seconds);
        }
        if let Some(seconds) = heard.queue_wait.filter(sane) {
            row.cell.queue_wait.add(&QUEUE_WAIT, seconds);
        }
        if heard.prefetch.is_some() {
            row.prefetch = heard.prefetch;
        }
        if event.kind == TaskKind::Failed {
            let exception = self.exceptions.of(event.exception.unwrap_or(UNKNOWN_EXCEPTION));
            *self.failures.entry((at, exception)).or_default() += 1;
        }
    }

    /// The name of a worker of which something has been counted.
    pub(in crate::stats) fn hostname(&self, worker: WorkerId) -> Option<&str> {
        self.hostnames.get(&Place::of_worker(worker)).map(CompactString::as_str)
    }

    /// Adds all to the book.
    pub(in crate::stats) fn hand_over(&mut self, now: Mono, (tasks, queues): (&Names, &Names), book: &mut Book) {
        let labels = |key: Key| {
            let hostname = self.hostnames.get(&key.place).map_or(OTHER, CompactString::as_str);
            Labels {
                hostname,
                is_producer: key.place.0 >= WorkerId::END && key.place != Place::OTHER,
                task: if key.place == Place::OTHER {
                    OTHER
                } else {
                    tasks.show(key.task)
                },
                queue: if key.place == Place::OTHER {
                    OTHER
                } else {
                    queues.show(key.queue)
                },
            }
        };
        for at in self.dirty.drain(..) {
            let Some(row) = self.rows.get_mut(at as usize) else {
                continue;
            };
            row.dirty = false;
            book.add(now, labels(row.key), &row.cell, row.prefetch.take());
            row.cell = Cell::default();
        }
        for ((at, exception), failures) in self.failures.drain() {
            if let Some(row) = self.rows.get(at as usize) {
                book.fail(labels(row.key), self.exceptions.show(exception), failures);
            }
        }
        book.fold(Label::Series, std::mem::take(&mut self.folded));
        // Their counts are in the book: what comes again makes a row again.
        let crowded = self.producers.len() >= MAX_PRODUCERS;
        if self.rows.len() >= MAX_ROWS / 2 || crowded {
            self.rows.clear();
            self.index.clear();
        }
        if crowded {
            self.producers.clear();
            // Their numbers are given anew.
            self.hostnames.retain(|place, _| place.0 < WorkerId::END);
        }
        if self.hostnames.len() >= MAX_HOSTNAMES {
            self.hostnames.clear();
            self.rows.clear();
            self.index.clear();
        }
    }

    /// A row for what has none yet.
    #[cold]
    fn open(&mut self, key: Key, hostname: &str) -> u32 {
        let key = if self.rows.len() < MAX_ROWS && key.place != Place::OTHER {
            key
        } else {
            self.folded += 1;
            Key {
                place: Place::OTHER,
                task: NAMELESS,
                queue: NAMELESS,
            }
        };
        if let Some(at) = self.index.get(&key) {
            return *at;
        }
        let at = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.rows.push(Row {
            key,
            cell: Cell::default(),
            dirty: false,
            prefetch: None,
        });
        self.index.insert(key, at);
        if key.place != Place::OTHER {
            self.hostnames
                .entry(key.place)
                .or_insert_with(|| hostname.to_compact_string());
        }
        at
    }

    fn producer(&mut self, host: &str) -> Place {
        if let Some(known) = self.producers.get(host) {
            return Place::of_producer(*known);
        }
        if self.producers.len() >= MAX_PRODUCERS {
            return Place::OTHER;
        }
        let number = u32::try_from(self.producers.len()).unwrap_or_default();
        self.producers.insert(host.to_compact_string(), number);
        Place::of_producer(number)
    }
}

/// The host in a producer's name, which is made of its process id and that: each process would make a series of its own.
fn host(name: &str) -> &str {
    name.split_once('@').map_or(name, |(_, host)| host)
}

fn sane(seconds: &f64) -> bool {
    (0.0..=LONGEST).contains(seconds)
}
