//! Headcount's edge: what meets the world outside: brokers, notifiers, the store, HTTP.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod http;
