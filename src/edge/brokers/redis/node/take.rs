//! Taking tasks from the queue's lists.
//!
//! kombu pops with BRPOP and notes what it took in a second step: killed in between, it loses the message. Here a script does
//! both at once; what blocks is a BLMOVE of the list's last element to where it is already, which changes nothing.

use std::sync::Arc;
use std::time::Duration;

use headcount_actors::ports::BrokerError;
use redis::{RedisError, Value};
use tokio::time::sleep;
use uuid::Uuid;

use crate::brokers::redis::commands::Commands;

/// How long a wait for the queue's plain list lasts. Its other lists (of other priorities) are looked at in between, so this
/// is how late a task of such a priority may be when nothing else comes; raising it saves commands.
const WAIT: Duration = Duration::from_millis(200);

/// How long nothing is asked of a server that has no BLMOVE (before Redis 6.2).
const POLL: Duration = Duration::from_millis(200);

/// Takes one message from the first list that has one, and notes it as kombu does: `[message, exchange, routing key]` under
/// its delivery tag. Whoever puts it back goes by these, so they name the queue that it came from and no other, whichever way it
/// came. It is noted first, and what was noted is undone where the rest fails: a script is not undone by the server, and a memory
/// that is full or a key of a wrong type is no reason to lose a task. A new tag stands for one that is none of kombu's kind, or
/// that another message is noted under. One that is not JSON is only taken, as nobody could put it back.
///
/// KEYS: the hash, the sorted set, the lists. ARGV: the time, a new tag, what follows the message in its note.
const TAKE: &str = r#"
local function failed(answer)
    return type(answer) == 'table' and answer.err
end
for i = 3, #KEYS do
    local item = redis.call('LINDEX', KEYS[i], -1)
    if item then
        local ok, message = pcall(cjson.decode, item)
        if not ok or type(message) ~= 'table' then
            redis.call('RPOP', KEYS[i])
            return {false, item, KEYS[i]}
        end
        local tag = type(message.properties) == 'table' and message.properties.delivery_tag
        if type(tag) ~= 'string' or #tag > 255 or not string.find(tag, '^[%w_.:-]+$')
            or redis.call('HEXISTS', KEYS[1], tag) == 1 then
            tag = ARGV[2]
        end
        local answer = redis.pcall('HSET', KEYS[1], tag, '[' .. item .. ARGV[3])
        if failed(answer) then return answer end
        answer = redis.pcall('ZADD', KEYS[2], ARGV[1], tag)
        if not failed(answer) then
            answer = redis.pcall('RPOP', KEYS[i])
            if not failed(answer) then return {tag, item, KEYS[i]} end
            redis.pcall('ZREM', KEYS[2], tag)
        end
        redis.pcall('HDEL', KEYS[1], tag)
        return answer
    end
end
return false
"#;

/// What follows a message in its note: that it came by the default exchange, and from which queue.
pub(super) fn note_end(queue: &str) -> String {
    format!(",\"\",{}]", serde_json::Value::from(queue))
}

/// What was taken. The message itself is in the books, and not kept here.
#[derive(Debug)]
pub(super) struct Taken {
    /// Its delivery tag; none where nothing was noted of it.
    pub(super) tag: Option<String>,
    /// The list that it lay in.
    pub(super) list: String,
}

/// Who takes.
pub(super) struct Taker {
    commands: Arc<Commands>,
    waits: Commands,
    /// The hash, the sorted set, the lists.
    keys: Vec<String>,
    note_end: String,
    /// The server has no BLMOVE.
    polls: bool,
}

impl Taker {
    /// `waits` is a connection that nothing else uses; it has to be patient for longer than [`WAIT`].
    pub(super) fn new(commands: Arc<Commands>, waits: Commands, keys: Vec<String>, queue: &str) -> Self {
        Self {
            commands,
            waits,
            keys,
            note_end: note_end(queue),
            polls: false,
        }
    }

    /// The connection that waits needs to be patient for so much longer than for any other command.
    pub(super) const WAITS_FOR: Duration = WAIT;

    /// One message, as it lay in its list, if there is one within a moment; `now` is noted with it. To be awaited to its end: what it has taken would be
    /// lost sight of.
    pub(super) async fn take(&mut self, now: f64) -> Result<Option<(Taken, Vec<u8>)>, BrokerError> {
        if let Some(taken) = self.look(now).await? {
            return Ok(Some(taken));
        }
        self.wait().await?;
        Ok(None)
    }

    async fn look(&self, now: f64) -> Result<Option<(Taken, Vec<u8>)>, BrokerError> {
        let mut asking = redis::cmd("EVAL");
        asking.arg(TAKE).arg(self.keys.len()).arg(&self.keys);
        asking.arg(now).arg(Uuid::new_v4().to_string()).arg(&self.note_end);
        let answer: Value = asking
            .query_async(&mut self.commands.handle())
            .await
            .map_err(|error| self.commands.what(&error))?;
        let Value::Array(parts) = answer else { return Ok(None) };
        let mut parts = parts.into_iter();
        let text = |value: Option<Value>| match value {
            Some(Value::BulkString(bytes)) => Some(bytes),
            _ => None,
        };
        let tag = text(parts.next()).map(|tag| String::from_utf8_lossy(&tag).into_owned());
        let payload = text(parts.next()).unwrap_or_default();
        let list = text(parts.next()).map(|list| String::from_utf8_lossy(&list).into_owned());
        let list = list.unwrap_or_default();
        Ok(Some((Taken { tag, list }, payload)))
    }

    async fn wait(&mut self) -> Result<(), BrokerError> {
        let Some(plain) = self.keys.get(2) else { return Ok(()) };
        if self.polls {
            sleep(POLL).await;
            return Ok(());
        }
        let mut wait = redis::cmd("BLMOVE");
        wait.arg(plain)
            .arg(plain)
            .arg("RIGHT")
            .arg("RIGHT")
            .arg(WAIT.as_secs_f64());
        match wait.query_async::<Value>(&mut self.waits.handle()).await {
            Ok(_) => Ok(()),
            Err(error) if is_unknown(&error) => {
                self.polls = true;
                Ok(())
            }
            Err(error) => Err(self.waits.what(&error)),
        }
    }
}

fn is_unknown(error: &RedisError) -> bool {
    error.to_string().to_ascii_lowercase().contains("unknown command")
}
