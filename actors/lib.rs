//! Headcount's actors: thin shells of actix around the pure core, and the ports through which they meet the world.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod backoff;
pub mod broker_listener;
pub mod celery_node;
pub mod clock;
pub mod debouncer;
mod discovery;
mod falls;
#[cfg(feature = "fault-points")]
pub mod faults;
pub mod fleet_prober;
pub mod fleets;
pub mod health_aggregator;
mod inspection;
pub mod job_scheduler;
pub mod lane;
pub mod messages;
pub mod meters;
pub mod node;
mod outbox;
pub mod ports;
pub mod probe_watch;
pub mod session;
pub mod slack_notifier;
pub mod stats_pipeline;
pub mod stats_processor;
pub mod store_watch;
mod story;
pub mod strangers;
pub mod supervise;
#[cfg(test)]
mod tests;
pub mod vitals;
