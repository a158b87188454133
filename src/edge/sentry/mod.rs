//! Sentry: errors and panics of Headcount, of its jobs and its own Celery tasks, and the failures of watched tasks where that is
//! wanted. Genuine errors only, each once in a window with how often it happened since, and never a secret or a task's arguments.
//!
//! What is traced passes a gate (`gate.rs`), closed until a configuration opens it, and becomes a report (`report.rs`) or a
//! breadcrumb (`trail.rs`). The books of what was reported (`repeats.rs`) say whether it is sent; what is sent is cleaned once
//! more as a whole (`clean.rs`), and waits in a short queue for a thread of its own (`post.rs`). Nobody waits for any of it.

mod clean;
mod config;
mod gate;
mod layer;
mod line;
mod panics;
mod post;
mod repeats;
mod report;
#[cfg(test)]
mod tests;
mod trail;

pub use ::sentry::types::Dsn;
pub use config::{Config, DEFAULT_RELEASE, DEFAULT_WINDOW, host_name};
pub use line::{OpenError, Sentry};
