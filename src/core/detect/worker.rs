//! One worker: its signals, and the state machine that judges them.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;

use super::board::Board;
use super::memory::{WorkMemory, WorkerMemory};
use super::observed::Seen;
use super::own_health::Doubt;
use super::rhythm::Rhythm;
use super::rules::{self, Rules};
use super::sighting::{Sighting, Unfinished, Word};
use super::state::{Diagnosis, Trouble, WorkerState};
use super::work::{Means, Work, WorkLook};
use crate::alert::debounce::HOLD;
use crate::celery::inspect::Pool;
use crate::time::{Mono, Now, Wall};

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

/// So many beats, heard while the broker said that its connection was gone, show that it did not mean the connection
/// that it beats over. One may have been on its way when its worker crashed.
const BEATS_UNSEEN: u32 = 2;

/// Runs shorter than this are not remembered: five of them are less than any sensible `stuck_after`.
const RUN_REMEMBERED: u64 = 60;

/// A run as it is remembered, in seconds: coarsely, since what is remembered is written whenever it changes.
fn remembered_run(run: Duration) -> u64 {
    match run.as_secs() {
        short if short < RUN_REMEMBERED => 0,
        long => long.checked_next_power_of_two().unwrap_or(long),
    }
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
    /// When its process was first heard.
    process_seen: Seen,
    /// The moment that silence is counted from: the last sign of life, or when Headcount began to look.
    life: Seen,
    /// A goodbye that is not believed yet.
    leaving: Option<Seen>,
    pub(super) rhythm: Rhythm,
    pub(super) beat: Option<Spoke>,
    pub(super) answer: Option<(Spoke, Duration)>,
    pub(super) missed_pings: u32,
    /// When a probe of it was last completed, whatever it brought.
    probed: Option<Seen>,
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
            accepted: 0,
        }
    }

    /// A worker that is remembered from before a restart: what was alive comes back as `unknown`, what was down is
    /// still down, so that nothing is told twice.
    pub(super) fn remembered(memory: WorkerMemory, t: Seen, now: Now) -> Self {
        let stage = match (memory.state, memory.diagnosis) {
            (WorkerState::Down, diagnosis) => Stage::Down {
                diagnosis: diagnosis.unwrap_or(Diagnosis::Unreachable),
                signs: 0,
            },
            (WorkerState::Offline, _) => Stage::Offline { at: t },
            _ => Stage::Unknown,
        };
        let kept = !matches!(stage, Stage::Unknown);
        let mut worker = Self::new(memory.hostname, t, now);
        worker.pid = memory.pid;
        worker.stage = stage;
        worker.since = if kept { memory.since } else { now.wall };
        worker.rhythm = Rhythm::with_interval(memory.interval_us.map(Duration::from_micros));
        worker.ever_answered = memory.answers;
        worker.ever_present = memory.shows_presence;
        worker.last_seen = memory.last_seen;
        worker.away_before = now.wall.since(memory.last_seen.unwrap_or(memory.since));
        worker.pool = memory.pool;
        let run = Duration::from_secs(memory.work.longest_run_s);
        worker.work = Work::remembered(t, memory.queues, run, memory.work.trouble);
        worker
    }

    /// What to remember of it.
    pub(super) fn memory(&self, address: &CompactString) -> WorkerMemory {
        WorkerMemory {
            hostname: self.hostname.clone(),
            address: address.clone(),
            pid: self.pid,
            state: self.state(),
            diagnosis: self.diagnosis(),
            since: self.since,
            last_seen: self.last_seen,
            interval_us: self
                .rhythm
                .known_interval()
                .and_then(|i| u64::try_from(i.as_micros()).ok()),
            pool: self.pool,
            queues: self.work.consumed().to_vec(),
            work: WorkMemory {
                trouble: self.work.trouble(),
                longest_run_s: remembered_run(self.work.longest_run()),
            },
            answers: self.ever_answered,
            shows_presence: self.ever_present,
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

    /// Until when it need not be judged again, if nothing is heard of it: for the steady states, and not for the others.
    pub(super) fn rests_until(&self, t: Seen) -> Option<Seen> {
        if self.leaving.is_some() || self.gone.is_some() {
            return None;
        }
        match self.stage {
            Stage::Starting | Stage::Up => Some(self.life + self.rhythm.patience()),
            Stage::Down { .. } | Stage::Offline { .. } => Some(t + rules::JUDGED_EVERY),
            _ => None,
        }
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
        self.is_suspect() && (self.gone.is_some() || nearly())
    }

    /// The same of its work.
    pub(super) fn may_stall(&self) -> bool {
        self.works() && self.work.is_in_doubt()
    }

    // ------------------------------------------------------------ inputs

    /// Its events since the last flush.
    pub(super) fn sighted(&mut self, t: Seen, now: Now, sighting: &Sighting) {
        if sighting.unfinished.is_some() {
            self.unfinished.clone_from(&sighting.unfinished);
        }
        if !sighting.is_sign() {
            return;
        }
        self.shares_name = sighting.shared;
        self.tells_tasks |= sighting.tasks > 0;
        let other = matches!((self.pid, sighting.pid), (Some(old), Some(new)) if old != new);
        let restarted = (other || sighting.anew) && !sighting.shared;
        if restarted {
            self.restarted(t);
        }
        if sighting.pid.is_some() {
            self.pid = sighting.pid;
        }
        self.rhythm.heard(sighting.interval, sighting.longest_gap);
        if sighting.software.is_some() {
            self.software.clone_from(&sighting.software);
        }
        // What waited on its way proves that its worker lived when it was sent, and no more.
        // So does what waited for its flush by the lane; longer waits are pauses, which the observed clock leaves out itself.
        let waited = now.mono.since(sighting.last).min(rules::FLUSH_WAIT_MAX);
        let fresh = t - sighting.age - waited;
        let heard = sighting.last - sighting.age;
        let spoke = Spoke {
            seen: fresh,
            wall: now.wall_at(heard),
        };
        match sighting.word {
            Word::Goodbye => {
                if self.leaving.is_none() && !matches!(self.stage, Stage::Offline { .. }) {
                    self.leaving = Some(t);
                }
                self.last_seen = Some(spoke.wall);
                return;
            }
            Word::Online => {
                self.leaving = None;
                self.work.begin(t);
            }
            Word::Nothing => {}
        }
        if sighting.beats > 0 {
            // A solo pool is silent for as long as a task runs, so how long it ran shows only afterwards.
            if self.pool == Some(Pool::Solo)
                && !restarted
                && let (Some(previous), Some(before), Some(now)) =
                    (self.beat, self.work.processed(), sighting.processed)
                && now > before
            {
                self.work.ran(t, fresh.since(previous.seen));
            }
            self.unfinished = None;
            if !restarted && let (Some(before), Some(now)) = (self.work.processed(), sighting.processed) {
                self.accepted = self.accepted.saturating_add(now.saturating_sub(before));
            }
            self.work.beat(fresh, sighting.active, sighting.processed);
        }
        if sighting.tasks > 0 {
            self.work.moves(fresh);
        }
        if sighting.beats > 0 {
            self.beats_unseen(fresh);
            // A gap in which it was away says nothing of its rhythm.
            if let Some(previous) = self.beat
                && self.is_alive()
                && !restarted
            {
                self.rhythm.gap(fresh.since(previous.seen));
            }
            if self.beat.is_none_or(|previous| previous.seen <= fresh) {
                self.beat = Some(spoke);
            }
            self.alive(t, spoke, heard, now);
        } else if self.is_alive() && self.leaving.is_none() {
            // Task events alone show life, and never bring anybody back: they follow a goodbye for as long as it drains.
            self.alive(t, spoke, heard, now);
        }
    }

    /// Another process took its place: what the old one had need not be there.
    fn restarted(&mut self, t: Seen) {
        self.process_seen = t;
        self.pool = None;
        self.work.restart(t);
        self.gone = None;
        self.missed_pings = 0;
        self.answer = None;
        self.ever_answered = false;
        self.presence = None;
        self.ever_present = false;
        self.beats_unseen = 0;
    }

    /// It beats. If it did so although the broker said that it is gone, what the broker sees is not the connection that it
    /// beats over, such as a mailbox that was lost alone: it is not missed by that until it is seen again.
    fn beats_unseen(&mut self, sent: Seen) {
        if self.gone.is_some_and(|gone| sent > gone.first.seen) {
            self.beats_unseen += 1;
            if self.beats_unseen >= BEATS_UNSEEN {
                self.ever_present = false;
                self.presence = None;
                self.gone = None;
            }
        }
    }

    /// What a probe of it brought.
    pub(super) fn probed(&mut self, t: Seen, now: Now, probed: Probed) {
        self.probed = Some(t);
        let spoke = Spoke {
            seen: t,
            wall: now.wall,
        };
        match probed.present {
            Some(true) => {
                self.presence = Some(spoke);
                self.ever_present = true;
                self.beats_unseen = 0;
                self.gone = None;
            }
            // Only who has been seen connected can be missed: a worker without remote control has no mailbox at all.
            Some(false) if self.ever_present => {
                let gone = self.gone.get_or_insert(Gone {
                    first: spoke,
                    checks: 0,
                    last: t,
                });
                gone.checks += 1;
                gone.last = t;
            }
            Some(false) | None => {}
        }
        match probed.answer {
            Some(latency) => {
                self.answer = Some((spoke, latency));
                self.ever_answered = true;
                self.missed_pings = 0;
                if self.leaving.is_none() {
                    self.alive(t, spoke, now.mono, now);
                }
            }
            None => self.missed_pings = self.missed_pings.saturating_add(1),
        }
    }

    /// What it told of itself.
    pub(super) fn learned(&mut self, learned: Learned) {
        if learned.pool.is_some() {
            self.pool = learned.pool;
        }
        if let Some(queues) = learned.queues {
            self.work.consumes(queues);
        }
    }

    /// With what it works, as it told.
    pub(super) fn has(&mut self, means: Means) {
        self.work.means(means);
    }

    /// What it said of its work.
    pub(super) fn worked(&mut self, t: Seen, look: &WorkLook, board: &Board) {
        self.work.worked(t, look, board);
    }

    /// Headcount could not see, and begins anew: silence counts from here, and whoever was alive is unknown until heard.
    pub(super) fn look_anew(&mut self, t: Seen, now: Now) {
        // Who is down has been away all along, however often the broker is out.
        if self.diagnosis().is_some() {
            self.away_before = self.away(t);
        }
        self.life = t;
        self.gone = None;
        self.missed_pings = 0;
        self.work.begin(t);
        if self.leaving.is_some() {
            self.leaving = Some(t);
        }
        if self.is_alive() {
            self.enter(Stage::Unknown, now);
        }
    }

    // ------------------------------------------------------------ judgement

    /// Judges its silence. Whoever is unknown is not judged before `grace` has passed.
    pub(super) fn judge(&mut self, t: Seen, now: Now, rules: &Rules, doubt: Doubt, in_grace: bool) {
        if let Some(left) = self.leaving {
            if t.since(left) >= rules::GOODBYE_BELIEVED_AFTER {
                self.leaving = None;
                self.enter(Stage::Offline { at: t }, now);
            }
            return;
        }
        let answers_only = self.beat.is_none() && self.ever_answered;
        self.rhythm.answers_only(answers_only.then_some(rules.probe_every));
        match self.stage {
            Stage::Starting | Stage::Up if self.silent(t) > self.rhythm.patience() => self.enter(Stage::Suspect, now),
            Stage::Suspect => {
                if let Some(diagnosis) = self.verdict(t, rules, doubt) {
                    self.enter(Stage::Down { diagnosis, signs: 0 }, now);
                }
            }
            Stage::Unknown if !in_grace => {
                if let Some(diagnosis) = self.verdict(t, rules, doubt) {
                    self.enter(Stage::Down { diagnosis, signs: 0 }, now);
                }
            }
            // Once its connection has gone, what seemed frozen has crashed or was killed.
            Stage::Down {
                diagnosis: Diagnosis::Frozen | Diagnosis::Unreachable,
                signs: 0,
            } if self.is_gone(t, rules) => {
                self.stage = Stage::Down {
                    diagnosis: Diagnosis::Crashed,
                    signs: 0,
                };
            }
            _ => {}
        }
    }

    /// Judges its work, if it is well otherwise.
    pub(super) fn judge_work(&mut self, t: Seen, now: Now, rules: &Rules) {
        let solo = self.pool == Some(Pool::Solo);
        if self.works() && self.work.judge(t, rules, self.ever_answered, solo) {
            self.since = now.wall;
        }
    }

    /// Another of its fleet has just crashed: if the broker has not seen this one either since it missed its beat, they
    /// fell together, and it need not wait until its own beat is as long overdue.
    pub(super) fn judge_in_company(&mut self, t: Seen, now: Now, rules: &Rules) {
        let overdue = rules.reconnects_within().saturating_sub(self.rhythm.interval());
        let unseen = self.gone.is_some_and(|gone| gone.checks >= rules::CHECKS_IN_COMPANY);
        if self.is_suspect() && unseen && self.leaving.is_none() && self.overdue(t) >= overdue {
            let diagnosis = Diagnosis::Crashed;
            self.enter(Stage::Down { diagnosis, signs: 0 }, now);
        }
    }

    /// Whether the silence suffices for a verdict, and which.
    fn verdict(&self, t: Seen, rules: &Rules, doubt: Doubt) -> Option<Diagnosis> {
        let silent = self.silent(t);
        if self.is_gone(t, rules) && self.overdue(t) >= rules.reconnects_within() {
            return Some(Diagnosis::Crashed);
        }
        let deadline = self.silent_deadline(rules, doubt);
        if silent <= deadline || self.excuse(t, rules).is_some() {
            return None;
        }
        // The broker has just begun to say that its connection is gone: whether it has crashed, or reconnects after a
        // long task, shows within moments, and then there is a better word for it.
        if self
            .gone
            .is_some_and(|gone| t.since(gone.first.seen) < rules.gone_for() * 2)
        {
            return None;
        }
        // Pings that could not even be sent were not missed; a silence of twice the length needs none.
        let asked_lately = self.probed.is_some_and(|at| t.since(at) < rules.silent_after(doubt));
        let waits_for_pings = self.ever_answered && self.missed_pings < rules::CHECKS;
        if waits_for_pings && (asked_lately || silent <= deadline.max(rules.unasked_after(doubt))) {
            return None;
        }
        Some(if self.is_present() {
            Diagnosis::Frozen
        } else {
            Diagnosis::Unreachable
        })
    }

    /// After how long a silence it is down although its connection stands, or nobody can tell.
    fn silent_deadline(&self, rules: &Rules, doubt: Doubt) -> Duration {
        rules.silent_after(doubt).max(self.rhythm.patience() + rules.gone_for())
    }

    /// For how long its connection must have been gone by now. While it stood it beat: so it cannot have gone later than
    /// the first beat that was due after the last sign of life, and did not come. A sign shortly before a beat is due says
    /// nothing of that one, which may be on its way.
    fn overdue(&self, t: Seen) -> Duration {
        let Some(beat) = self.beat else {
            // Who does not beat last answered up to a whole turn of questions before.
            let unseen = self.gone.map_or(Duration::ZERO, |gone| t.since(gone.first.seen));
            return unseen.saturating_sub(rules::DEFAULT_INTERVAL);
        };
        let interval = self.rhythm.interval();
        let heard_until = self.life.since(beat.seen) + rules::BEAT_LEAD;
        let beats = heard_until.as_micros() / interval.as_micros().max(1) + 1;
        let due = interval.saturating_mul(u32::try_from(beats).unwrap_or(u32::MAX));
        t.since(beat.seen).saturating_sub(due)
    }

    /// Whether the broker has said often and long enough that its connection is gone.
    fn is_gone(&self, t: Seen, rules: &Rules) -> bool {
        // Measured to the last check, not to now: where probes fail nothing more has been said since.
        self.gone.is_some_and(|gone| {
            gone.checks >= rules::CHECKS
                && gone.last.since(gone.first.seen) >= rules.gone_for().mul_f64(0.6)
                && t >= gone.last
        })
    }

    /// Whether the broker has said since its last sign of life that its connection stands. An answer is a sign of life,
    /// and says nothing of what came after it.
    pub(super) fn is_present(&self) -> bool {
        self.gone.is_none() && self.presence.is_some_and(|presence| presence.seen > self.life)
    }

    /// Whether nothing but task events has ever been heard of it.
    pub(super) fn tells_tasks_only(&self) -> bool {
        self.tells_tasks && self.beat.is_none() && !self.ever_answered && !self.ever_present
    }

    /// Whether it has ever answered a ping.
    pub(super) fn has_answered(&self) -> bool {
        self.ever_answered
    }

    /// Whether it has answered a ping before, and is not known to have gone deaf since, as when its remote control is
    /// switched off.
    pub(super) fn is_listening(&self) -> bool {
        self.ever_answered && self.missed_pings < rules::CHECKS
    }

    /// Why its silence may be innocent.
    pub(super) fn excuse(&self, t: Seen, rules: &Rules) -> Option<&'static str> {
        let solo = self.pool == Some(Pool::Solo);
        let silent = self.silent(t);
        if self.gone.is_some() {
            return None;
        }
        if self.tells_tasks_only() {
            return Some(
                "it neither beats nor answers, and tells of tasks alone: silence is all that it has while idle",
            );
        }
        // Its silence begins with its last beat, which was up to an interval before the task.
        let busy_max = if solo {
            rules::SOLO_BUSY_MAX.max(self.work.stuck_after(rules))
        } else {
            rules::SOLO_BUSY_MAX
        };
        if silent > busy_max + self.rhythm.patience() {
            return None;
        }
        if solo {
            return Some("its pool is solo, which neither beats nor answers during a task");
        }
        // A pool that has not been learned yet may be a solo one that took a task before it could be asked.
        let unlearned = self.pool.is_none() && !self.ever_answered;
        if unlearned && (self.is_present() || silent <= rules::UNLEARNED_MAX) {
            return Some("it has not yet said which pool it has, and a solo one is silent during a task");
        }
        None
    }

    // ------------------------------------------------------------ transitions

    /// One sign of life. A burst that arrives at once is one sign: it may be a late flush of what was sent before.
    fn alive(&mut self, t: Seen, spoke: Spoke, heard: Mono, now: Now) {
        if spoke.seen < self.life {
            return;
        }
        let in_a_row = spoke.seen.since(self.life) <= self.rhythm.patience();
        self.life = spoke.seen;
        self.away_before = Duration::ZERO;
        self.last_seen = Some(spoke.wall);
        self.last_heard = Some(heard);
        // So old that it would be suspected at once: a sign of then, not of now.
        if self.silent(t) > self.rhythm.patience() {
            return;
        }
        match self.stage {
            Stage::Starting if t > self.first_seen => self.enter(Stage::Up, now),
            Stage::Starting | Stage::Up => {}
            Stage::Suspect | Stage::Unknown => self.enter(Stage::Up, now),
            Stage::Offline { .. } => self.enter(Stage::Up, now),
            Stage::Down {
                diagnosis,
                signs: before,
            } => {
                let total = 1 + if in_a_row { before } else { 0 };
                if total >= rules::SIGNS_TO_RETURN {
                    self.enter(Stage::Up, now);
                } else {
                    self.stage = Stage::Down {
                        diagnosis,
                        signs: total,
                    };
                }
            }
        }
        if self.is_alive() {
            self.gone = None;
        }
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
