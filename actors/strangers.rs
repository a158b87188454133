//! What a listener and its lane share of the workers that belong to no fleet. Touched once a second at most, and never for an
//! event.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use compact_str::CompactString;
use headcount_core::detect::strangers::Strangers;

/// Shared by the lane, which knows the strangers that speak, and the listener, which hears the answers of the others.
#[derive(Clone, Debug, Default)]
pub struct SharedStrangers(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    answered: Vec<CompactString>,
    counted: Strangers,
}

impl SharedStrangers {
    /// These belong to no fleet, and have answered. Replaces what the lane has not taken: all are asked again and again.
    pub(crate) fn answered(&self, hostnames: Vec<CompactString>) {
        self.get().answered = hostnames;
    }

    /// Those who have answered since this was last called.
    pub(crate) fn take_answered(&self) -> Vec<CompactString> {
        std::mem::take(&mut self.get().answered)
    }

    /// How the lane has counted them.
    pub(crate) fn count(&self, strangers: Strangers) {
        self.get().counted = strangers;
    }

    /// As they were last counted.
    pub(crate) fn counted(&self) -> Strangers {
        self.get().counted.clone()
    }

    fn get(&self) -> MutexGuard<'_, Shared> {
        // A panic cannot leave it half written: each call is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
