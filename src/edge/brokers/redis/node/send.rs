//! Messages to lists and channels.

use std::sync::Arc;

use headcount_actors::ports::BrokerError;
use headcount_core::celery::wire_names::WireSettings;
use headcount_core::celery::{Publication, To};
use uuid::Uuid;

use crate::brokers::redis::commands::Commands;
use crate::brokers::redis::exchange::bound;

/// Who sends.
pub(super) struct Sender {
    pub(super) commands: Arc<Commands>,
    pub(super) wire: WireSettings,
    pub(super) db: u32,
}

impl Sender {
    /// Sends it.
    ///
    /// # Errors
    /// `Refused` if no queue is bound where it goes; as any command else.
    pub(super) async fn send(&self, publication: &Publication) -> Result<(), BrokerError> {
        let tag = Uuid::new_v4().to_string();
        let payload = publication.redis_payload(&self.wire.event_exchange, &tag);
        match &publication.to {
            To::Events(routing_key) => {
                let channel = self.wire.event_channel(self.db, routing_key);
                self.run(redis::cmd("PUBLISH").arg(channel).arg(payload)).await
            }
            To::Queue(queue) => self.push(queue, publication.priority, &payload).await,
            To::Exchange { name, routing_key } => {
                let queues = bound(&self.commands, &self.wire, name, routing_key).await?;
                for queue in queues {
                    self.push(&queue, publication.priority, &payload).await?;
                }
                Ok(())
            }
        }
    }

    async fn push(&self, queue: &str, priority: u8, payload: &[u8]) -> Result<(), BrokerError> {
        let list = self.wire.queue_list(queue, priority);
        self.run(redis::cmd("LPUSH").arg(list).arg(payload)).await
    }

    async fn run(&self, command: &redis::Cmd) -> Result<(), BrokerError> {
        command
            .query_async(&mut self.commands.handle())
            .await
            .map_err(|error| self.commands.what(&error))
    }
}
