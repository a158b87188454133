//! What a watcher asks, and how the world answers: as a broker with mailboxes does (RabbitMQ).

use std::time::Duration;

use compact_str::CompactString;
use headcount_core::detect::{Learned, Means, Probed, WorkLook};
use headcount_core::hash::fnv1a;
use headcount_core::status::QueueStatus;

use super::calendar::{MS, Moment, SEC};
use super::worker::{Consuming, Leisure, PREFETCH, Worker};
use super::{What, World};
use crate::rng::Rng;

/// How long a ping may take: as the daemon waits (`rules::PROBE_TIMEOUT`).
const PATIENCE: Moment = SEC;
/// How long the daemon waits for those who do not answer when it asks for more than a ping (`actors/fleet_prober.rs`).
const INSPECT_PATIENCE: Moment = 2 * SEC;
/// How long a question takes on its way to the worker and back, if nothing delays it.
const ROUND_TRIP: Moment = 4 * MS;
/// How long it takes to learn that the broker refuses connections.
const REFUSED: Moment = 10 * MS;

/// What may be asked.
#[derive(Clone, Debug)]
pub enum Question {
    /// Do these live, and does the broker see them?
    Probe(Vec<CompactString>),
    /// What pools and queues do these have?
    Learn(Vec<CompactString>),
    /// What do these consume, run and hold?
    Work(Vec<CompactString>),
    /// How do these queues stand?
    Queues(Vec<CompactString>),
}

/// What a watcher asks, each with a tag of its own that comes back with the answer.
pub type Questions = Vec<(usize, Question)>;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The asker's own.
    pub tag: usize,
    /// What it says.
    pub says: Says,
}

/// What an answer says.
#[derive(Clone, Debug)]
pub enum Says {
    /// Of each worker.
    Probed(Vec<(CompactString, Probed)>),
    /// Of those who answered.
    Learned(Vec<(CompactString, Learned)>, Vec<(CompactString, Means)>),
    /// Of those who answered.
    Worked(Vec<(CompactString, WorkLook)>, Vec<(CompactString, Means)>),
    /// Of each queue.
    Queues(Vec<QueueStatus>),
    /// Nothing: the way to the broker failed.
    Failed,
}

/// How long it took to ask, what those who answered said, and their means.
type Inspected<T> = (Moment, Vec<(CompactString, T)>, Vec<(CompactString, Means)>);

impl World {
    /// Answers a question of a watcher, after as long as it takes.
    pub(super) fn answer(&mut self, watcher: usize, tag: usize, question: &Question) {
        let (after, says) = if !self.connected {
            (REFUSED, Says::Failed)
        } else if self.blocked_since.is_some() {
            (PATIENCE, Says::Failed)
        } else {
            match question {
                Question::Probe(names) => self.probe(names),
                Question::Learn(names) => {
                    let told = |world: &World, worker: &Worker| Learned {
                        pool: Some(worker.pool),
                        queues: Some(world.consumed(worker)),
                    };
                    let (after, learned, means) = self.inspect(names, told);
                    (after, Says::Learned(learned, means))
                }
                Question::Work(names) => {
                    let (after, looks, means) = self.inspect(names, World::work);
                    (after, Says::Worked(looks, means))
                }
                Question::Queues(names) => (ROUND_TRIP, Says::Queues(self.queues(names))),
            }
        };
        let answer = What::Answer(Box::new((watcher, Answer { tag, says })));
        self.calendar.enter(self.now + after, answer);
    }

    fn by_name(&self, name: &str) -> Option<&Worker> {
        let slot = self.by_name.get(name)?;
        let worker = self.workers.get(*slot as usize);
        worker.filter(|worker| worker.hostname == name)
    }

    /// How long a worker takes to answer; none if it does not, in time.
    ///
    /// Chance is taken from the moment and the name, not from the world's: who asks must not change what happens.
    fn latency(&self, name: &str, patience: Moment) -> Option<Moment> {
        let now = self.now;
        let worker = self.by_name(name).filter(|worker| worker.sends(now))?;
        let mut rng = Rng::for_part(self.seed, &[now, fnv1a(name)]);
        let ways = rng.exponential(worker.delay) + rng.exponential(worker.delay);
        let latency = ROUND_TRIP + (ways * SEC as f64) as Moment;
        let lost = worker.loss > 0.0 && (rng.chance(worker.loss) || rng.chance(worker.loss));
        (!lost && latency < patience).then_some(latency)
    }

    fn probe(&self, names: &[CompactString]) -> (Moment, Says) {
        let mut after = ROUND_TRIP;
        let mut probes = Vec::with_capacity(names.len());
        for name in names {
            let latency = self.latency(name, PATIENCE);
            let present = self.by_name(name).is_some_and(|worker| worker.is_connected(self.now));
            after = after.max(match latency {
                Some(latency) => latency,
                None if present => PATIENCE,
                None => ROUND_TRIP,
            });
            let probed = Probed {
                answer: latency.map(Duration::from_micros),
                present: Some(present),
            };
            probes.push((name.clone(), probed));
        }
        (after, Says::Probed(probes))
    }

    /// Asks each worker for something and for its means: who answers, and how long that takes in all.
    fn inspect<T>(&self, names: &[CompactString], tell: impl Fn(&World, &Worker) -> T) -> Inspected<T> {
        let mut after = ROUND_TRIP;
        let (mut told, mut means) = (Vec::with_capacity(names.len()), Vec::with_capacity(names.len()));
        for name in names {
            let latency = self.latency(name, INSPECT_PATIENCE);
            after = after.max(latency.unwrap_or(INSPECT_PATIENCE));
            if let Some(worker) = self.by_name(name).filter(|_| latency.is_some()) {
                told.push((name.clone(), tell(self, worker)));
                means.push((name.clone(), worker.means()));
            }
        }
        (after, told, means)
    }

    fn fleet_name(&self, worker: &Worker) -> Option<&CompactString> {
        self.fleets.get(usize::from(worker.fleet))
    }

    /// What the worker believes that it consumes.
    fn consumed(&self, worker: &Worker) -> Vec<CompactString> {
        match worker.consuming {
            Consuming::Cancelled => Vec::new(),
            Consuming::Yes | Consuming::Lost => self.fleet_name(worker).cloned().into_iter().collect(),
        }
    }

    fn work(&self, worker: &Worker) -> WorkLook {
        let running = worker.active(self.now);
        let (reserved, scheduled) = match (worker.leisure, worker.consuming) {
            (Leisure::RateLimit, _) => (PREFETCH, 0),
            (Leisure::Eta, _) => (0, 4),
            (Leisure::None, Consuming::Yes) if running > 0 => (3, 0),
            _ => (0, 0),
        };
        WorkLook {
            queues: Some(self.consumed(worker)),
            running: Some(running),
            reserved: Some(reserved),
            scheduled: Some(scheduled),
        }
    }

    fn queues(&self, names: &[CompactString]) -> Vec<QueueStatus> {
        let status = |name: &CompactString| {
            let fleet = self.fleets.iter().position(|fleet| fleet == name)?;
            let consumes = |worker: &&Worker| {
                usize::from(worker.fleet) == fleet
                    && worker.consuming == Consuming::Yes
                    && worker.is_connected(self.now)
            };
            Some(QueueStatus {
                name: name.clone(),
                length: self.backlog.get(fleet).copied().unwrap_or(0),
                consumers: u32::try_from(self.workers.iter().filter(consumes).count()).ok(),
            })
        };
        names.iter().filter_map(status).collect()
    }
}
