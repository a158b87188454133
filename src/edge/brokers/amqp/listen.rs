//! One session of listening to events on RabbitMQ.

use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use futures_util::{FutureExt, StreamExt};
use headcount_actors::ports::{BrokerError, CANARY_EVERY, CANARY_LOST, Lane, SessionEnd};
use headcount_core::celery::RawMessage;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, Consumer, Event, ExchangeKind};
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

/// Deliveries that have been sent to us and are not acknowledged. This is what bounds our memory: the client queues what
/// the lane has not taken, without a bound of its own, and what is beyond this many (some 4 MB of heartbeats) waits at
/// the broker. Measured with RabbitMQ 3.10 on two busy cores, without acknowledgements and with them (medians of
/// alternating runs of the bench `event_lane`): they cost the broker 22 µs of processor for an event of a backlog instead
/// of 16, and us up to a tenth; published as fast as it goes, 44 k events a second come instead of 57 k. From 2,000 to
/// 10,000 it made no difference beyond the noise; 65,000 cost the broker more. To hold back the client's reading thread
/// instead, without acknowledgements, deadlocks: it holds the channel's lock, which a publish needs.
const PREFETCH: u16 = 4_000;

/// Deliveries that are acknowledged together, as one message for each costs RabbitMQ dearly. A quarter of [`PREFETCH`],
/// so that the broker goes on filling while we empty.
const ACKNOWLEDGE_EVERY: usize = PREFETCH as usize / 4;

/// Deliveries that are handed over before the batch is ended and everything else gets its turn: some milliseconds.
const BATCH_MAX: usize = ACKNOWLEDGE_EVERY;

/// The content type of our messages to ourselves.
const CANARY_TYPE: &str = "application/x-headcount-canary";

/// Something that is being written to the socket, which may not take it for long.
type Writing = Pin<Box<dyn Future<Output = Result<(), lapin::Error>> + Send>>;

struct Session {
    connection: Connection,
    channel: Channel,
    consumer: Consumer,
    queue: ShortString,
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
    channel
        .basic_qos(PREFETCH, BasicQosOptions::default())
        .await
        .map_err(broken)?;
    let only = BasicConsumeOptions {
        exclusive: true,
        ..BasicConsumeOptions::default()
    };
    let consumer = channel
        .basic_consume(queue.clone(), "".into(), only, FieldTable::default())
        .await
        .map_err(broken)?;
    Ok(Session {
        connection,
        channel,
        consumer,
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
        let mut acknowledging: Option<Writing> = None;
        let mut taken = Taken::default();
        let mut blocked = false;
        loop {
            tokio::select! {
                first = self.consumer.next() => {
                    if let Err(error) = self.batch(first, lane, &mut canary, &mut taken) {
                        return error;
                    }
                    if acknowledging.is_none() {
                        acknowledging = taken.due().map(|last| self.acknowledge(last));
                    }
                    // A flood must not keep the thread from everybody else.
                    tokio::task::yield_now().await;
                }
                sent = async { acknowledging.as_mut()?.await.into() }, if acknowledging.is_some() => {
                    acknowledging = None;
                    if let Some(Err(error)) = sent {
                        return broken(error);
                    }
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

    /// Hands over everything that is ready.
    fn batch(
        &mut self,
        first: Option<Result<Delivery, lapin::Error>>,
        lane: &mut (dyn Lane + Send),
        canary: &mut Canary,
        taken: &mut Taken,
    ) -> Result<(), BrokerError> {
        let mut next = Some(first);
        let mut ended = Ok(());
        for _ in 0..BATCH_MAX {
            let delivery = match next.take().or_else(|| self.consumer.next().now_or_never()) {
                None => break,
                Some(Some(Ok(delivery))) => delivery,
                Some(Some(Err(error))) => {
                    ended = Err(broken(error));
                    break;
                }
                Some(None) => {
                    ended = Err(BrokerError::Lost("the broker took our event queue away".into()));
                    break;
                }
            };
            taken.count += 1;
            taken.last = delivery.delivery_tag;
            taken.canary |= hand_over(&delivery, lane, canary);
        }
        lane.batch_end();
        ended
    }

    /// Acknowledges a delivery and all before it. Not waited for where it begins: while the broker blocks publishers it
    /// reads no acknowledgements either, and then the lane has to hear that, and nothing else.
    fn acknowledge(&self, last: u64) -> Writing {
        let channel = self.channel.clone();
        Box::pin(async move { channel.basic_ack(last, BasicAckOptions { multiple: true }).await })
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

/// Deliveries that were handed over and are not acknowledged.
#[derive(Debug, Default)]
struct Taken {
    count: usize,
    /// The tag of the last.
    last: u64,
    /// A canary was among them. It comes once a second, so that a quiet broker too has its acknowledgement long before
    /// RabbitMQ's `consumer_timeout` (30 min).
    canary: bool,
}

impl Taken {
    /// The last of those that it is time to acknowledge.
    fn due(&mut self) -> Option<u64> {
        if self.count < ACKNOWLEDGE_EVERY && !self.canary {
            return None;
        }
        Some(std::mem::take(self).last)
    }
}

/// Hands one delivery to the lane; true if it was a canary that came home.
fn hand_over(delivery: &Delivery, lane: &mut (dyn Lane + Send), canary: &mut Canary) -> bool {
    let properties = &delivery.properties;
    let content_type = properties.content_type().as_ref().map_or("", ShortString::as_str);
    if content_type == CANARY_TYPE && canary.is_ours(&delivery.data) {
        let landed = canary.landed(&delivery.data, Instant::now());
        if let Some(round_trip) = landed {
            lane.canary(round_trip);
        }
        return landed.is_some();
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
    false
}

/// A header that should be text; empty where it is not there, or something else.
pub(super) fn text<'a>(headers: &'a FieldTable, name: &str) -> &'a str {
    match headers.inner().get(name) {
        Some(AMQPValue::LongString(value)) => std::str::from_utf8(value.as_bytes()).unwrap_or_default(),
        Some(AMQPValue::ShortString(value)) => value.as_str(),
        _ => "",
    }
}
