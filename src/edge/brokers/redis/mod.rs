//! Redis, by the redis crate; what it pushes to a subscriber is read by [`resp`].
//!
//! Three connections: one that only listens, one for commands and one that waits for replies. The latter two are opened
//! when they are first needed, and again after one of them broke.

mod ask;
mod clients;
mod commands;
mod connect;
mod control;
mod exchange;
mod listen;
pub(super) mod node;
mod resp;
pub(super) mod results;
mod send;
mod sentinel;
mod subscriber;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use compact_str::CompactString;
use headcount_actors::ports::{Broker, BrokerError, Connection, Inspect, Lane, Probe, Queue, Reply, SessionEnd};
use headcount_core::celery::wire_names::WireSettings;
use tokio::sync::watch;

use super::shared::{self, Shared};
pub(super) use connect::Address;
use control::{Control, ReplyList};
pub(super) use send::Sender;

/// One Redis.
#[derive(Debug)]
pub(super) struct Redis {
    /// True once it is closed. Dropped before the connections, which says the same: the reader of replies then leaves
    /// nothing behind.
    closing: watch::Sender<bool>,
    name: String,
    address: Arc<Address>,
    wire: WireSettings,
    list: Arc<ReplyList>,
    control: Shared<Control>,
    /// Redis' numbers of the connections that listen for us.
    own_connections: Mutex<BTreeSet<u64>>,
    /// Listing connections was refused when it was last tried.
    list_refused: AtomicBool,
}

impl Redis {
    pub(super) fn new(name: String, address: Address, wire: WireSettings) -> Self {
        let (closing, _) = watch::channel(false);
        Self {
            closing,
            name,
            address: Arc::new(address),
            list: Arc::new(ReplyList::new(&wire)),
            wire,
            control: Shared::new(),
            own_connections: Mutex::default(),
            list_refused: AtomicBool::new(false),
        }
    }

    async fn control(&self) -> Result<Arc<Control>, BrokerError> {
        self.control.get(shared::told(&self.name, Control::open(self))).await
    }

    async fn publish(&self, channel: &str, body: String) -> Result<(), BrokerError> {
        let control = self.control().await?;
        let published = self.publish_by(&control, channel, body.into_bytes()).await;
        self.control.checked(&control, published).await
    }

    async fn publish_by(&self, control: &Control, channel: &str, payload: Vec<u8>) -> Result<(), BrokerError> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel).arg(payload);
        publish
            .query_async(&mut control.commands.handle())
            .await
            .map_err(|error| control.commands.what(&error))
    }

    fn own_connections(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.own_connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Broker for Redis {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> String {
        self.address.shown.clone()
    }

    async fn listen(&self, lane: &mut (dyn Lane + Send)) -> SessionEnd {
        listen::listen(self, lane).await
    }

    async fn probe(&self, targets: &[CompactString], timeout: Duration) -> Result<Vec<Probe>, BrokerError> {
        let control = self.control().await?;
        let probed = ask::probe(self, &control, targets, timeout).await;
        self.control.checked(&control, probed).await
    }

    async fn inspect(&self, ask: Inspect) -> Result<Vec<Reply>, BrokerError> {
        let control = self.control().await?;
        let inspected = ask::inspect(self, &control, &ask).await;
        self.control.checked(&control, inspected).await
    }

    async fn queues(&self, names: &[CompactString]) -> Result<Vec<Queue>, BrokerError> {
        let control = self.control().await?;
        let queues = ask::queues(self, &control, names).await;
        self.control.checked(&control, queues).await
    }

    async fn takers(&self) -> Result<Option<u32>, BrokerError> {
        let control = self.control().await?;
        let takers = ask::takers(&control).await;
        self.control.checked(&control, takers).await
    }

    async fn connections(&self) -> Result<Option<Vec<Connection>>, BrokerError> {
        let control = self.control().await?;
        let connections = ask::connections(self, &control).await;
        if let Ok(connections) = &connections {
            self.list_refused.store(connections.is_none(), Ordering::Relaxed);
        }
        self.control.checked(&control, connections).await
    }

    fn hides_presence(&self) -> Option<&'static str> {
        let refused = self.list_refused.load(Ordering::Relaxed);
        refused.then_some("Redis does not permit CLIENT LIST, which would show connections")
    }

    async fn close(&self) {
        self.closing.send_replace(true);
        // The reader lets go when it has tidied up.
        let _ = tokio::time::timeout(self.address.command_timeout, self.closing.closed()).await;
    }
}
