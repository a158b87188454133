//! What the outside implements: a broker, a notifier, a store. Actors know these traits and nothing behind them.

pub mod jobs;
pub mod node;
pub mod stats;
pub mod traces;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use compact_str::CompactString;
use headcount_core::alert::{Incident, IncidentId, Notice, Notification, Told};
use headcount_core::celery::RawMessage;
use headcount_core::detect::{FleetHistory, WorkerMemory};
use headcount_core::stats::task::{TaskKey, TaskRollup};
use headcount_core::time::Wall;
use serde::{Deserialize, Serialize};
use thiserror::Error;

// ---------------------------------------------------------------- broker

/// One RabbitMQ or Redis that Celery workers use, or what stands in for it where it cannot be reached (a Flower).
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// The name that the configuration gives it.
    fn name(&self) -> &str;

    /// Where it is, for people: without user name and password.
    fn address(&self) -> String;

    /// One session of listening to events: connects, subscribes, hands every message to `lane`, and returns when the
    /// session has ended, with the reason. It never returns while events can still come. It publishes a canary of its
    /// own through the broker every [`CANARY_EVERY`] and reports each return to the lane; where it cannot publish, it
    /// reports as often that it has proof of hearing. Dropping the future ends the session.
    async fn listen(&self, lane: &mut (dyn Lane + Send)) -> SessionEnd;

    /// Asks each target whether it lives, all at once, and waits at most `timeout` for the answers.
    /// The result has one entry for each target, in the same order. A target that was not asked is left out: of it
    /// nothing is known, not even silence.
    async fn probe(&self, targets: &[CompactString], timeout: Duration) -> Result<Vec<Probe>, BrokerError>;

    /// Sends one inspect command, to `ask.destination` or to all, and collects replies until `ask.timeout` has passed,
    /// or every named destination has answered. Of a command that cannot be passed on, or not to so many at once, nobody says
    /// anything: that is no error, so that what else is asked beside it is not lost.
    async fn inspect(&self, ask: Inspect) -> Result<Vec<Reply>, BrokerError>;

    /// Length and consumers of each queue. A queue that does not exist is left out.
    async fn queues(&self, names: &[CompactString]) -> Result<Vec<Queue>, BrokerError>;

    /// The publish/subscribe connections that the broker sees, where workers have no mailbox that shows their presence
    /// (Redis); none where presence comes with [`Broker::probe`] (RabbitMQ), or where asking is not permitted.
    async fn connections(&self) -> Result<Option<Vec<Connection>>, BrokerError>;

    /// How many connections wait for messages of any queue, or have taken one within the last seconds, our own left out;
    /// none where the broker does not tell (RabbitMQ, which tells each queue's consumers), or asking is not permitted.
    async fn takers(&self) -> Result<Option<u32>, BrokerError> {
        Ok(None)
    }

    /// Why nothing here shows whether a worker is connected, in words for the people who read a verdict; none where
    /// [`Broker::probe`] or [`Broker::connections`] shows it. It may change with each call of the latter: what asking needs
    /// can be permitted, or no longer be.
    fn hides_presence(&self) -> Option<&'static str> {
        None
    }

    /// Whether a question to all workers is cheap enough to be asked each minute.
    fn may_ask_all(&self) -> bool {
        true
    }

    /// Leaves nothing behind in the broker, before the program ends; for a moment at most. A broker that is dropped
    /// does so too, if its runtime lives on.
    async fn close(&self) {}
}

pub use headcount_core::detect::session::CANARY_EVERY;

/// A canary that has not come back for so long ends the session: the connection is half open.
pub const CANARY_LOST: Duration = Duration::from_secs(10);

/// Where a listening session puts what it hears. Called on the reading task, in the order of arrival.
pub trait Lane {
    /// The subscription stands: from now on silence means something.
    fn opened(&mut self);

