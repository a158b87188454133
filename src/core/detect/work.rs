//! A worker's work: whether it takes what waits in its queues, and gets on with what it has taken.
//!
//! Its beats and answers say nothing of that. What does: the counts in its beats, what it says when asked, and what the
//! broker shows of its queues. Time counts only while it has reason to take something: an idle worker is never late.

mod judge;
mod longest;
mod means;
mod row;
mod words;

use std::time::Duration;

use compact_str::CompactString;

use super::board::{Board, Line};
use super::observed::Seen;
use super::rules::{self, Rules};
use super::state::Trouble;
use longest::Longest;
pub use means::Means;
use row::Row;

/// A closer look at a worker's work: what it said when asked, none where it did not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkLook {
    /// The queues that it consumes now, as it believes itself (`active_queues`).
    pub queues: Option<Vec<CompactString>>,
    /// Tasks that it runs (`active`).
    pub running: Option<u32>,
    /// Tasks that it has taken and not begun, those that wait for their time left out (`reserved`).
    pub reserved: Option<u32>,
    /// Tasks that wait for their time: an ETA or a countdown (`scheduled`).
    pub scheduled: Option<u32>,
}

/// What a worker's trouble rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// It says itself that it consumes the queue no longer.
    Unsubscribed,
    /// It says that it consumes the queue, and the broker has no consumer there.
    NoConsumer,
    /// The queue has fewer consumers than workers that say they consume it, and this one takes nothing.
    FewConsumers,
    /// No connection of the broker waits for messages.
    NobodyTakes,
    /// It takes nothing, though it could.
    NotTaking,
    /// It gets on with nothing that it has taken.
    Stuck,
    /// Found before Headcount was restarted.
    Remembered(Trouble),
}

impl How {
    fn trouble(self) -> Trouble {
        match self {
            How::Unsubscribed | How::NoConsumer | How::FewConsumers | How::NobodyTakes => Trouble::ConsumerGone,
            How::NotTaking => Trouble::NotTaking,
            How::Stuck => Trouble::Stuck,
            How::Remembered(trouble) => trouble,
        }
    }
}

/// A worker in trouble.
#[derive(Clone, Debug)]
struct Troubled {
    how: How,
    queue: CompactString,
    since: Seen,
}

/// What the broker last showed of the queue that matters most to the worker: to say, not to judge by.
#[derive(Clone, Debug, Default)]
struct Backlog {
    queue: CompactString,
    length: u64,
    peers_go_on: bool,
}

impl Backlog {
    fn of(line: &Line, moved: Option<Seen>) -> Self {
        Self {
            queue: line.name.clone(),
            length: line.length,
            peers_go_on: line.moved > moved,
        }
    }
}

/// What is known of a worker's work.
#[derive(Clone, Debug)]
pub(super) struct Work {
    /// Since when this process, and its connection, can be expected to work.
    begun: Seen,
    /// The queues that it consumes now, as it says itself.
    now: Option<Vec<CompactString>>,
    /// All that it has said it consumes since its process began: what it was meant to do.
    consumed: Vec<CompactString>,
    means: Means,
    active: Option<u64>,
    processed: Option<u64>,
    /// The newest beat that bore counts.
    counted: Option<Seen>,
    /// When the counts last moved.
    moved: Option<Seen>,
    /// Since when it has had reason to take something: messages wait for it, it has a free slot, and nothing moves.
    waits: Option<Seen>,
    /// Whether messages wait for it, busy or not; since when not.
    queue_waits: bool,
    empty_since: Option<Seen>,
    /// A queue in which messages wait is not consumed by it, or by nobody.
    deprived: bool,
    /// The longest that it has let a queue wait and then went on, lately.
    gap: Duration,
    /// How long it ran a task without another moving.
    run: Longest,
    looked: Option<(Seen, WorkLook)>,
    absent: Option<Row<(How, CompactString)>>,
    free: Option<Row<()>>,
    trouble: Option<Troubled>,
    backlog: Backlog,
    /// When it was last asked about its work, and for what it has.
    asked: Option<Seen>,
    asked_means: Option<Seen>,
}

/// How much of the longest gap is kept when the next is over.
const DECAY: f64 = 0.9;

