//! The event lane's table of workers: each event is folded into its worker's row, and a row that has changed is told as
//! one [`Sighting`], however many events there were.

use std::sync::Arc;
use std::time::Duration;

use compact_str::{CompactString, ToCompactString, format_compact};
use rustc_hash::FxHashMap;

use super::age::Transit;
use super::roster::Roster;
use super::rules::DEFAULT_INTERVAL;
use super::running::{Running, TaskNames};
use super::sighting::{Sighting, Word};
use crate::celery::{TaskEvent, TaskKind, WorkerEvent, WorkerKind};
use crate::time::Mono;

/// The most workers of one broker that are kept apart; events of others are counted as refused. A row costs about
/// 400 bytes, and some for each task under way.
pub const MAX_ROWS: usize = 100_000;
/// The most fleets that one broker's workers make, discovered ones included: a hostile name must not start an actor
/// without end.
pub const MAX_FLEETS: usize = 500;
/// A row that has not been touched for so long is dropped when room is needed.
const IDLE_AFTER: Duration = Duration::from_secs(3600);
/// How often a full table is swept, at most: it looks at every row, and a flood of new names must not make that each
/// event's cost.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// How late an event can be: after a break of 12 s, what was sent before it has arrived up to 14 s later (measured).
const LATE_AT_MOST: Duration = Duration::from_secs(20);

/// A worker with tasks under way that has been silent for its interval and this is told of once more, with those tasks.
const SILENT_AFTER: Duration = Duration::from_secs(1);
/// Where the beats say that nothing runs, tasks whose end has not come by now will not end: it was lost.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// Two processes that take turns within so long share a name.
const SHARED_WITHIN: Duration = Duration::from_secs(60);
/// So many turns: one may be a restart, whose old process is heard once more.
const TURNS: u8 = 2;

/// A fleet's place in the order in which this table first heard of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FleetIndex(u32);

impl FleetIndex {
    /// As an index.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// One worker's row.
#[derive(Clone, Debug)]
struct Row {
    hostname: CompactString,
    fleet: FleetIndex,
    pid: Option<u32>,
    /// Another process has taken its place under the same pid since the last flush.
    anew: bool,
    clock: Option<u64>,
    timestamp: f64,
    last: Mono,
    transit: Transit,
    /// When the freshest event since the last flush was sent, by our clock: its arrival less its age.
    fresh: Option<Mono>,
    last_beat: Option<Mono>,
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

/// Another process under the same name.
#[derive(Clone, Copy, Debug, Default)]
struct Namesake {
    /// The process that was heard before the one that is heard now.
    pid: Option<u32>,
    /// How often the two have taken turns, and when they last did.
    turns: u8,
    turned: Mono,
    /// A process whose beats seem older than what is known, which its clock would make of one that lives: when the first
    /// and the last of them came.
    stray: Option<(u32, Mono, Mono)>,
}

impl Namesake {
    /// Another process than `old` is heard.
    fn turn(&mut self, at: Mono, old: Option<u32>, new: Option<u32>) {
        let again = self.pid == new && new.is_some() && at.since(self.turned) < SHARED_WITHIN;
        self.turns = if again { self.turns.saturating_add(1) } else { 0 };
        self.pid = old;
        self.turned = at;
    }

    /// A beat of another process was left out, because it seems to come late.
    fn strays(&mut self, at: Mono, pid: Option<u32>) {
        let Some(pid) = pid else { return };
        let first = match self.stray {
            Some((known, first, last)) if known == pid && at.since(last) < LATE_AT_MOST => first,
            _ => at,
        };
        self.stray = Some((pid, first, at));
        // Nothing comes late for so long.
        if at.since(first) >= LATE_AT_MOST {
            self.turns = TURNS;
            self.turned = at;
        }
    }

    fn shares(&self, at: Mono) -> bool {
        self.turns >= TURNS && at.since(self.turned) < SHARED_WITHIN
    }
}

/// The table. One for each broker, owned by its event lane.
#[derive(Debug)]
pub struct WorkerTable {
    roster: Roster,
    fleets: Vec<CompactString>,
    index: FxHashMap<CompactString, Place>,
    rows: Vec<Row>,
    dirty: Vec<u32>,
    names: TaskNames,
    refused: u64,
    swept: Mono,
}

/// Where a hostname's events go.
#[derive(Clone, Copy, Debug)]
enum Place {
    Row(u32),
    /// Of no fleet that is watched: remembered, so that the patterns are not tried again for each event.
    Nowhere,
}

impl WorkerTable {
    /// An empty table.
    pub fn new(roster: Roster) -> Self {
        Self {
            roster,
            fleets: Vec::new(),
            index: FxHashMap::default(),
            rows: Vec::new(),
            dirty: Vec::new(),
            names: TaskNames::default(),
            refused: 0,
            swept: Mono::default(),
        }
    }

