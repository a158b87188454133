//! Counts task events by fleet, name, queue, outcome and minute, on the event lane, and measures how long the tasks waited
//! and ran.
//!
//! Only `task-sent` and `task-received` carry a task's name, and only `task-sent` its queue; what follows is joined by the
//! task's id. A `task-sent` comes from another process than the others, and may come after them; and the second attempt at a
//! task may be received by another worker, and heard of before the first has ended.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::hash::Hasher;

use compact_str::{CompactString, ToCompactString};
use rustc_hash::{FxHashMap, FxHasher};

use super::bucket::Width;
use super::series::{Book, Gather, Heard, Source};
use super::task::{TaskKey, TaskRollup, Times};
use crate::celery::{TaskEvent, TaskKind, WorkerEvent, WorkerKind};
use crate::detect::table::{FleetIndex, Seat, WorkerId};
use crate::time::{Mono, Wall};

/// The most tasks that are followed until they end; of the oldest beyond it the later events count without a name, and
/// nothing is measured of them. Each costs about 200 bytes.
pub const MAX_IN_FLIGHT: usize = 200_000;
/// The most task names, and queues, that are kept apart; further ones count as [`OTHER`].
pub const MAX_NAMES: usize = 5_000;
/// The longest name that is kept whole, in bytes.
pub const MAX_NAME: usize = 200;
/// The name that stands for all beyond [`MAX_NAMES`].
pub const OTHER: &str = "other";
/// The most rows between two drains; what would make more counts without its queue, as [`OTHER`] of its fleet. A row costs
/// about 100 bytes, and where a run ended some 500 more.
pub const MAX_ROWS: usize = 20_000;
/// Room beyond it for those others: of every fleet and outcome one. What finds no room there either is lost, and counted.
const MAX_OTHERS: usize = 10_000;

/// Microseconds of a minute.
const MINUTE: i64 = 60_000_000;

/// A name's place in [`Names`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Name(u16);

/// The place of the empty name: a task of which nothing was seen that carries it.
pub(super) const NAMELESS: Name = Name(0);
const _: () = assert!(MAX_NAMES + 2 < u16::MAX as usize);

/// Names of one kind, each kept once.
#[derive(Debug)]
pub(super) struct Names {
    names: Vec<CompactString>,
    index: FxHashMap<CompactString, Name>,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            names: vec![CompactString::default()],
            index: FxHashMap::default(),
        }
    }
}

impl Names {
    /// The place of a name. No allocation, but for one that is new.
    pub(super) fn of(&mut self, name: &str) -> Name {
        let name = cut(name);
        if name.is_empty() {
            return NAMELESS;
        }
        if let Some(known) = self.index.get(name) {
            return *known;
        }
        let name = if self.names.len() > MAX_NAMES { OTHER } else { name };
        if let Some(known) = self.index.get(name) {
            return *known;
        }
        let place = Name(u16::try_from(self.names.len()).unwrap_or(NAMELESS.0));
        self.names.push(name.to_compact_string());
        self.index.insert(name.to_compact_string(), place);
        place
    }

    fn text(&self, name: Name) -> CompactString {
        self.names.get(usize::from(name.0)).cloned().unwrap_or_default()
    }

    pub(super) fn show(&self, name: Name) -> &str {
        self.names.get(usize::from(name.0)).map_or("", CompactString::as_str)
    }
}

/// A sender's clock, in seconds since the epoch, or a number of seconds; NaN where it is not known, so that it takes eight bytes
/// and whatever is computed with it is not known either.
#[derive(Clone, Copy, Debug)]
struct Seconds(f64);

impl Default for Seconds {
    fn default() -> Self {
        Self(f64::NAN)
    }
}

impl Seconds {
    fn of(seconds: Option<f64>) -> Self {
        seconds.map_or(Self::default(), Self)
    }

    /// From then to another moment; not known where the clocks contradict each other.
    fn until(self, end: Self) -> Self {
        let span = end.0 - self.0;
        if span >= 0.0 { Self(span) } else { Self::default() }
    }

    fn known(self) -> Option<f64> {
        (!self.0.is_nan()).then_some(self.0)
    }
}

/// One attempt at a task, from when a worker has it.
#[derive(Debug, Default)]
struct Attempt {
    /// How many there were before it.
    number: u16,
    /// It was to wait (an ETA, a countdown): how long it did says nothing.
    waits: bool,
    received: Seconds,
    started: Seconds,
    /// How long it was from sent to received.
    queued: Seconds,
    sent: Seconds,
    /// What it waits for.
    eta: Seconds,
}

