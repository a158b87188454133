//! One worker's row: its events are folded in, and taken out as one [`Sighting`].

use std::sync::Arc;
use std::time::Duration;

use compact_str::{CompactString, ToCompactString, format_compact};

use super::namesake::Namesake;
use super::{FleetIndex, LATE_AT_MOST, Seat};
use crate::celery::{TaskEvent, WorkerEvent, WorkerKind};
use crate::detect::age::Transit;
use crate::detect::rules::DEFAULT_INTERVAL;
use crate::detect::running::{Running, TaskNames};
use crate::detect::sighting::{Sighting, Word};
use crate::time::Mono;

/// Where the beats say that nothing runs, tasks whose end has not come by now will not end: it was lost.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// A worker with tasks under way that has been silent for its interval and this is told of once more, with those tasks.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// One worker's row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    hostname: CompactString,
    seat: Seat,
    pid: Option<u32>,
    /// Another process has taken its place under the same pid since the last flush.
    anew: bool,
    clock: Option<u64>,
    timestamp: f64,
    /// When these two were last renewed.
    reckoned: Mono,
    last: Mono,
    transit: Transit,
    /// When the freshest event since the last flush was sent, by our clock: its arrival less its age.
    fresh: Option<Mono>,
    last_beat: Option<Mono>,
    /// The interval as its beats have it, in seconds, …
    freq: f64,
    /// … and as a duration.
    interval: Option<Duration>,
    longest_gap: Option<Duration>,
    active: Option<u64>,
    processed: Option<u64>,
    software: CompactString,
    software_changed: bool,
    word: Word,
    /// It has said goodbye, and nothing newer has come of it.
    left: bool,
    beats: u32,
    tasks: u32,
    dirty: bool,
    running: Running,
    last_task: Mono,
    /// Whether its unfinished tasks are to be told: it has fallen silent.
    silent: bool,
    namesake: Namesake,
}

impl Row {
    pub(super) fn new(hostname: &str, seat: Seat, at: Mono) -> Self {
        Self {
            hostname: hostname.to_compact_string(),
            seat,
            pid: None,
            anew: false,
            clock: None,
            timestamp: f64::NEG_INFINITY,
            reckoned: at,
            last: at,
            transit: Transit::new(at),
            fresh: None,
            last_beat: None,
            freq: 0.0,
            interval: None,
            longest_gap: None,
            active: None,
            processed: None,
            software: CompactString::default(),
            software_changed: false,
            word: Word::Nothing,
            left: false,
            beats: 0,
            tasks: 0,
            dirty: false,
            running: Running::default(),
            last_task: at,
            silent: false,
            namesake: Namesake::default(),
        }
    }

