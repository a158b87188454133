//! Results of tasks in Redis, as Celery's backend `redis` keeps them: one string each, with an end, and told on a channel of
//! the same name.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use headcount_actors::ports::BrokerError;
use headcount_actors::ports::node::ResultStore;
use headcount_core::celery::result::TaskResult;

use super::commands::Commands;
use super::connect::Address;
use crate::brokers::shared::Shared;

/// Keeps a result and tells it, unless the task has succeeded already: as in Celery, a later failure of the same task (it was
/// handed out twice) does not take that back.
///
/// KEYS: the key. ARGV: the document, seconds to live (0 is for good).
const STORE: &str = r"
local before = redis.call('GET', KEYS[1])
if before then
    local ok, meta = pcall(cjson.decode, before)
    if ok and type(meta) == 'table' and meta.status == 'SUCCESS' then
        return 0
    end
end
if tonumber(ARGV[2]) > 0 then
    redis.call('SETEX', KEYS[1], ARGV[2], ARGV[1])
else
    redis.call('SET', KEYS[1], ARGV[1])
end
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1
";

/// The results in one Redis.
#[derive(Debug)]
pub(in crate::brokers) struct Results {
    address: Arc<Address>,
    expires: Duration,
    commands: Shared<Commands>,
}

impl Results {
    pub(in crate::brokers) fn new(address: Address, expires: Duration) -> Self {
        Self {
            address: Arc::new(address),
            expires,
            commands: Shared::new(),
        }
    }
}

#[async_trait]
impl ResultStore for Results {
    async fn store(&self, result: &TaskResult) -> Result<(), BrokerError> {
        let opening = Commands::open(&self.address, self.address.command_timeout);
        let commands = self.commands.get(opening).await?;
        let mut storing = redis::cmd("EVAL");
        storing
            .arg(STORE)
            .arg(1)
            .arg(result.redis_key())
            .arg(result.meta().to_string())
            .arg(self.expires.as_secs());
        let mut handle = commands.handle();
        let stored: Result<i64, _> = storing.query_async(&mut handle).await;
        let stored = stored.map(drop).map_err(|error| commands.what(&error));
        self.commands.checked(&commands, stored).await
    }
}
