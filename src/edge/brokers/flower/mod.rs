//! A Flower as eyes: fleets whose broker cannot be reached are watched through the HTTP API of a Flower that can.
//!
//! What Flower (2.x, read in its source and measured) shows, and what is made of it:
//!
//! | asked | shows |
//! |---|---|
//! | `GET /workers?json=1` | for each worker, how many of its events of each type Flower has received: a count that has grown is a beat, an online or a goodbye. Costs Flower 1 ms and the broker nothing. (`status` there is Celery's 4 s rule, and is not read.) |
//! | `GET /api/workers?refresh=1` | `timestamp`, which moves when a worker has answered an inspect command. Four commands to everybody, 1.0 s |
//! | … `&workername=W` | the same with eight commands to one worker: 0.04 s where it lives, 2.0 s where it does not. Lists of tasks come only so, and are asked for of two workers at a time |
//! | `GET /api/queues/length` | lengths of the queues that its workers consume |
//!
//! It does not show connections, so a worker that is gone is only known by its silence, and never `crashed` or `frozen`;
//! and it counts the events of tasks without saying which, so no task is counted.
//!
//! Flower can be deaf itself, and does not say so: it goes on showing what it knew (its events thread sleeps for longer
//! after each failure, without a bound). So each answer of its own proves only that it runs. That it hears is proved by a
//! count that grows; and where all have stopped, by a worker that answers, or by a broker that it reaches (see
//! [`listen`]). Where nothing tells the workers' silence from Flower's deafness, the session ends.

mod address;
mod ask;
mod beats;
mod bounded;
mod http;
mod listen;
mod rows;
#[cfg(test)]
mod stand_in;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use compact_str::CompactString;
use headcount_actors::ports::{Broker, BrokerError, Connection, Inspect, Lane, Probe, Queue, Reply, SessionEnd};
use serde::Deserialize;

use super::OpenError;
pub(super) use address::Address;
use ask::Asking;
use beats::Beats;
use http::Http;

/// A `[[broker]]` with `kind = "flower"`. None of Celery's settings: those are Flower's own to know.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `flower`.
    pub kind: String,
    /// Its name, which fleets refer to.
    pub name: String,
    /// Where Flower serves its pages, with user and password where it wants them.
    pub url: String,
}

/// One Flower.
#[derive(Debug)]
pub(super) struct Flower {
    name: String,
    http: Http,
    asking: Asking,
    /// What the listening session has learned; kept here for [`Broker::probe`], which leaves in peace who beats.
    beats: Mutex<Beats>,
}

impl Flower {
    pub(super) fn new(name: String, address: Address) -> Result<Self, OpenError> {
        Ok(Self {
            name,
            http: Http::new(address)?,
            asking: Asking::default(),
            beats: Mutex::default(),
        })
    }

    fn beats(&self) -> MutexGuard<'_, Beats> {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Broker for Flower {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> String {
        self.http.address.shown.clone()
    }

    async fn listen(&self, lane: &mut (dyn Lane + Send)) -> SessionEnd {
        listen::listen(self, lane).await
    }

    /// Flower has its own idea of how long a worker may take (`--inspect-timeout`, 1 s), so this takes 1 s, whatever
    /// `timeout` says, and up to 4 s for the dead of a large fleet. Workers that beat are not asked.
    async fn probe(&self, targets: &[CompactString], _: Duration) -> Result<Vec<Probe>, BrokerError> {
        ask::probe(self, targets).await
    }

    async fn inspect(&self, ask: Inspect) -> Result<Vec<Reply>, BrokerError> {
        ask::inspect(self, &ask).await
    }

    async fn queues(&self, names: &[CompactString]) -> Result<Vec<Queue>, BrokerError> {
        let lengths = ask::queue_lengths(&self.http).await?;
        Ok(lengths.into_queues(names))
    }

    async fn connections(&self) -> Result<Option<Vec<Connection>>, BrokerError> {
        Ok(None)
    }

    /// An answer costs a worker eight commands here, and Flower lists all of whom it has heard.
    fn may_ask_all(&self) -> bool {
        false
    }

    fn hides_presence(&self) -> Option<&'static str> {
        Some("seen through Flower, which does not show connections")
    }
}