    /// Folds an event in; false if it says nothing new.
    pub(super) fn fold(&mut self, at: Mono, event: &WorkerEvent<'_>) -> bool {
        let began_anew = self.begins_anew(event);
        let same_process = self.pid.is_none() || event.pid.is_none() || (self.pid == event.pid && !began_anew);
        // Celery's own always say which process they are of. One that does not is a sign that somebody beats, and has no
        // say over a process that does.
        if event.pid.is_none() && self.pid.is_some() && event.kind != WorkerKind::Heartbeat {
            return false;
        }
        if event.kind == WorkerKind::Offline {
            // A goodbye of an earlier process, or one that was overtaken by what came after it: on a reconnect the
            // goodbye of the moment of loss arrives late (measured: 12 s), on a restart after the new one's online.
            if !same_process || self.is_late(at, event) {
                return false;
            }
            self.note(at, event, false);
            self.last = at;
            self.word = Word::Goodbye;
            self.left = true;
            return true;
        }
        // A beat that was on its way when its worker was replaced, or left, says nothing of now; but nothing is on its
        // way for so long, whatever the clocks say.
        let may_be_late = at.since(self.last) < LATE_AT_MOST;
        if event.kind == WorkerKind::Heartbeat && (!same_process || self.left) && may_be_late && self.is_late(at, event)
        {
            if !same_process {
                self.namesake.strays(at, event.pid);
            }
            return false;
        }
        if event.kind == WorkerKind::Online || self.left {
            self.word = Word::Online;
            self.left = false;
        }
        if same_process && let Some(before) = self.last_beat {
            let gap = at.since(before);
            // Only beats that waited together come at one instant; their gaps are no rhythm.
            if !gap.is_zero() && self.beats > 0 {
                self.longest_gap = Some(self.longest_gap.map_or(gap, |longest| longest.max(gap)));
            }
        }
        self.note(at, event, !same_process);
        if !same_process {
            // Another process, perhaps on another host: what its clock shows has to be learned anew.
            self.transit = Transit::new(at);
            self.running.clear();
            if began_anew {
                self.anew = true;
            } else {
                self.namesake.turn(at, self.pid, event.pid);
            }
        } else if event.active == Some(0) && self.running.begun() > 0 && at.since(self.last_task) > ENDS_WITHIN {
            self.running.clear();
        }
        self.silent = false;
        let age = event
            .timestamp
            .map_or(Duration::ZERO, |sent| self.transit.beat(at, sent));
        self.freshen(at - age);
        self.pid = event.pid.or(self.pid);
        self.last = at;
        self.last_beat = Some(at);
        self.beats = self.beats.saturating_add(1);
        true
    }

    /// Folds in an event about a task of its own: a sign of life.
    pub(super) fn fold_task(&mut self, at: Mono, event: &TaskEvent<'_>, names: &mut TaskNames) {
        self.last = at;
        self.tasks = self.tasks.saturating_add(1);
        self.last_task = at;
        self.silent = false;
        self.running.fold(names, event);
        let age = event
            .timestamp
            .map_or(Duration::ZERO, |sent| self.transit.age(at, sent));
        self.freshen(at - age);
    }

    /// Whether it has just fallen silent with tasks under way.
    pub(super) fn falls_silent(&mut self, at: Mono) -> bool {
        let patience = self.interval.unwrap_or(DEFAULT_INTERVAL) + SILENT_AFTER;
        let falls = self.running.begun() > 0 && !self.silent && at.since(self.last) > patience;
        self.silent |= falls;
        falls
    }

    /// There is something to tell. Returns whether there was nothing before.
    pub(super) fn becomes_dirty(&mut self) -> bool {
        !std::mem::replace(&mut self.dirty, true)
    }

    pub(super) const fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// How long it has not been touched.
    pub(super) fn idle(&self, at: Mono) -> Duration {
        at.since(self.last)
    }

    pub(super) const fn hostname(&self) -> &CompactString {
        &self.hostname
    }

    pub(super) const fn fleet(&self) -> FleetIndex {
        self.seat.fleet
    }

    pub(super) const fn seat(&self) -> Seat {
        self.seat
    }

    fn freshen(&mut self, sent: Mono) {
        self.fresh = Some(self.fresh.map_or(sent, |fresh| fresh.max(sent)));
    }

    /// Whether it is of a new process under the pid of the old one: the first of a container is always 1. What a process
    /// has accepted only grows, and its clock goes on when it merely reconnects.
    fn begins_anew(&self, event: &WorkerEvent<'_>) -> bool {
        if self.pid.is_none() || self.pid != event.pid || event.kind == WorkerKind::Offline || self.is_older(event) {
            return false;
        }
        let fell = matches!((self.processed, event.processed), (Some(before), Some(now)) if now < before);
        let clock_fell = matches!((self.clock, event.clock), (Some(before), Some(now)) if now < before);
        fell || (event.kind == WorkerKind::Online && clock_fell)
    }

