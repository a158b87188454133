//! A session that stands.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use headcount_actors::ports::BrokerError;
use headcount_actors::ports::node::{Heard, Joining, Link, Order};
use headcount_core::celery::task::{self, AmqpTask, RawTask};
use headcount_core::celery::{Keep, Publication, RawRequest, To, publication, read_request};
use headcount_core::node::Settle;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicPublishOptions, BasicQosOptions, BasicRejectOptions, ConfirmSelectOptions,
};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Connection, Consumer, PublisherConfirm};
use tokio::sync::oneshot;

use crate::brokers::amqp::connect::{broken, refused};
use crate::brokers::amqp::queue::make_sure_of;
use crate::brokers::amqp::short::short;
use crate::brokers::amqp::table;

/// One session.
pub(super) struct Session {
    /// The broker's name, and the node's, for people.
    pub(super) broker: String,
    pub(super) node: String,
    pub(super) connection: Connection,
    /// The channel of the queue.
    pub(super) work: Channel,
    pub(super) tasks: Consumer,
    pub(super) mailbox: (Channel, Consumer),
    /// For what may be lost.
    pub(super) plain: Channel,
    /// For what the broker has to confirm.
    pub(super) confirmed: Channel,
    /// The prefetch count cannot be changed any more.
    pub(super) each_consumer: bool,
    pub(super) event_exchange: String,
    /// Those that were declared.
    pub(super) exchanges: Vec<String>,
    /// Queues that were there when they were last looked for.
    pub(super) queues: Arc<Mutex<BTreeSet<String>>>,
}

impl Session {
    pub(super) async fn run(mut self, joining: &Joining, link: Link) -> Result<(), BrokerError> {
        let Link { heard, mut orders } = link;
        let gone = || BrokerError::Lost("nobody listens to the session any more".into());
        heard.send(Heard::Opened).await.map_err(|_| gone())?;
        let (mut takes, mut drained) = (true, false);
        loop {
            let news = tokio::select! {
                // What is ordered first: acknowledgements make room for what comes.
                biased;
                order = orders.recv() => match order.ok_or_else(gone)? {
                    Order::Leave => return self.leave().await,
                    Order::TakeNoMore => {
                        takes = false;
                        let consumer = self.tasks.tag();
                        let cancelled = self.work.basic_cancel(consumer, BasicCancelOptions::default()).await;
                        cancelled.map_err(broken)?;
                        continue;
                    }
                    order => {
                        self.carry_out(order).await?;
                        continue;
                    }
                },
                request = self.mailbox.1.next() => match came(request, "mailbox")? {
                    Some(delivery) => request_of(&delivery, joining),
                    None => continue,
                },
                delivery = self.tasks.next(), if !drained => match delivery {
                    // What was on its way has been handed over.
                    None if !takes => {
                        drained = true;
                        continue;
                    }
                    delivery => match came(delivery, "queue")? {
                        Some(delivery) => Some(task_of(&delivery)),
                        None => continue,
                    },
                },
            };
            if let Some(news) = news {
                heard.send(news).await.map_err(|_| gone())?;
            }
        }
    }

    async fn carry_out(&mut self, order: Order) -> Result<(), BrokerError> {
        match order {
            Order::Settle { number, how } => {
                let reject = |requeue| BasicRejectOptions { requeue };
                let settled = match how {
                    Settle::Ack => self.work.basic_ack(number, BasicAckOptions::default()).await,
                    Settle::Reject => self.work.basic_reject(number, reject(false)).await,
                    Settle::Requeue => self.work.basic_reject(number, reject(true)).await,
                };
                settled.map_err(broken)
            }
            Order::Prefetch(_) if self.each_consumer => Ok(()),
            Order::Prefetch(count) => {
                let whole_channel = BasicQosOptions { global: true };
                self.work.basic_qos(count, whole_channel).await.map_err(broken)
            }
            Order::Publish { publication, sent } => {
                match self.send(&publication, sent.is_some()).await {
                    Ok(confirm) => self.tell(confirm, publication.to, sent),
                    // Its own names are to blame, and nothing else: the session goes on.
                    Err(error @ BrokerError::Refused(_)) => {
                        tracing::warn!(
                            broker = self.broker, node = self.node, to = ?publication.to, %error,
                            "the node cannot send a message, and who wanted it sent is told: its queue or exchange has no usable name"
                        );
                        let _ = sent.map(|sent| sent.send(Err(error)));
                    }
                    Err(error) => return Err(error),
                }
                Ok(())
            }
            Order::TakeNoMore | Order::Leave => Ok(()),
        }
    }

    async fn send(&self, publication: &Publication, confirmed: bool) -> Result<PublisherConfirm, BrokerError> {
        if !self.knows(publication) {
            return self.publish_apart(publication).await;
        }
        if !confirmed {
            return self.publish(&self.plain, publication).await;
        }
        if let (Keep::Persistent, To::Queue(queue)) = (publication.keep, &publication.to)
            && !self.queues().contains(queue)
        {
            make_sure_of(&self.connection, queue).await?;
            self.queues().insert(queue.clone());
        }
        self.publish(&self.confirmed, publication).await
    }

