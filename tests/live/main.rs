//! The live tests: the built program beside real brokers, real databases and real Celery workers. They are one program, so that
//! it is linked once, and those that wait let others work: four at once keep two cores busy.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod bad_input;
mod bad_setup;
mod broker;
mod check_notify;
mod commands;
mod crash;
mod dashboard;
mod flower;
mod frozen;
mod jobs;
mod log;
mod names;
mod node;
mod otlp;
#[cfg(feature = "fault-points")]
mod panic;
#[path = "../stats/mod.rs"]
mod pipelines;
mod prometheus;
mod quiet;
mod record;
mod reload;
mod restart;
#[cfg(feature = "fault-points")]
mod sentry;
mod signals;
mod stalled;
mod stats;
mod stats_kills;
mod stats_pipeline;
mod stats_shapes;
mod stats_tail;
mod stats_torn;