/// When an attempt was sent that has not been received yet.
#[derive(Debug, Default)]
struct Sent {
    at: Seconds,
    attempt: u16,
}

/// A task that has not ended. All of it lies in one place: among tasks that are retried it is usual that one attempt overtakes
/// another.
#[derive(Debug, Default)]
struct Flight {
    task: Name,
    queue: Name,
    /// The newest first. The second attempt may be sent before it is heard that the first was received.
    sent: [Sent; 2],
    now: Attempt,
    /// An attempt whose end has not been heard, though the next has been received: by another worker, whose events came first.
    overtaken: Option<Attempt>,
    /// Who received it last, and the how manieth of all events that was.
    holder: Option<(WorkerId, u64)>,
}

/// What is counted together. Ordered by nothing: it is a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct RowKey {
    minute: i64,
    fleet: FleetIndex,
    task: Name,
    queue: Name,
    outcome: TaskKind,
}

#[derive(Debug, Default)]
struct Row {
    count: u64,
    /// Made for the first event that ends a run.
    times: Option<Box<Times>>,
}

/// The counts since the last drain, and the tasks that are under way.
#[derive(Debug)]
pub struct Tally {
    names: Names,
    queues: Names,
    in_flight: FxHashMap<u64, Flight>,
    /// In the order in which they were first heard of; some have ended.
    order: VecDeque<u64>,
    rows: FxHashMap<RowKey, Row>,
    lost: u64,
    /// The same events, by worker: for a scraper, if there shall be any for it.
    series: Option<Gather>,
    /// How many events there have been.
    events: u64,
    /// When workers last began anew, by that number: what they held before they hold no longer.
    anew: FxHashMap<WorkerId, u64>,
    /// How often series were handed over since it was last counted who holds how many tasks.
    uncounted: u32,
}

/// With more tasks under way than this it is not counted each time who holds them, but once in [`RARELY`] times: looking at
/// [`MAX_IN_FLIGHT`] takes some ten milliseconds.
const FEW: usize = 20_000;
/// See [`FEW`].
const RARELY: u32 = 10;
/// Of so many workers it is remembered when they began anew.
const MAX_ANEW: usize = 20_000;

impl Default for Tally {
    fn default() -> Self {
        Self {
            series: Some(Gather::default()),
            ..Self::without_series()
        }
    }
}

impl Tally {
    /// One that gathers nothing for scrapers.
    pub fn without_series() -> Self {
        Self {
            names: Names::default(),
            queues: Names::default(),
            in_flight: FxHashMap::default(),
            order: VecDeque::new(),
            rows: FxHashMap::default(),
            lost: 0,
            series: None,
            events: 0,
            anew: FxHashMap::default(),
            uncounted: 0,
        }
    }

    /// Takes one event of a worker about itself: whoever starts, or leaves, holds no tasks any more.
    pub fn worker(&mut self, seat: Option<Seat>, event: &WorkerEvent<'_>) {
        if let Some(seat) = seat
            && event.kind != WorkerKind::Heartbeat
        {
            if self.anew.len() >= MAX_ANEW {
                self.anew.clear();
            }
            self.anew.insert(seat.worker, self.events);
        }
    }