impl Work {
    /// The work of a worker that is first seen at `t`.
    pub(super) fn new(t: Seen) -> Self {
        Self {
            begun: t,
            now: None,
            consumed: Vec::new(),
            means: Means::default(),
            active: None,
            processed: None,
            counted: None,
            moved: None,
            waits: None,
            queue_waits: false,
            empty_since: None,
            deprived: false,
            gap: Duration::ZERO,
            run: Longest::new(t),
            looked: None,
            absent: None,
            free: None,
            trouble: None,
            backlog: Backlog::default(),
            asked: None,
            asked_means: None,
        }
    }

    /// The same, of a worker that is remembered.
    pub(super) fn remembered(t: Seen, queues: Vec<CompactString>, run: Duration, trouble: Option<Trouble>) -> Self {
        Self {
            now: (!queues.is_empty()).then(|| queues.clone()),
            consumed: queues,
            run: Longest::remembered(run, t),
            trouble: trouble.map(|trouble| Troubled {
                how: How::Remembered(trouble),
                queue: CompactString::default(),
                since: t,
            }),
            ..Self::new(t)
        }
    }

    // ------------------------------------------------------------ what others read

    /// The queues that it says it consumes now.
    pub(super) fn queues(&self) -> Option<&[CompactString]> {
        self.now.as_deref()
    }

    /// How many tasks it can run at once.
    pub(super) fn slots(&self) -> Option<u32> {
        self.means.slots
    }

    /// The queues that it has consumed since its process began.
    pub(super) fn consumed(&self) -> &[CompactString] {
        &self.consumed
    }

    /// Tasks that it runs.
    pub(super) fn active(&self) -> Option<u64> {
        self.active
    }

    /// Tasks that it has accepted.
    pub(super) fn processed(&self) -> Option<u64> {
        self.processed
    }

    /// When it last got on.
    pub(super) fn moved(&self) -> Option<Seen> {
        self.moved
    }

    /// The longest that it ran a task without another moving, lately.
    pub(super) fn longest_run(&self) -> Duration {
        self.run.get()
    }