    /// One message as it came. Whatever it holds, this neither fails nor blocks.
    fn message(&mut self, message: RawMessage<'_>);

    /// Everything that waited at the socket has been handed over.
    fn batch_end(&mut self);

    /// The session's message to itself came back after so long.
    fn canary(&mut self, round_trip: Duration);

    /// The broker has begun (or ceased) to block publishers, so events may be held back (`connection.blocked`).
    fn blocked(&mut self, blocked: bool);
}

/// Why a listening session ended.
#[derive(Debug)]
pub enum SessionEnd {
    /// It could not be opened at all.
    NotOpened(BrokerError),
    /// It stood, and broke.
    Broke(BrokerError),
}

/// What can go wrong with a broker, in words for a person, never with a secret in them.
#[derive(Clone, Debug, Error)]
pub enum BrokerError {
    /// Nobody listens there, the name is unknown, or the network does not lead there.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// User, password, virtual host or permission are refused.
    #[error("refused: {0}")]
    Refused(String),
    /// It was connected, and the connection broke or went silent.
    #[error("connection lost: {0}")]
    Lost(String),
    /// It did not answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// It answered something that cannot be understood.
    #[error("unexpected answer: {0}")]
    Protocol(String),
}

/// What the broker sees of a worker's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Connected.
    Here,
    /// Not connected.
    Gone,
    /// This way of asking does not tell.
    Unknown,
}

/// What one probe of one worker brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Which worker.
    pub hostname: CompactString,
    /// How long its answer took; none if there was none in time.
    pub answer: Option<Duration>,
    /// How many answers came: two mean two workers with one name (possible on Redis).
    pub answers: u32,
    /// What the broker sees.
    pub presence: Presence,
}

/// The inspect commands that are asked.
pub const COMMANDS: [&str; 7] = [
    "ping",
    "stats",
    "active_queues",
    "registered",
    "active",
    "reserved",
    "scheduled",
];

/// One inspect command.
#[derive(Clone, Debug)]
pub struct Inspect {
    /// One of [`COMMANDS`], or what one node asks the others.
    pub method: &'static str,
    /// Its arguments.
    pub arguments: serde_json::Map<String, serde_json::Value>,
    /// Whom to ask; none asks everybody.
    pub destination: Option<Vec<CompactString>>,
    /// How long to wait for replies.
    pub timeout: Duration,
}

/// One worker's reply to an inspect command.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Who replied.
    pub hostname: CompactString,
    /// What; a command that failed there has an object with one key, `error`.
    pub body: serde_json::Value,
    /// How long after the request it came.
    pub latency: Duration,
}

/// One queue as the broker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: CompactString,
    /// Messages that wait in it, of all priorities.
    pub length: u64,
    /// Consumers that the broker sees; none where it cannot tell (Redis).
    pub consumers: Option<u32>,
}

/// One publish/subscribe connection, as Redis lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Redis' own number for it: unique, and never used again.
    pub id: u64,
    /// The peer's IP address (or socket path) without the port.
    pub peer: CompactString,
    /// How long it has existed, in whole seconds.
    pub age: Duration,
}

// ---------------------------------------------------------------- notifier

/// One way to tell people.
#[async_trait]
pub trait Notifier: Send + Sync + 'static {
    /// Its name in the configuration, the metrics and the outbox.
    fn name(&self) -> &str;

    /// Whether later messages of an incident can go to a thread under the first, and the first can be changed.
    fn has_threads(&self) -> bool;

    /// Tells it, in the thread of `first` where there is one. Returns what is needed to find the message again.
    async fn post(&self, notice: &Notice, first: Option<&Receipt>) -> Result<Receipt, NotifyError>;

    /// Makes the incident's first message show how the incident stands now. Only called where [`Notifier::has_threads`].
    async fn refresh(&self, notice: &Notice, first: &Receipt) -> Result<(), NotifyError>;
}

/// What a channel gave back for a message: opaque to all but its notifier. Without a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Receipt(pub String);

/// Why a message was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotifyError {
    /// Try again, not before `after` where the channel named a time (`Retry-After`).
    #[error("{why}")]
    Later {
        /// How long the channel wants to be left alone.
        after: Option<Duration>,
        /// What happened, without a secret.
        why: String,
    },
    /// The channel refuses this configuration (a revoked token, an archived channel): retried slowly, shown loudly.
    #[error("{why}")]
    Refused {
        /// What happened and what the reader can do, without a secret.
        why: String,
    },
}

// ---------------------------------------------------------------- store

