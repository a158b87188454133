//! The book of series that all lanes add to, and that a scrape reads.

use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use headcount_core::stats::series::{Book, Known, Limits};
use headcount_core::status::Status;

use crate::clock::Clock;

/// A book that is shared, or none where tasks are to have no series. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedSeries(Option<Arc<Mutex<Book>>>);

impl Default for SharedSeries {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl SharedSeries {
    /// An empty book.
    pub fn new(limits: Limits) -> Self {
        Self(Some(Arc::new(Mutex::new(Book::new(limits)))))
    }

    /// No book.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Whether there is a book.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The book, if nobody reads it just now: an event lane does not wait for a scrape, and adds what it has the next time.
    pub(crate) fn if_free(&self) -> Option<MutexGuard<'_, Book>> {
        match self.0.as_ref()?.try_lock() {
            Ok(book) => Some(book),
            // Each change of it leaves it whole enough: counts that a panic cut short are counts of one second.
            Err(TryLockError::Poisoned(book)) => Some(book.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Takes who is in the status model, and ends the series of those who are there no longer, unless somebody reads just now: then
    /// the next call does.
    pub(crate) fn know(&self, status: &Status) {
        if let Some(mut book) = self.if_free() {
            book.know(Clock.mono(), &known(status));
        }
    }

    /// The book, for a scrape, without those who are no longer in the status model.
    pub fn read(&self, status: &Status) -> Option<MutexGuard<'_, Book>> {
        let mut book = self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        book.know(Clock.mono(), &known(status));
        Some(book)
    }
}

/// Everybody in the status model. One name on two brokers is two workers, which must agree on their queue.
fn known(status: &Status) -> Known<'_> {
    let mut known = Known::new();
    for worker in &status.workers {
        let only = match worker.queues.as_slice() {
            [queue, more @ ..] if more.iter().all(|another| another == queue) => Some(queue.as_str()),
            _ => None,
        };
        match known.entry(worker.hostname.as_str()) {
            Entry::Vacant(room) => drop(room.insert(only)),
            Entry::Occupied(mut twin) if *twin.get() != only => drop(twin.insert(None)),
            Entry::Occupied(_) => {}
        }
    }
    known
}
