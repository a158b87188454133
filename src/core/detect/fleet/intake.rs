//! What comes into a fleet: each input changes the workers that it is about, and the fleet's books.

use std::time::Duration;

use compact_str::CompactString;

use super::{FleetDetector, Input, MAX_WORKERS, Sight, Standing};
use crate::detect::observed::Seen;
use crate::detect::own_health::MANY;
use crate::detect::rules;
use crate::detect::sighting::{Sighting, Word};
use crate::detect::state::WorkerState;
use crate::detect::worker::{Probed, Worker};
use crate::status::QueueStatus;
use crate::time::Now;

impl FleetDetector {
    /// Takes one input. Returns whether more has happened than that time passed, or a worker went on living.
    pub(super) fn take(&mut self, t: Seen, now: Now, input: Input<'_>) -> bool {
        match input {
            Input::Tick => false,
            Input::Sighted(sightings) => {
                let mut happened = false;
                for sighting in sightings {
                    happened |= self.sighted(t, now, sighting);
                }
                happened
            }
            Input::Probed(probes) => {
                self.probed(t, now, probes);
                true
            }
            Input::Found(answers) => {
                let mut any = false;
                for (hostname, latency) in answers {
                    any |= self.found(t, now, hostname, *latency);
                }
                any
            }
            Input::Unprobed => {
                self.health.suffered(t);
                true
            }
            Input::Learned(replies) => {
                for (hostname, learned) in replies {
                    if let Some(worker) = self.workers.get_mut(hostname) {
                        worker.learned(learned.clone());
                    }
                }
                true
            }
            Input::Means(means) => {
                for (hostname, means) in means {
                    if let Some(worker) = self.workers.get_mut(hostname) {
                        worker.has(*means);
                    }
                }
                true
            }
            Input::Takers(takers) => {
                self.board.take(t, takers);
                true
            }
            Input::Worked(looks) => {
                for (hostname, look) in looks {
                    if let Some(worker) = self.workers.get_mut(hostname) {
                        worker.worked(t, look, &self.board);
                    }
                }
                true
            }
            Input::Queues(queues) => {
                self.shown(t, queues);
                true
            }
            Input::Sight(sight) => {
                self.sight(t, now, sight);
                true
            }
        }
    }

    /// Returns whether more has happened than that a worker went on living.
    fn sighted(&mut self, t: Seen, now: Now, sighting: &Sighting) -> bool {
        let Some(worker) = self.workers.get_mut(&sighting.hostname) else {
            return self.first_sighted(t, now, sighting);
        };
        let before = (worker.state(), worker.wants_learning(t), worker.is_unseen());
        let standing = Standing::of(worker);
        worker.sighted(t, now, sighting);
        let after = (worker.state(), worker.wants_learning(t), worker.is_unseen());
        if let Some(until) = worker.rests_until(t, &self.spec.rules, self.health.doubt()) {
            self.rests_until = self.rests_until.min(until);
        }
        let changed = before != after || sighting.word != Word::Nothing;
        if changed {
            self.keep_books(&sighting.hostname, standing, t);
        }
        changed || after.0 != WorkerState::Up
    }

    fn first_sighted(&mut self, t: Seen, now: Now, sighting: &Sighting) -> bool {
        // Who is first heard of by its goodbye was never counted. One that does not beat may be known by its tasks.
        if sighting.word == Word::Goodbye || !sighting.is_sign() {
            return false;
        }
        let mut worker = Worker::new(sighting.hostname.clone(), t, now);
        worker.sighted(t, now, sighting);
        self.take_up(t, worker)
    }

    /// Somebody answered a question to all: who is not known neither beats nor sends events.
    fn found(&mut self, t: Seen, now: Now, hostname: &CompactString, latency: Duration) -> bool {
        if self.workers.contains(hostname) {
            return false;
        }
        let answered = Probed {
            answer: Some(latency),
            present: None,
        };
        let mut worker = Worker::new(hostname.clone(), t, now);
        worker.probed(t, now, answered);
        self.take_up(t, worker)
    }

    fn take_up(&mut self, t: Seen, worker: Worker) -> bool {
        if self.workers.len() >= MAX_WORKERS {
            self.refused += 1;
            return false;
        }
        self.ever_seen = true;
        self.workers.insert(worker);
        // Those that are met at a first look have been there before.
        if self.was_known || !self.in_grace(t) {
            self.history.came();
            if self.slots.came(t) {
                self.history.went();
            }
        }
        true
    }

    fn probed(&mut self, t: Seen, now: Now, probes: &[(CompactString, Probed)]) {
        let (mut on_time, mut missed) = (0_usize, 0_usize);
        for (hostname, probed) in probes {
            let Some(worker) = self.workers.get_mut(hostname) else {
                continue;
            };
            if worker.beats_on_time(t) && worker.is_listening() {
                on_time += 1;
                // Where the broker itself says that it is gone, the question arrived.
                missed += usize::from(probed.answer.is_none() && probed.present != Some(false));
            }
            let standing = Standing::of(worker);
            worker.probed(t, now, *probed);
            self.keep_books(hostname, standing, t);
        }
        // Most of those that beat on time are silent when we ask: it is our question that did not arrive.
        if on_time >= MANY && missed * 2 > on_time {
            self.health.suffered(t);
        }
    }

    fn shown(&mut self, t: Seen, queues: Vec<QueueStatus>) {
        self.board.show(t, &queues);
        self.queues = queues;
        self.workers
            .values()
            .filter(|worker| worker.is_alive())
            .for_each(|worker| self.board.claim(&worker.work));
        for worker in self.workers.values_mut() {
            worker.work.shown(t, &self.board);
        }
    }

    fn sight(&mut self, t: Seen, now: Now, sight: Sight) {
        let grace = match sight {
            Sight::Blind => {
                self.clock.set_sight(now.mono, false);
                return;
            }
            Sight::Clear => {
                // The broker and the workers' connections stood: it was our own ear that was late.
                if self.has_seen && !self.clock.sees() {
                    self.health.suffered(t);
                }
                Duration::ZERO
            }
            Sight::ClearAfterOutage(outage) => self.spec.rules.reconnect_grace(outage),
        };
        self.clock.set_sight(now.mono, true);
        if !self.has_seen {
            // A first look: three intervals of the slowest, and at least ten seconds.
            self.has_seen = true;
            let slowest = self
                .workers
                .values()
                .map(|w| w.rhythm.interval())
                .max()
                .unwrap_or(rules::DEFAULT_INTERVAL);
            self.grace_until = t + rules::COLD_START.max(slowest * 3).max(grace);
        } else if !grace.is_zero() {
            self.grace_until = self.grace_until.max(t + grace);
            for worker in self.workers.values_mut() {
                worker.look_anew(t, now);
            }
        }
    }
}
