//! Who is missing, as an alert names it, and what the missing share.

use std::hash::{Hash, Hasher};

use compact_str::CompactString;
use rustc_hash::FxHasher;

use super::count::Books;
use super::observed::Seen;
use super::spec::{Expected, FleetSpec};
use super::state::{Diagnosis, Trouble, WorkerState};
use super::worker::Worker;
use super::workers::Workers;
use crate::alert::{Missing, Shared};
use crate::time::Now;

/// Why a worker is one of those that an alert would name; none if it is not.
pub(super) fn why(books: Books<'_>, worker: &Worker, t: Seen) -> Option<Why> {
    let named = || match &books.spec.expected {
        Expected::Names(names) => names.contains(worker.hostname()),
        Expected::Auto | Expected::Count(_) => true,
    };
    let down = worker.diagnosis().is_some();
    if worker.is_stalled() {
        return named().then_some(Why::Stalled);
    }
    if !down && worker.offline_since().is_none() {
        let flaps = books.flapping.any() && books.flapping.has(worker.hostname(), false, t);
        return (flaps && named()).then_some(Why::Flaps);
    }
    if books.flapping.has(worker.hostname(), down, t) {
        return named().then_some(Why::Flaps);
    }
    if down {
        return (!books.slots.is_replaced(worker.hostname())).then_some(Why::Lost);
    }
    // Of a fixed number those are missed who left for good.
    let fixed = !matches!(books.spec.expected, Expected::Auto);
    let left = worker
        .offline_since()
        .is_some_and(|at| t.since(at) >= books.awaited_for);
    (fixed && left && named()).then_some(Why::Lost)
}

/// In which way a worker is missing, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Why {
    /// It is not there.
    Lost,
    /// It is there, and does nothing.
    Stalled,
    /// It comes and goes.
    Flaps,
}

/// A worker as an alert names it.
pub(super) fn missing(worker: &Worker, why: Why, t: Seen, now: Now) -> Missing {
    let (state, diagnosis) = named_as(worker, why);
    Missing {
        hostname: worker.hostname().clone(),
        state,
        diagnosis,
        // Of one that comes and goes the last sign of life changes all the time.
        last_seen: worker.last_seen().filter(|_| why != Why::Flaps),
        since: (why == Why::Stalled).then(|| now.wall - t.since(worker.work.idle_since())),
    }
}

/// One that flaps counts as down, whatever it is at the moment.
fn named_as(worker: &Worker, why: Why) -> (WorkerState, Option<Diagnosis>) {
    match why {
        Why::Lost => (worker.state(), worker.diagnosis()),
        Why::Flaps => (WorkerState::Down, Some(Diagnosis::Flapping)),
        Why::Stalled if worker.trouble() == Some(Trouble::Stuck) => (WorkerState::Stalled, Some(Diagnosis::Stuck)),
        Why::Stalled => (WorkerState::Stalled, Some(Diagnosis::Stalled)),
    }
}

/// A figure that changes when somebody else is missing, or for another reason: in any order, and without allocation.
pub(super) fn fingerprint(books: Books<'_>, workers: &Workers, t: Seen) -> u64 {
    let missing = workers
        .values()
        .filter_map(|worker| Some((worker, why(books, worker, t)?)));
    let each = missing.map(|(worker, why)| {
        let mut hasher = FxHasher::default();
        (worker.hostname(), named_as(worker, why)).hash(&mut hasher);
        hasher.finish()
    });
    each.fold(0, u64::wrapping_add)
}

/// Those whose names the fleet was given, and of whom nothing has ever been heard.
pub(super) fn never_seen<'a>(spec: &'a FleetSpec, workers: &'a Workers) -> impl Iterator<Item = Missing> + 'a {
    let names = match &spec.expected {
        Expected::Names(names) => names.as_slice(),
        Expected::Auto | Expected::Count(_) => &[],
    };
    names.iter().filter(|name| !workers.contains(name)).map(|name| Missing {
        hostname: name.clone(),
        state: WorkerState::Unknown,
        diagnosis: None,
        last_seen: None,
        since: None,
    })
}

/// What all of these share and nobody who is well has: their host, their software, or a queue. Of one alone it says
/// nothing that its name does not.
pub(super) fn shared<'a>(lost: &[&Worker], well: impl Iterator<Item = &'a Worker> + Clone) -> Option<Shared> {
    let [first, _, ..] = lost else { return None };
    let host = host(first.hostname());
    if !host.is_empty()
        && lost.iter().all(|worker| self::host(worker.hostname()) == host)
        && !well.clone().any(|worker| self::host(worker.hostname()) == host)
    {
        return Some(Shared::Host(host.into()));
    }
    // Where nobody is well, all that the fleet has in common is shared, and explains nothing.
    well.clone().next()?;
    if let Some(software) = &first.software
        && lost.iter().all(|worker| worker.software.as_ref() == Some(software))
        && !well.clone().any(|worker| worker.software.as_ref() == Some(software))
    {
        return Some(Shared::Software(software.clone()));
    }
    let consumes = |worker: &Worker, queue: &CompactString| {
        let queues = worker.work.queues();
        queues.is_some_and(|queues| queues.contains(queue))
    };
    first.work.queues().into_iter().flatten().find_map(|queue| {
        let all = lost.iter().all(|worker| consumes(worker, queue));
        let nobody_else = !well.clone().any(|worker| consumes(worker, queue));
        (all && nobody_else).then(|| Shared::Queue(queue.clone()))
    })
}

/// The host in a worker's name: what follows the first `@`.
pub(crate) fn host(hostname: &str) -> &str {
    hostname.split_once('@').map_or("", |(_, host)| host)
}
