//! What a Celery node needs of the outside: a broker to join, a place for results, and the tasks themselves.

use std::sync::Arc;

use async_trait::async_trait;
use headcount_core::celery::result::{Failure, TaskResult};
use headcount_core::celery::task::{Delivered, NotATask};
use headcount_core::celery::{Command, Publication};
use headcount_core::node::{CallInfo, Outcome, Settle, TaskSpec};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch};

use super::{BrokerError, SessionEnd};

/// A broker that a node joins.
#[async_trait]
pub trait NodeBroker: Send + Sync + 'static {
    /// The name that the configuration gives it.
    fn name(&self) -> &str;

    /// Where it is, for people: without user name and password.
    fn address(&self) -> String;

    /// What the command `stats` shows of it, as Celery does: without secrets.
    fn shown(&self) -> Map<String, Value>;

    /// One session: connects, declares the queue and the mailbox, says [`Heard::Opened`], and then hands over what comes, and
    /// does what it is told, until the session ends, with the reason. Whatever was handed over and not settled comes again in
    /// a later session, also after a crash.
    ///
    /// # Errors
    /// Why it ended, unless it was told to leave.
    async fn serve(&self, joining: &Joining, link: Link) -> Result<(), SessionEnd>;
}

/// Who joins.
#[derive(Clone, Debug)]
pub struct Joining {
    /// The node's name, such as `headcount@host1`.
    pub hostname: String,
    /// The queue that it consumes.
    pub queue: String,
    /// How many messages may be unsettled at once, at first.
    pub prefetch: u16,
    /// The queue's `x-max-priority` on RabbitMQ, if it has priorities there.
    pub max_priority: Option<u8>,
}

/// Both ends of a session.
#[derive(Debug)]
pub struct Link {
    /// Where what is heard goes.
    pub heard: mpsc::Sender<Heard>,
    /// What is to be done, in order.
    pub orders: mpsc::Receiver<Order>,
}

/// What a session brings.
#[derive(Debug)]
pub enum Heard {
    /// It stands.
    Opened,
    /// A message from the queue.
    Message {
        /// The session's number for it.
        number: u64,
        /// What it holds.
        message: Result<Box<Delivered>, NotATask>,
    },
    /// A command to this node.
    Command(Command),
    /// A message to the mailbox that cannot be read; it is dropped.
    Unreadable(&'static str),
}

/// What a session is told to do.
#[derive(Debug)]
pub enum Order {
    /// A message is settled.
    Settle {
        /// The session's number for it.
        number: u64,
        /// How.
        how: Settle,
    },
    /// Send something. `sent` hears when the broker has it.
    Publish {
        /// What.
        publication: Publication,
        /// Who waits to hear; none where it may be lost.
        sent: Option<oneshot::Sender<Result<(), BrokerError>>>,
    },
    /// So many messages may be unsettled at once.
    Prefetch(u16),
    /// Take no more messages; what was handed over can still be settled, and commands are heard.
    TakeNoMore,
    /// Finish what was ordered, and end.
    Leave,
}

/// Where results of tasks are kept for those who ask.
#[async_trait]
pub trait ResultStore: Send + Sync + 'static {
    /// Keeps one result, and tells those who wait for it. A task that has succeeded stays so.
    async fn store(&self, result: &TaskResult) -> Result<(), BrokerError>;
}

/// One task that Headcount's nodes run. To have one more is to implement this and to name it where the node is started.
#[async_trait]
pub trait Task: Send + Sync + 'static {
    /// Its name and its settings.
    fn spec(&self) -> TaskSpec;

    /// Whether it looks at [`Call::hurry`] itself. One that does not is ended when its soft time limit is over.
    fn heeds_hurry(&self) -> bool {
        false
    }

    /// Runs it. Dropping the future ends it. It shares a thread with the other tasks, so it must not block.
    async fn run(&self, call: Call) -> Outcome;
}

/// What a task is called with.
#[derive(Debug)]
pub struct Call {
    /// What is known of it.
    pub info: Box<CallInfo>,
    /// Its arguments.
    pub arguments: Arguments,
    /// Becomes true when its soft time limit is over.
    pub hurry: watch::Receiver<bool>,
}

/// Arguments, positional and named, as Python binds them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arguments {
    /// Positional.
    pub args: Vec<Value>,
    /// Named.
    pub kwargs: Map<String, Value>,
}

impl Arguments {
    /// Binds them to `names`, in this order; what is not given is none.
    ///
    /// # Errors
    /// `TypeError`, as Python says it, if there are too many, one is given twice, or is of a name that is none of these.
    pub fn bind<const N: usize>(self, task: &str, names: [&str; N]) -> Result<[Option<Value>; N], Failure> {
        let given = self.args.len();
        if given > N {
            return Err(Failure::arguments(format!(
                "{task}() takes {N} positional arguments but {given} were given"
            )));
        }
        let mut args = self.args.into_iter();
        let mut kwargs = self.kwargs;
        let mut bound = [const { None }; N];
        for (slot, name) in bound.iter_mut().zip(names) {
            *slot = args.next();
            let named = kwargs.remove(name);
            if slot.is_some() && named.is_some() {
                return Err(Failure::arguments(format!(
                    "{task}() got multiple values for argument '{name}'"
                )));
            }
            *slot = slot.take().or(named);
        }
        match kwargs.keys().next() {
            None => Ok(bound),
            Some(odd) => Err(Failure::arguments(format!(
                "{task}() got an unexpected keyword argument '{odd}'"
            ))),
        }
    }
}

/// Whoever looks on: tracing, error reports, metrics. Each signal bears the name of Celery's.
pub trait Hook: Send + Sync + 'static {
    /// Called in the order of what happens, on the node's own thread: it must not block.
    fn on(&self, node: &str, signal: &headcount_core::node::Signal);
}

/// Ports are shared between actors.
pub type SharedNodeBroker = Arc<dyn NodeBroker>;
/// See [`SharedNodeBroker`].
pub type SharedResultStore = Arc<dyn ResultStore>;
/// See [`SharedNodeBroker`].
pub type SharedTask = Arc<dyn Task>;
/// See [`SharedNodeBroker`].
pub type SharedHook = Arc<dyn Hook>;
