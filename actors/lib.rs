//! Headcount's actors: thin shells of actix around the pure core, and the ports through which they meet the world.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod meters;
pub mod ports;
pub mod vitals;
