//! The control connection to RabbitMQ: one queue of our own that all replies come to, and one channel for each call.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use headcount_actors::ports::BrokerError;
use headcount_core::celery::reply::{self, RawReply, WorkerReply};
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::connect::broken;
use super::listen::text;
use super::short::short;
use crate::brokers::own_oid;
use crate::brokers::shared::Stands;
use crate::brokers::waiting::{Heard, Waiting};

/// Replies that may wait for us in the broker: some ten for each of a thousand workers.
const QUEUE_MAX_LENGTH: i64 = 10_000;

/// The same in bytes of bodies: `stats` and `active` can be large.
const QUEUE_MAX_BYTES: i64 = 64 << 20;

/// Channels that are open at once for calls. RabbitMQ allows 2047 for each connection; a call needs one for
/// milliseconds, so more would only be a burden to the broker.
const MAX_CHANNELS: usize = 32;

/// A connection that stands, with its reply queue.
#[derive(Debug)]
pub(super) struct Control {
    connection: Connection,
    pub(super) reply_queue: ShortString,
    pub(super) waiting: Arc<Waiting>,
    channels: Semaphore,
    router: JoinHandle<()>,
}

impl Control {
    /// Opens it, the reply queue included, in the time that an opening may take.
    pub(super) async fn open(broker: &super::Amqp) -> Result<Self, BrokerError> {
        let patience = broker.address.timeout;
        timeout(patience, Self::open_at_leisure(broker))
            .await
            .unwrap_or(Err(BrokerError::Timeout(patience)))
    }

    async fn open_at_leisure(broker: &super::Amqp) -> Result<Self, BrokerError> {
        let connection = broker
            .address
            .connect(&format!("headcount {} control", broker.name))
            .await?;
        let channel = connection.create_channel().await.map_err(broken)?;
        let reply_queue = short(&broker.wire.reply_queue(&own_oid()))?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(QUEUE_MAX_LENGTH));
        arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(QUEUE_MAX_BYTES));
        let own = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        channel
            .queue_declare(reply_queue.clone(), own, arguments)
            .await
            .map_err(broken)?;
        let only = BasicConsumeOptions {
            no_ack: true,
            exclusive: true,
            ..BasicConsumeOptions::default()
        };
        let consumer = channel
            .basic_consume(reply_queue.clone(), "".into(), only, FieldTable::default())
            .await
            .map_err(broken)?;
        let waiting = Arc::new(Waiting::default());
        let router = tokio::spawn(route(consumer, channel, Arc::clone(&waiting)));
        Ok(Self {
            connection,
            reply_queue,
            waiting,
            channels: Semaphore::new(MAX_CHANNELS),
            router,
        })
    }

    /// A channel for one call, so that what the broker refuses there harms nobody else. It closes when it is dropped.
    pub(super) async fn channel(&self) -> Result<CallChannel<'_>, BrokerError> {
        let turn = self
            .channels
            .acquire()
            .await
            .map_err(|_| BrokerError::Lost("closed".into()))?;
        let channel = self.connection.create_channel().await.map_err(broken)?;
        Ok(CallChannel { channel, _turn: turn })
    }
}

impl Stands for Control {
    fn stands(&self) -> bool {
        self.connection.status().connected() && !self.router.is_finished()
    }

    /// While RabbitMQ is short of memory or disk it reads nothing from those who publish, not even their goodbye: a new
    /// connection for each call would only be one more.
    fn is_held_back(&self) -> bool {
        self.connection.status().blocked()
    }
}

/// See [`Control::channel`].
#[derive(Debug)]
pub(super) struct CallChannel<'a> {
    channel: Channel,
    _turn: SemaphorePermit<'a>,
}

impl Deref for CallChannel<'_> {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.channel
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.router.abort();
    }
}

/// Hands each reply to the call that waits for it, until the connection ends.
async fn route(mut replies: Consumer, _channel: Channel, waiting: Arc<Waiting>) {
    while let Some(Ok(delivery)) = replies.next().await {
        hand_over(&delivery, &waiting);
    }
    waiting.give_up();
}

fn hand_over(delivery: &Delivery, waiting: &Waiting) {
    let at = Instant::now();
    let headers = delivery.properties.headers().as_ref();
    let raw = RawReply::Amqp {
        content_type: delivery
            .properties
            .content_type()
            .as_ref()
            .map_or("", ShortString::as_str),
        compression: headers.map_or("", |headers| text(headers, "compression")),
        ticket: headers.map(|headers| text(headers, "ticket")),
        body: &delivery.data,
    };
    match reply::parse(raw) {
        Ok(WorkerReply {
            ticket: Some(ticket),
            hostname,
            body,
        }) => {
            waiting.hand_over(&ticket, Heard { hostname, body, at });
        }
        Ok(_) => {}
        Err(why) => tracing::debug!(%why, "a reply that cannot be read"),
    }
}
