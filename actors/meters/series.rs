//! The book of series that all lanes add to, and that a scrape reads.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use headcount_core::stats::series::{Book, Limits};
use headcount_core::status::Status;

use crate::clock::Clock;

/// A book that is shared. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct SharedSeries(Arc<Mutex<Book>>);

impl SharedSeries {
    /// An empty book.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Mutex::new(Book::new(limits))))
    }

    /// The book, if nobody reads it just now: an event lane does not wait for a scrape, and adds what it has the next time.
    pub(crate) fn if_free(&self) -> Option<MutexGuard<'_, Book>> {
        match self.0.try_lock() {
            Ok(book) => Some(book),
            // Each change of it leaves it whole enough: counts that a panic cut short are counts of one second.
            Err(TryLockError::Poisoned(book)) => Some(book.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The book, for a scrape, without those who are no longer in the status model.
    pub fn read(&self, status: &Status) -> MutexGuard<'_, Book> {
        let known: BTreeSet<&str> = status.workers.iter().map(|worker| worker.hostname.as_str()).collect();
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.retire(Clock.mono(), &known);
        book
    }
}
