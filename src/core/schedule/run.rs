//! One run of a job: its id, and what becomes of it, joined from the events of its task.
//!
//! News may come late, twice, and in any order: two Headcounts hear the same events, and a worker's events can overtake
//! the broker's confirmation. [`Run::hear`] comes to the same end in all orders, and says whether anything has changed, so
//! that what is counted is counted once.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Wall;

/// What the ids of all runs are made in (RFC 9562, version 5). Itself a random UUID, fixed for ever: another one would make
/// a run that was claimed before an update look like another run after it.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_2c86_53a4_4b0e_9d57_c1e8_0a7b_94f3);

/// Where the version stands in the text of a UUID.
const VERSION_AT: usize = 14;

/// The longest reason that is kept, in characters.
const MAX_WHY: usize = 300;

/// The id of the run of a slot, which is the id of its task. It is made of the job, its task and the slot alone, so that a
/// message that is sent again after a crash can be known by its id.
pub fn task_id(job: &str, task: &str, slot: Wall) -> Uuid {
    let name = format!("{job}\0{task}\0{}", slot.as_micros());
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

/// Whether this may be the id of a run, judged by one byte: Celery's own ids are of version 4.
pub fn may_be_a_run(id: &str) -> bool {
    id.as_bytes().get(VERSION_AT) == Some(&b'5')
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// One Headcount has taken it, and is sending it.
    Claimed,
    /// The broker has it.
    Sent,
    /// A worker has it.
    Received,
    /// It runs.
    Started,
    /// It failed, and the worker will try again.
    Retrying,
    /// It is done.
    Succeeded,
    /// It failed.
    Failed,
    /// Somebody revoked it, or it was too late when a worker had it.
    Revoked,
    /// The worker would not have it.
    Rejected,
    /// Nothing has been heard of it for too long.
    Lost,
    /// It could not be sent before it was too late.
    Expired,
    /// It could not be sent before the next one was due.
    Superseded,
    /// It was not to be sent: missed, or too many of the job's runs under way.
    Skipped,
}

impl RunState {
    /// All of them.
    pub const ALL: [RunState; 13] = [
        RunState::Claimed,
        RunState::Sent,
        RunState::Received,
        RunState::Started,
        RunState::Retrying,
        RunState::Succeeded,
        RunState::Failed,
        RunState::Revoked,
        RunState::Rejected,
        RunState::Lost,
        RunState::Expired,
        RunState::Superseded,
        RunState::Skipped,
    ];

    /// The word for people, the store and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            RunState::Claimed => "claimed",
            RunState::Sent => "sent",
            RunState::Received => "received",
            RunState::Started => "started",
            RunState::Retrying => "retrying",
            RunState::Succeeded => "succeeded",
            RunState::Failed => "failed",
            RunState::Revoked => "revoked",
            RunState::Rejected => "rejected",
            RunState::Lost => "lost",
            RunState::Expired => "expired",
            RunState::Superseded => "superseded",
            RunState::Skipped => "skipped",
        }
    }

    /// The state of a word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether more is to come.
    pub const fn is_open(self) -> bool {
        matches!(
            self,
            RunState::Claimed | RunState::Sent | RunState::Received | RunState::Started | RunState::Retrying
        )
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The job's name.
    pub job: CompactString,
    /// Its slot.
    pub slot: Wall,
    /// The id of its task.
    pub id: CompactString,
    /// When it was to run: the slot and its jitter.
    pub due: Wall,
    /// Run by Headcount itself, and sent to nobody.
    pub own: bool,
    /// How it stands.
    pub state: RunState,
    /// When it was claimed.
    pub claimed_at: Wall,
    /// When the broker had it.
    pub sent_at: Option<Wall>,
    /// When it was last heard to have begun.
    pub started_at: Option<Wall>,
    /// When it was heard to have ended.
    pub ended_at: Option<Wall>,
    /// When anything was last heard of it.
    pub heard_at: Wall,
    /// The worker that had it last.
    pub worker: Option<CompactString>,
    /// How long it ran, in seconds, by the worker's own account.
    pub runtime: Option<f64>,
    /// What there is to say of it, for people.
    pub why: Option<String>,
}