    /// The fleets heard of so far, by index.
    pub fn fleets(&self) -> &[CompactString] {
        &self.fleets
    }

    /// Events that were left out because the table is full, since the last call.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Folds one event of a worker about itself. No allocation, but for a name that is new.
    pub fn worker(&mut self, at: Mono, event: &WorkerEvent<'_>) {
        let Some(place) = self.row(at, event.hostname) else {
            return;
        };
        let Some(row) = self.rows.get_mut(place as usize) else {
            return;
        };
        if row.fold(at, event) && !row.dirty {
            row.dirty = true;
            self.dirty.push(place);
        }
    }

    /// Folds one event about a task: a sign of life of its worker. Returns its fleet. One that is not known yet, and
    /// takes or begins a task, is a worker: it may run without heartbeats. No allocation, but for a name that is new.
    pub fn task(&mut self, at: Mono, event: &TaskEvent<'_>) -> Option<FleetIndex> {
        let place = match self.index.get(event.hostname) {
            Some(Place::Row(place)) => *place,
            None if matches!(event.kind, TaskKind::Received | TaskKind::Started) => self.row(at, event.hostname)?,
            _ => return None,
        };
        let row = self.rows.get_mut(place as usize)?;
        // Producers and the code inside of tasks send these two, with a clock and a pid of their own.
        if !matches!(event.kind, TaskKind::Sent | TaskKind::Custom) {
            row.last = at;
            row.tasks = row.tasks.saturating_add(1);
            row.last_task = at;
            row.silent = false;
            row.running.fold(&mut self.names, event);
            let age = event.timestamp.map_or(Duration::ZERO, |sent| row.transit.age(at, sent));
            row.freshen(at - age);
            if !row.dirty {
                row.dirty = true;
                self.dirty.push(place);
            }
        }
        Some(row.fleet)
    }

    /// Marks those who have fallen silent with tasks under way, so that the next [`WorkerTable::drain`] tells of these.
    /// Looks at every row: once a second is enough.
    pub fn notice_silence(&mut self, at: Mono) {
        for (place, row) in (0_u32..).zip(&mut self.rows) {
            let patience = row.interval.unwrap_or(DEFAULT_INTERVAL) + SILENT_AFTER;
            if row.running.begun() > 0 && !row.silent && at.since(row.last) > patience {
                row.silent = true;
                if !row.dirty {
                    row.dirty = true;
                    self.dirty.push(place);
                }
            }
        }
    }

    /// Hands over everything that has changed since the last call, row by row. A row that `tell` refuses (its receiver
    /// is busy) stays, and goes on folding.
    pub fn drain(&mut self, mut tell: impl FnMut(FleetIndex, Sighting) -> bool) {
        let (rows, names) = (&mut self.rows, &self.names);
        self.dirty.retain(|&place| {
            let Some(row) = rows.get_mut(place as usize) else {
                return false;
            };
            let told = tell(row.fleet, row.sighting(names));
            if told {
                row.told();
            }
            !told
        });
    }

    /// The row of a hostname; made, if it is new, belongs to a fleet, and there is room.
    fn row(&mut self, at: Mono, hostname: &str) -> Option<u32> {
        match self.index.get(hostname) {
            Some(Place::Row(row)) => return Some(*row),
            Some(Place::Nowhere) => return None,
            None => {}
        }
        if self.index.len() >= MAX_ROWS {
            if at.since(self.swept) >= SWEEP_EVERY {
                self.swept = at;
                self.drop_idle(at);
            }
            if self.index.len() >= MAX_ROWS {
                self.refused += 1;
                return None;
            }
        }
        let Some(fleet) = self.roster.fleet_of(hostname).and_then(|name| self.fleet(name)) else {
            if hostname.len() <= super::roster::MAX_HOSTNAME {
                self.index.insert(hostname.to_compact_string(), Place::Nowhere);
            }
            return None;
        };
        let place = u32::try_from(self.rows.len()).ok()?;
        self.rows.push(Row::new(hostname, fleet, at));
        self.index.insert(hostname.to_compact_string(), Place::Row(place));
        Some(place)
    }

