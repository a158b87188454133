//! The book of all series: what has been counted since Headcount started, by worker, task and queue.

use std::collections::BTreeMap;
use std::time::Duration;

use compact_str::{CompactString, ToCompactString};

use super::buckets::Buckets;
use super::{OTHER, UNKNOWN_QUEUE, UNKNOWN_TASK};
use crate::celery::TaskKind;
use crate::time::Mono;

/// The series of a worker that has been gone from the status model for so long end. Long enough for the aggregator to be
/// restarted, and for the fleets to report to it again.
pub const RETIRED_AFTER: Duration = Duration::from_secs(60);
/// The series of a producer, or of a worker that never was in the status model, end after so long without an event.
pub const UNSEEN_FOR: Duration = Duration::from_secs(24 * 3600);

/// The most values of each label that are kept apart; what comes beyond counts under [`OTHER`], and that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Workers, and hosts of producers (`hostname`, `worker`).
    pub workers: usize,
    /// Names of tasks (`name`, `task`).
    pub tasks: usize,
    /// Queues (`queue_name`).
    pub queues: usize,
    /// Classes of exceptions (`exception`).
    pub exceptions: usize,
    /// Combinations of worker, task and queue. Each makes about sixty lines of a scrape, 7 KB, and takes about 600 bytes.
    pub series: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            workers: 2_000,
            tasks: 500,
            queues: 200,
            exceptions: 100,
            series: 2_000,
        }
    }
}

/// A label that has a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// `hostname`, which Flower calls `worker`.
    Hostname,
    /// `name`, which Flower calls `task`.
    Name,
    /// `queue_name`.
    QueueName,
    /// `exception`.
    Exception,
    /// Not one label: all combinations of them.
    Series,
}

impl Label {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Hostname,
        Self::Name,
        Self::QueueName,
        Self::Exception,
        Self::Series,
    ];

    /// The label's name; `series` for their combinations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hostname => "hostname",
            Self::Name => "name",
            Self::QueueName => "queue_name",
            Self::Exception => "exception",
            Self::Series => "series",
        }
    }
}

/// What has been counted of one task in one queue at one worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    counts: [u64; TaskKind::ALL.len()],
    /// Of those that succeeded.
    pub runtime: Buckets,
    /// Of those that were started.
    pub queue_wait: Buckets,
    /// Failures by the class of their exception.
    failures: BTreeMap<CompactString, u64>,
}

impl Cell {
    /// How many events of this kind.
    pub fn of(&self, kind: TaskKind) -> u64 {
        self.counts.get(kind as usize).copied().unwrap_or_default()
    }

    /// Whether a worker has told of it, and not only a producer.
    pub fn is_at_worker(&self) -> bool {
        TaskKind::ALL
            .into_iter()
            .any(|kind| kind != TaskKind::Sent && self.of(kind) > 0)
    }

    /// Failures, by the class of their exception.
    pub fn failures(&self) -> impl Iterator<Item = (&str, u64)> {
        self.failures.iter().map(|(exception, n)| (exception.as_str(), *n))
    }

    pub(super) fn count(&mut self, kind: TaskKind, events: u64) {
        if let Some(count) = self.counts.get_mut(kind as usize) {
            *count += events;
        }
    }

    fn merge(&mut self, other: &Cell) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.runtime.merge(&other.runtime);
        self.queue_wait.merge(&other.queue_wait);
    }

    fn events(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// The labels of a row that a lane hands over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Labels<'a> {
    pub(super) hostname: &'a str,
    pub(super) is_producer: bool,
    pub(super) task: &'a str,
    pub(super) queue: &'a str,
}

/// One task at one worker.
#[derive(Clone, Debug, Default)]
pub struct TaskSeries {
    queues: BTreeMap<CompactString, Cell>,
    /// By the place of the broker: one name on two brokers is two workers under one label.
    held: BTreeMap<usize, u32>,
    prefetch: Option<f64>,
}

impl TaskSeries {
    /// By queue.
    pub fn queues(&self) -> impl Iterator<Item = (&str, &Cell)> {
        self.queues.iter().map(|(queue, cell)| (queue.as_str(), cell))
    }

    /// How many such tasks the worker has and has not begun; none where it never received any.
    pub fn held(&self) -> Option<u64> {
        let received = self.queues.values().any(|cell| cell.of(TaskKind::Received) > 0);
        received.then(|| self.held.values().copied().map(u64::from).sum())
    }

    /// How many seconds the last of them waited in the worker that was begun; zero once it has ended.
    pub const fn prefetch(&self) -> Option<f64> {
        self.prefetch
    }
}