/// What has happened to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// The broker has confirmed it.
    Sent,
    /// `task-received`, or a `task-sent` of a retry.
    Received,
    /// `task-started`.
    Started,
    /// `task-retried`.
    Retried,
    /// `task-succeeded`.
    Succeeded,
    /// `task-failed`.
    Failed,
    /// `task-revoked`.
    Revoked,
    /// `task-rejected`.
    Rejected,
    /// Nothing was heard of it for too long.
    Lost,
    /// It was too late to send it.
    Expired,
    /// The next one was due before it could be sent.
    Superseded,
}

/// One piece of news of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// The run, by the id of its task.
    pub id: CompactString,
    /// What has happened.
    pub word: Word,
    /// When it was heard, by Headcount's clock.
    pub at: Wall,
    /// By whom it was said, if by a worker.
    pub worker: Option<CompactString>,
    /// How long it ran, in seconds, where the event says so.
    pub runtime: Option<f64>,
    /// What there is to say of it, for people.
    pub why: Option<String>,
}

impl News {
    /// News of Headcount's own.
    pub fn new(id: CompactString, word: Word, at: Wall) -> Self {
        Self {
            id,
            word,
            at,
            worker: None,
            runtime: None,
            why: None,
        }
    }

    /// With a reason.
    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into().chars().take(MAX_WHY).collect());
        self
    }
}

impl Run {
    /// Takes in a piece of news. Whether its state has changed.
    pub fn hear(&mut self, news: &News) -> bool {
        let Some(state) = self.after(news.word) else {
            return false;
        };
        let changed = state != self.state;
        self.state = state;
        self.heard_at = self.heard_at.max(news.at);
        self.worker = news.worker.clone().or_else(|| self.worker.take());
        self.runtime = news.runtime.filter(|runtime| runtime.is_finite()).or(self.runtime);
        self.why = news.why.clone();
        match news.word {
            Word::Sent => self.sent_at = self.sent_at.or(Some(news.at)),
            Word::Started => self.started_at = Some(news.at),
            _ => {}
        }
        // A worker that has it proves that it was sent.
        if news.worker.is_some() {
            self.sent_at = self.sent_at.or(Some(news.at));
        }
        self.ended_at = (!state.is_open()).then_some(news.at);
        changed
    }

    /// The run as it came to each of its states since `before`: where its worker was heard of sooner than the broker's yes, it was
    /// sent on the way.
    pub fn states_since(&self, before: &Run) -> impl Iterator<Item = Run> {
        let was_sent = before.sent_at.is_none() && self.sent_at.is_some() && self.state != RunState::Sent;
        let sent = was_sent.then(|| Run {
            state: RunState::Sent,
            sent_at: self.sent_at,
            ended_at: None,
            why: None,
            ..before.clone()
        });
        let now = (self.state != before.state).then(|| self.clone());
        sent.into_iter().chain(now)
    }

    /// The state that some news leads to; none where they come too late, or say nothing new.
    fn after(&self, word: Word) -> Option<RunState> {
        use RunState as S;
        // What a worker says of its end is final; what Headcount only believed is not.
        let ended = matches!(self.state, S::Succeeded | S::Failed | S::Rejected | S::Skipped);
        let unsent = self.state == S::Claimed;
        match word {
            _ if ended => None,
            // Revoked once, of several deliveries: another one may still run.
            Word::Succeeded => Some(S::Succeeded),
            Word::Failed => Some(S::Failed),
            Word::Revoked => (self.state != S::Revoked).then_some(S::Revoked),
            Word::Rejected => Some(S::Rejected),
            Word::Retried => (self.state != S::Retrying).then_some(S::Retrying),
            Word::Started => (self.state != S::Started && self.state != S::Revoked).then_some(S::Started),
            Word::Received => matches!(
                self.state,
                S::Claimed | S::Sent | S::Retrying | S::Lost | S::Expired | S::Superseded
            )
            .then_some(S::Received),
            Word::Sent => unsent.then_some(S::Sent),
            Word::Expired => unsent.then_some(S::Expired),
            Word::Superseded => unsent.then_some(S::Superseded),
            Word::Lost => self.state.is_open().then_some(S::Lost),
        }
    }
}
