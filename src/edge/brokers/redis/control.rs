//! Commands to workers through Redis: requests by PUBLISH, replies from one list of our own.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headcount_actors::ports::BrokerError;
use headcount_core::celery::control::{self, ReplyTo, Request};
use headcount_core::celery::reply::{self, RawReply, WorkerReply};
use headcount_core::celery::wire_names::WireSettings;
use redis::aio::MultiplexedConnection;
use serde_json::{Map, Value};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::Redis;
use super::commands::Commands;
use crate::brokers::own_oid;
use crate::brokers::shared::Stands;
use crate::brokers::waiting::{Heard, Waiting};

/// How long one BRPOP waits; then it is asked again, which shows whether the connection still stands.
const POP_BLOCK: Duration = Duration::from_secs(5);

/// How long after a request a frozen or busy worker may still answer it. Such an answer comes to a list that nobody
/// reads if Headcount has stopped meanwhile; the list that we leave behind then lives no longer than this.
pub(super) const LATE: Duration = Duration::from_secs(600);

/// What holds the list that we leave behind, so that it can have an end: no reply looks like this. Two of them, as our
/// own BRPOP may not have ended yet in Redis' eyes, and then takes one.
const PLACEHOLDERS: [&str; 2] = ["", ""];

/// Two connections: one for commands, and one that waits for replies.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) commands: Arc<Commands>,
    pub(super) waiting: Arc<Waiting>,
    reader: JoinHandle<()>,
    /// Dropped with this: the reader ends.
    _end: oneshot::Sender<()>,
}

impl Control {
    pub(super) async fn open(broker: &Redis) -> Result<Self, BrokerError> {
        let patience = broker.address.command_timeout;
        let commands = Arc::new(Commands::open(&broker.address, patience).await?);
        let replies = Commands::open(&broker.address, POP_BLOCK + patience).await?;
        let waiting = Arc::new(Waiting::default());
        let (end, ended) = oneshot::channel();
        let reader = Reader {
            replies,
            commands: Arc::clone(&commands),
            list: Arc::clone(&broker.list),
            waiting: Arc::clone(&waiting),
            closing: broker.closing.subscribe(),
        };
        Ok(Self {
            commands,
            waiting,
            reader: tokio::spawn(reader.run(ended)),
            _end: end,
        })
    }
}

impl Stands for Control {
    fn stands(&self) -> bool {
        self.commands.stands() && !self.reader.is_finished()
    }
}

/// The list that replies come to: one for each process and broker.
#[derive(Debug)]
pub(super) struct ReplyList {
    /// What workers are told, as the routing key.
    pub(super) name: String,
    /// The key in Redis: workers put the prefix of all their keys before the name.
    pub(super) key: String,
    /// When a worker was last left without having answered.
    unanswered: std::sync::Mutex<Option<Instant>>,
}

impl ReplyList {
    pub(super) fn new(wire: &WireSettings) -> Self {
        let oid = own_oid();
        Self {
            name: wire.reply_queue(&oid),
            key: wire.reply_list(&oid),
            unanswered: std::sync::Mutex::default(),
        }
    }

    /// Somebody has not answered, and may still do so.
    pub(super) fn may_come_late(&self) {
        *self
            .unanswered
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
    }

    fn answers_may_come(&self) -> bool {
        let unanswered = *self
            .unanswered
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        unanswered.is_some_and(|at| at.elapsed() < LATE)
    }

    /// Leaves nothing behind; where answers may still come, a list that ends by itself. Without that, the first late
    /// answer would make a list that nobody ever deletes.
    pub(super) async fn tidy(&self, connection: &mut MultiplexedConnection) {
        let mut tidying = redis::pipe();
        tidying.atomic();
        tidying.del(&self.key).ignore();
        if self.answers_may_come() {
            tidying.lpush(&self.key, &PLACEHOLDERS).ignore();
            tidying
                .expire(&self.key, i64::try_from(LATE.as_secs()).unwrap_or(i64::MAX))
                .ignore();
        }
        if let Err(error) = tidying.query_async::<()>(connection).await {
            tracing::debug!(kind = ?error.kind(), "the reply list could not be deleted");
        }
    }

    /// A request, as Redis carries it.
    pub(super) fn request(
        &self,
        (method, arguments): (&str, Map<String, Value>),
        destination: Option<&[&str]>,
        ticket: &str,
        control_exchange: &str,
        timeout: Duration,
    ) -> Vec<u8> {
        // The default exchange: the worker pushes straight to the list of that name, and needs no binding.
        let reply_to = ReplyTo {
            exchange: "",
            routing_key: &self.name,
        };
        let request = Request {
            method,
            arguments,
            destination,
            ticket,
            reply_to: Some(reply_to),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let tag = Uuid::new_v4().to_string();
        control::redis_payload(&request, control_exchange, &tag, (now + timeout).as_secs_f64())
    }
}

/// Takes replies from the list and hands them to those who wait.
struct Reader {
    replies: Commands,
    commands: Arc<Commands>,
    list: Arc<ReplyList>,
    waiting: Arc<Waiting>,
    /// Closed, or true: the broker itself is, not just this connection.
    closing: watch::Receiver<bool>,
}

impl Reader {
    async fn run(mut self, mut ended: oneshot::Receiver<()>) {
        let mut replies = self.replies.handle();
        // So that whoever lists clients knows that it takes no tasks. Where that is not permitted, listing is not either.
        let mut name = redis::cmd("CLIENT");
        name.arg("SETNAME").arg(super::clients::OUR_NAME);
        if let Err(error) = name.query_async::<()>(&mut replies).await {
            tracing::debug!(error = %self.replies.what(&error), "the connection that takes replies has no name");
        }
        loop {
            let mut pop = redis::cmd("BRPOP");
            pop.arg(&self.list.key).arg(POP_BLOCK.as_secs());
            tokio::select! {
                popped = pop.query_async::<Option<(Vec<u8>, Vec<u8>)>>(&mut replies) => match popped {
                    Ok(Some((_, payload))) => self.hand_over(&payload),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(error = %self.replies.what(&error), "replies cannot be read");
                        break;
                    }
                },
                _ = &mut ended => break,
                _ = self.closing.changed() => break,
            }
        }
        self.waiting.give_up();
        if *self.closing.borrow() || self.closing.has_changed().is_err() {
            self.list.tidy(&mut self.commands.handle()).await;
        }
    }

    fn hand_over(&self, payload: &[u8]) {
        let at = Instant::now();
        match reply::parse(RawReply::Redis { payload }) {
            Ok(WorkerReply {
                ticket: Some(ticket),
                hostname,
                body,
            }) => {
                self.waiting.hand_over(&ticket, Heard { hostname, body, at });
            }
            Ok(_) => {}
            Err(why) => tracing::debug!(%why, "a reply that cannot be read"),
        }
    }
}
