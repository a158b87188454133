//! One worker: its signals, and the state machine that judges them.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;

use super::observed::Seen;
use super::own_health::Doubt;
use super::rhythm::Rhythm;
use super::rules::{self, Rules};
use super::sighting::Unfinished;
use super::state::{Diagnosis, Trouble, WorkerState};
use super::work::Work;
use crate::alert::debounce::HOLD;
use crate::celery::inspect::Pool;
use crate::time::{Mono, Now, Wall};

mod intake;
mod judge;
mod memory;

/// How a worker stands, with what only that state has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Starting,
    Up,
    Suspect,
    Down { diagnosis: Diagnosis, signs: u32 },
    Offline { at: Seen },
    Unknown,
}

/// When a signal last spoke for the worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spoke {
    pub(super) seen: Seen,
    pub(super) wall: Wall,
}

/// The broker says that the worker's connection is gone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Gone {
    pub(super) first: Spoke,
    pub(super) checks: u32,
    last: Seen,
}

/// What one probe brought (see the port `Broker::probe`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// How long its answer took; none if there was none in time.
    pub answer: Option<Duration>,
    /// Whether the broker sees its connection; none where it cannot tell.
    pub present: Option<bool>,
}

/// A worker to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The whole node name.
    pub hostname: CompactString,
    /// When it last gave a sign of life, if it did since Headcount started.
    pub last_heard: Option<Mono>,
    /// When its process was first heard, or Headcount began to look for it.
    pub process_from: Mono,
    /// After so long without the next one it is suspected.
    pub patience: Duration,
}

/// What a worker told of itself when asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// How it runs its tasks.
    pub pool: Option<Pool>,
    /// The queues that it consumes.
    pub queues: Option<Vec<CompactString>>,
}

/// One worker.
#[derive(Clone, Debug)]
pub struct Worker {
    hostname: CompactString,
    pid: Option<u32>,
    stage: Stage,
    since: Wall,
    first_seen: Seen,
    /// When its process was first heard, …
    process_seen: Seen,
    /// … by the clock of the broker's looks at connections.
    process_from: Mono,
    /// The moment that silence is counted from: the last sign of life, or when Headcount began to look.
    life: Seen,
    /// A goodbye that is not believed yet.
    leaving: Option<Seen>,
    pub(super) rhythm: Rhythm,
    pub(super) beat: Option<Spoke>,
    pub(super) answer: Option<(Spoke, Duration)>,
    pub(super) missed_pings: u32,
    /// When a probe of it was last completed, whatever it brought.
    pub(super) probed: Option<Seen>,
    pub(super) presence: Option<Spoke>,
    pub(super) gone: Option<Gone>,
    /// Whether this process has ever answered.
    ever_answered: bool,
    /// Whether the broker has shown the connection of this process, so that it can be missed.
    ever_present: bool,
    /// Beats that came while the broker said that it was gone, since it last said otherwise.
    beats_unseen: u32,
    last_seen: Option<Wall>,
    /// How long it had been away when Headcount started.
    away_before: Duration,
    last_heard: Option<Mono>,
    pub(super) pool: Option<Pool>,
    pub(super) work: Work,
    pub(super) software: Option<CompactString>,
    /// Tasks that it had begun when it left or fell silent.
    pub(super) unfinished: Option<Arc<Unfinished>>,
    /// Two processes beat under its name.
    pub(super) shares_name: bool,
    /// Task events of its own have come (`-E`).
    pub(super) tells_tasks: bool,
    /// This process has beaten while it ran a task, as no solo pool does.
    beat_at_work: bool,
    /// Tasks that it accepted since it was first seen.
    pub(super) accepted: u64,
}

impl Worker {
    /// A worker that is seen for the first time.
    pub(super) fn new(hostname: CompactString, t: Seen, now: Now) -> Self {
        Self {
            hostname,
            pid: None,
            stage: Stage::Starting,
            since: now.wall,
            first_seen: t,
            process_seen: t,
            process_from: now.mono,
            life: t,
            leaving: None,
            rhythm: Rhythm::default(),
            beat: None,
            answer: None,
            missed_pings: 0,
            probed: None,
            presence: None,
            gone: None,
            ever_answered: false,
            ever_present: false,
            beats_unseen: 0,
            last_seen: None,
            away_before: Duration::ZERO,
            last_heard: None,
            pool: None,
            work: Work::new(t),
            software: None,
            unfinished: None,
            shares_name: false,
            tells_tasks: false,
            beat_at_work: false,
            accepted: 0,
        }
    }

    /// The whole node name.
    pub fn hostname(&self) -> &CompactString {
        &self.hostname
    }

    /// How it stands.
    pub fn state(&self) -> WorkerState {
        match self.stage {
            _ if self.is_stalled() => WorkerState::Stalled,
            Stage::Starting => WorkerState::Starting,
            Stage::Up => WorkerState::Up,
            Stage::Suspect => WorkerState::Suspect,
            Stage::Down { .. } => WorkerState::Down,
            Stage::Offline { .. } => WorkerState::Offline,
            Stage::Unknown => WorkerState::Unknown,
        }
    }

    /// Why it is down, if it is.
    pub fn diagnosis(&self) -> Option<Diagnosis> {
        match self.stage {
            Stage::Down { diagnosis, .. } => Some(diagnosis),
            _ => None,
        }
    }