    /// What is wrong with its work, if anything is.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.trouble.as_ref().map(|troubled| troubled.how.trouble())
    }

    // ------------------------------------------------------------ inputs

    /// Its connection is new: it gets time to begin, and what was observed before says nothing.
    pub(super) fn begin(&mut self, t: Seen) {
        self.begun = t;
        self.waits = None;
        self.absent = None;
        self.free = None;
        self.looked = None;
        self.moved = None;
    }

    /// Another process took its place.
    pub(super) fn restart(&mut self, t: Seen) {
        *self = Self {
            run: self.run,
            ..Self::new(t)
        };
    }

    /// It is away: what it will be when it is back is not known.
    pub(super) fn leave(&mut self) {
        self.trouble = None;
        self.waits = None;
        self.absent = None;
        self.free = None;
    }

    /// Counts of a beat.
    pub(super) fn beat(&mut self, t: Seen, active: Option<u64>, processed: Option<u64>) {
        let changed = |old: Option<u64>, new: Option<u64>| new.is_some() && new != old;
        let moves = changed(self.active, active) || changed(self.processed, processed);
        if processed.is_some() {
            self.counted = Some(t);
        }
        if moves {
            self.moves(t);
        }
        self.active = active.or(self.active);
        self.processed = processed.or(self.processed);
        if self.is_busy() {
            self.waits = None;
        }
    }

    /// It got on: a count moved, or a task of its own did.
    pub(super) fn moves(&mut self, t: Seen) {
        if let Some(waits) = &mut self.waits {
            // What it did not take while it was stalled is no habit.
            if self.trouble.is_none() {
                self.gap = self.gap.mul_f64(DECAY).max(t.since(*waits)).min(rules::GAP_MAX);
            }
            *waits = t.max(*waits);
        }
        if self.active.is_some_and(|active| active > 0)
            && let Some(moved) = self.moved
        {
            self.ran(t, t.since(moved));
        }
        self.moved = self.moved.max(Some(t));
        // Whoever takes something was not the one who took nothing. (Of another queue it may still have lost its consumer.)
        self.free = None;
        let idle = |row: &Row<(How, CompactString)>| matches!(row.what.0, How::FewConsumers | How::NobodyTakes);
        if self.absent.as_ref().is_some_and(idle) {
            self.absent = None;
        }
    }

    /// A task of its has run for about so long.
    pub(super) fn ran(&mut self, t: Seen, run: Duration) {
        self.run.add(t, run);
    }

    /// With what it works.
    pub(super) fn means(&mut self, said: Means) {
        self.means.update(said);
    }

    /// The queues that it says it consumes.
    pub(super) fn consumes(&mut self, queues: Vec<CompactString>) {
        for queue in &queues {
            if self.consumed.len() < super::look::MAX_QUEUES && !self.consumed.contains(queue) {
                self.consumed.push(queue.clone());
            }
        }
        self.now = Some(queues);
    }

    /// The broker has shown the queues.
    pub(super) fn shown(&mut self, t: Seen, board: &Board) {
        // Nobody has to consume a queue that is no longer there, such as one of an earlier connection's own.
        if let Some(now) = &self.now {
            self.consumed
                .retain(|queue| now.contains(queue) || board.line(queue).is_some());
        }
        let line = self.waiting(board);
        self.queue_waits = line.is_some();
        self.empty_since = if line.is_some() {
            None
        } else {
            self.empty_since.or(Some(t))
        };
        self.waits = if line.is_some() && !self.is_busy() {
            self.waits.or(Some(t))
        } else {
            None
        };
        let matters = self.trouble.as_ref().and_then(|troubled| board.line(&troubled.queue));
        if let Some(line) = matters.or(line) {
            self.backlog = Backlog::of(line, self.moved);
        } else {
            self.backlog.length = 0;
        }
        let unserved = |queue: &&CompactString| {
            board
                .waiting(queue)
                .is_some_and(|line| line.consumers == Some(0) || !self.says_it_consumes(queue))
        };
        self.deprived = self.claims(board).iter().any(|queue| unserved(&queue));
    }

    /// It was asked about its work.
    pub(super) fn worked(&mut self, t: Seen, look: &WorkLook, board: &Board) {
        if let Some(queues) = &look.queues {
            self.consumes(queues.clone());
        }
        // Without a look at the queues, this one says nothing of them.
        if board.is_fresh(t) {
            let absent = self.absence(t, look, board);
            if let Some(line) = absent.as_ref().and_then(|(_, queue)| board.line(queue)) {
                self.backlog = Backlog::of(line, self.moved);
            }
            Row::add(&mut self.absent, t, absent);
        }
        let free = self.could_take(look).then_some(());
        Row::add(&mut self.free, t, free);
        self.looked = Some((t, look.clone()));
    }

    // ------------------------------------------------------------ questions

    /// Whether it should be asked about its work; `t` is now.
    pub(super) fn wants_look(&self, t: Seen, rules: &Rules) -> bool {
        let reason = self.trouble.is_some()
            || self.deprived
            || self
                .waits
                .is_some_and(|since| t.since(since) >= rules::FLAT_BEFORE_LOOK)
            || self.is_flat(t, self.stuck_after(rules));
        let lately = self.waits.map_or(t, |since| since);
        let every = if t.since(lately) < rules.stalled_after * 2 {
            rules::LOOK_EVERY
        } else {
            rules::LOOK_SELDOM
        };
        reason && self.has_begun(t) && self.asked.is_none_or(|asked| t.since(asked) >= every)
    }

    /// Whether what it has should be asked for again.
    pub(super) fn wants_refreshing(&self, t: Seen) -> bool {
        self.asked_means
            .is_none_or(|asked| t.since(asked) >= rules::MEANS_EVERY)
    }

    /// It is being asked about its work.
    pub(super) fn asked(&mut self, t: Seen) {
        self.asked = Some(t);
    }

    /// It is being asked for what it has.
    pub(super) fn asked_means(&mut self, t: Seen) {
        self.asked_means = Some(t);
    }

    /// Whether its consumer has been seen to be absent, and not yet often enough to say so.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.trouble.is_none() && self.absent.is_some()
    }

    /// Since when it has done nothing, though it had reason to.
    pub(super) fn idle_since(&self) -> Seen {
        self.waits.or(self.moved).unwrap_or(self.begun)
    }
}