/// Everything of one worker, or of one host of producers.
#[derive(Clone, Debug, Default)]
pub struct SourceSeries {
    tasks: BTreeMap<CompactString, TaskSeries>,
    is_producer: bool,
    /// When something was last added.
    last: Mono,
    /// It has been in the status model.
    known: bool,
    /// Since when it is there no longer.
    missing: Option<Mono>,
}

impl SourceSeries {
    /// By task.
    pub fn tasks(&self) -> impl Iterator<Item = (&str, &TaskSeries)> {
        self.tasks.iter().map(|(task, series)| (task.as_str(), series))
    }
}

/// The workers of the status model by name, each with the queue that it consumes if that is known to be exactly one.
pub type Known<'a> = BTreeMap<&'a str, Option<&'a str>>;

/// See the module.
#[derive(Debug, Default)]
pub struct Book {
    limits: Limits,
    sources: BTreeMap<CompactString, SourceSeries>,
    /// The one queue that a worker consumes: what it receives can come from no other.
    only_queues: BTreeMap<CompactString, CompactString>,
    tasks: Uses,
    queues: Uses,
    exceptions: Uses,
    cells: usize,
    folded: [u64; Label::ALL.len()],
    /// Brokers, each with the tasks that its workers were last said to hold.
    brokers: Vec<(CompactString, Vec<(CompactString, CompactString)>)>,
}

