//! Tasks through Redis: one element more in the list of a queue.

use std::sync::Arc;

use async_trait::async_trait;
use headcount_actors::ports::BrokerError;
use headcount_actors::ports::jobs::TaskSender;
use headcount_core::celery::WireSettings;
use headcount_core::celery::task::TaskMessage;
use uuid::Uuid;

use super::Address;
use super::commands::Commands;
use crate::brokers::shared::Shared;

/// See [`TaskSender`].
#[derive(Debug)]
pub(in crate::brokers) struct Sender {
    name: String,
    address: Arc<Address>,
    wire: WireSettings,
    commands: Shared<Commands>,
}

impl Sender {
    pub(in crate::brokers) fn new(name: String, address: Address, wire: WireSettings) -> Self {
        Self {
            name,
            address: Arc::new(address),
            wire,
            commands: Shared::new(),
        }
    }
}

#[async_trait]
impl TaskSender for Sender {
    fn broker(&self) -> &str {
        &self.name
    }

    async fn send(&self, task: &TaskMessage, queue: &str) -> Result<(), BrokerError> {
        let opening = Commands::open(&self.address, self.address.command_timeout);
        let commands = self.commands.get(opening).await?;
        // The default exchange, as Celery's producers name a queue: its worker needs no binding.
        let payload = task.redis_payload("", queue, &Uuid::new_v4().to_string());
        let mut push = redis::cmd("LPUSH");
        push.arg(self.wire.queue_list(queue, task.priority())).arg(payload);
        let pushed: Result<u64, BrokerError> = push
            .query_async(&mut commands.handle())
            .await
            .map_err(|error| commands.what(&error));
        self.commands.checked(&commands, pushed).await.map(drop)
    }
}
