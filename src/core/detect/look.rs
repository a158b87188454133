//! When to look closer, and at whom.

use std::time::Duration;

use compact_str::CompactString;

use super::fleet::{FleetSpec, Output};
use super::observed::Seen;
use super::rules;
use super::worker::Worker;
use super::workers::Workers;
use crate::hash::fnv1a;
use crate::time::Mono;

/// The most queues of one fleet that are looked at.
pub const MAX_QUEUES: usize = 200;
/// The most workers that are asked at once: suspects come first, the others take turns.
pub const MAX_TARGETS: usize = 500;
/// In a fleet of at most so many all are asked each second while one of them is gone.
const MAX_COMPANY: usize = 200;
/// How long after an attempt the pool and queues of a worker are asked for again.
const LEARN_EVERY: Duration = Duration::from_secs(5);

/// How often it is seen whose work has to be looked at: those who have to be, at the same moment.
const WORK_EVERY: Duration = Duration::from_secs(1);

/// When the next look of each kind is due.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    all: Mono,
    close: Mono,
    learn: Mono,
    work: Mono,
}

impl Turns {
    /// The first looks: fleets begin at different moments, so that many of them do not ask a broker at once.
    pub(super) fn new(spec: &FleetSpec, now: Mono) -> Self {
        Self {
            all: now + spread(&spec.name, spec.rules.probe_every),
            close: now,
            learn: now,
            work: now,
        }
    }

    /// When the next look that is not provoked by anything is due; a close one only where somebody wants it.
    pub(super) fn next(&self, looks_close: bool) -> Mono {
        let close = if looks_close { self.close } else { self.all };
        self.all.min(self.work).min(close)
    }

    /// Asks for what is due.
    pub(super) fn due(
        &mut self,
        t: Seen,
        now: Mono,
        spec: &FleetSpec,
        workers: &mut Workers,
        outputs: &mut Vec<Output>,
    ) {
        // A new suspect is asked at once: nothing is due while there is none.
        if now >= self.close {
            // Where the broker no longer sees one, others may have fallen with it: they are looked at before they are late.
            let all =
                workers.len() <= MAX_COMPANY && workers.values().any(|worker| worker.is_alive() && worker.is_unseen());
            let close = |worker: &Worker| worker.wants_close_look() || (all && worker.is_alive());
            if ask(outputs, Output::Probe, chosen(workers, close, Worker::target)) {
                self.close = now + rules::SUSPECT_PROBE_EVERY;
            }
        }
        if now >= self.all {
            self.all = now + spec.rules.probe_every;
            let ordinary = |worker: &Worker| !worker.wants_close_look() && worker.offline_since().is_none();
            ask(outputs, Output::Probe, chosen(workers, ordinary, Worker::target));
            ask(outputs, Output::AskQueues, queue_names(spec, workers));
        }
        // A new worker is asked at once: nothing is due while everybody is known.
        if now >= self.learn {
            let names = chosen(workers, |worker| worker.wants_learning(t), name);
            for name in &names {
                if let Some(worker) = workers.get_mut(name) {
                    worker.work.asked_means(t);
                }
            }
            if ask(outputs, Output::Learn, names) {
                self.learn = now + LEARN_EVERY;
            }
        }
        if now >= self.work {
            self.work = now + WORK_EVERY;
            let names = chosen(workers, |worker| worker.wants_look_at_work(t, &spec.rules), name);
            for name in &names {
                if let Some(worker) = workers.get_mut(name) {
                    worker.work.asked(t);
                }
            }
            // What waits has to be as new as what the worker says; it is asked first, so that it is judged by both.
            if !names.is_empty() {
                ask(outputs, Output::AskQueues, queue_names(spec, workers));
            }
            ask(outputs, Output::LookAtWork, names);
        }
    }
}

fn name(worker: &Worker) -> CompactString {
    worker.hostname().clone()
}

/// Asks for something, unless it is nothing.
fn ask<T>(outputs: &mut Vec<Output>, output: fn(Vec<T>) -> Output, targets: Vec<T>) -> bool {
    let any = !targets.is_empty();
    if any {
        outputs.push(output(targets));
    }
    any
}

/// At most [`MAX_TARGETS`] of those who are wanted, the longest unasked first.
fn chosen<T>(workers: &Workers, wanted: impl Fn(&Worker) -> bool, make: impl Fn(&Worker) -> T) -> Vec<T> {
    let mut chosen: Vec<&Worker> = workers.values().filter(|worker| wanted(worker)).collect();
    if chosen.len() > MAX_TARGETS {
        chosen.sort_by_key(|worker| worker.last_asked());
        chosen.truncate(MAX_TARGETS);
    }
    chosen.into_iter().map(make).collect()
}

/// The queues that the fleet was told, or those that its workers have said they consume: also of a worker that consumes
/// them no longer, since somebody should.
fn queue_names(spec: &FleetSpec, workers: &Workers) -> Vec<CompactString> {
    if !spec.queues.is_empty() {
        return spec.queues.clone();
    }
    let mut names: Vec<_> = workers
        .values()
        .flat_map(|worker| worker.work.consumed())
        .cloned()
        .collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(MAX_QUEUES);
    names
}

/// A steady share of `span` for a name.
fn spread(name: &str, span: Duration) -> Duration {
    let hash = fnv1a(name);
    span.mul_f64((hash >> 11) as f64 / (1_u64 << 53) as f64)
}
