//! What is taken and not settled: kombu's hash `unacked` and its index by time.

use std::collections::BTreeMap;
use std::time::Duration;

use headcount_actors::ports::BrokerError;
use headcount_core::celery::wire_names::WireSettings;
use serde_json::Value;

use super::take::Taken;
use crate::brokers::redis::commands::Commands;

/// Messages that are looked at in one go when those of the dead are sought; the rest is looked at the next time.
const LOOK_AT: usize = 200;

/// Puts a message back, if it is still noted as taken: so of several who try, one does it.
///
/// KEYS: the hash, the sorted set, the list. ARGV: the tag, the message, which is then the next to be taken.
const PUT_BACK: &str = r"
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HDEL', KEYS[1], ARGV[1]) == 1 then
    redis.call('RPUSH', KEYS[3], ARGV[2])
    return 1
end
return 0
";

/// What this process holds, by the numbers that the node knows.
#[derive(Debug, Default)]
pub(super) struct Held {
    next: u64,
    messages: BTreeMap<u64, Taken>,
}

impl Held {
    /// Notes one; its number.
    pub(super) fn note(&mut self, taken: Taken) -> u64 {
        self.next += 1;
        self.messages.insert(self.next, taken);
        self.next
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Taken> {
        self.messages.remove(&number)
    }

    pub(super) fn drain(&mut self) -> Vec<Taken> {
        std::mem::take(&mut self.messages).into_values().collect()
    }

    pub(super) fn tags(&self) -> Vec<String> {
        self.messages.values().filter_map(|taken| taken.tag.clone()).collect()
    }
}

/// The books in Redis.
#[derive(Debug)]
pub(super) struct Books {
    hash: String,
    index: String,
    queue: String,
    wire: WireSettings,
}

impl Books {
    pub(super) fn new(wire: &WireSettings, queue: &str) -> Self {
        Self {
            hash: wire.unacked_key(),
            index: wire.unacked_index_key(),
            queue: queue.to_owned(),
            wire: wire.clone(),
        }
    }

    /// The keys that taking needs: the hash, the index, the lists.
    pub(super) fn keys(&self) -> Vec<String> {
        let mut keys = vec![self.hash.clone(), self.index.clone()];
        keys.extend(self.wire.queue_lists(&self.queue));
        keys
    }

    /// It is done with.
    pub(super) async fn settle(&self, commands: &Commands, taken: &Taken) -> Result<(), BrokerError> {
        let Some(tag) = &taken.tag else { return Ok(()) };
        let mut settling = redis::pipe();
        settling
            .atomic()
            .zrem(&self.index, tag)
            .ignore()
            .hdel(&self.hash, tag)
            .ignore();
        settling
            .query_async(&mut commands.handle())
            .await
            .map_err(|error| commands.what(&error))
    }

    /// It goes back to where it came from, marked as kombu marks it, and is the next to be taken.
    pub(super) async fn put_back(&self, commands: &Commands, taken: &Taken) -> Result<(), BrokerError> {
        let Some(tag) = &taken.tag else { return Ok(()) };
        self.restore(commands, tag, &taken.list, &marked(&taken.payload))
            .await
            .map(drop)
    }

    async fn restore(&self, commands: &Commands, tag: &str, list: &str, payload: &[u8]) -> Result<bool, BrokerError> {
        let mut asking = redis::cmd("EVAL");
        asking.arg(PUT_BACK).arg(3).arg(&self.hash).arg(&self.index).arg(list);
        asking.arg(tag).arg(payload);
        asking
            .query_async(&mut commands.handle())
            .await
            .map_err(|error| commands.what(&error))
    }

    /// Those that are held here are still being worked on: nobody is to take them over.
    pub(super) async fn keep(&self, commands: &Commands, tags: &[String], now: f64) -> Result<(), BrokerError> {
        if tags.is_empty() {
            return Ok(());
        }
        let mut keeping = redis::cmd("ZADD");
        // XX: only those that are noted; one that was settled meanwhile is not to come back.
        keeping.arg(&self.index).arg("XX");
        for tag in tags {
            keeping.arg(now).arg(tag);
        }
        keeping
            .query_async::<()>(&mut commands.handle())
            .await
            .map_err(|error| commands.what(&error))
    }

    /// Puts back what was taken from this queue so long ago that whoever took it must be gone. What belongs to other queues is
    /// left to those who consume them: they may have another visibility timeout. Returns how many there were.
    pub(super) async fn take_over(
        &self,
        commands: &Commands,
        now: f64,
        visibility_timeout: Duration,
    ) -> Result<usize, BrokerError> {
        let said = |error: redis::RedisError| commands.what(&error);
        let mut seeking = redis::cmd("ZRANGEBYSCORE");
        seeking
            .arg(&self.index)
            .arg("-inf")
            .arg(now - visibility_timeout.as_secs_f64());
        seeking.arg("LIMIT").arg(0).arg(LOOK_AT);
        let tags: Vec<String> = seeking.query_async(&mut commands.handle()).await.map_err(said)?;
        let mut taken_over = 0;
        for tag in tags {
            let mut reading = redis::cmd("HGET");
            reading.arg(&self.hash).arg(&tag);
            let noted: Option<Vec<u8>> = reading.query_async(&mut commands.handle()).await.map_err(said)?;
            let Some((message, priority)) = noted.and_then(|noted| self.own(&noted)) else {
                continue;
            };
            let list = self.wire.queue_list(&self.queue, priority);
            taken_over += usize::from(self.restore(commands, &tag, &list, &message).await?);
        }
        Ok(taken_over)
    }

    /// The message and its priority, if it came from this queue.
    fn own(&self, noted: &[u8]) -> Option<(Vec<u8>, u8)> {
        let Ok(Value::Array(parts)) = serde_json::from_slice::<Value>(noted) else {
            return None;
        };
        let [mut message, exchange, routing_key] = <[Value; 3]>::try_from(parts).ok()?;
        let by = exchange.as_str()?;
        if routing_key != self.queue.as_str() || !(by.is_empty() || by == self.queue) {
            return None;
        }
        mark(&mut message);
        let priority = message
            .pointer("/properties/priority")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        Some((
            message.to_string().into_bytes(),
            u8::try_from(priority).unwrap_or(u8::MAX),
        ))
    }
}

fn marked(payload: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<Value>(payload) {
        Ok(mut message) => {
            mark(&mut message);
            message.to_string().into_bytes()
        }
        Err(_) => payload.to_vec(),
    }
}

/// As kombu marks what it puts back, so that whoever takes it next knows.
fn mark(message: &mut Value) {
    for place in ["/headers", "/properties/delivery_info"] {
        if let Some(Value::Object(object)) = message.pointer_mut(place) {
            object.insert("redelivered".into(), Value::Bool(true));
        }
    }
}
