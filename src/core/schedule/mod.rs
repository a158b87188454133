//! When jobs are due, and what becomes of each run. Pure: `now` is an argument, and so is the time zone's data.
//!
//! | file | subject |
//! |---|---|
//! | `cron.rs`, `field.rs` | a cron pattern, from its text to the minutes that it means; what is wrong with it, and where |
//! | `timing.rs` | from minutes on a clock's face to moments: time zones, daylight saving; `every` |
//! | `plan.rs` | which slots are to be run now: jitter, and what was missed |
//! | `run.rs` | one run: its id, and what was heard of it |
//!
//! A **slot** is a moment that a job's timing names; a **run** is what is done for it. Two schedulers that know the same
//! job see the same slots, the same jitter and the same ids, without a word between them.

pub mod cron;
mod field;
pub mod plan;
pub mod run;
#[cfg(test)]
mod tests;
pub mod timing;

pub use cron::{Cron, CronError};
pub use plan::{Due, Missed, Plan, Slot};
pub use run::{News, Run, RunState, Word};
pub use timing::Timing;
