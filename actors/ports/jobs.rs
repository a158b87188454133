//! What scheduled jobs need of the outside: a store for their runs, and somebody who sends tasks. (Headcount's own tasks are
//! those of its nodes: [`super::node::Task`].)

use std::sync::Arc;

use async_trait::async_trait;
use compact_str::CompactString;
use headcount_core::celery::task::{Destination, TaskMessage};
use headcount_core::schedule::{News, Run, Slot};
use headcount_core::time::Wall;

use super::{BrokerError, StoreError};

// ---------------------------------------------------------------- the store

/// What is remembered of jobs. Every call is atomic and durable when it returns; several Headcounts may share one.
///
/// A slot is run once because [`JobStore::claim`] lets one in and no other. Whoever claimed a run holds it by a lease until
/// it is sent; if its Headcount dies meanwhile, another one adopts it when the lease is over, and sends it under the same
/// id. Between the broker's yes and its being noted here lies the one moment in which a crash makes a message be sent
/// twice.
#[async_trait]
pub trait JobStore: Send + Sync + 'static {
    /// Up to when a job's slots are settled. A job that is new, or has another timing than it had, is settled up to `now`:
    /// what a timing would have meant before there was one is not missed.
    async fn settled(&self, job: &str, timing: &str, now: Wall) -> Result<Wall, StoreError>;

    /// Takes a slot, if nobody has taken it before, and notes that the job is settled up to it.
    async fn claim(&self, claim: Claim) -> Result<Claimed, StoreError>;

    /// The runs that `owner` has to see to: those of its own that are not sent yet, and those of others whose lease was
    /// over at `now`. They are its own from now on, until `until`.
    async fn adopt(&self, owner: &str, now: Wall, until: Wall) -> Result<Vec<Run>, StoreError>;

    /// Holds on to what `owner` has not sent yet, until `until`.
    async fn renew(&self, owner: &str, until: Wall) -> Result<(), StoreError>;

    /// Tells runs their news, in this order, and returns those whose state has changed, as they were in each state that they came
    /// to ([`Run::states_since`]). News of runs that are not known are passed over.
    async fn hear(&self, news: Vec<News>) -> Result<Vec<Run>, StoreError>;

    /// Runs of a job that are with a worker or on the way to one, and of which nothing was heard since `before`; at most
    /// `limit`.
    async fn silent(&self, job: &str, before: Wall, limit: usize) -> Result<Vec<Run>, StoreError>;

    /// The runs of a job, newest first, at most `limit`.
    async fn runs(&self, job: &str, limit: usize) -> Result<Vec<Run>, StoreError>;

    /// Deletes runs that ended before `before`, and of each job all but the newest `keep` that have ended.
    async fn forget_runs(&self, before: Wall, keep: usize) -> Result<(), StoreError>;
}

/// See [`super::SharedBroker`].
pub type SharedJobStore = Arc<dyn JobStore>;

/// The taking of a slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The run as it would begin.
    pub run: Run,
    /// Who takes it.
    pub owner: String,
    /// Until when the owner holds it.
    pub until: Wall,
    /// With so many of the job's runs under way it is skipped.
    pub limit: Option<u32>,
}

/// What came of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It is ours.
    Won,
    /// Somebody had it already.
    Taken,
    /// It is settled, and not to be run: so many of the job's runs are under way.
    Full(u32),
}

// ---------------------------------------------------------------- sending

/// Sends tasks through one broker, as Celery's own producers do.
#[async_trait]
pub trait TaskSender: Send + Sync + 'static {
    /// The broker's name in the configuration.
    fn broker(&self) -> &str;

    /// Sends a task: to a queue, which is made as Celery would where it does not exist, or to an exchange, which has to be there
    /// and to lead to a queue. When this returns without an error the broker has it; with one, it may have it all the same.
    async fn send(&self, task: &TaskMessage, to: &Destination) -> Result<(), BrokerError>;
}

/// See [`super::SharedBroker`].
pub type SharedSender = Arc<dyn TaskSender>;

// ---------------------------------------------------------------- what is shown

/// A job as it stands, for people and machines.
#[derive(Clone, Debug, PartialEq)]
pub struct JobStatus {
    /// Its name.
    pub name: CompactString,
    /// Its pattern or interval, as it is written.
    pub timing: String,
    /// The time zone of a pattern.
    pub timezone: Option<String>,
    /// The task.
    pub task: String,
    /// The broker that it is sent through; none for a task of Headcount's own.
    pub broker: Option<String>,
    /// The queue that it is sent to; with an exchange, that and the routing key, as `exchange/routing key`.
    pub queue: Option<String>,
    /// The next slot; none before the store was read, and where there is none.
    pub next: Option<Slot>,
}

/// All jobs as everybody reads them, in the order of the configuration.
pub type JobsView = tokio::sync::watch::Receiver<Arc<Vec<JobStatus>>>;
