//! Inspect commands to many workers, and looking at queues.

use std::time::{Duration, Instant};

use compact_str::CompactString;
use headcount_actors::ports::{BrokerError, Inspect, Queue, Reply};
use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, ErrorKind, ExchangeKind};
use tokio::time::timeout_at;

use super::connect::broken;
use super::control::Control;
use super::short::short;
use super::{Amqp, request};
use crate::brokers::collect::Collected;
use crate::brokers::waiting::Call;

/// As many workers are asked by a message to each; more of them by one message to all, whether they are asked or not.
const MAX_DIRECT: usize = 50;
/// How long all of the looking at queues may take.
const QUEUES_TIMEOUT: Duration = Duration::from_secs(10);

/// See [`headcount_actors::ports::Broker::inspect`].
pub(super) async fn inspect(broker: &Amqp, control: &Control, ask: &Inspect) -> Result<Vec<Reply>, BrokerError> {
    let mut call = control.waiting.call()?;
    let deadline = tokio::time::Instant::now() + ask.timeout;
    let mut collected = Collected::new(ask.destination.as_deref());
    match timeout_at(deadline, run(broker, control, ask, &mut call, &mut collected)).await {
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) | Err(_) => collected.into_replies(ask.timeout),
    }
}

async fn run(
    broker: &Amqp,
    control: &Control,
    ask: &Inspect,
    call: &mut Call,
    collected: &mut Collected<'_>,
) -> Result<(), BrokerError> {
    let channel = control.channel().await?;
    let destination: Option<Vec<&str>> = ask
        .destination
        .as_ref()
        .map(|d| d.iter().map(CompactString::as_str).collect());
    let body = request::body(
        (ask.method, ask.arguments.clone()),
        destination.as_deref(),
        call.ticket(),
        control.reply_queue.as_str(),
    );
    let (exchange, keys) = match &destination {
        // Straight to their mailboxes. One that is not there takes nothing, and does not answer.
        Some(few) if few.len() <= MAX_DIRECT => {
            let mailboxes = few
                .iter()
                .filter_map(|hostname| short(&broker.wire.mailbox(hostname)).ok());
            ("".into(), mailboxes.collect())
        }
        _ => (control_exchange(broker, &channel).await?, vec!["".into()]),
    };
    let sent = Instant::now();
    for key in keys {
        let properties = request::properties(ask.timeout)?;
        let options = BasicPublishOptions::default();
        channel
            .basic_publish(exchange.clone(), key, options, &body, properties)
            .await
            .map_err(broken)?;
    }
    collected.sent(sent);
    collected.until_complete(call).await
}

/// The exchange that brings a command to all workers.
async fn control_exchange(broker: &Amqp, channel: &Channel) -> Result<ShortString, BrokerError> {
    let exchange = short(&broker.wire.control_exchange())?;
    // Exactly as Celery declares it. Without a worker it may not exist yet, and publishing to it would fail.
    let options = ExchangeDeclareOptions::default();
    channel
        .exchange_declare(exchange.clone(), ExchangeKind::Fanout, options, FieldTable::default())
        .await
        .map_err(broken)?;
    Ok(exchange)
}

/// See [`headcount_actors::ports::Broker::queues`].
pub(super) async fn queues(control: &Control, names: &[CompactString]) -> Result<Vec<Queue>, BrokerError> {
    let looking = async {
        let mut queues = Vec::with_capacity(names.len());
        let mut channel = None;
        for name in names {
            // One that does not fit, or is empty (which would mean the channel's last one), is nobody's queue here.
            let Some(wire_name) = short(name).ok().filter(|_| !name.is_empty()) else {
                continue;
            };
            let open = match channel.take() {
                Some(open) => open,
                None => control.channel().await?,
            };
            let passive = QueueDeclareOptions {
                passive: true,
                ..QueueDeclareOptions::default()
            };
            match open.queue_declare(wire_name, passive, FieldTable::default()).await {
                Ok(queue) => {
                    queues.push(Queue {
                        name: name.clone(),
                        length: queue.message_count().into(),
                        consumers: Some(queue.consumer_count()),
                    });
                    channel = Some(open);
                }
                // The broker closes the channel with its answer; the next queue needs a new one.
                Err(error) if is_not_there(&error) => {}
                Err(error) => return Err(broken(error)),
            }
        }
        Ok(queues)
    };
    tokio::time::timeout(QUEUES_TIMEOUT, looking)
        .await
        .unwrap_or(Err(BrokerError::Timeout(QUEUES_TIMEOUT)))
}

/// `NOT_FOUND`, or a queue that belongs to another connection (`RESOURCE_LOCKED`): no work queue of a fleet.
fn is_not_there(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(amqp) if matches!(amqp.get_id(), 404 | 405))
}
