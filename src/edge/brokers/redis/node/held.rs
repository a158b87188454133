//! What is taken and not settled: kombu's hash `unacked` and its index by time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headcount_actors::ports::BrokerError;
use headcount_core::celery::wire_names::WireSettings;
use headcount_core::node::Settle;
use serde_json::Value;

use super::take::{Taken, note_end};
use crate::brokers::redis::commands::Commands;
use crate::brokers::redis::exchange::bound;

/// Messages that are looked at in one go when those of the dead are sought.
const LOOK_AT: usize = 100;

/// Notes that are in memory at once, in bytes; a longer one is alone.
const READ_AT_ONCE: usize = 16 << 20;

/// How many are shown to be held in one command: the server does nothing else meanwhile.
const KEEP_AT_ONCE: usize = 1_000;

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
    pub(super) fn all(&self) -> Vec<(u64, Settle)> {
        let each = self.messages.iter();
        each.map(|(number, holding)| (*number, holding.settle.unwrap_or(Settle::Requeue)))
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
    /// What follows a message in a note of this queue.
    note_end: String,
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
            note_end: note_end(queue),
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

    /// Settles them: in a few commands, also where they are many.
    pub(super) async fn finish(&self, commands: &Commands, ended: &[(Arc<Taken>, Settle)]) -> Result<(), BrokerError> {
        let noted = ended
            .iter()
            .filter_map(|(taken, how)| Some((taken, taken.tag.as_deref()?, *how)));
        let (mut done, mut back) = (Vec::new(), Vec::new());
        for (taken, tag, how) in noted {
            match how {
                Settle::Ack | Settle::Reject => done.push(tag),
                Settle::Requeue => back.push((tag, taken.list.as_str())),
            }
        }
        if !done.is_empty() {
            let mut settling = redis::pipe();
            let settling = settling.atomic().zrem(&self.index, &done).ignore();
            settling.hdel(&self.hash, &done).ignore();
            self.send(commands, settling).await?;
        }
        // Each is then the next to be taken, so the one that was first comes last.
        back.reverse();
        self.put_back(commands, back).await
    }

    /// They go back to where they came from, marked as kombu marks them.
    async fn put_back(&self, commands: &Commands, held: Vec<(&str, &str)>) -> Result<(), BrokerError> {
        let tags: Vec<&[u8]> = held.iter().map(|(tag, _)| tag.as_bytes()).collect();
        let lengths = self.lengths(commands, &tags).await?;
        for held in grouped(held.into_iter().zip(lengths)) {
            let tags: Vec<&[u8]> = held.iter().map(|(tag, _)| tag.as_bytes()).collect();
            let notes = self.notes(commands, &tags).await?;
            let mut putting = redis::pipe();
            for ((tag, list), noted) in held.iter().zip(&notes) {
                // Without a note it has been put back by somebody else.
                if let Some(message) = noted.as_deref().and_then(|noted| self.noted_here(noted)) {
                    putting
                        .add_command(self.restoring(tag.as_bytes(), list, &marked(message)))
                        .ignore();
                }
            }
            if !putting.is_empty() {
                self.send(commands, &putting).await?;
            }
        }
        Ok(())
    }

    async fn send(&self, commands: &Commands, several: &redis::Pipeline) -> Result<(), BrokerError> {
        several
            .query_async::<()>(&mut commands.handle())
            .await
            .map_err(|error| commands.what(&error))
    }

    /// How long the notes of these are, in bytes.
    async fn lengths(&self, commands: &Commands, tags: &[&[u8]]) -> Result<Vec<usize>, BrokerError> {
        if tags.is_empty() {
            return Ok(Vec::new());
        }
        let mut asking = redis::pipe();
        for tag in tags {
            asking.cmd("HSTRLEN").arg(&self.hash).arg(*tag);
        }
        asking
            .query_async(&mut commands.handle())
            .await
            .map_err(|error| commands.what(&error))
    }

    async fn notes(&self, commands: &Commands, tags: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, BrokerError> {
        let mut reading = redis::cmd("HMGET");
        reading.arg(&self.hash).arg(tags);
        reading
            .query_async(&mut commands.handle())
            .await
            .map_err(|error| commands.what(&error))
    }

    /// The message of a note that a node of this queue has made, as it was taken.
    fn noted_here<'n>(&self, noted: &'n [u8]) -> Option<&'n [u8]> {
        noted.strip_prefix(b"[")?.strip_suffix(self.note_end.as_bytes())
    }

    fn restoring(&self, tag: &[u8], list: &str, payload: &[u8]) -> redis::Cmd {
        let mut restoring = redis::cmd("EVAL");
        restoring
            .arg(PUT_BACK)
            .arg(3)
            .arg(&self.hash)
            .arg(&self.index)
            .arg(list);
        restoring.arg(tag).arg(payload);
        restoring
    }

    async fn restore(&self, commands: &Commands, tag: &[u8], list: &str, payload: &[u8]) -> Result<bool, BrokerError> {
        self.restoring(tag, list, payload)
            .query_async(&mut commands.handle())
            .await
            .map_err(|error| commands.what(&error))
    }

    /// Those that are held here are still being worked on: nobody is to take them over.
    pub(super) async fn keep(&self, commands: &Commands, tags: &[String], now: f64) -> Result<(), BrokerError> {
        for tags in tags.chunks(KEEP_AT_ONCE) {
            let mut keeping = redis::cmd("ZADD");
            // XX: only those that are noted; one that was settled meanwhile is not to come back.
            keeping.arg(&self.index).arg("XX");
            for tag in tags {
                keeping.arg(now).arg(tag);
            }
            keeping
                .query_async::<()>(&mut commands.handle())
                .await
                .map_err(|error| commands.what(&error))?;
        }
        Ok(())
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

    /// Tags, which somebody else may have made of anything.
    async fn ask(&self, commands: &Commands, command: &redis::Cmd) -> Result<Vec<Vec<u8>>, BrokerError> {
        command
            .query_async(&mut commands.handle())
            .await
            .map_err(|error| commands.what(&error))
    }

    /// Puts back those of these that came from this queue; how many there were.
    async fn put_back_own(&self, commands: &Commands, tags: &[Vec<u8>]) -> Result<usize, BrokerError> {
        let mut count = 0;
        let mut ways = BTreeMap::new();
        let tags: Vec<&[u8]> = tags.iter().map(Vec::as_slice).collect();
        let lengths = self.lengths(commands, &tags).await?;
        for tags in grouped(tags.into_iter().zip(lengths)) {
            let notes = self.notes(commands, &tags).await?;
            for (tag, noted) in tags.iter().zip(notes) {
                let read = |noted: Vec<u8>| Noted::read(&noted).or_else(|| self.unreadable(&noted));
                let Some(noted) = noted.and_then(read) else {
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
        }
        Ok(count)
    }

    /// One that a node of this queue has taken, and that is JSON to the server but not here, such as with an odd byte in it: it goes
    /// back as it came, and the next one refuses it.
    fn unreadable(&self, noted: &[u8]) -> Option<Noted> {
        Some(Noted {
            message: self.noted_here(noted)?.to_vec(),
            priority: 0,
            exchange: String::new(),
            routing_key: self.queue.clone(),
        })
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

/// Groups of items by their lengths, none of them longer than [`READ_AT_ONCE`] unless it is of one item.
fn grouped<T>(items: impl Iterator<Item = (T, usize)>) -> Vec<Vec<T>> {
    let (mut groups, mut group, mut left) = (Vec::new(), Vec::new(), READ_AT_ONCE);
    for (item, length) in items {
        if length > left && !group.is_empty() {
            groups.push(std::mem::take(&mut group));
            left = READ_AT_ONCE;
        }
        left = left.saturating_sub(length);
        group.push(item);
    }
    if !group.is_empty() {
        groups.push(group);
    }
    groups
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
