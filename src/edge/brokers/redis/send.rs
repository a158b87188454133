//! Tasks through Redis: one element more in the list of a queue, or of each that an exchange leads to.
//!
//! In the same transaction the id of the task goes into a set of our own, which is looked at first: a task whose sender was
//! cut off before it could know or note that Redis has it is not pushed again, neither by itself nor by another Headcount.
//! The set holds the newest [`KEPT`] ids, and ends by itself when no job has been sent for [`KEPT_FOR`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use headcount_actors::ports::BrokerError;
use headcount_actors::ports::jobs::TaskSender;
use headcount_core::celery::WireSettings;
use headcount_core::celery::task::{Destination, TaskMessage};
use uuid::Uuid;

use super::Address;
use super::commands::Commands;
use super::exchange::bound;
use crate::brokers::shared::Shared;

/// The key of the set, without the prefix of all keys.
const SENT: &str = "headcount.sent";
/// So many ids are kept, at about 100 bytes each. A run that was claimed is sent again within half a minute, or after the
/// next start of a Headcount: with more jobs than this in between, one may be pushed twice.
const KEPT: isize = 2_000;
/// How long the set outlives the last task.
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// See [`TaskSender`].
#[derive(Debug)]
pub(in crate::brokers) struct Sender {
    name: String,
    address: Arc<Address>,
    wire: WireSettings,
    commands: Shared<Commands>,
    /// Redis does not let us keep the set.
    forgetful: AtomicBool,
}

impl Sender {
    pub(in crate::brokers) fn new(name: String, address: Address, wire: WireSettings) -> Self {
        Self {
            name,
            address: Arc::new(address),
            wire,
            commands: Shared::new(),
            forgetful: AtomicBool::new(false),
        }
    }

    async fn push(&self, commands: &Commands, task: &TaskMessage, to: &Destination) -> Result<(), BrokerError> {
        let payload = task.redis_payload(&to.exchange, &to.routing_key, &Uuid::new_v4().to_string());
        let queues = if to.exchange.is_empty() {
            // As Celery's producers name a queue: its worker needs no binding.
            vec![to.routing_key.clone()]
        } else {
            bound(commands, &self.wire, &to.exchange, &to.routing_key).await?
        };
        let list = |queue: &String| self.wire.queue_list(queue, task.priority());
        let lists: Vec<String> = queues.iter().map(list).collect();
        if !self.forgetful.load(Ordering::Relaxed) {
            match self.push_once(commands, &task.id, &lists, &payload).await {
                Err(BrokerError::Refused(why)) => {
                    tracing::warn!(
                        broker = %self.name, why,
                        "Redis does not permit the set {SENT}: a task may be sent twice under one id, after a crash; permit its key to Headcount's user"
                    );
                    self.forgetful.store(true, Ordering::Relaxed);
                }
                pushed => return pushed,
            }
        }
        let mut all = redis::pipe();
        all.atomic();
        for list in &lists {
            all.cmd("LPUSH").arg(list).arg(&payload).ignore();
        }
        let pushed: Result<(), _> = all.query_async(&mut commands.handle()).await;
        pushed.map_err(|error| commands.what(&error))
    }

    /// Pushes it, unless it has been pushed before.
    async fn push_once(
        &self,
        commands: &Commands,
        id: &str,
        lists: &[String],
        payload: &[u8],
    ) -> Result<(), BrokerError> {
        let sent = format!("{}{SENT}", self.wire.global_keyprefix);
        let connection = &mut commands.handle();
        let mut look = redis::cmd("ZSCORE");
        look.arg(&sent).arg(id);
        let known: Option<f64> = look
            .query_async(connection)
            .await
            .map_err(|error| commands.what(&error))?;
        if known.is_some() {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut all = redis::pipe();
        all.atomic();
        for list in lists {
            all.cmd("LPUSH").arg(list).arg(payload).ignore();
        }
        all.cmd("ZADD").arg(&sent).arg(now.as_secs_f64()).arg(id).ignore();
        all.cmd("ZREMRANGEBYRANK").arg(&sent).arg(0).arg(-KEPT - 1).ignore();
        all.cmd("EXPIRE").arg(&sent).arg(KEPT_FOR.as_secs()).ignore();
        let pushed: Result<(), _> = all.query_async(connection).await;
        pushed.map_err(|error| commands.what(&error))
    }
}

#[async_trait]
impl TaskSender for Sender {
    fn broker(&self) -> &str {
        &self.name
    }

    async fn send(&self, task: &TaskMessage, to: &Destination) -> Result<(), BrokerError> {
        let opening = Commands::open(&self.address, self.address.command_timeout);
        let commands = self.commands.get(opening).await?;
        let pushed = self.push(&commands, task, to).await;
        self.commands.checked(&commands, pushed).await
    }
}
