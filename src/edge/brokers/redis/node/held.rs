//! What is taken and not settled: kombu's hash `unacked` and its index by time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headcount_actors::ports::BrokerError;
use headcount_core::celery::wire_names::WireSettings;
use headcount_core::node::Settle;
use serde_json::Value;

use super::take::Taken;
use crate::brokers::redis::commands::Commands;
use crate::brokers::redis::exchange::bound;

/// Messages that are read in one go when those of the dead are sought. Each may be large, and all are in memory at once.
const LOOK_AT: usize = 100;

/// How often that is done in a row, before what else there is to do has its turn; the rest is looked at the next time.
const LOOKS: usize = 20;

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
    messages: BTreeMap<u64, Holding>,
    /// When takes began that have failed: the server may have handed something out all the same.
    doubtful: Vec<f64>,
}

#[derive(Debug)]
struct Holding {
    taken: Arc<Taken>,
    /// What becomes of it, from when that is known until the books say so.
    settle: Option<Settle>,
}

impl Held {
    /// Notes one; its number.
    pub(super) fn note(&mut self, taken: Arc<Taken>) -> u64 {
        self.next += 1;
        self.messages.insert(self.next, Holding { taken, settle: None });
        self.next
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// What is to become of one. It stays until the books say so, and is then to be removed.
    pub(super) fn settle(&mut self, number: u64, how: Settle) -> Option<Arc<Taken>> {
        let holding = self.messages.get_mut(&number)?;
        holding.settle = Some(how);
        Some(holding.taken.clone())
    }

    pub(super) fn remove(&mut self, number: u64) {
        self.messages.remove(&number);
    }

    /// All of them, with what becomes of them when a session ends.
    pub(super) fn all(&self) -> Vec<(u64, Arc<Taken>, Settle)> {
        let each = self.messages.iter();
        each.map(|(number, holding)| {
            let how = holding.settle.unwrap_or(Settle::Requeue);
            (*number, holding.taken.clone(), how)
        })
        .collect()
    }

    pub(super) fn tags(&self) -> Vec<String> {
        let taken = self.messages.values().map(|holding| &holding.taken);
        taken.filter_map(|taken| taken.tag.clone()).collect()
    }

    /// A take that began at `began` has failed.
    pub(super) fn doubt(&mut self, began: f64) {
        self.doubtful.push(began);
    }

    pub(super) fn doubtful(&self) -> Vec<f64> {
        self.doubtful.clone()
    }

    /// What began before is everybody's to take over.
    pub(super) fn trust(&mut self, before: f64) {
        self.doubtful.retain(|began| *began >= before);
    }
}

/// The books in Redis.
#[derive(Debug)]
pub(super) struct Books {
    hash: String,
    index: String,
    queue: String,
    wire: WireSettings,
    /// So many of those that may be of the dead were looked at the last time, and are not of this queue.
    foreign: usize,
}

impl Books {
    pub(super) fn new(wire: &WireSettings, queue: &str) -> Self {
        Self {
            hash: wire.unacked_key(),
            index: wire.unacked_index_key(),
            queue: queue.to_owned(),
            wire: wire.clone(),
            foreign: 0,
        }
    }

    /// The keys that taking needs: the hash, the index, the lists.
    pub(super) fn keys(&self) -> Vec<String> {
        let mut keys = vec![self.hash.clone(), self.index.clone()];
        keys.extend(self.wire.queue_lists(&self.queue));
        keys
    }

    /// Settles it.
    pub(super) async fn finish(&self, commands: &Commands, taken: &Taken, how: Settle) -> Result<(), BrokerError> {
        match how {
            Settle::Ack | Settle::Reject => self.settle(commands, taken).await,
            Settle::Requeue => self.put_back(commands, taken).await,
        }
    }

