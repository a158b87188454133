//! One session of listening to events on RabbitMQ.

use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use futures_util::{FutureExt, StreamExt};
use headcount_actors::ports::{BrokerError, CANARY_EVERY, CANARY_LOST, Lane, SessionEnd};
use headcount_core::celery::RawMessage;
use lapin::Acker;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, Consumer, Event, ExchangeKind};
use tokio::time::{MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use super::connect::broken;
use crate::brokers::canary::Canary;

/// Events that may wait for us in the broker; beyond it the oldest are dropped. Two seconds at the rate that one
/// session can take; raising it lets a stalled Headcount cost the broker some 1 KiB of memory for each.
const QUEUE_MAX_LENGTH: i64 = 100_000;

/// The same in bytes of bodies, for events that are larger than usual.
const QUEUE_MAX_BYTES: i64 = 64 << 20;

/// Milliseconds that the queue outlives a session that could not say goodbye. It is exclusive, so the broker deletes
/// it with the connection; this is for a broker that lost sight of that. Celery's own event queues use the same.
const QUEUE_EXPIRES_MS: i64 = 60_000;

/// Deliveries on their way that we have not acknowledged. Without acknowledgement the client would take from the
/// socket without a bound; this many heartbeats are 5 MB, and fewer cost throughput.
const PREFETCH: u16 = 8192;

/// Deliveries that are handed over before the batch is ended and everything else gets its turn: half of what may be
/// on its way, so that the broker can go on filling while we empty.
const BATCH_MAX: usize = PREFETCH as usize / 2;

/// Deliveries that are acknowledged together. RabbitMQ works for each acknowledgement, so one for each batch halves the
/// throughput where batches are small; this many leave it most of what may be on its way.
const ACKNOWLEDGE_EVERY: usize = PREFETCH as usize / 4;

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
    let events: ShortString = broker.wire.event_exchange.as_str().into();
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
    let queue: ShortString = broker
        .wire
        .event_queue(&format!("headcount-{}", Uuid::new_v4().simple()))
        .into();
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
        no_ack: std::env::var_os("LANE_NO_ACK").is_some(),
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
        // The last delivery that has been handed over and not acknowledged; with it, all before it will be.
        let mut last: Option<Acker> = None;
        let mut unacknowledged = 0;
        let no_ack = std::env::var_os("LANE_NO_ACK").is_some();
        let mut blocked = false;
        loop {
            tokio::select! {
                first = self.consumer.next() => {
                    match self.batch(first, lane, &mut canary) {
                        Ok((count, latest)) => {
                            unacknowledged += count;
                            last = latest.or(last);
                        }
                        Err(error) => return error,
                    }
                    if acknowledging.is_none() && unacknowledged >= ACKNOWLEDGE_EVERY && !no_ack {
                        unacknowledged = 0;
                        acknowledging = last.take().map(acknowledge);
                    }
                    // A flood must not keep the thread from everybody else.
                    tokio::task::yield_now().await;
                }
                done = async { acknowledging.as_mut()?.await.into() }, if acknowledging.is_some() => {
                    acknowledging = None;
                    if let Some(Err(error)) = done {
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

    /// Hands over everything that is ready, and returns what acknowledges it.
    fn batch(
        &mut self,
        first: Option<Result<Delivery, lapin::Error>>,
        lane: &mut (dyn Lane + Send),
        canary: &mut Canary,
    ) -> Result<(usize, Option<Acker>), BrokerError> {
        let mut next = Some(first);
        let (mut count, mut last) = (0, None);
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
            hand_over(&delivery, lane, canary);
            count += 1;
            last = Some(delivery.acker);
        }
        lane.batch_end();
        ended.map(|()| (count, last))
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

/// Acknowledges a delivery and all before it. Not waited for where it begins: while the broker blocks publishers it
/// takes no acknowledgements either, and then the lane has to hear that, and nothing else.
fn acknowledge(last: Acker) -> Writing {
    Box::pin(async move { last.ack(BasicAckOptions { multiple: true }).await.map(drop) })
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