    fn queues(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the exchange is there for sure: it was declared when the session was opened.
    fn knows(&self, publication: &Publication) -> bool {
        let (exchange, _) = publication.to.address(&self.event_exchange);
        exchange.is_empty() || self.exchanges.iter().any(|known| known == exchange)
    }

    /// To an exchange that somebody named, and that may not be there: the broker then closes the channel, which is one of its
    /// own.
    async fn publish_apart(&self, publication: &Publication) -> Result<PublisherConfirm, BrokerError> {
        let channel = self.connection.create_channel().await.map_err(broken)?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .map_err(broken)?;
        let confirm = self.publish(&channel, publication).await?;
        // It is closed once the broker has answered.
        tokio::spawn(async move { channel.wait_for_confirms().await.map(drop) });
        Ok(confirm)
    }

    async fn publish(&self, channel: &Channel, publication: &Publication) -> Result<PublisherConfirm, BrokerError> {
        let (exchange, routing_key) = publication.to.address(&self.event_exchange);
        let mut properties = BasicProperties::default()
            .with_content_type(publication::CONTENT_TYPE.into())
            .with_content_encoding(publication::CONTENT_ENCODING.into())
            .with_delivery_mode(publication.keep as u8)
            .with_priority(publication.priority)
            .with_headers(table::from_json(&publication.headers)?);
        if let Some(id) = &publication.correlation_id {
            properties = properties.with_correlation_id(short(id)?);
        }
        if let Some(reply_to) = &publication.reply_to {
            properties = properties.with_reply_to(short(reply_to)?);
        }
        let options = BasicPublishOptions {
            // A task that leads to no queue comes back. An answer to somebody who has gone is of no use.
            mandatory: publication.keep == Keep::Persistent,
            ..BasicPublishOptions::default()
        };
        channel
            .basic_publish(
                short(exchange)?,
                short(routing_key)?,
                options,
                &publication.body,
                properties,
            )
            .await
            .map_err(broken)
    }

    /// Tells whoever waits that the broker has it. Not waited for here: confirmations come in their own time.
    fn tell(&self, confirm: PublisherConfirm, to: To, sent: Option<oneshot::Sender<Result<(), BrokerError>>>) {
        let Some(sent) = sent else { return };
        let queues = self.queues.clone();
        tokio::spawn(async move {
            let told = match confirm.await {
                Ok(Confirmation::Nack(_)) => Err(BrokerError::Refused("the broker did not take a message".into())),
                Ok(Confirmation::Ack(Some(_))) => {
                    // Whoever tries again makes sure of it.
                    if let To::Queue(queue) = &to {
                        queues.lock().unwrap_or_else(PoisonError::into_inner).remove(queue);
                    }
                    let (exchange, routing_key) = to.address("");
                    Err(BrokerError::Refused(format!(
                        "no queue is bound to {exchange:?} by {routing_key:?}"
                    )))
                }
                Ok(_) => Ok(()),
                // An exchange that is not there: its channel is closed, and nothing else.
                Err(error) => Err(refused(error)),
            };
            let _ = sent.send(told);
        });
    }

    /// Everything that was ordered before is on its way; what is not settled the broker hands out again.
    async fn leave(self) -> Result<(), BrokerError> {
        self.connection
            .close(200, "the node leaves".into())
            .await
            .map_err(broken)
    }
}

/// What a consumer brought; an end of it is the session's end.
fn came(next: Option<Result<Delivery, lapin::Error>>, which: &str) -> Result<Option<Delivery>, BrokerError> {
    match next {
        Some(Ok(delivery)) => Ok(Some(delivery)),
        Some(Err(error)) => Err(broken(error)),
        None => Err(BrokerError::Lost(format!("the broker took the node's {which} away"))),
    }
}

fn request_of(delivery: &Delivery, joining: &Joining) -> Option<Heard> {
    let properties = &delivery.properties;
    let raw = RawRequest::Amqp {
        content_type: properties.content_type().as_ref().map_or("", ShortString::as_str),
        headers: properties.headers().as_ref().map(table::to_json).unwrap_or_default(),
        body: &delivery.data,
    };
    match read_request(raw, &joining.hostname) {
        Ok(command) => command.map(Heard::Command),
        Err(why) => Some(Heard::Unreadable(why.as_str())),
    }
}

fn task_of(delivery: &Delivery) -> Heard {
    let properties = &delivery.properties;
    let raw = AmqpTask {
        content_type: properties.content_type().as_ref().map_or("", ShortString::as_str),
        headers: properties.headers().as_ref().map(table::to_json).unwrap_or_default(),
        correlation_id: properties.correlation_id().as_ref().map(ShortString::as_str),
        reply_to: properties.reply_to().as_ref().map(ShortString::as_str),
        priority: *properties.priority(),
        exchange: delivery.exchange.as_str(),
        routing_key: delivery.routing_key.as_str(),
        redelivered: delivery.redelivered,
        body: &delivery.data,
    };
    Heard::Message {
        number: delivery.delivery_tag,
        message: task::decode(RawTask::Amqp(raw)).map(Box::new),
    }
}
