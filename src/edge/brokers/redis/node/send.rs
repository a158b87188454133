//! Messages to lists and channels.

use std::sync::Arc;

use headcount_actors::ports::BrokerError;
use headcount_core::celery::wire_names::WireSettings;
use headcount_core::celery::{Publication, To};
use uuid::Uuid;

use crate::brokers::redis::commands::Commands;

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
                let queues = self.bound(name, routing_key).await?;
                if queues.is_empty() {
                    return Err(BrokerError::Refused(format!(
                        "no queue is bound to {name} by {routing_key}"
                    )));
                }
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

    /// The queues that an exchange leads to. kombu keeps no type of an exchange here: a binding that is the routing key itself
    /// counts, and one that matches it as a topic does.
    async fn bound(&self, exchange: &str, routing_key: &str) -> Result<Vec<String>, BrokerError> {
        let mut reading = redis::cmd("SMEMBERS");
        reading.arg(self.wire.binding_key(exchange));
        let members: Vec<String> = reading
            .query_async(&mut self.commands.handle())
            .await
            .map_err(|error| self.commands.what(&error))?;
        let leads = |member: &String| {
            let (binding, queue) = self.wire.read_binding(member)?;
            topic_matches(binding, routing_key).then(|| queue.to_owned())
        };
        Ok(members.iter().filter_map(leads).collect())
    }

    async fn run(&self, command: &redis::Cmd) -> Result<(), BrokerError> {
        command
            .query_async(&mut self.commands.handle())
            .await
            .map_err(|error| self.commands.what(&error))
    }
}

/// Whether a topic's binding matches: `*` is one word, `#` any number of them.
fn topic_matches(binding: &str, routing_key: &str) -> bool {
    fn words(binding: &[&str], key: &[&str]) -> bool {
        match (binding.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), _) => (0..=key.len()).any(|skip| words(rest, key.get(skip..).unwrap_or_default())),
            (Some((word, rest)), Some((first, after))) => (*word == "*" || word == first) && words(rest, after),
            _ => false,
        }
    }
    if binding == routing_key {
        return true;
    }
    // A binding with many `#` would take for ever; nobody has two.
    if binding.split('.').filter(|word| *word == "#").count() > 2 {
        return false;
    }
    let binding: Vec<&str> = binding.split('.').collect();
    let key: Vec<&str> = routing_key.split('.').collect();
    words(&binding, &key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_match_as_topics_do() {
        for (binding, key, expected) in [
            ("sms", "sms", true),
            ("sms", "mail", false),
            ("feed.*", "feed.read", true),
            ("feed.*", "feed.read.now", false),
            ("feed.#", "feed.read.now", true),
            ("feed.#", "feed", true),
            ("#", "anything.at.all", true),
            ("#.now", "feed.read.now", true),
            ("#.now", "feed.read", false),
            ("", "", true),
        ] {
            assert_eq!(topic_matches(binding, key), expected, "{binding} {key}");
        }
    }
}
