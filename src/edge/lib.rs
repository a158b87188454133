//! Headcount's edge: everything that touches the world. Each file implements one port of the actors.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod bounded;
pub mod brokers;
pub mod host;
pub mod http;
pub mod notifiers;
pub mod otlp;
pub mod reach;
pub mod results;
pub mod secrets;
pub mod sentry;
pub mod stats;
pub mod store;
