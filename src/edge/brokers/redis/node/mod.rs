//! A Celery node on Redis: its queue's lists, kombu's books of what is taken and not settled, its mailbox, and what it sends.
//!
//! | file | subject |
//! |---|---|
//! | `session.rs` | one session |
//! | `take.rs` | tasks from the lists, each noted as taken in the same step |
//! | `held.rs` | what is taken: settled, given back, kept from others, taken over from those who died |
//! | `send.rs` | messages to lists and channels |

mod held;
mod send;
mod session;
mod take;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use headcount_actors::ports::SessionEnd;
use headcount_actors::ports::node::{Joining, Link, NodeBroker};
use headcount_core::celery::wire_names::WireSettings;
use serde_json::{Map, Value, json};

use super::connect::{Address, Place, Server};
use held::Held;
use session::Session;

/// One Redis, as a node joins it.
#[derive(Debug)]
pub(in crate::brokers) struct RedisNode {
    name: String,
    address: Arc<Address>,
    wire: WireSettings,
    visibility_timeout: Duration,
    /// What this process has taken and not settled. It outlives a session: the broker does not know of those.
    held: Arc<Mutex<Held>>,
    /// Whoever takes has it. A take outlives its session, and the next one waits for it.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl RedisNode {
    pub(in crate::brokers) fn new(
        name: String,
        address: Address,
        wire: WireSettings,
        visibility_timeout: Duration,
    ) -> Self {
        Self {
            name,
            address: Arc::new(address),
            wire,
            visibility_timeout,
            held: Arc::default(),
            turn: Arc::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        lock(&self.held)
    }
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl NodeBroker for RedisNode {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> String {
        self.address.shown.clone()
    }

    fn shown(&self) -> Map<String, Value> {
        let (hostname, port) = match &self.address.server {
            Server::At(Place::Tcp { host, port }) => (host.clone(), Some(*port)),
            // A socket, or Sentinels: there is no such pair.
            Server::At(Place::Unix(_)) | Server::Behind(_) => (self.address.shown.clone(), None),
        };
        let about = json!({
            "hostname": hostname, "port": port, "transport": "redis", "virtual_host": self.address.db.to_string(),
            "ssl": self.address.tls.is_some(), "userid": null, "transport_options": {}, "uri_prefix": null,
            "insist": false, "connect_timeout": self.address.connect_timeout.as_secs(), "login_method": null,
            "failover_strategy": "round-robin", "alternates": [], "credential_provider": null,
            // A Redis has none.
            "heartbeat": 0.0,
        });
        about.as_object().cloned().unwrap_or_default()
    }

    async fn serve(&self, joining: &Joining, link: Link) -> Result<(), SessionEnd> {
        let session = Session::open(self, joining).await.map_err(SessionEnd::NotOpened)?;
        session.run(link).await.map_err(SessionEnd::Broke)
    }
}
