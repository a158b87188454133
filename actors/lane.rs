//! The event lane: from a message's bytes to a worker's row, on the task that reads the socket. Nothing here locks,
//! clones or formats for an event; only what a verdict needs leaves it, as one sighting for each worker that changed.

mod ear;
mod failures;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::Recipient;
use actix::prelude::SendError;
use compact_str::CompactString;
use headcount_core::celery::decode::Decoder;
use headcount_core::celery::{Event, Malformed, RawMessage, TaskKind};
use headcount_core::detect::ledger::ConnectionLedger;
use headcount_core::detect::periods::TELL_EVERY;
use headcount_core::detect::strangers;
use headcount_core::detect::table::{FleetIndex, WorkerTable};
use headcount_core::detect::{Sighting, Word};
use headcount_core::stats::tally::Tally;
use headcount_core::time::{Mono, Now};
use prometheus_client::metrics::counter::Counter;

use crate::clock::Clock;
use crate::fleets::FleetDirectory;
use crate::messages::{Sighted, TasksCounted, TasksHeard};
use crate::meters::{BrokerLabel, Meters, SharedSeries};
use crate::ports::{Lane, SharedFailureBook};
use crate::session::SharedSession;
use crate::strangers::SharedStrangers;
use ear::JobEar;
use failures::FailureEar;

/// How often counts of tasks are handed over, at most.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// The clock is read once for so many messages of one batch.
const CLOCK_EVERY: u32 = 256;
/// One malformed message in so many is logged with its reason: all are counted.
const LOG_ONE_IN: u64 = 1_000;

/// The lane of one broker. It outlives the sessions, so what it has learned stays.
pub struct EventLane {
    broker: CompactString,
    decoder: Decoder,
    table: WorkerTable,
    tally: Tally,
    session: SharedSession,
    strangers: SharedStrangers,
    ledger: Arc<Mutex<ConnectionLedger>>,
    directory: FleetDirectory,
    stats: Recipient<TasksCounted>,
    /// By [`FleetIndex`].
    fleets: Vec<FleetDoor>,
    unsent_counts: Option<TasksCounted>,
    ear: Option<JobEar>,
    series: SharedSeries,
    failures: Option<FailureEar>,
    counters: Counters,
    clock: Clock,
    now: Now,
    messages: u32,
    told: Mono,
    counted: Mono,
    strangers_counted: Mono,
}

/// The way to one fleet's prober.
struct FleetDoor {
    name: CompactString,
    prober: Recipient<Sighted>,
    outgoing: Vec<Sighting>,
    /// The failures of its tasks are wanted.
    tells_failures: bool,
}

/// Added to once a batch.
struct Counters {
    received: Counter<u64, AtomicU64>,
    malformed: Counter<u64, AtomicU64>,
    lost: Counter<u64, AtomicU64>,
    tasks_lost: Counter<u64, AtomicU64>,
    events: u64,
    bad: u64,
    bad_total: u64,
}

impl std::fmt::Debug for EventLane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLane")
            .field("broker", &self.broker)
            .finish_non_exhaustive()
    }
}

/// What a lane is connected to.
#[derive(Debug)]
pub struct LaneParts {
    /// The broker's name.
    pub broker: CompactString,
    /// The table, with the roster of the broker's fleets.
    pub table: WorkerTable,
    /// Shared with the listener.
    pub session: SharedSession,
    /// Shared with the listener as well.
    pub strangers: SharedStrangers,
    /// Shared with the listener and the probers; told of goodbyes.
    pub ledger: Arc<Mutex<ConnectionLedger>>,
    /// Where sightings go.
    pub directory: FleetDirectory,
    /// Where counts of tasks go.
    pub stats: Recipient<TasksCounted>,
    /// Where news of the runs of jobs go, if there are jobs.
    pub jobs: Option<Recipient<TasksHeard>>,
    /// Who wants to know of tasks that fail, if anybody does.
    pub failures: Option<SharedFailureBook>,
    /// The program's metrics.
    pub meters: Meters,
}

