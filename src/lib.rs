//! Headcount counts Celery workers and tells people when one is missing.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod cli;
pub mod commands;
pub mod config;
mod greeting;
mod record;
mod resume;
pub mod telemetry;
pub mod wire;
