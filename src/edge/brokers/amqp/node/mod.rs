//! A Celery node on RabbitMQ: one connection of its own, with its queue, its mailbox, and what it sends.

mod open;
mod session;

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use headcount_actors::ports::node::{Joining, Link, NodeBroker};
use headcount_actors::ports::{BrokerError, SessionEnd};
use headcount_core::celery::broker_url;
use headcount_core::celery::wire_names::WireSettings;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::connect::Address;
use crate::brokers::OpenError;

/// One RabbitMQ, as a node joins it.
#[derive(Debug)]
pub(in crate::brokers) struct AmqpNode {
    name: String,
    address: Address,
    wire: WireSettings,
    shown: Map<String, Value>,
    /// The queue does not support a prefetch count for a whole channel (a quorum queue): found out by trying.
    each_consumer: AtomicBool,
}

impl AmqpNode {
    pub(in crate::brokers) fn new(
        name: String,
        shown: String,
        url: broker_url::Amqp,
        wire: WireSettings,
    ) -> Result<Self, OpenError> {
        let about = json!({
            "hostname": url.host, "port": url.port, "userid": url.user, "virtual_host": url.vhost, "transport": "amqp",
            "ssl": url.tls.is_some(), "transport_options": {}, "uri_prefix": null, "login_method": url.login_method,
            "insist": false, "failover_strategy": "round-robin", "alternates": [], "credential_provider": null,
        });
        let mut about = about.as_object().cloned().unwrap_or_default();
        let address = Address::new(shown, url)?;
        about.insert("connect_timeout".into(), address.timeout.as_secs().into());
        about.insert("heartbeat".into(), f64::from(address.heartbeat).into());
        Ok(Self {
            name,
            address,
            wire,
            shown: about,
            each_consumer: AtomicBool::new(false),
        })
    }
}

#[async_trait]
impl NodeBroker for AmqpNode {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> String {
        self.address.shown.clone()
    }

    fn shown(&self) -> Map<String, Value> {
        self.shown.clone()
    }

    async fn serve(&self, joining: &Joining, link: Link) -> Result<(), SessionEnd> {
        let patience = self.address.timeout;
        let opened = timeout(patience, open::open(self, joining)).await;
        let session = opened.unwrap_or(Err(BrokerError::Timeout(patience)));
        let session = session.map_err(|error| {
            if matches!(&error, BrokerError::Protocol(why) if open::needs_prefetch_of_each_consumer(why)) {
                self.each_consumer.store(true, Ordering::Relaxed);
            }
            SessionEnd::NotOpened(error)
        })?;
        session.run(joining, link).await.map_err(SessionEnd::Broke)
    }
}