    fn fleet(&mut self, name: CompactString) -> Option<FleetIndex> {
        if let Some(at) = self.fleets.iter().position(|known| *known == name) {
            return u32::try_from(at).ok().map(FleetIndex);
        }
        if self.fleets.len() >= MAX_FLEETS {
            self.refused += 1;
            return None;
        }
        self.fleets.push(name);
        u32::try_from(self.fleets.len() - 1).ok().map(FleetIndex)
    }

    /// Drops what has not been touched for an hour, and all that belongs nowhere.
    fn drop_idle(&mut self, at: Mono) {
        self.rows.retain(|row| row.dirty || at.since(row.last) < IDLE_AFTER);
        self.index.clear();
        self.dirty.clear();
        for (place, row) in (0_u32..).zip(&self.rows) {
            self.index.insert(row.hostname.clone(), Place::Row(place));
            if row.dirty {
                self.dirty.push(place);
            }
        }
    }
}

impl Row {
    fn new(hostname: &str, fleet: FleetIndex, at: Mono) -> Self {
        Self {
            hostname: hostname.to_compact_string(),
            fleet,
            pid: None,
            anew: false,
            clock: None,
            timestamp: f64::NEG_INFINITY,
            last: at,
            transit: Transit::new(at),
            fresh: None,
            last_beat: None,
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
    fn fold(&mut self, at: Mono, event: &WorkerEvent<'_>) -> bool {
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
            if !same_process || self.is_older(event) {
                return false;
            }
            self.note(event);
            self.last = at;
            self.word = Word::Goodbye;
            self.left = true;
            return true;
        }
        // A beat that was on its way when its worker was replaced, or left, says nothing of now; but nothing is on its
        // way for so long, whatever the clocks say.
        let may_be_late = at.since(self.last) < LATE_AT_MOST;
        if event.kind == WorkerKind::Heartbeat && (!same_process || self.left) && may_be_late && self.is_older(event) {
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
        self.note(event);
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

    fn note(&mut self, event: &WorkerEvent<'_>) {
        if event.pid.is_none() && self.pid.is_some() {
            return;
        }
        let sent = event.timestamp.unwrap_or(f64::NEG_INFINITY);
        let goes_on = (self.pid == event.pid || self.pid.is_none())
            && event.kind != WorkerKind::Online
            && event.clock >= self.clock;
        if goes_on || self.is_older(event) {
            self.clock = event.clock.max(self.clock);
            self.timestamp = sent.max(self.timestamp);
        } else {
            // A new life, whose reckoning begins anew.
            self.clock = event.clock;
            self.timestamp = sent;
        }
        // A beat that the `heartbeat` command provoked has a constant in `freq`, and no counts (measured).
        if event.active.is_some() {
            self.active = event.active;
            self.processed = event.processed.or(self.processed);
            if let Some(freq) = event.freq.filter(|freq| freq.is_finite() && *freq > 0.0) {
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

    fn sighting(&self, names: &TaskNames) -> Sighting {
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

    fn told(&mut self) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: WorkerKind, pid: u32, clock: u64, timestamp: f64) -> WorkerEvent<'static> {
        WorkerEvent {
            kind,
            hostname: "sms@h1",
            pid: Some(pid),
            clock: Some(clock),
            timestamp: Some(timestamp),
            freq: Some(2.0),
            active: Some(0),
            processed: Some(7),
            sw_ident: Some("py-celery"),
            sw_ver: Some("5.7.0"),
            sw_sys: Some("Linux"),
        }
    }

    fn at(ms: u64) -> Mono {
        Mono::from_micros(ms * 1000)
    }

    fn drained(table: &mut WorkerTable) -> Vec<Sighting> {
        let mut all = Vec::new();
        table.drain(|_, sighting| {
            all.push(sighting);
            true
        });
        all
    }

    #[test]
    fn many_beats_are_one_sighting() {
        let mut table = WorkerTable::new(Roster::discovering());
        for n in 0..25 {
            table.worker(at(n * 10), &event(WorkerKind::Heartbeat, 1, n, n as f64));
        }
        let sightings = drained(&mut table);
        assert_eq!(sightings.len(), 1);
        assert_eq!(sightings[0].beats, 25);
        assert_eq!(sightings[0].interval, Some(Duration::from_secs(2)));
        assert_eq!(sightings[0].software.as_deref(), Some("py-celery 5.7.0 (Linux)"));
        assert!(drained(&mut table).is_empty());
        table.worker(at(999), &event(WorkerKind::Heartbeat, 1, 99, 99.0));
        assert_eq!(drained(&mut table)[0].software, None, "told once");
    }

    #[test]
    fn a_late_goodbye_of_an_earlier_process_or_moment_is_ignored() {
        let mut table = WorkerTable::new(Roster::discovering());
        table.worker(at(0), &event(WorkerKind::Heartbeat, 1, 10, 100.0));
        table.worker(at(1), &event(WorkerKind::Offline, 1, 9, 99.0));
        table.worker(at(2), &event(WorkerKind::Online, 2, 1, 101.0));
        table.worker(at(3), &event(WorkerKind::Offline, 1, 11, 100.5));
        let sightings = drained(&mut table);
        assert_eq!(sightings[0].word, Word::Online);
        assert_eq!(sightings[0].pid, Some(2));
    }

    #[test]
    fn a_goodbye_stands_until_something_newer_of_the_same_process_comes() {
        let mut table = WorkerTable::new(Roster::discovering());
        table.worker(at(0), &event(WorkerKind::Heartbeat, 1, 10, 100.0));
        table.worker(at(1), &event(WorkerKind::Offline, 1, 12, 101.0));
        assert_eq!(drained(&mut table)[0].word, Word::Goodbye);
        table.worker(at(2), &event(WorkerKind::Heartbeat, 1, 11, 100.9));
        assert!(
            drained(&mut table).is_empty(),
            "a beat from before the goodbye says nothing"
        );
        table.worker(at(3), &event(WorkerKind::Heartbeat, 1, 13, 102.0));
        assert_eq!(drained(&mut table)[0].word, Word::Online, "it had only reconnected");
    }

    #[test]
    fn a_restart_under_the_same_pid_begins_a_new_reckoning() {
        let mut table = WorkerTable::new(Roster::discovering());
        let mut say = |kind, clock, timestamp| {
            table.worker(at(clock), &event(kind, 1, clock, timestamp));
            drained(&mut table).first().map(|sighting| sighting.word)
        };
        assert_eq!(say(WorkerKind::Heartbeat, 50_000, 100.0), Some(Word::Nothing));
        assert_eq!(say(WorkerKind::Offline, 50_001, 101.0), Some(Word::Goodbye));
        assert_eq!(say(WorkerKind::Online, 1, 103.0), Some(Word::Online));
        assert_eq!(
            say(WorkerKind::Offline, 300, 110.0),
            Some(Word::Goodbye),
            "of the new life"
        );
        // Its online was missed: a beat shows that it is back all the same.
        assert_eq!(say(WorkerKind::Heartbeat, 2, 120.0), Some(Word::Online));
    }

    #[test]
    fn a_new_process_under_the_same_pid_is_told_once_and_a_reconnect_is_none() {
        let say = |table: &mut WorkerTable, kind, clock, timestamp, processed| {
            let event = WorkerEvent {
                processed: Some(processed),
                ..event(kind, 1, clock, timestamp)
            };
            table.worker(at(timestamp as u64 * 1_000), &event);
            drained(table).first().map(|sighting| sighting.anew)
        };
        let mut table = WorkerTable::new(Roster::discovering());
        assert_eq!(say(&mut table, WorkerKind::Heartbeat, 50_000, 100.0, 7), Some(false));
        // Its clock goes on over a reconnect, and what it has accepted too.
        assert_eq!(say(&mut table, WorkerKind::Offline, 50_001, 101.0, 7), Some(false));
        assert_eq!(say(&mut table, WorkerKind::Online, 50_002, 102.0, 7), Some(false));
        // By its clock, though the old one had accepted nothing more than the new one; by its count, where peers have
        // set its clock.
        assert_eq!(say(&mut table, WorkerKind::Online, 3, 104.0, 7), Some(true));
        assert_eq!(say(&mut table, WorkerKind::Heartbeat, 50_100, 106.0, 8), Some(false));
        assert_eq!(say(&mut table, WorkerKind::Heartbeat, 50_200, 108.0, 0), Some(true));
        assert_eq!(say(&mut table, WorkerKind::Heartbeat, 50_202, 110.0, 9), Some(false));
        // A beat that was overtaken is none.
        assert_eq!(say(&mut table, WorkerKind::Heartbeat, 50_201, 109.0, 8), Some(false));
    }

    #[test]
    fn what_does_not_say_of_which_process_it_is_moves_neither_clock_nor_goodbye() {
        let mut table = WorkerTable::new(Roster::discovering());
        table.worker(at(0), &event(WorkerKind::Heartbeat, 1, 10, 100.0));
        drained(&mut table);
        for kind in [WorkerKind::Offline, WorkerKind::Heartbeat] {
            table.worker(
                at(1),
                &WorkerEvent {
                    pid: None,
                    ..event(kind, 1, 1 << 62, 9e9)
                },
            );
        }
        assert_eq!(drained(&mut table)[0].word, Word::Nothing, "its goodbye is nobody's");
        table.worker(at(2), &event(WorkerKind::Offline, 1, 11, 101.0));
        assert_eq!(
            drained(&mut table)[0].word,
            Word::Goodbye,
            "and the honest one is believed"
        );
    }

    #[test]
    fn who_beats_long_after_a_goodbye_is_back_whatever_the_clocks_say() {
        let mut table = WorkerTable::new(Roster::discovering());
        table.worker(at(0), &event(WorkerKind::Offline, 1, 1 << 62, 9e9));
        table.worker(at(10_000), &event(WorkerKind::Heartbeat, 1, 11, 100.0));
        table.worker(at(30_000), &event(WorkerKind::Heartbeat, 1, 12, 102.0));
        assert_eq!(drained(&mut table)[0].word, Word::Online);
    }

    #[test]
    fn a_wall_clock_that_steps_back_makes_nothing_old() {
        let mut table = WorkerTable::new(Roster::discovering());
        table.worker(at(0), &event(WorkerKind::Heartbeat, 1, 10, 5_000.0));
        table.worker(at(1), &event(WorkerKind::Offline, 1, 11, 1_400.0));
        assert_eq!(drained(&mut table)[0].word, Word::Goodbye);
    }

    #[test]
    fn a_provoked_beat_changes_neither_interval_nor_counts() {
        let mut table = WorkerTable::new(Roster::discovering());
        table.worker(at(0), &event(WorkerKind::Heartbeat, 1, 10, 100.0));
        let provoked = WorkerEvent {
            freq: Some(5.0),
            active: None,
            processed: None,
            ..event(WorkerKind::Heartbeat, 1, 11, 101.0)
        };
        table.worker(at(1), &provoked);
        let sighting = &drained(&mut table)[0];
        assert_eq!(
            (sighting.interval, sighting.processed),
            (Some(Duration::from_secs(2)), Some(7))
        );
    }

    #[test]
    fn tasks_of_producers_make_no_worker() {
        let mut table = WorkerTable::new(Roster::discovering());
        let sent = TaskEvent {
            kind: TaskKind::Sent,
            hostname: "gen12@h",
            timestamp: Some(1.0),
            uuid: "u",
            name: Some("t"),
            queue: None,
            runtime: None,
            has_eta: false,
            retries: 0,
        };
        assert_eq!(table.task(at(0), &sent), None);
        assert!(drained(&mut table).is_empty());
        assert!(table.fleets().is_empty());
    }

    #[test]
    fn a_busy_receiver_loses_nothing() {
        let mut table = WorkerTable::new(Roster::discovering());
        table.worker(at(0), &event(WorkerKind::Heartbeat, 1, 1, 1.0));
        table.drain(|_, _| false);
        table.worker(at(1), &event(WorkerKind::Heartbeat, 1, 2, 2.0));
        assert_eq!(drained(&mut table)[0].beats, 2);
    }

    #[test]
    fn hostile_names_are_bounded() {
        let mut table = WorkerTable::new(Roster::discovering());
        for n in 0..MAX_FLEETS + 10 {
            let name = format!("fleet{n}@h");
            table.worker(
                at(0),
                &WorkerEvent {
                    hostname: &name,
                    ..event(WorkerKind::Heartbeat, 1, 1, 1.0)
                },
            );
        }
        assert_eq!(table.fleets().len(), MAX_FLEETS);
        assert_eq!(table.take_refused(), 10);
    }
}
