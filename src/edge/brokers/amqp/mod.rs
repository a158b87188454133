//! RabbitMQ, by lapin.
//!
//! Two connections: one that only listens, so that no command can disturb it, and one for everything else, which is
//! opened when it is first needed and again after it broke.

mod connect;
mod control;
mod inspect;
mod listen;
mod mailbox;
pub(super) mod node;
mod probe;
mod queue;
mod request;
mod send;
mod short;
mod table;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use compact_str::CompactString;
use headcount_actors::ports::{Broker, BrokerError, Connection, Inspect, Lane, Probe, Queue, Reply, SessionEnd};

use headcount_core::celery::broker_url;
use headcount_core::celery::wire_names::WireSettings;

use super::OpenError;
use super::shared::{self, Shared};
use connect::Address;
use control::Control;
use mailbox::Mailboxes;
pub(super) use send::Sender;

/// One RabbitMQ.
#[derive(Debug)]
pub(super) struct Amqp {
    name: String,
    address: Address,
    wire: WireSettings,
    control: Shared<Control>,
    mailboxes: Mailboxes,
}

impl Amqp {
    pub(super) fn new(
        name: String,
        shown: String,
        url: broker_url::Amqp,
        wire: WireSettings,
    ) -> Result<Self, OpenError> {
        Ok(Self {
            name,
            address: Address::new(shown, url)?,
            wire,
            control: Shared::new(),
            mailboxes: Mailboxes::default(),
        })
    }

    async fn control(&self) -> Result<Arc<Control>, BrokerError> {
        self.control.get(shared::told(&self.name, Control::open(self))).await
    }
}

#[async_trait]
impl Broker for Amqp {
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
        let probed = probe::probe(self, &control, targets, timeout).await;
        self.control.checked(&control, probed).await
    }

    async fn inspect(&self, ask: Inspect) -> Result<Vec<Reply>, BrokerError> {
        let control = self.control().await?;
        let inspected = inspect::inspect(self, &control, &ask).await;
        self.control.checked(&control, inspected).await
    }

    async fn queues(&self, names: &[CompactString]) -> Result<Vec<Queue>, BrokerError> {
        let control = self.control().await?;
        let queues = inspect::queues(&control, names).await;
        self.control.checked(&control, queues).await
    }

    async fn connections(&self) -> Result<Option<Vec<Connection>>, BrokerError> {
        // Presence comes with each probe.
        Ok(None)
    }
}
