//! The book of series that all lanes add to, and that a scrape reads.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use headcount_core::stats::series::{Book, Limits};
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

    /// Ends the series of those who are no longer in the status model, unless somebody reads just now: then the next call does.
    pub(crate) fn retire(&self, status: &Status) {
        if let Some(mut book) = self.if_free() {
            book.retire(Clock.mono(), &known(status));
        }
    }

    /// The book, for a scrape, without those who are no longer in the status model.
    pub fn read(&self, status: &Status) -> Option<MutexGuard<'_, Book>> {
        let mut book = self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        book.retire(Clock.mono(), &known(status));
        Some(book)
    }
}

/// Everybody in the status model.
fn known(status: &Status) -> BTreeSet<&str> {
    status.workers.iter().map(|worker| worker.hostname.as_str()).collect()
}
