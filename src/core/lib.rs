//! The pure heart of Headcount: no I/O, no clock, no randomness, no async.
//!
//! Every function that needs to know the time takes it as an argument ([`time::Now`]), so the daemon, the tests and
//! every later tool that runs on a virtual clock run the very same code.
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "a test may read its data; the core itself reads nothing"
    )
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod alert;
pub mod celery;
pub mod detect;
pub mod doubling;
pub mod glob;
pub mod hash;
pub mod names;
pub mod node;
#[cfg(test)]
mod property;
pub mod schedule;
pub mod span;
pub mod stats;
pub mod status;
pub mod time;
pub mod trace;