    /// Whether it was sent before the newest that is known of this worker, by the worker's own reckoning. Its Lamport
    /// clock begins anew with a restart (and in a container the pid stays the same), its wall clock may step: what only
    /// one of the two calls older is not.
    fn is_older(&self, event: &WorkerEvent<'_>) -> bool {
        let by_clock = match (self.clock, event.clock) {
            (Some(newest), Some(clock)) if self.pid == event.pid => Some(clock < newest),
            _ => None,
        };
        let by_time = event.timestamp.map(|sent| sent < self.timestamp);
        match (by_clock, by_time) {
            (Some(clock), Some(time)) => clock && time,
            (Some(older), None) | (None, Some(older)) => older,
            (None, None) => false,
        }
    }

    /// Whether it is older than the newest that is known, and may therefore have been on its way since. Nothing is on its
    /// way for so long: a reckoning that nobody has kept up with since is of another clock.
    fn is_late(&self, at: Mono, event: &WorkerEvent<'_>) -> bool {
        self.is_older(event) && at.since(self.reckoned) < LATE_AT_MOST
    }

    fn note(&mut self, at: Mono, event: &WorkerEvent<'_>, another: bool) {
        if event.pid.is_none() && self.pid.is_some() {
            return;
        }
        // A new life, whose reckoning begins anew, or the same one going on.
        if another || !self.is_late(at, event) {
            self.clock = event.clock;
            self.timestamp = event.timestamp.unwrap_or(f64::NEG_INFINITY);
            self.reckoned = at;
        }
        // A beat that the `heartbeat` command provoked has a constant in `freq`, and no counts (measured).
        if event.active.is_some() {
            self.active = event.active;
            self.processed = event.processed.or(self.processed);
            // It is the same in every beat, and a float is not turned into a duration for nothing.
            if let Some(freq) = event
                .freq
                .filter(|freq| *freq != self.freq && freq.is_finite() && *freq > 0.0)
            {
                self.freq = freq;
                self.interval = Duration::try_from_secs_f64(freq).ok();
            }
        }
        self.note_software(event);
    }

    fn note_software(&mut self, event: &WorkerEvent<'_>) {
        /// Longer ones are nonsense, and are left out.
        const MAX_SOFTWARE: usize = 64;
        let (Some(ident), Some(version)) = (event.sw_ident, event.sw_ver) else {
            return;
        };
        let system = event.sw_sys.unwrap_or("");
        if ident.len() + version.len() + system.len() > MAX_SOFTWARE {
            return;
        }
        // Compared in place: it is the same in every beat, and must not cost an allocation.
        let known = self.software.as_str();
        let same = known
            .strip_prefix(ident)
            .and_then(|rest| rest.strip_prefix(' '))
            .and_then(|rest| {
                rest.strip_prefix(version)
                    .and_then(|rest| rest.strip_prefix(" ("))
                    .and_then(|rest| rest.strip_prefix(system))
            })
            == Some(")");
        if !same {
            self.software = format_compact!("{ident} {version} ({system})");
            self.software_changed = true;
        }
    }

    pub(super) fn sighting(&self, names: &TaskNames) -> Sighting {
        let tells = self.left || self.silent;
        Sighting {
            hostname: self.hostname.clone(),
            pid: self.pid,
            anew: self.anew,
            word: self.word,
            beats: self.beats,
            tasks: self.tasks,
            last: self.last,
            age: self.fresh.map_or(Duration::ZERO, |fresh| self.last.since(fresh)),
            interval: self.interval,
            longest_gap: self.longest_gap,
            active: self.active,
            processed: self.processed,
            software: self.software_changed.then(|| self.software.clone()),
            unfinished: tells.then(|| Arc::new(self.running.unfinished(names))),
            shared: self.namesake.shares(self.last),
        }
    }

    pub(super) fn told(&mut self) {
        self.dirty = false;
        self.fresh = None;
        self.anew = false;
        self.word = Word::Nothing;
        self.beats = 0;
        self.tasks = 0;
        self.longest_gap = None;
        self.software_changed = false;
    }
}
