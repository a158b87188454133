//! Where a scenario is put together: workers, what is done to them, and what is true of it.

use compact_str::{CompactString, format_compact};
use headcount_core::celery::inspect::Pool;
use headcount_core::detect::Diagnosis;

use crate::rng::Rng;
use crate::truth::{FAILED, Failure, HEALTHY, Of};
use crate::world::{Action, Leisure, MIN, Moment, NEVER, SEC, Slot};

/// What a worker is like from its start.
#[derive(Clone, Debug)]
pub struct Trait {
    /// Its whole node name.
    pub hostname: CompactString,
    /// Its fleet.
    pub fleet: u16,
    /// How it runs its tasks.
    pub pool: Pool,
    /// Share of what it sends that is lost.
    pub loss: f64,
    /// Mean of what delays each message, in seconds.
    pub delay: f64,
    /// Seconds by which its wall clock is ahead.
    pub ahead: f64,
    /// How much that grows in each second.
    pub drift: f64,
    /// Whether and why it has nothing to do.
    pub leisure: Leisure,
    /// Tasks that it accepts in each second.
    pub rate: f64,
}

/// A scenario in the making.
#[derive(Debug)]
pub struct Stage {
    /// Chance, from the seed, the scenario and the episode.
    pub rng: Rng,
    /// How long it goes on.
    pub span: Moment,
    /// The workers.
    pub workers: Vec<Trait>,
    /// What the worker of each slot is called at this point of the script.
    pub names: Vec<CompactString>,
    /// The fleets' names, which are those of their queues too.
    pub fleets: Vec<&'static str>,
    /// Messages that wait in each fleet's queue.
    pub backlog: Vec<u64>,
    /// What is done.
    pub script: Vec<(Moment, Action)>,
    /// What is true.
    pub failures: Vec<Failure>,
}

/// Until then nothing is done to anybody: the workers start, and are learned.
pub const CALM: Moment = MIN;

/// The names of fleets, as many as a scenario may have.
const FLEETS: [&str; 4] = ["sms", "mail", "track", "purge"];

/// How long the broker goes on taking a connection for standing whose other end is gone without a word: RabbitMQ closes
/// it when two heartbeats of 60 s, its default, are missed.
const LINGERING: (Moment, Moment) = (60 * SEC, 180 * SEC);

impl Stage {
    /// So many workers in one fleet, with nothing wrong.
    pub fn new(rng: Rng, workers: u32, span: Moment) -> Self {
        let mut stage = Self {
            rng,
            span,
            workers: Vec::new(),
            names: Vec::new(),
            fleets: Vec::new(),
            backlog: Vec::new(),
            script: Vec::new(),
            failures: Vec::new(),
        };
        stage.split(workers, 1);
        stage
    }

    /// Deals the workers out to so many fleets.
    pub fn split(&mut self, workers: u32, fleets: usize) {
        self.fleets = FLEETS.iter().take(fleets.max(1)).copied().collect();
        self.backlog = vec![0; self.fleets.len()];
        self.workers = (0..workers)
            .map(|slot| {
                let fleet = slot as usize % self.fleets.len();
                Trait {
                    hostname: format_compact!("{}@h{slot:03}", self.fleets[fleet]),
                    fleet: u16::try_from(fleet).unwrap_or(0),
                    pool: Pool::Prefork,
                    loss: 0.0,
                    delay: 0.003,
                    ahead: 0.0,
                    drift: 0.0,
                    leisure: Leisure::None,
                    rate: 0.5,
                }
            })
            .collect();
        self.names = self.workers.iter().map(|worker| worker.hostname.clone()).collect();
    }

    /// How many workers there are.
    pub fn count(&self) -> u32 {
        u32::try_from(self.workers.len()).unwrap_or(u32::MAX)
    }

    /// The worker's name.
    pub fn name(&self, slot: Slot) -> CompactString {
        self.names.get(slot as usize).cloned().unwrap_or_default()
    }

    /// From here on the worker of the slot is another, of that name.
    pub fn rename(&mut self, slot: Slot, name: CompactString) {
        if let Some(own) = self.names.get_mut(slot as usize) {
            *own = name;
        }
    }

    /// All slots.
    pub fn slots(&self) -> std::ops::Range<Slot> {
        0..self.count()
    }

    /// One worker by chance.
    pub fn anybody(&mut self) -> Slot {
        Slot::try_from(self.rng.below(u64::from(self.count()))).unwrap_or(0)
    }

    /// So many different workers by chance.
    pub fn some(&mut self, many: u32) -> Vec<Slot> {
        let mut all: Vec<Slot> = self.slots().collect();
        let many = (many as usize).min(all.len());
        for place in 0..many {
            let left = all.len() - place;
            let other = place + self.rng.below(left as u64) as usize;
            all.swap(place, other);
        }
        all.truncate(many);
        all
    }

    /// A moment by chance between two.
    pub fn between(&mut self, low: Moment, high: Moment) -> Moment {
        self.rng.between(low, high)
    }

    /// Something is done.
    pub fn at(&mut self, at: Moment, action: Action) {
        self.script.push((at, action));
    }

    /// The beginnings of slots of equal length, from the end of the calm to the end, with up to a tenth of disorder.
    pub fn turns(&mut self, every: Moment) -> Vec<Moment> {
        let mut turns = Vec::new();
        let mut at = CALM;
        while at + every <= self.span {
            turns.push(at + self.rng.below(every / 10 + 1));
            at += every;
        }
        turns
    }

    /// Moments that come to each worker by chance, on average so many a day.
    pub fn strokes(&mut self, per_day: f64) -> Vec<(Moment, Slot)> {
        let mean = 24.0 * 3_600.0 / per_day;
        let mut strokes = Vec::new();
        for slot in self.slots() {
            let mut at = CALM;
            loop {
                at += (self.rng.exponential(mean) * SEC as f64) as Moment;
                if at + MIN > self.span {
                    break;
                }
                strokes.push((at, slot));
                // One after the other: two that overlap would be a longer one.
                at += MIN;
            }
        }
        strokes
    }

    /// Until when a broker believes in a connection whose other end has vanished at `at`.
    pub fn lingering(&mut self, at: Moment) -> Moment {
        at + self.rng.between(LINGERING.0, LINGERING.1)
    }

    /// A worker fails from `from` to `to`. What ends before it counts as a failure is not one.
    pub fn fails(&mut self, slot: Slot, from: Moment, to: Moment, gone: bool, diagnoses: &'static [Diagnosis]) {
        let long = to.saturating_sub(from);
        if !gone && long <= HEALTHY {
            return;
        }
        let who = vec![(slot, self.name(slot))];
        self.failures.push(Failure {
            of: Of::Workers,
            who,
            from,
            visible: from,
            to,
            // What is over before the last moment is judged; what begins just before it cannot be found in time.
            scored: (gone || long >= FAILED) && from + MIN < self.span,
            diagnoses,
            variant: "",
        });
    }

    /// The broker fails from `from` to `to`, and until `back` its workers find their way back.
    pub fn broker_fails(&mut self, from: Moment, to: Moment, variant: &'static str) {
        self.failures.push(Failure {
            of: Of::Broker,
            who: Vec::new(),
            from,
            visible: from,
            to,
            scored: from + MIN < self.span,
            diagnoses: &[],
            variant,
        });
    }

    /// A worker is started again in its slot after its end, if that is before the end of all.
    pub fn restart(&mut self, slot: Slot, at: Moment) -> Moment {
        if at < self.span {
            self.at(at, Action::Start(slot, None));
            at
        } else {
            NEVER
        }
    }
}