impl EventLane {
    /// A lane that has heard nothing yet.
    pub fn new(parts: LaneParts) -> Self {
        let label = BrokerLabel {
            broker: parts.broker.to_string(),
        };
        let clock = Clock;
        let now = clock.now();
        Self {
            decoder: Decoder::new(),
            table: parts.table,
            tally: if parts.meters.series.is_on() {
                Tally::default()
            } else {
                Tally::without_series()
            },
            session: parts.session,
            strangers: parts.strangers,
            ledger: parts.ledger,
            directory: parts.directory,
            stats: parts.stats,
            fleets: Vec::new(),
            unsent_counts: None,
            ear: parts.jobs.map(JobEar::new),
            failures: parts.failures.map(FailureEar::new),
            counters: Counters {
                received: parts.meters.events_received.get_or_create(&label).clone(),
                malformed: parts.meters.events_malformed.get_or_create(&label).clone(),
                lost: parts.meters.events_lost.get_or_create(&label).clone(),
                tasks_lost: parts.meters.task_counts_lost.clone(),
                events: 0,
                bad: 0,
                bad_total: 0,
            },
            series: parts.meters.series.clone(),
            broker: parts.broker,
            clock,
            now,
            messages: 0,
            told: now.mono,
            counted: now.mono,
            strangers_counted: now.mono,
        }
    }

    /// Tells the probers what has changed, and the job scheduler what was heard of its runs.
    fn tell(&mut self) {
        self.told = self.now.mono;
        if let Some(ear) = &mut self.ear {
            ear.hand_over();
        }
        self.open_doors();
        let fleets = &mut self.fleets;
        let mut words: Vec<(CompactString, Word)> = Vec::new();
        self.table.drain(|fleet, sighting| {
            let Some(door) = fleets.get_mut(fleet.get()) else {
                return false;
            };
            // A prober whose mailbox was full still has its last load here: its rows go on folding.
            if door.outgoing.len() >= MAX_LOAD {
                return false;
            }
            if sighting.word != Word::Nothing {
                words.push((sighting.hostname.clone(), sighting.word));
            }
            door.outgoing.push(sighting);
            true
        });
        for door in fleets.iter_mut().filter(|door| !door.outgoing.is_empty()) {
            match door.prober.try_send(Sighted(std::mem::take(&mut door.outgoing))) {
                Ok(()) | Err(SendError::Closed(_)) => {}
                Err(SendError::Full(Sighted(kept))) => door.outgoing = kept,
            }
        }
        if !words.is_empty() {
            let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            for (hostname, word) in words {
                match word {
                    Word::Goodbye => ledger.goodbye(self.now.mono, &hostname),
                    Word::Online | Word::Nothing => ledger.returned(&hostname),
                }
            }
        }
        let refused = self.table.take_refused();
        if refused > 0 {
            self.counters.lost.inc_by(refused);
            tracing::error!(
                broker = %self.broker, refused,
                "the broker has more workers or fleets than Headcount can watch on one: the events of the rest were left out"
            );
        }
    }

    /// Opens a way to each fleet that the table has heard of since.
    fn open_doors(&mut self) {
        for name in self.table.fleets().iter().skip(self.fleets.len()) {
            let (name, prober) = self.directory.of(&self.broker, name);
            let tells_failures = self.failures.as_ref().is_some_and(|failures| failures.wants(&name));
            self.fleets.push(FleetDoor {
                tells_failures,
                name,
                prober,
                outgoing: Vec::new(),
            });
        }
    }

    fn hand_over_counts(&mut self) {
        self.counted = self.now.mono;
        // While a scrape reads the book, what was gathered stays here.
        if let Some(mut book) = self.series.if_free() {
            self.tally.hand_over(self.now.mono, &self.broker, &mut book);
        }
        // What was not taken is offered again before anything newer: meanwhile the tally goes on adding up.
        if self.unsent_counts.is_none() && !self.tally.is_empty() {
            self.open_doors();
            let fleets = &self.fleets;
            let name = |fleet: FleetIndex| {
                fleets
                    .get(fleet.get())
                    .map(|door| door.name.clone())
                    .unwrap_or_default()
            };
            self.unsent_counts = Some(TasksCounted(self.tally.drain(name)));
        }
        if self.failures.is_some() {
            self.open_doors();
        }
        if let Some(failures) = &mut self.failures {
            let fleets = &self.fleets;
            failures.hand_over(&self.broker, |fleet| Some(fleets.get(fleet.get())?.name.as_str()));
        }
        let lost = self.tally.take_lost();
        if lost > 0 {
            self.counters.tasks_lost.inc_by(lost);
            tracing::error!(
                broker = %self.broker, lost,
                "more kinds of tasks than can be counted apart: these events are missing in the counts; see whether ids are in \
                 the names of tasks or queues"
            );
        }
        if let Some(counts) = self.unsent_counts.take()
            && let Err(SendError::Full(counts)) = self.stats.try_send(counts)
        {
            self.unsent_counts = Some(counts);
        }
    }