    /// Since when it has been in its state.
    pub fn since(&self) -> Wall {
        self.since
    }

    /// The last sign of life.
    pub fn last_seen(&self) -> Option<Wall> {
        self.last_seen
    }

    /// Whether it is alive, and does not do its work. It goes on being judged by its signs of life, and may be suspected
    /// too.
    pub fn is_stalled(&self) -> bool {
        self.is_alive() && self.work.trouble().is_some()
    }

    /// Why it is stalled, if it is.
    pub fn trouble(&self) -> Option<Trouble> {
        self.work.trouble().filter(|_| self.is_alive())
    }

    /// Whether it counts as alive: up, just seen, only suspected, or stalled.
    pub fn is_alive(&self) -> bool {
        matches!(self.stage, Stage::Starting | Stage::Up | Stage::Suspect)
    }

    /// Whether it is being looked at.
    pub fn is_suspect(&self) -> bool {
        self.stage == Stage::Suspect
    }

    /// Whether it is alive, and its last sign of life is not overdue.
    pub(super) fn beats_on_time(&self, t: Seen) -> bool {
        self.is_alive()
            && self
                .beat
                .is_some_and(|beat| t.since(beat.seen) <= self.rhythm.patience())
    }

    /// The moment that its silence is counted from.
    pub(super) fn life(&self) -> Seen {
        self.life
    }

    /// Since when it has been offline.
    pub(super) fn offline_since(&self) -> Option<Seen> {
        match self.stage {
            Stage::Offline { at } => Some(at),
            _ => None,
        }
    }

    /// How long ago it was first seen.
    pub(super) fn has_been_seen_for(&self, t: Seen) -> Duration {
        t.since(self.first_seen)
    }

    /// How long it has given no sign.
    pub(super) fn silent(&self, t: Seen) -> Duration {
        t.since(self.life)
    }

    /// How long it has been away, before a restart of Headcount and in observed time since.
    pub(super) fn away(&self, t: Seen) -> Duration {
        self.away_before + self.silent(t)
    }

    /// Whether its pool and queues still have to be learned, or may have changed since they were.
    pub(super) fn wants_learning(&self, t: Seen) -> bool {
        let unlearned = self.pool.is_none() || self.work.queues().is_none();
        // Who has not answered anything for so long may never do.
        let may_answer = self.ever_answered || t.since(self.process_seen) < rules::MEANS_EVERY;
        self.is_alive() && ((unlearned && may_answer) || self.work.wants_refreshing(t))
    }

    /// Whether it should be asked about its work.
    pub(super) fn wants_look_at_work(&self, t: Seen, rules: &Rules) -> bool {
        self.works() && self.ever_answered && self.work.wants_look(t, rules)
    }

    /// Whether its work can be judged: it is well otherwise.
    fn works(&self) -> bool {
        self.stage == Stage::Up && self.leaving.is_none() && !self.shares_name
    }

    /// Whom to ask, with what a broker without mailboxes needs to recognise its connection.
    pub(super) fn target(&self) -> Target {
        Target {
            hostname: self.hostname.clone(),
            last_heard: self.last_heard,
            process_from: self.process_from,
            patience: self.rhythm.patience(),
        }
    }

    /// Whether it needs an answer within a second or so: it is suspected, or it seems to come back.
    pub(super) fn wants_close_look(&self) -> bool {
        match self.stage {
            Stage::Suspect | Stage::Unknown | Stage::Starting => true,
            Stage::Down { signs, .. } => signs > 0,
            // The broker no longer sees it: whether that is a goodbye or a crash will show.
            Stage::Up => self.gone.is_some(),
            Stage::Offline { .. } => false,
        }
    }

    /// Whether the broker no longer sees its connection.
    pub(super) fn is_unseen(&self) -> bool {
        self.gone.is_some()
    }

    /// Whether it may be found down within moments: the broker no longer sees it, or its silence is about to be too long.
    /// What is told of its fleet can wait so long for it.
    pub(super) fn may_fall(&self, t: Seen, rules: &Rules, doubt: Doubt) -> bool {
        let nearly = || self.silent(t) + HOLD > self.silent_deadline(rules, doubt) && self.excuse(t, rules).is_none();
        // After a restart of Headcount nobody has been seen well yet.
        let looked_for = matches!(self.stage, Stage::Suspect | Stage::Unknown);
        looked_for && (self.gone.is_some() || nearly())
    }

    /// Whether it fell silent a moment ago, and nothing excuses it: if its connection has gone, that is not known yet.
    pub(super) fn has_just_fallen_silent(&self, t: Seen, rules: &Rules) -> bool {
        let lately = self.silent(t) <= self.rhythm.patience() + rules.gone_for();
        self.is_suspect() && lately && self.excuse(t, rules).is_none()
    }

    /// Whether its work may be found to have ceased within moments.
    pub(super) fn may_stall(&self) -> bool {
        self.works() && self.work.is_in_doubt()
    }

    fn enter(&mut self, stage: Stage, now: Now) {
        let before = self.state();
        self.stage = stage;
        if matches!(stage, Stage::Down { .. } | Stage::Offline { .. }) {
            self.work.leave();
        }
        // Who is stalled and suspected is stalled all the while.
        if self.state() != before || !self.is_stalled() {
            self.since = now.wall;
        }
    }
}