    /// Counts one event that arrived at `now` from the worker in `seat`. Without one only a `task-sent` is of use, whose sender
    /// is a producer: the task is remembered, and it is counted for scrapers alone.
    pub fn count(&mut self, now: Wall, seat: Option<Seat>, event: &TaskEvent<'_>) {
        if seat.is_none() && event.kind != TaskKind::Sent {
            return;
        }
        self.events += 1;
        let id = hash(event.uuid);
        let mut times = [None; 3];
        let mut heard = Heard::default();
        let (task, queue) = match event.kind {
            TaskKind::Sent | TaskKind::Received => self.begin(id, seat, event),
            kind if is_end(kind) => match self.in_flight.remove(&id) {
                Some(flight) => {
                    times = flight.now.times(event);
                    // As Flower has it: who has ended waits no more.
                    let ran = matches!(kind, TaskKind::Succeeded | TaskKind::Failed);
                    heard.prefetch = flight.now.started.known().filter(|_| ran).map(|_| 0.0);
                    (flight.task, flight.queue)
                }
                None => {
                    times[0] = event.runtime;
                    (NAMELESS, NAMELESS)
                }
            },
            kind => match self.in_flight.get_mut(&id) {
                Some(flight) => {
                    match kind {
                        TaskKind::Started => {
                            let attempt = flight.was_started(Seconds::of(event.timestamp));
                            heard.queue_wait = attempt.queue_wait();
                            heard.prefetch = attempt.wait();
                        }
                        TaskKind::Retried => times = flight.was_retried(event),
                        _ => {}
                    }
                    (flight.task, flight.queue)
                }
                None => (NAMELESS, NAMELESS),
            },
        };
        if let Some(series) = &mut self.series {
            if event.kind == TaskKind::Succeeded {
                heard.runtime = times[0];
            }
            let source = seat.map_or(Source::Producer(event.hostname), |seat| {
                Source::Worker(seat.worker, event.hostname)
            });
            series.note(source, (task, queue), event, heard);
        }
        let Some(seat) = seat else { return };
        let key = RowKey {
            minute: now.as_micros().div_euclid(MINUTE),
            fleet: seat.fleet,
            task,
            queue,
            outcome: event.kind,
        };
        self.note(key, times);
    }

    /// The name of a task that is under way; empty where nothing was seen that carries it.
    pub fn name_of(&self, uuid: &str) -> &str {
        let flight = self.in_flight.get(&hash(uuid));
        flight
            .and_then(|flight| self.names.names.get(usize::from(flight.task.0)))
            .map_or("", CompactString::as_str)
    }

    /// Whether nothing has been counted since the last drain.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Events that found no room, since the last call.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Hands over all counts; `fleet` gives the name of a fleet.
    pub fn drain(&mut self, fleet: impl Fn(FleetIndex) -> CompactString) -> Vec<TaskRollup> {
        let (names, queues) = (&self.names, &self.queues);
        let rollups = self.rows.drain().map(|(key, row)| TaskRollup {
            key: TaskKey {
                start: Wall::from_micros(key.minute.saturating_mul(MINUTE)),
                width: Width::MINUTE,
                fleet: fleet(key.fleet),
                task: names.text(key.task),
                queue: queues.text(key.queue),
                outcome: key.outcome,
            },
            count: row.count,
            times: row.times.map(|times| *times).unwrap_or_default(),
        });
        rollups.collect()
    }

    /// Adds to the book what scrapers are shown of the events since the last call, heard from this broker.
    pub fn hand_over(&mut self, now: Mono, broker: &str, book: &mut Book) {
        let Some(series) = &mut self.series else { return };
        series.hand_over(now, (&self.names, &self.queues), book);
        self.uncounted += 1;
        if self.in_flight.len() > FEW && self.uncounted < RARELY {
            return;
        }
        self.uncounted = 0;
        let mut held: FxHashMap<(WorkerId, Name), u32> = FxHashMap::default();
        for flight in self.in_flight.values() {
            if let Some((worker, since)) = flight.holder
                && flight.now.is_held()
                && self.anew.get(&worker).is_none_or(|anew| *anew < since)
            {
                *held.entry((worker, flight.task)).or_default() += 1;
            }
        }
        let held = held
            .iter()
            .filter_map(|((worker, task), n)| Some((series.hostname(*worker)?, self.names.show(*task), *n)));
        book.hold(broker, held);
    }

    fn note(&mut self, mut key: RowKey, [runtime, wait, queued]: [Option<f64>; 3]) {
        if self.rows.len() >= MAX_ROWS && !self.rows.contains_key(&key) {
            (key.task, key.queue) = (self.names.of(OTHER), NAMELESS);
            if self.rows.len() >= MAX_ROWS + MAX_OTHERS && !self.rows.contains_key(&key) {
                self.lost += 1;
                return;
            }
        }
        let row = self.rows.entry(key).or_default();
        row.count += 1;
        if runtime.is_none() && wait.is_none() && queued.is_none() {
            return;
        }
        let times = row.times.get_or_insert_default();
        for (spans, seconds) in [
            (&mut times.runtime, runtime),
            (&mut times.wait, wait),
            (&mut times.queued, queued),
        ] {
            if let Some(seconds) = seconds {
                spans.add(seconds);
            }
        }
    }

