//! Headcount's edge: it implements the ports. Brokers, notifiers, the store.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod notifiers;
pub mod store;