    /// It is done with.
    async fn settle(&self, commands: &Commands, taken: &Taken) -> Result<(), BrokerError> {
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
    async fn put_back(&self, commands: &Commands, taken: &Taken) -> Result<(), BrokerError> {
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
        &mut self,
        commands: &Commands,
        now: f64,
        visibility_timeout: Duration,
    ) -> Result<usize, BrokerError> {
        let mut taken_over = 0;
        for _ in 0..LOOKS {
            let mut seeking = redis::cmd("ZRANGEBYSCORE");
            seeking
                .arg(&self.index)
                .arg("-inf")
                .arg(now - visibility_timeout.as_secs_f64());
            seeking.arg("LIMIT").arg(self.foreign).arg(LOOK_AT);
            let tags = self.ask(commands, &seeking).await?;
            let own = self.put_back_own(commands, &tags).await?;
            taken_over += own;
            if tags.len() < LOOK_AT {
                self.foreign = 0;
                break;
            }
            self.foreign += tags.len() - own;
        }
        Ok(taken_over)
    }

    /// Puts back what was taken at exactly that moment: by a take of ours whose answer did not come.
    pub(super) async fn take_back(&self, commands: &Commands, began: f64) -> Result<usize, BrokerError> {
        let mut seeking = redis::cmd("ZRANGEBYSCORE");
        seeking.arg(&self.index).arg(began).arg(began);
        let tags = self.ask(commands, &seeking).await?;
        self.put_back_own(commands, &tags).await
    }

    async fn ask(&self, commands: &Commands, command: &redis::Cmd) -> Result<Vec<String>, BrokerError> {
        command
            .query_async(&mut commands.handle())
            .await
            .map_err(|error| commands.what(&error))
    }

    /// Puts back those of these that came from this queue; how many there were.
    async fn put_back_own(&self, commands: &Commands, tags: &[String]) -> Result<usize, BrokerError> {
        if tags.is_empty() {
            return Ok(0);
        }
        let mut reading = redis::cmd("HMGET");
        reading.arg(&self.hash).arg(tags);
        let noted: Vec<Option<Vec<u8>>> = reading
            .query_async(&mut commands.handle())
            .await
            .map_err(|error| commands.what(&error))?;
        let mut count = 0;
        let mut ways = BTreeMap::new();
        for (tag, noted) in tags.iter().zip(noted) {
            let Some(noted) = noted.and_then(|noted| Noted::read(&noted)) else {
                continue;
            };
            let way = (noted.exchange, noted.routing_key);
            let own = match ways.get(&way) {
                Some(own) => *own,
                None => {
                    let own = self.is_own(commands, &way.0, &way.1).await?;
                    ways.insert(way, own);
                    own
                }
            };
            if own {
                let list = self.wire.queue_list(&self.queue, noted.priority);
                count += usize::from(self.restore(commands, tag, &list, &noted.message).await?);
            }
        }
        Ok(count)
    }

    /// Whether this queue is the only one that a message which came this way can have come from.
    async fn is_own(&self, commands: &Commands, exchange: &str, routing_key: &str) -> Result<bool, BrokerError> {
        if exchange.is_empty() || (exchange == self.queue && routing_key == self.queue) {
            return Ok(routing_key == self.queue);
        }
        match bound(commands, &self.wire, exchange, routing_key).await {
            Ok(queues) => Ok(queues.iter().all(|queue| *queue == self.queue)),
            Err(BrokerError::Refused(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What the hash says of a message.
struct Noted {
    message: Vec<u8>,
    priority: u8,
    exchange: String,
    routing_key: String,
}

impl Noted {
    fn read(noted: &[u8]) -> Option<Self> {
        let Ok(Value::Array(parts)) = serde_json::from_slice::<Value>(noted) else {
            return None;
        };
        let [mut message, exchange, routing_key] = <[Value; 3]>::try_from(parts).ok()?;
        mark(&mut message);
        let priority = message
            .pointer("/properties/priority")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        Some(Self {
            message: message.to_string().into_bytes(),
            priority: u8::try_from(priority).unwrap_or(u8::MAX),
            exchange: exchange.as_str()?.to_owned(),
            routing_key: routing_key.as_str()?.to_owned(),
        })
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
