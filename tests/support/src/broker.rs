//! One of the two kinds of brokers, for scenarios that hold on both.

use std::time::Instant;

use crate::{RabbitMq, Redis};

/// A broker of a scenario's own.
#[derive(Debug)]
pub enum Broker {
    /// Redis.
    Redis(Redis),
    /// RabbitMQ.
    RabbitMq(RabbitMq),
}

impl Broker {
    /// Starts a Redis.
    pub fn redis() -> Self {
        Broker::Redis(Redis::start())
    }

    /// Starts a RabbitMQ.
    pub fn rabbitmq() -> Self {
        Broker::RabbitMq(RabbitMq::start())
    }

    /// Its name, for what a test prints.
    pub fn kind(&self) -> &'static str {
        match self {
            Broker::Redis(_) => "Redis",
            Broker::RabbitMq(_) => "RabbitMQ",
        }
    }

    /// Its URL, as Celery and Headcount read it.
    pub fn url(&self) -> String {
        match self {
            Broker::Redis(redis) => redis.url(),
            Broker::RabbitMq(rabbitmq) => rabbitmq.url(),
        }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        match self {
            Broker::Redis(redis) => redis.port(),
            Broker::RabbitMq(rabbitmq) => rabbitmq.port(),
        }
    }

    /// SIGKILL. Returns the moment.
    pub fn kill(&self) -> Instant {
        match self {
            Broker::Redis(redis) => redis.kill(),
            Broker::RabbitMq(rabbitmq) => rabbitmq.kill(),
        }
    }

    /// Starts it again, after [`Broker::kill`], on the same port. Returns when it answers.
    pub fn restart(&mut self) {
        match self {
            Broker::Redis(redis) => redis.restart(),
            Broker::RabbitMq(rabbitmq) => rabbitmq.restart(),
        }
    }

    /// The configuration of this broker under the name `main`, and of one fleet for each name, with default settings:
    /// the fleet's workers are called `name@…`, and its queue is called as it is.
    pub fn config(&self, fleets: &[&str]) -> String {
        let mut config = format!("[[broker]]\nname = \"main\"\nurl = \"{}\"\n\n", self.url());
        for fleet in fleets {
            config += &format!(
                "[[fleet]]\nname = \"{fleet}\"\nbroker = \"main\"\nhostnames = [\"{fleet}@*\"]\nqueues = [\"{fleet}\"]\n\n"
            );
        }
        config
    }
}
