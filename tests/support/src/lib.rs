//! What live tests and the demo stand on: real brokers, real Celery workers, a stand-in for Slack, and Headcount itself.
//!
//! Everything runs on loopback, on free ports, in temporary directories, each server or worker in a process group of its own.
//! Nothing stays behind: what is dropped ends, and a [`reaper`] ends the rest when this process goes, however it goes.
//!
//! A kit fails by panicking, with what it waited for and the last lines that the process in question wrote.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test kit fails by panicking")]

mod broker;
mod celery;
mod collector;
mod elastic;
mod elastic_node;
mod flower;
mod headcount;
mod mongodb;
mod otlp;
mod ports;
mod process;
mod prometheus;
mod proxy;
mod rabbitmq;
pub mod reaper;
mod redis;
mod sentry;
mod slack;
mod stand_in;
mod wait;

pub use broker::Broker;
pub use celery::{
    Pool, Worker, WorkerOptions, celery, control, finish_script, python, repository, run_script, send_tasks,
    start_script,
};
pub use collector::Collector;
pub use elastic::{ElasticApi, ElasticFault, ElasticProxy, ElasticStandIn};
pub use elastic_node::{ElasticNode, Product};
pub use flower::Flower;
pub use headcount::{Headcount, run_once};
pub use mongodb::{MongoDb, servers};
pub use otlp::{OtlpAnswer, OtlpRequest, OtlpStandIn};
pub use ports::free_port;
pub use process::{Process, Usage};
pub use prometheus::{Prometheus, Sample, promtool};
pub use proxy::Proxy;
pub use rabbitmq::{Queue, RabbitMq};
pub use redis::Redis;
pub use sentry::{Mood, SentryStandIn};
pub use slack::{Answer, Call, Message, SlackStandIn};
pub use wait::{poll_until, wait_until};