    /// Counts who belongs to no fleet, for the listener.
    fn count_strangers(&mut self) {
        let now = self.now.mono;
        if now.since(self.strangers_counted) < strangers::COUNT_EVERY {
            return;
        }
        self.strangers_counted = now;
        for hostname in self.strangers.take_answered() {
            self.table.stranger_answered(now, &hostname);
        }
        self.strangers.count(self.table.strangers(now));
    }

    fn log_malformed(&mut self, count: usize, why: Option<Malformed>) {
        let before = self.counters.bad_total;
        self.counters.bad += count as u64;
        self.counters.bad_total += count as u64;
        let first_of_many = before == 0 || before / LOG_ONE_IN != self.counters.bad_total / LOG_ONE_IN;
        if first_of_many && let Some(why) = why {
            let total = self.counters.bad_total;
            tracing::warn!(
                broker = %self.broker, %why, total,
                "a message that is no event was left out; one in {LOG_ONE_IN} is logged: see what else sends to the event exchange"
            );
        }
    }
}

/// So many sightings wait for one prober; what changes beyond stays in the table, and loses nothing.
const MAX_LOAD: usize = 10_000;

impl Lane for EventLane {
    fn opened(&mut self) {
        self.session.opened();
        tracing::debug!(
            broker = %self.broker, session = self.session.number(),
            "the session of events stands: the broker counts as heard once a message to itself is back"
        );
    }

    fn message(&mut self, message: RawMessage<'_>) {
        if self.messages.is_multiple_of(CLOCK_EVERY) {
            self.now = self.clock.now();
        }
        self.messages = self.messages.wrapping_add(1);
        let (table, tally, ear, now) = (&mut self.table, &mut self.tally, &mut self.ear, self.now);
        let (failures, fleets) = (&mut self.failures, &self.fleets);
        let decoded = self.decoder.decode(message, |event| match event {
            Event::Worker(event) => {
                let seat = table.worker(now.mono, &event);
                tally.worker(seat, &event);
            }
            Event::Task(event) => {
                if let Some(ear) = ear {
                    ear.hear(now.wall, &event);
                }
                let seat = table.task(now.mono, &event);
                if event.kind == TaskKind::Failed
                    && let (Some(failures), Some(seat)) = (&mut *failures, seat)
                    // Of a fleet that is new it is not known yet; then it is looked at when it is handed over.
                    && fleets.get(seat.fleet.get()).is_none_or(|door| door.tells_failures)
                {
                    failures.hear(seat.fleet, tally.name_of(event.uuid), event.exception);
                }
                tally.count(now.wall, seat, &event);
            }
            Event::Other => {}
        });
        self.counters.events += decoded.events as u64;
        if decoded.malformed > 0 {
            self.log_malformed(decoded.malformed, decoded.why);
        }
    }

    fn batch_end(&mut self) {
        self.messages = 0;
        self.counters.received.inc_by(std::mem::take(&mut self.counters.events));
        self.counters.malformed.inc_by(std::mem::take(&mut self.counters.bad));
        self.now = self.clock.now();
        if self.now.mono.since(self.told) >= TELL_EVERY {
            self.tell();
        }
        if self.now.mono.since(self.counted) >= COUNT_EVERY {
            self.hand_over_counts();
        }
    }

    fn canary(&mut self, _round_trip: Duration) {
        self.now = self.clock.now();
        self.session.canary(self.now.mono);
        self.table.notice_silence(self.now.mono);
        // Once a second, so that the last events before a pause do not wait for the next ones.
        self.tell();
        self.hand_over_counts();
        self.count_strangers();
    }

    fn blocked(&mut self, blocked: bool) {
        self.session.blocked(blocked);
    }
}
