//! What every broker must do, shown against the real ones with real Celery workers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod conformance;
mod flower;
mod listener;
mod rabbitmq;
mod redis;
mod redis_node;
mod ways;
