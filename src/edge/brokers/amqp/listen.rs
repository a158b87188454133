//! One session of listening to events on RabbitMQ.

use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use futures_util::StreamExt;
use headcount_actors::ports::{BrokerError, CANARY_EVERY, CANARY_LOST, Lane, SessionEnd};
use headcount_core::celery::RawMessage;
use lapin::message::{Delivery, DeliveryResult};
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, Consumer, ConsumerDelegate, Event, ExchangeKind};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::connect::broken;
use super::short::short;
use crate::brokers::canary::Canary;
use crate::brokers::own_oid;

/// Events that may wait for us in the broker; beyond it the oldest are dropped. Two seconds at the rate that one
/// session can take; raising it lets a stalled Headcount cost the broker some 1 KiB of memory for each.
const QUEUE_MAX_LENGTH: i64 = 100_000;

/// The same in bytes of bodies, for events that are larger than usual.
const QUEUE_MAX_BYTES: i64 = 64 << 20;

/// Milliseconds that the queue outlives a session that could not say goodbye. It is exclusive, so the broker deletes
/// it with the connection; this is for a broker that lost sight of that. Celery's own event queues use the same.
const QUEUE_EXPIRES_MS: i64 = 60_000;

/// Deliveries that are handed over before the batch is ended and everything else gets its turn: a millisecond or two.
const BATCH_MAX: usize = 1024;

/// Deliveries that have been read from the socket and wait for the lane. When there are so many, nothing more is read:
/// TCP holds the broker back, and the rest waits in the broker's queue, which has its bounds. Raising it costs about
/// 1 KiB each; a tenth of a second of a full flow is enough for a lane that is kept from its turn.
const UNTAKEN_MAX: usize = 4096;

/// The content type of our messages to ourselves.
const CANARY_TYPE: &str = "application/x-headcount-canary";

/// Something that is being written to the socket, which may not take it for long.
type Writing = Pin<Box<dyn Future<Output = Result<(), lapin::Error>> + Send>>;

struct Session {
    connection: Connection,
    channel: Channel,
    /// Dropped, it would cancel itself.
    _consumer: Consumer,
    deliveries: mpsc::Receiver<DeliveryResult>,
    queue: ShortString,
}

/// Where the client puts deliveries, on its own thread that reads the socket. That thread waits here while too many are
/// untaken; the client's own queue has no bound. When the session is gone, what still comes is dropped.
struct Inlet(mpsc::Sender<DeliveryResult>);

impl ConsumerDelegate for Inlet {
    fn on_new_delivery(&self, delivery: DeliveryResult) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let _ = self.0.blocking_send(delivery);
        Box::pin(std::future::ready(()))
    }
}

/// See [`headcount_actors::ports::Broker::listen`]. Dropping the future drops the connection, which closes it.
pub(super) async fn listen(broker: &super::Amqp, lane: &mut (dyn Lane + Send)) -> SessionEnd {
    let patience = broker.address.timeout;
    let mut session = match timeout(patience, open(broker)).await {
        Ok(Ok(session)) => session,
        Ok(Err(error)) => return SessionEnd::NotOpened(error),
        Err(_) => return SessionEnd::NotOpened(BrokerError::Timeout(patience)),
    };
    lane.opened();
    let error = session.run(lane).await;
    SessionEnd::Broke(error)
}

