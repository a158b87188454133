//! What the outside implements for a `[[stats]]` pipeline: where its documents are, where its state is kept, and where its
//! roll-ups go. All that must happen together (the cursor moves, states change, bad documents are set aside) is one call,
//! because only whoever implements it can make it one transaction.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use headcount_core::time::Wall;
use thiserror::Error;

/// One configured pipeline, as one Headcount works on it.
#[async_trait]
pub trait StatsPipeline: Send + Sync + 'static {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// From where to where, for people: without user names and passwords.
    fn route(&self) -> String;

    /// Makes sure that all it needs is there, and that what is kept was made by this configuration; plans the parts of what
    /// is there to read, where nobody has yet. May be called again and again, by several Headcounts at once.
    async fn prepare(&self) -> Result<(), StatsError>;

    /// Takes a part of one kind that nobody holds, the first first; none where there is none.
    async fn take(&self, kind: PartKind) -> Result<Option<Box<dyn StatsPart>>, StatsError>;

    /// Writes roll-ups that have changed to the sinks, a bounded number of them, and notes that they have them.
    async fn publish(&self) -> Result<Published, StatsError>;

    /// How many (part, bucket, group) states wait to be published, counted up to `most`.
    async fn unpublished(&self, most: u64) -> Result<u64, StatsError>;

    /// Asks for the buckets between two moments to be counted anew, from all documents that are there. Returns where the first of
    /// them begins and the last ends. Whoever works on the pipeline carries it out.
    async fn rebuild(&self, from: Wall, to: Wall) -> Result<(Wall, Wall), StatsError>;

    /// How it stands.
    async fn standing(&self) -> Result<Standing, StatsError>;
}

/// See [`super::SharedBroker`].
pub type SharedPipeline = Arc<dyn StatsPipeline>;

/// What a part of the cursor field's range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartKind {
    /// What was there when the parts were planned: it ends.
    Backlog,
    /// All that comes after: it does not.
    Tail,
}

/// A part that is held by a lease. What is dropped without [`StatsPart::release`] is free again when its lease has run out.
#[async_trait]
pub trait StatsPart: Send {
    /// Reads a number of documents, folds them, and commits all that they change in one transaction. After an error the part
    /// is of no use any more: it is taken again, from where the last commit left it.
    async fn step(&mut self) -> Result<Step, StatsError>;

    /// Lets somebody else have it at once.
    async fn release(self: Box<Self>);
}

/// What one step of a part came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Documents that were read.
    pub documents: u64,
    /// Those of them that could not be counted, and were put aside.
    pub bad: u64,
    /// Whether it could not be waited for those that come late as long as it should, because too many came.
    pub cut_short: bool,
    /// What is next.
    pub next: Next,
}

/// What is next for a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Next {
    /// There is more to read now.
    More,
    /// All that is there has been read; more may come.
    #[default]
    Wait,
    /// Its end has been reached: the part is done for good.
    Done,
}

/// What one round of publishing came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Roll-ups that all sinks have now.
    pub rollups: u64,
    /// Roll-ups that a sink refused for good, and that were put aside.
    pub refused: u64,
    /// There were more than one round takes.
    pub more: bool,
}

/// How a pipeline stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Parts of the backlog, all of them.
    pub parts: u64,
    /// Parts of the backlog that are done.
    pub parts_done: u64,
    /// Parts, the tail among them, that somebody holds now.
    pub parts_held: u64,
    /// Documents that have been read: once more for each time that they were counted anew.
    pub documents: u64,
    /// Documents that are still to be read: an estimate in the backlog, in the tail exact up to a bound and an estimate beyond.
    pub lag_documents: u64,
    /// How old the oldest of these is; none where the cursor field tells no time and nothing is known.
    pub lag: Option<Duration>,
    /// States that wait to be published, counted up to a bound.
    pub unpublished: u64,
    /// Documents and roll-ups that were put aside.
    pub dead_letters: u64,
    /// Somebody has asked for buckets to be counted anew, and it has not begun.
    pub rebuilds: bool,
    /// When the tail was last looked at.
    pub looked_at: Option<Wall>,
    /// How often the tail has looked over what is not settled yet, for documents that came after greater ones: these are not in
    /// `lag_documents`. None where all that it has read is settled, or whoever holds it does not count them.
    pub sweeps: Option<u64>,
}

impl Standing {
    /// Whether anybody has ever worked on it; before, nothing is known of what there is to do.
    pub const fn is_begun(&self) -> bool {
        self.parts > 0 || self.looked_at.is_some()
    }
}

/// What can go wrong with a pipeline, in words for a person, never with a secret in them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StatsError {
    /// It may go well later, and not before `after` where somebody named a time.
    #[error("{why}")]
    Later {
        /// How long to wait at least.
        after: Option<Duration>,
        /// What happened.
        why: String,
    },
    /// The lease has gone to somebody else: nothing was written.
    #[error("the lease has gone to another Headcount; nothing of this step was written")]
    Fenced,
    /// It will not go well until somebody changes something.
    #[error("{why}")]
    Refused {
        /// What is wrong, and what the reader can do.
        why: String,
    },
}
