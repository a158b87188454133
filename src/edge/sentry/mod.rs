//! Sentry: errors and panics of Headcount, of its jobs and its own Celery tasks, and the failures of watched tasks where that is
//! wanted. Genuine errors only, each once in a window with how often it happened since, and never a secret or a task's arguments.
//!
//! What is traced passes a gate (`gate.rs`), closed until a configuration opens it, and becomes a report (`report.rs`) or a
//! breadcrumb (`trail.rs`). The books of what was reported (`repeats.rs`) say whether it is sent, and hold it until a thread of its
//! own (`courier.rs`) makes an event of it (`event.rs`), cleans that as a whole, and sends it (`post.rs`); what goes wrong there is
//! said in the log (`way.rs`). Nobody waits for any of it.

mod again;
mod clean;
mod config;
mod courier;
mod event;
mod gate;
mod layer;
mod line;
mod panics;
mod post;
mod repeats;
mod report;
mod rest;
#[cfg(test)]
mod tests;
mod trail;
mod way;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use ::sentry::types::Dsn;
pub use config::{Config, DEFAULT_RELEASE, DEFAULT_WINDOW, dsn};
pub use line::{OpenError, Sentry};

/// A lock that a panic elsewhere does not close.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