async fn open(broker: &super::Amqp) -> Result<Session, BrokerError> {
    let connection = broker
        .address
        .connect(&format!("headcount {} events", broker.name))
        .await?;
    let channel = connection.create_channel().await.map_err(broken)?;
    // Exactly as Celery declares it: with anything else, whoever comes second is refused.
    let events = short(&broker.wire.event_exchange)?;
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(events.clone(), ExchangeKind::Topic, durable, FieldTable::default())
        .await
        .map_err(broken)?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(QUEUE_MAX_LENGTH));
    arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(QUEUE_MAX_BYTES));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("drop-head".into()));
    arguments.insert("x-expires".into(), AMQPValue::LongLongInt(QUEUE_EXPIRES_MS));
    let own = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    // A name of its own rather than the server's: operators give permissions by prefix.
    let queue = short(&broker.wire.event_queue(&own_oid()))?;
    channel
        .queue_declare(queue.clone(), own, arguments)
        .await
        .map_err(broken)?;
    // Without acknowledgements, as Celery's own consumers of events do. With them (8000 on their way, 2000 a message)
    // RabbitMQ 3.10 spends a third more on each event, 22 µs of processor instead of 16, and on two cores passes on 44 k
    // events a second as they come instead of 57 k (medians of alternating runs of `cargo bench --bench event_lane`).
    // So it is not a prefetch that bounds what we hold: see `UNTAKEN_MAX`.
    let only = BasicConsumeOptions {
        exclusive: true,
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let consumer = channel
        .basic_consume(queue.clone(), "".into(), only, FieldTable::default())
        .await
        .map_err(broken)?;
    let (inlet, deliveries) = mpsc::channel(UNTAKEN_MAX);
    consumer.set_delegate(Inlet(inlet));
    // Only now, so that no delivery comes before its way is laid.
    channel
        .queue_bind(
            queue.clone(),
            events,
            "#".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .map_err(broken)?;
    Ok(Session {
        connection,
        channel,
        _consumer: consumer,
        deliveries,
        queue,
    })
}

impl Session {
    async fn run(&mut self, lane: &mut (dyn Lane + Send)) -> BrokerError {
        let mut events = Box::pin(self.connection.events_listener());
        let mut canary = Canary::new();
        let mut tick = interval(CANARY_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut publishing: Option<Writing> = None;
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut blocked = false;
        loop {
            tokio::select! {
                count = self.deliveries.recv_many(&mut batch, BATCH_MAX) => {
                    if count == 0 {
                        return taken_away();
                    }
                    if let Err(error) = hand_over_all(&mut batch, lane, &mut canary) {
                        return error;
                    }
                    // A flood must not keep the thread from everybody else.
                    tokio::task::yield_now().await;
                }
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(_)) => {
                        blocked = true;
                        canary.excuse();
                        lane.blocked(true);
                    }
                    Some(Event::ConnectionUnblocked) => {
                        blocked = false;
                        lane.blocked(false);
                    }
                    Some(_) => {}
                    None => return BrokerError::Lost("the connection was closed".into()),
                },
                sent = async { publishing.as_mut()?.await.into() }, if publishing.is_some() => {
                    publishing = None;
                    if let Some(Err(error)) = sent {
                        return broken(error);
                    }
                }
                _ = tick.tick(), if !blocked => match canary.launch(Instant::now()) {
                    None => return BrokerError::Lost(format!("no message to ourselves came back for {CANARY_LOST:?}")),
                    // One that the socket does not take yet is enough; the next count all the same.
                    Some(_) if publishing.is_some() => {}
                    Some(body) => publishing = Some(self.publish(body)),
                },
            }
        }
    }

    fn publish(&self, body: String) -> Writing {
        let channel = self.channel.clone();
        let queue = self.queue.clone();
        Box::pin(async move {
            let properties = BasicProperties::default().with_content_type(CANARY_TYPE.into());
            channel
                .basic_publish(
                    "".into(),
                    queue,
                    BasicPublishOptions::default(),
                    body.as_bytes(),
                    properties,
                )
                .await?;
            Ok(())
        })
    }
}

fn hand_over_all(
    batch: &mut Vec<DeliveryResult>,
    lane: &mut (dyn Lane + Send),
    canary: &mut Canary,
) -> Result<(), BrokerError> {
    let mut ended = Ok(());
    for delivery in batch.drain(..) {
        match delivery {
            Ok(Some(delivery)) => hand_over(&delivery, lane, canary),
            Ok(None) => ended = ended.and(Err(taken_away())),
            Err(error) => ended = ended.and(Err(broken(error))),
        }
    }
    lane.batch_end();
    ended
}

fn taken_away() -> BrokerError {
    BrokerError::Lost("the broker took our event queue away".into())
}

fn hand_over(delivery: &Delivery, lane: &mut (dyn Lane + Send), canary: &mut Canary) {
    let properties = &delivery.properties;
    let content_type = properties.content_type().as_ref().map_or("", ShortString::as_str);
    if content_type == CANARY_TYPE
        && let Some(round_trip) = canary.landed(&delivery.data, Instant::now())
    {
        return lane.canary(round_trip);
    }
    lane.message(RawMessage::Amqp {
        content_type,
        content_encoding: properties.content_encoding().as_ref().map_or("", ShortString::as_str),
        compression: properties
            .headers()
            .as_ref()
            .map_or("", |headers| text(headers, "compression")),
        body: &delivery.data,
    });
}

/// A header that should be text; empty where it is not there, or something else.
pub(super) fn text<'a>(headers: &'a FieldTable, name: &str) -> &'a str {
    match headers.inner().get(name) {
        Some(AMQPValue::LongString(value)) => std::str::from_utf8(value.as_bytes()).unwrap_or_default(),
        Some(AMQPValue::ShortString(value)) => value.as_str(),
        _ => "",
    }
}
