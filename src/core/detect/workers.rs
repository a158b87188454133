//! The workers of a fleet, in the order of their names and found by name at once: each beat looks one up.

use compact_str::CompactString;
use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

use super::worker::Worker;

/// The workers. Sorted by name, as people read them and so that no order of arrival shows in what is told. Boxed, since to
/// take up a new one moves all that come after it.
#[derive(Clone, Debug, Default)]
pub(super) struct Workers(IndexMap<CompactString, Box<Worker>, FxBuildHasher>);

impl Workers {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, hostname: &str) -> Option<&Worker> {
        self.0.get(hostname).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, hostname: &str) -> Option<&mut Worker> {
        self.0.get_mut(hostname).map(Box::as_mut)
    }

    pub(super) fn contains(&self, hostname: &str) -> bool {
        self.0.contains_key(hostname)
    }

    /// Takes up a worker that is not known.
    pub(super) fn insert(&mut self, worker: Worker) {
        self.0.insert_sorted(worker.hostname().clone(), Box::new(worker));
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Worker> + Clone {
        self.0.values().map(Box::as_ref)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Worker> {
        self.0.values_mut().map(Box::as_mut)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&CompactString, &Worker)> {
        self.0.iter().map(|(hostname, worker)| (hostname, worker.as_ref()))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&CompactString, &mut Worker)> {
        self.0.iter_mut().map(|(hostname, worker)| (hostname, worker.as_mut()))
    }

    /// Keeps those who stay.
    pub(super) fn retain(&mut self, mut stays: impl FnMut(&CompactString, &Worker) -> bool) {
        self.0.retain(|hostname, worker| stays(hostname, worker));
    }
}

impl FromIterator<Worker> for Workers {
    fn from_iter<T: IntoIterator<Item = Worker>>(workers: T) -> Self {
        let named = workers
            .into_iter()
            .map(|worker| (worker.hostname().clone(), Box::new(worker)));
        let mut workers: IndexMap<_, _, _> = named.collect();
        workers.sort_unstable_keys();
        Self(workers)
    }
}
