//! The actors against ports that fail on demand, in a time that a test owns.

pub(crate) mod support;

mod aggregator;
mod discovery;
mod jobs;
mod kills;
mod listener;
mod node;
mod outbox;
mod prober;
mod stats;
mod supervise;
mod telling;
mod traces;
