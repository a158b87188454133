//! Headcount's edge: it implements the ports. Brokers, notifiers, the store, HTTP.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod brokers;
pub mod http;
pub mod notifiers;
pub mod store;