/// What Headcount remembers. Every call is atomic and durable when it returns.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Everything that is needed to go on after a restart. What cannot be read is set aside and logged, and the rest is
    /// returned. At most one incident of a kind and subject is open: of several the oldest stays, and the others are
    /// closed.
    async fn load(&self) -> Result<Remembered, StoreError>;

    /// The incidents of [`Store::load`] alone: without reading all workers, where a store can.
    async fn load_incidents(&self) -> Result<Vec<Incident>, StoreError> {
        Ok(self.load().await?.incidents)
    }

    /// Replaces what is remembered of one fleet's workers.
    async fn save_workers(&self, fleet: &str, workers: Vec<WorkerMemory>) -> Result<(), StoreError>;

    /// Replaces what is remembered of one fleet's past. It is kept as long as the fleet has workers.
    async fn save_history(&self, fleet: &str, history: FleetHistory) -> Result<(), StoreError>;

    /// Inserts or replaces incidents, all or none; `told` is kept as the store has it, only [`Store::tell`] sets it.
    async fn save_incidents(&self, incidents: Vec<Incident>) -> Result<(), StoreError>;

    /// Notes what has been told of an incident and what is owed for it, all or nothing.
    async fn tell(&self, incident: IncidentId, told: Told, owed: Vec<Owed>) -> Result<(), StoreError>;

    /// What one notifier still owes, oldest first, at most `limit`. What cannot be read is set aside and logged.
    async fn owed(&self, notifier: &str, limit: usize) -> Result<Vec<Debt>, StoreError>;

    /// The channel accepted it. The first receipt of an incident is kept for the later ones.
    async fn paid(&self, debt: DebtId, at: Wall, receipt: Option<Receipt>) -> Result<(), StoreError>;

    /// The last attempt failed; the debt stays.
    async fn unpaid(&self, debt: DebtId, error: String) -> Result<(), StoreError>;

    /// Replaces an undelivered opening and everything owed after it by one notice: used when a recovery overtakes it.
    async fn merge(&self, debts: Vec<DebtId>, into: Owed) -> Result<(), StoreError>;

    /// Drops undelivered debts that need not be paid any more. Those that are paid already, or gone, stay as they are.
    async fn waive(&self, debts: Vec<DebtId>) -> Result<(), StoreError>;

    /// Takes what is owed to notifiers other than these, which they will never pay, and owes it to those of these that have
    /// never had a message of the incident. Returns how many debts were taken.
    async fn disown(&self, notifiers: Vec<CompactString>) -> Result<u64, StoreError>;

    /// The receipt of an incident's first message through a notifier.
    async fn receipt(&self, incident: &IncidentId, notifier: &str) -> Result<Option<Receipt>, StoreError>;

    /// Incidents of the past, newest first.
    async fn incidents(&self, query: IncidentQuery) -> Result<Vec<(Incident, Vec<Notification>)>, StoreError>;

    /// One incident with its messages.
    async fn incident(&self, id: &IncidentId) -> Result<Option<(Incident, Vec<Notification>)>, StoreError>;

    /// Adds each roll-up of task events to the one of its key.
    async fn add_task_rollups(&self, rollups: Vec<TaskRollup>) -> Result<(), StoreError>;

    /// Roll-ups of task events: by width and start, and in an order of the store's own among those. Of one whose times cannot be
    /// read the count is returned.
    async fn task_rollups(&self, query: RollupQuery) -> Result<Vec<TaskRollup>, StoreError>;

    /// Makes the roll-ups of task events coarser, or fewer, towards what is to be kept: a bounded amount of work. Returns
    /// whether there is more to do.
    async fn thin_task_rollups(&self, kept: Kept) -> Result<bool, StoreError>;

    /// Deletes resolved, fully told incidents that are older than `before`, and what was set aside before.
    async fn forget_before(&self, before: Wall) -> Result<(), StoreError>;
}

/// Which roll-ups of task events to read.
#[derive(Clone, Debug)]
pub struct RollupQuery {
    /// Only those that start at this moment or later.
    pub from: Wall,
    /// Only those that start before it.
    pub to: Wall,
    /// Only those of this fleet.
    pub fleet: Option<CompactString>,
    /// Only those that come after this one.
    pub after: Option<TaskKey>,
    /// At most so many; fewer mean that there are no more.
    pub limit: usize,
}