impl Book {
    /// An empty book.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Every worker and host of producers, by name.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &SourceSeries)> {
        self.sources.iter().map(|(name, source)| (name.as_str(), source))
    }

    /// How many events were counted under [`OTHER`] because this label has its most values.
    pub fn folded(&self, label: Label) -> u64 {
        self.folded.get(label as usize).copied().unwrap_or_default()
    }

    /// Takes who is in the status model. Ends the series of workers that have been gone for long from there, and of those that
    /// nobody knows and that say nothing; and remembers who consumes one queue alone.
    pub fn know(&mut self, now: Mono, known: &Known<'_>) {
        self.only_queues
            .retain(|name, _| known.get(name.as_str()).is_some_and(Option::is_some));
        for (name, queue) in known {
            if let Some(queue) = queue
                && self.only_queues.get(*name).is_none_or(|before| before != queue)
            {
                self.only_queues
                    .insert(name.to_compact_string(), queue.to_compact_string());
            }
        }
        let mut retired = Vec::new();
        for (name, source) in &mut self.sources {
            if name == OTHER {
                continue;
            }
            if known.contains_key(name.as_str()) {
                (source.known, source.missing) = (true, None);
            } else if source.known && !source.is_producer {
                let since = *source.missing.get_or_insert(now);
                if now.since(since) >= RETIRED_AFTER {
                    retired.push(name.clone());
                }
            } else if now.since(source.last) >= UNSEEN_FOR {
                retired.push(name.clone());
            }
        }
        for name in retired {
            if let Some(source) = self.sources.remove(&name) {
                self.release(&source);
            }
        }
    }

    /// Adds the counts of one row.
    pub(super) fn add(&mut self, now: Mono, labels: Labels<'_>, more: &Cell, prefetch: Option<f64>) {
        let events = more.events();
        let is_producer = labels.is_producer;
        let [hostname, task, queue] = self.place(labels, events);
        let source = self.sources.entry(hostname).or_default();
        source.last = now;
        // A name that both bear is a worker's.
        source.is_producer = is_producer && (source.tasks.is_empty() || source.is_producer);
        let series = match source.tasks.get_mut(&task) {
            Some(series) => series,
            None => {
                self.tasks.take(&task);
                source.tasks.entry(task).or_default()
            }
        };
        if prefetch.is_some() {
            series.prefetch = prefetch;
        }
        let cell = match series.queues.get_mut(&queue) {
            Some(cell) => cell,
            None => {
                self.queues.take(&queue);
                self.cells += 1;
                series.queues.entry(queue).or_default()
            }
        };
        cell.merge(more);
    }

    /// Notes with what exception failures of a row were, which has been added.
    pub(super) fn fail(&mut self, labels: Labels<'_>, exception: &str, failures: u64) {
        let [hostname, task, queue] = self.place(labels, 0);
        let exception = if self.exceptions.has_room(exception, self.limits.exceptions) {
            exception
        } else {
            self.fold(Label::Exception, failures);
            OTHER
        };
        let series = self.sources.get_mut(&hostname).and_then(|s| s.tasks.get_mut(&task));
        let Some(cell) = series.and_then(|series| series.queues.get_mut(&queue)) else {
            return;
        };
        if !cell.failures.contains_key(exception) {
            self.exceptions.take(exception);
        }
        *cell.failures.entry(exception.to_compact_string()).or_default() += failures;
    }

    /// Counts events that had to be counted under [`OTHER`].
    pub(super) fn fold(&mut self, label: Label, events: u64) {
        if let Some(folded) = self.folded.get_mut(label as usize) {
            *folded += events;
        }
    }

    /// Takes how many tasks, by name, the workers of one broker have and have not begun: all of them, so that who is not named
    /// has none.
    pub(in crate::stats) fn hold<'a>(&mut self, broker: &str, held: impl Iterator<Item = (&'a str, &'a str, u32)>) {
        let place = match self.brokers.iter().position(|(name, _)| name == broker) {
            Some(place) => place,
            None => {
                self.brokers.push((broker.to_compact_string(), Vec::new()));
                self.brokers.len() - 1
            }
        };
        let Some((_, before)) = self.brokers.get_mut(place) else {
            return;
        };
        for (hostname, task) in before.drain(..) {
            if let Some(series) = self.sources.get_mut(&hostname).and_then(|s| s.tasks.get_mut(&task)) {
                series.held.insert(place, 0);
            }
        }
        for (hostname, task, n) in held {
            let task = or(task, UNKNOWN_TASK);
            // What was folded is told by nobody's name.
            if let Some(series) = self.sources.get_mut(hostname).and_then(|s| s.tasks.get_mut(task)) {
                *series.held.entry(place).or_default() += n;
                before.push((hostname.to_compact_string(), task.to_compact_string()));
            }
        }
    }

    /// Under which labels a row counts.
    fn place(&mut self, labels: Labels<'_>, events: u64) -> [CompactString; 3] {
        let mut hostname = labels.hostname;
        let only = self.only_queues.get(hostname).filter(|_| !labels.is_producer).cloned();
        let unknown = only.as_deref().unwrap_or(UNKNOWN_QUEUE);
        let (mut task, mut queue) = (or(labels.task, UNKNOWN_TASK), or(labels.queue, unknown));
        if !self.sources.contains_key(hostname) && self.sources.len() >= self.limits.workers {
            self.fold(Label::Hostname, events);
            hostname = OTHER;
        }
        if !self.tasks.has_room(task, self.limits.tasks) {
            self.fold(Label::Name, events);
            task = OTHER;
        }
        if !self.queues.has_room(queue, self.limits.queues) {
            self.fold(Label::QueueName, events);
            queue = OTHER;
        }
        if self.cells >= self.limits.series {
            let of_task = self.sources.get(hostname).and_then(|source| source.tasks.get(task));
            if !of_task.is_some_and(|series| series.queues.contains_key(queue)) {
                self.fold(Label::Series, events);
                (hostname, task, queue) = (OTHER, OTHER, OTHER);
            }
        }
        [hostname, task, queue].map(|label| label.to_compact_string())
    }

    fn release(&mut self, source: &SourceSeries) {
        for (task, series) in &source.tasks {
            self.tasks.give_back(task);
            for (queue, cell) in &series.queues {
                self.queues.give_back(queue);
                self.cells = self.cells.saturating_sub(1);
                for exception in cell.failures.keys() {
                    self.exceptions.give_back(exception);
                }
            }
        }
    }
}

#[cfg(test)]
impl Book {
    pub(super) fn cells(&self) -> usize {
        self.cells
    }

    pub(super) fn names_in_use(&self) -> [usize; 3] {
        [&self.tasks, &self.queues, &self.exceptions].map(|uses| uses.0.len())
    }
}

fn or<'a>(text: &'a str, unknown: &'a str) -> &'a str {
    if text.is_empty() { unknown } else { text }
}

/// The values of one label, and how often each is used.
#[derive(Debug, Default)]
struct Uses(BTreeMap<CompactString, usize>);

impl Uses {
    fn has_room(&self, value: &str, most: usize) -> bool {
        self.0.len() < most || self.0.contains_key(value)
    }

    fn take(&mut self, value: &str) {
        match self.0.get_mut(value) {
            Some(uses) => *uses += 1,
            None => drop(self.0.insert(value.to_compact_string(), 1)),
        }
    }

    fn give_back(&mut self, value: &str) {
        if let Some(uses) = self.0.get_mut(value) {
            *uses -= 1;
            if *uses == 0 {
                self.0.remove(value);
            }
        }
    }
}
