//! What a node is told, and what it tells.

use std::time::Duration;

use serde_json::{Map, Value};

use super::call::CallInfo;
use crate::celery::result::{Failure, TaskResult};
use crate::celery::task::{Delivered, NotATask};
use crate::celery::{Command, Publication, To};

/// A message that the broker waits to hear about: its number in the session that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// Which session.
    pub session: u64,
    /// Which message of it.
    pub number: u64,
}

/// One run of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// It is done with.
    Ack,
    /// It is of no use; RabbitMQ may have a dead-letter exchange for it.
    Reject,
    /// It goes back to the queue.
    Requeue,
}

/// What has happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The node is connected and consumes, in a new session.
    Opened {
        /// Greater than that of any session before.
        session: u64,
    },
    /// The others have been asked, or could not be: see [`Output::Meet`].
    Met {
        /// The latest of their logical clocks.
        clock: u64,
        /// The ids that they have as revoked.
        revoked: Vec<String>,
    },
    /// The session has ended. What was taken and not acknowledged comes again.
    Lost,
    /// A message from the queue.
    Message {
        /// What the broker waits to hear about.
        tag: Tag,
        /// What it holds.
        message: Result<Box<Delivered>, NotATask>,
    },
    /// A command.
    Command(Command),
    /// A run has ended.
    Ended {
        /// Which.
        run: RunId,
        /// How.
        outcome: Outcome,
    },
    /// The end of a call that kept its slot is through.
    Concluded,
    /// Time has passed.
    Tick,
    /// The node is to leave: it takes nothing more, gives back what waits, and says goodbye.
    Leave,
    /// What still runs is given up.
    Abandon,
}

/// How a run has ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is done.
    Success(Value),
    /// It has failed.
    Failure(Failure),
    /// It has failed for now, and asks to be tried again.
    Retry {
        /// Why.
        failure: Failure,
        /// After so long; by its [`super::Retries`] where it does not say.
        after: Option<Duration>,
    },
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Ask the others what has been revoked, and tell them these. No task begins before [`Input::Met`].
    Meet {
        /// What this one has as revoked.
        revoked: Vec<String>,
    },
    /// Run a task. Its end comes back as [`Input::Ended`].
    Start {
        /// Which run.
        run: RunId,
        /// What is known of it.
        call: Box<CallInfo>,
        /// Positional arguments.
        args: Vec<Value>,
        /// Keyword arguments.
        kwargs: Map<String, Value>,
    },
    /// Tell a run that its soft time limit is over.
    Hurry(RunId),
    /// End a run: nobody waits for it any more.
    Stop(RunId),
    /// Send an event or an answer. If it cannot be sent it is dropped.
    Publish(Publication),
    /// Bring a call to its end, in this order.
    Conclude(Box<Conclusion>),
    /// Let the broker hand out so many at once.
    Prefetch(u16),
    /// For whoever hooks into the node.
    Signal(Signal),
    /// The command `shutdown` was given, and is obeyed.
    Shutdown,
}

/// The end of a call, each part after the one before has succeeded.
#[derive(Clone, Debug, Default)]
pub struct Conclusion {
    /// Tasks that follow. If one can never be sent, that is said, and the rest is done.
    pub send: Vec<Publication>,
    /// Where else they may go, if they cannot go where they say.
    pub detour: Option<To>,
    /// What it came to. If that cannot be stored, that is said, and the rest is done.
    pub result: Option<TaskResult>,
    /// What becomes of its message.
    pub settle: Option<(Tag, Settle)>,
    /// What is said of it.
    pub events: Vec<Publication>,
    /// Its end is to be told by [`Input::Concluded`].
    pub keeps_slot: bool,
}

impl Conclusion {
    /// Whether something of it has to be waited for.
    pub fn takes_time(&self) -> bool {
        !self.send.is_empty() || self.result.is_some()
    }
}

/// A moment in the life of the node or of a task, named as Celery's signal of it is.
#[derive(Clone, Debug)]
pub enum Signal {
    /// `worker_ready`: connected and consuming.
    WorkerReady,
    /// `worker_shutdown`: about to leave.
    WorkerShutdown,
    /// `task_received`.
    TaskReceived(Box<CallInfo>),
    /// `task_prerun`: begins.
    TaskPrerun(Box<CallInfo>),
    /// `task_postrun`: has ended, in whichever way.
    TaskPostrun {
        /// Which.
        call: Box<CallInfo>,
        /// The state it came to, such as `SUCCESS`.
        state: &'static str,
        /// How long it ran.
        runtime: Duration,
    },
    /// `task_success`.
    TaskSuccess {
        /// Which.
        call: Box<CallInfo>,
        /// How long it ran.
        runtime: Duration,
    },
    /// `task_failure`.
    TaskFailure {
        /// Which.
        call: Box<CallInfo>,
        /// Why.
        failure: Failure,
    },
    /// `task_retry`.
    TaskRetry {
        /// Which.
        call: Box<CallInfo>,
        /// Why.
        failure: Failure,
        /// When it is tried again.
        after: Duration,
    },
    /// `task_revoked`.
    TaskRevoked {
        /// Which.
        call: Box<CallInfo>,
        /// While it ran.
        terminated: bool,
        /// Because it came too late.
        expired: bool,
    },
    /// `task_unknown`: a task that is not registered.
    TaskUnknown {
        /// The name.
        name: String,
        /// The id.
        id: String,
    },
    /// `task_rejected`: a message that is no task, or not what it should be.
    TaskRejected(NotATask),
    /// No signal of Celery's: so many tasks wait for their time.
    Waiting {
        /// How many.
        tasks: usize,
        /// They are as many as may wait, and the node takes no others.
        full: bool,
    },
    /// `task_internal_error`: a task that was to follow could not be sent, and is lost.
    TaskInternalError {
        /// Its name.
        name: String,
        /// Its id.
        id: String,
        /// What it was to follow.
        parent_id: Option<String>,
        /// Why.
        why: String,
    },
}
