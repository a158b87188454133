//! Tasks through RabbitMQ: published to the default exchange with the queue's name, as Celery's producers do, or to the exchange
//! of a route, and confirmed by the broker.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use headcount_actors::ports::BrokerError;
use headcount_actors::ports::jobs::TaskSender;
use headcount_core::celery::broker_url;
use headcount_core::celery::task::{CONTENT_ENCODING, CONTENT_TYPE, DELIVERY_MODE, Destination, TaskMessage};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::time::timeout;

use super::connect::{Address, broken};
use super::queue::make_sure_of;
use super::short::short;
use super::table;
use crate::brokers::OpenError;
use crate::brokers::shared::{Shared, Stands};

/// How long the broker may take to confirm a task. It confirms what is to last once it is on its disk, which a busy one
/// does some hundred milliseconds later.
const CONFIRM_WITHIN: Duration = Duration::from_secs(10);

/// See [`TaskSender`].
#[derive(Debug)]
pub(in crate::brokers) struct Sender {
    name: String,
    address: Address,
    publishing: Shared<Publishing>,
}

/// A connection that stands, with one channel to publish on.
#[derive(Debug)]
struct Publishing {
    connection: Connection,
    channel: Channel,
    /// Queues that were there when they were last looked for.
    queues: Mutex<BTreeSet<String>>,
}

impl Stands for Publishing {
    fn stands(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    fn is_held_back(&self) -> bool {
        self.connection.status().blocked()
    }
}

impl Sender {
    pub(in crate::brokers) fn new(name: String, shown: String, url: broker_url::Amqp) -> Result<Self, OpenError> {
        Ok(Self {
            name,
            address: Address::new(shown, url)?,
            publishing: Shared::new(),
        })
    }

    async fn open(&self) -> Result<Publishing, BrokerError> {
        let patience = self.address.timeout;
        let opening = async {
            let connection = self.address.connect(&format!("headcount {} jobs", self.name)).await?;
            let channel = connection.create_channel().await.map_err(broken)?;
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await
                .map_err(broken)?;
            Ok(Publishing {
                connection,
                channel,
                queues: Mutex::default(),
            })
        };
        timeout(patience, opening)
            .await
            .unwrap_or(Err(BrokerError::Timeout(patience)))
    }
}

#[async_trait]
impl TaskSender for Sender {
    fn broker(&self) -> &str {
        &self.name
    }

    async fn send(&self, task: &TaskMessage, to: &Destination) -> Result<(), BrokerError> {
        let publishing = self.publishing.get(self.open()).await?;
        let sent = timeout(CONFIRM_WITHIN, publishing.send(task, to)).await;
        let sent = sent.unwrap_or(Err(BrokerError::Timeout(CONFIRM_WITHIN)));
        self.publishing.checked(&publishing, sent).await
    }
}

impl Publishing {
    async fn send(&self, task: &TaskMessage, to: &Destination) -> Result<(), BrokerError> {
        if to.exchange.is_empty() {
            return self.send_to_queue(task, &to.routing_key).await;
        }
        if self.publish(task, &to.exchange, &to.routing_key).await? {
            return Ok(());
        }
        Err(BrokerError::Refused(format!(
            "no queue is bound to {} by {}",
            to.exchange, to.routing_key
        )))
    }

    async fn send_to_queue(&self, task: &TaskMessage, queue: &str) -> Result<(), BrokerError> {
        let known = self.queues().contains(queue);
        if !known {
            self.make_sure_of(queue).await?;
        }
        if self.publish(task, "", queue).await? {
            return Ok(());
        }
        // It was deleted since; the broker has given the task back.
        self.queues().remove(queue);
        self.make_sure_of(queue).await?;
        if self.publish(task, "", queue).await? {
            return Ok(());
        }
        Err(BrokerError::Protocol(format!(
            "there is no queue {queue:?}, although it was just declared"
        )))
    }

    /// Publishes, and waits for the broker's yes. False where that leads to no queue.
    async fn publish(&self, task: &TaskMessage, exchange: &str, routing_key: &str) -> Result<bool, BrokerError> {
        let mandatory = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let (exchange, routing_key) = (short(exchange)?, short(routing_key)?);
        let published = self
            .channel
            .basic_publish(exchange, routing_key, mandatory, &task.body(), properties(task)?)
            .await
            .map_err(broken)?;
        match published.await.map_err(broken)? {
            Confirmation::Ack(returned) => Ok(returned.is_none()),
            Confirmation::Nack(_) => Err(BrokerError::Protocol("the broker did not take the task".to_owned())),
            Confirmation::NotRequested => Err(BrokerError::Protocol("the broker does not confirm".to_owned())),
        }
    }

    async fn make_sure_of(&self, queue: &str) -> Result<(), BrokerError> {
        make_sure_of(&self.connection, queue).await?;
        self.queues().insert(queue.to_owned());
        Ok(())
    }

    fn queues(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn properties(task: &TaskMessage) -> Result<BasicProperties, BrokerError> {
    Ok(BasicProperties::default()
        .with_content_type(CONTENT_TYPE.into())
        .with_content_encoding(CONTENT_ENCODING.into())
        .with_headers(table::from_json(&task.headers())?)
        .with_delivery_mode(DELIVERY_MODE)
        .with_priority(task.priority())
        .with_correlation_id(short(task.correlation_id())?)
        .with_reply_to(short(task.reply_to())?))
}