    /// A task was sent or received: it is followed from now on, if it was not.
    fn begin(&mut self, id: u64, seat: Option<Seat>, event: &TaskEvent<'_>) -> (Name, Name) {
        let flight = match self.in_flight.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(room) => {
                self.order.push_back(id);
                room.insert(Flight::default())
            }
        };
        if let Some(name) = event.name {
            flight.task = self.names.of(name);
        }
        if let Some(queue) = event.queue {
            flight.queue = self.queues.of(queue);
        }
        if event.kind == TaskKind::Sent {
            flight.was_sent(event.retries, Seconds::of(event.timestamp));
        } else {
            flight.was_received(event);
            flight.holder = seat.map(|seat| (seat.worker, self.events));
        }
        let names = (flight.task, flight.queue);
        self.make_room();
        names
    }

    fn make_room(&mut self) {
        while self.in_flight.len() > MAX_IN_FLIGHT
            && let Some(oldest) = self.order.pop_front()
        {
            self.in_flight.remove(&oldest);
        }
        // Those that have ended are still in the order. As many as there are of the others may be, so that looking through
        // all of them costs each little.
        if self.order.len() > 2 * self.in_flight.len() + 1_000 {
            self.order.retain(|id| self.in_flight.contains_key(id));
        }
    }
}

impl Flight {
    fn was_sent(&mut self, attempt: u16, at: Seconds) {
        let now = &mut self.now;
        if now.received.known().is_some() && now.queued.known().is_none() && attempt == now.number {
            // It was overtaken by what it caused.
            now.queued = at.until(now.received);
            now.sent = at;
        } else {
            let [before, _] = std::mem::take(&mut self.sent);
            self.sent = [Sent { at, attempt }, before];
        }
    }

    fn was_received(&mut self, event: &TaskEvent<'_>) {
        let (number, at) = (event.retries, Seconds::of(event.timestamp));
        let mut attempt = Attempt {
            number,
            waits: event.has_eta,
            received: at,
            eta: Seconds::of(event.eta),
            ..Attempt::default()
        };
        let mut sent = self.sent.iter_mut();
        if let Some(sent) = sent.find(|sent| sent.attempt == number && sent.at.known().is_some()) {
            attempt.sent = std::mem::take(sent).at;
            attempt.queued = attempt.sent.until(at);
        }
        let other = self.now.received.known().is_some() && self.now.number != number;
        let late = number < self.now.number;
        if other && late {
            self.overtaken = Some(attempt);
        } else {
            let before = std::mem::replace(&mut self.now, attempt);
            if other {
                self.overtaken = Some(before);
            }
        }
    }

    fn was_started(&mut self, at: Seconds) -> &Attempt {
        let attempt = match &mut self.overtaken {
            Some(overtaken) if overtaken.started.known().is_none() => overtaken,
            _ => &mut self.now,
        };
        attempt.started = at;
        attempt
    }

    /// An attempt has ended, and there will be another, which may have begun already.
    fn was_retried(&mut self, event: &TaskEvent<'_>) -> [Option<f64>; 3] {
        let ended = self.overtaken.take().unwrap_or_else(|| std::mem::take(&mut self.now));
        ended.times(event)
    }
}

impl Attempt {
    /// Runtime, wait, and the time in the queue, at its end.
    fn times(&self, end: &TaskEvent<'_>) -> [Option<f64>; 3] {
        let ran = self.started.until(Seconds::of(end.timestamp));
        [end.runtime.or(ran.known()), self.wait(), self.queued.known()]
    }

    /// How long it waited in its worker; none if it was to.
    fn wait(&self) -> Option<f64> {
        self.received.until(self.started).known().filter(|_| !self.waits)
    }

    /// How long it waited from when it was sent, or from when it was to begin, as celery-exporter has it: clocks that contradict
    /// each other make that nothing.
    fn queue_wait(&self) -> Option<f64> {
        if self.waits && self.eta.known().is_none() {
            return None;
        }
        // The greater, and the one that is known where one is not.
        let baseline = Seconds(self.sent.known()?).0.max(self.eta.0);
        Seconds(self.started.0 - baseline).known().map(|wait| wait.max(0.0))
    }

    /// Whether a worker has it, and has not begun it, though it could.
    fn is_held(&self) -> bool {
        self.received.known().is_some() && self.started.known().is_none() && !self.waits
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
    let mut hasher = FxHasher::default();
    hasher.write(uuid.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests;