/// How much is kept of the roll-ups of task events.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Minutes of hours that end before it become hours.
    pub minutes_from: Wall,
    /// Roll-ups that start before it are deleted.
    pub from: Wall,
    /// Where they take more than so many bytes, the oldest minutes become hours before their time, and once there are none, the
    /// oldest hours are deleted.
    pub bytes: u64,
}

/// What a store gives back after a restart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remembered {
    /// The workers of each fleet.
    pub workers: Vec<(CompactString, Vec<WorkerMemory>)>,
    /// The past of each fleet that has any.
    pub histories: Vec<(CompactString, FleetHistory)>,
    /// Incidents that are open, and resolved ones that people were told of, and whose recovery has not been put into the
    /// outbox.
    pub incidents: Vec<Incident>,
}

/// Which incidents to list.
#[derive(Clone, Debug, Default)]
pub struct IncidentQuery {
    /// Only open ones, or only resolved ones.
    pub open: Option<bool>,
    /// Only those of this subject.
    pub subject: Option<CompactString>,
    /// Only those that were open at this moment or later.
    pub since: Option<Wall>,
    /// At most so many; zero is none.
    pub limit: usize,
}

/// One thing that a notifier has to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Owed {
    /// Which notifier.
    pub notifier: CompactString,
    /// What.
    pub act: Act,
    /// The notice.
    pub notice: Notice,
}

/// What is to be done with a notice. Two acts, so that a failure of the second never repeats the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// Post it.
    Post,
    /// Update the incident's first message.
    Refresh,
}

/// The store's number for something owed; later debts have greater numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DebtId(pub i64);

/// Something owed, with its number.
#[derive(Clone, Debug, PartialEq)]
pub struct Debt {
    /// Its number.
    pub id: DebtId,
    /// What is owed.
    pub owed: Owed,
}

/// What can go wrong with a store.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// It cannot be opened or reached.
    #[error("cannot open the store: {0}")]
    Open(String),
    /// Another process has it, which a Headcount does for as long as it runs.
    #[error("cannot open the store: {0} is in use by another Headcount; stop that one, or name another file")]
    InUse(String),
    /// It was written by a newer Headcount.
    #[error(
        "the store has version {found}, and this Headcount knows versions up to {known}: use a newer Headcount, or another store"
    )]
    Newer {
        /// The version found.
        found: i64,
        /// The newest version known.
        known: i64,
    },
    /// A read or a write failed.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// A store that fails, for whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreTrouble {
    /// Since when.
    pub since: Wall,
    /// What it said last.
    pub error: String,
    /// What does not happen until it works, each in words for a person.
    pub meanwhile: Vec<&'static str>,
    /// Whether messages to people are among that.
    pub alerts_wait: bool,
}

/// How the store stands: none while it works.
pub type StoreView = tokio::sync::watch::Receiver<Option<StoreTrouble>>;

/// Ports are shared between actors.
pub type SharedBroker = Arc<dyn Broker>;
/// See [`SharedBroker`].
pub type SharedStore = Arc<dyn Store>;
/// See [`SharedBroker`].
pub type SharedNotifier = Arc<dyn Notifier>;

/// The status model as everybody reads it: a new whole one after each change, never half of one.
pub type StatusView = tokio::sync::watch::Receiver<Arc<headcount_core::status::Status>>;

// ---------------------------------------------------------------- failures of watched tasks

/// Failures of one kind, of the tasks that a fleet's workers run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFailures {
    /// The fleet.
    pub fleet: CompactString,
    /// The task's name; empty where nothing that tells it was seen.
    pub task: CompactString,
    /// The class of the exception, such as `ValueError`; empty where that was not told.
    pub exception: CompactString,
    /// How many there were.
    pub count: u64,
}

/// Whoever is told of the failures of watched tasks. Called by the event lane: it must not wait for anything.
pub trait FailureBook: std::fmt::Debug + Send + Sync {
    /// Whether those of a fleet are wanted.
    fn wants(&self, fleet: &str) -> bool;

    /// What failed on a broker since it was told last.
    fn failed(&self, broker: &str, failures: Vec<TaskFailures>);
}

/// Shared by all lanes.
pub type SharedFailureBook = Arc<dyn FailureBook>;
