//! A world of workers, a broker and a monitor, of which all is known.

mod asked;
mod calendar;
mod script;
mod worker;

use compact_str::CompactString;
use headcount_core::celery::{TaskEvent, TaskKind, WorkerEvent, WorkerKind};
use headcount_core::time::{Mono, Now, Wall};
use rustc_hash::FxHashMap;

pub use self::asked::{Answer, Question, Questions, Says};
use self::calendar::Calendar;
pub use self::calendar::{HOUR, MIN, MS, Moment, NEVER, SEC};
pub use self::script::Action;
pub use self::worker::{BEAT, Consuming, Leisure, Said, Slot};
use self::worker::{Link, Worker};
use crate::rng::Rng;
use crate::stage::Stage;

/// Where the wall clocks of every world begin, in seconds since the Unix epoch: in January 2026.
pub const EPOCH: i64 = 1_768_000_000;
/// What the monitor's monotonic clock shows at the beginning.
const MONO_START: u64 = 1_000 * SEC;
/// How often the monitor sends a message to itself.
const CANARY_EVERY: Moment = SEC;
/// How long a message takes that nothing delays.
const WAY: Moment = 3 * MS;
/// Messages that a broker must hold back come at once when it lets them go, within this time.
const BURST: Moment = 5 * MS;

/// Both of the monitor's clocks at a moment of the world.
pub fn clocks(at: Moment) -> Now {
    Now {
        mono: Mono::from_micros(MONO_START + at),
        wall: Wall::from_micros(EPOCH * 1_000_000 + i64::try_from(at).unwrap_or(i64::MAX)),
    }
}

/// The moment of the world at which the monitor's clock shows this.
pub fn moment(mono: Mono) -> Moment {
    mono.as_micros().saturating_sub(MONO_START)
}

/// The moment of the world at which the monitor's wall clock shows this.
pub fn wall_moment(wall: Wall) -> Moment {
    Moment::try_from(wall.as_micros() - EPOCH * 1_000_000).unwrap_or(0)
}

/// Who watches a world: it is told what reaches the machine that it runs on, and may ask.
pub trait Watcher {
    /// The subscription stands, or has ended.
    fn connected(&mut self, now: Moment, connected: bool);
    /// The broker blocks publishers, or no longer does.
    fn blocked(&mut self, now: Moment, blocked: bool);
    /// The monitor's message to itself is back.
    fn canary(&mut self, now: Moment);
    /// A worker's event has arrived.
    fn said(&mut self, now: Moment, hostname: &str, said: &Said);
    /// An event about a task of a worker has arrived.
    fn task(&mut self, _now: Moment, _event: &TaskEvent<'_>) {}
    /// What arrived together is complete.
    fn batch_end(&mut self, _now: Moment) {}
    /// When it wants to do something by itself.
    fn due(&self) -> Moment {
        NEVER
    }
    /// It does what is due. It is not called while its machine is paused.
    fn tick(&mut self, _now: Moment) {}
    /// What it wants to ask, if anything; called whenever something has reached it.
    fn questions(&mut self, _into: &mut Questions) {}
    /// An answer has arrived.
    fn answered(&mut self, _now: Moment, _answer: Answer) {}
    /// Its machine was paused from one moment to the other.
    fn was_paused(&mut self, _from: Moment, _to: Moment) {}
}

/// What is in the calendar.
#[derive(Debug)]
enum What {
    /// A beat of a worker's life arrives.
    Beat(Slot, u32),
    /// An event that was on its way arrives.
    Said(Box<Said>),
    /// The worker acts again.
    Wakes(Slot),
    /// The worker's connection comes back; with it the goodbye of the moment of its loss.
    Reconnects(Slot, u32),
    /// The network lets go of what it held.
    LetsGo(Slot, u32),
    /// The broker closes a connection that is held.
    Closes(Slot, u32),
    /// A task of a worker that has said goodbye ends.
    Drains(Slot, u32),
    /// A process ends.
    Ends(Slot, u32),
    /// The monitor tries to connect.
    Connects,
    /// The monitor's message to itself comes back.
    Canary(u32),
    /// The broker lets publishers go on.
    Unblocks,
    /// The monitor's machine goes on.
    Resumes,
    /// An answer reaches the monitor.
    Answer(Box<(usize, Answer)>),
}

/// The world.
#[derive(Debug)]
pub struct World {
    now: Moment,
    seed: u64,
    rng: Rng,
    workers: Vec<Worker>,
    fleets: Vec<CompactString>,
    backlog: Vec<u64>,
    calendar: Calendar<What>,
    script: std::vec::IntoIter<(Moment, Action)>,
    next_action: Option<(Moment, Action)>,
    /// The broker is out until then.
    broker_out: Moment,
    blocked_since: Option<Moment>,
    /// The monitor's session stands.
    connected: bool,
    monitor: Monitor,
    by_name: FxHashMap<CompactString, Slot>,
    questions: Questions,
    session: u32,
    next_pid: u32,
    beats: u64,
}

/// The monitor's machine.
#[derive(Debug, Default)]
struct Monitor {
    paused: Option<Moment>,
    until: Moment,
    /// What waits in its sockets.
    waiting: Vec<Waiting>,
    /// How often it has tried to connect since it lost the broker.
    tries: u32,
}

#[derive(Debug)]
enum Waiting {
    Said(Said),
    Canary,
    Blocked(bool),
    Disconnected,
    Answer(Box<(usize, Answer)>),
}

impl World {
    /// The world of a stage; its failures and its name stay behind.
    pub fn new(stage: &mut Stage) -> Self {
        let mut script = std::mem::take(&mut stage.script).into_iter();
        let next_action = script.next();
        let seed = stage.rng.bits();
        let mut world = Self {
            now: 0,
            seed,
            rng: Rng::new(seed),
            workers: Vec::new(),
            fleets: stage.fleets.iter().map(|name| (*name).into()).collect(),
            backlog: stage.backlog.clone(),
            calendar: Calendar::new(),
            script,
            next_action,
            broker_out: 0,
            blocked_since: None,
            connected: false,
            monitor: Monitor::default(),
            by_name: FxHashMap::default(),
            questions: Questions::new(),
            session: 0,
            next_pid: 1_000,
            beats: 0,
        };
        for own in &stage.workers {
            let mut worker = Worker::new(own.hostname.clone(), own.fleet, 0);
            worker.pool = own.pool;
            worker.loss = own.loss;
            worker.delay = own.delay;
            worker.ahead = own.ahead;
            worker.drift = own.drift;
            worker.leisure = own.leisure;
            worker.rate = own.rate;
            world.workers.push(worker);
        }
        world.calendar.enter(0, What::Connects);
        for slot in 0..u32::try_from(world.workers.len()).unwrap_or(u32::MAX) {
            let at = 100 * MS + world.rng.below(BEAT);
            let start = (at, Action::Start(slot, None));
            world.start_later(start);
        }
        world
    }

    /// How many beats have reached the monitor's machine.
    pub const fn beats(&self) -> u64 {
        self.beats
    }

    /// Who is in a slot.
    pub fn hostname(&self, slot: Slot) -> &str {
        self.workers
            .get(slot as usize)
            .map_or("", |worker| worker.hostname.as_str())
    }

    /// Lets the world go on to `end`.
    pub fn run(&mut self, end: Moment, watchers: &mut [&mut dyn Watcher]) {
        loop {
            let event = self.calendar.next_at();
            let action = self.next_action.as_ref().map_or(NEVER, |(at, _)| *at);
            let paused = self.monitor.paused.is_some();
            let due = if paused {
                NEVER
            } else {
                watchers.iter().map(|watcher| watcher.due()).min().unwrap_or(NEVER)
            };
            let next = event.min(action).min(due);
            if next >= end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            if action == next {
                if let Some((_, action)) = std::mem::replace(&mut self.next_action, self.script.next()) {
                    self.act(action, watchers);
                }
            } else if event == next {
                if let Some((_, what)) = self.calendar.pop() {
                    self.happen(what, watchers);
                }
            } else {
                self.tick(watchers);
            }
        }
    }

    fn tick(&mut self, watchers: &mut [&mut dyn Watcher]) {
        for (index, watcher) in watchers.iter_mut().enumerate() {
            if watcher.due() <= self.now {
                watcher.tick(self.now);
                self.serve(index, *watcher);
            }
        }
    }

    /// Answers what a watcher asks now.
    fn serve(&mut self, index: usize, watcher: &mut dyn Watcher) {
        let mut questions = std::mem::take(&mut self.questions);
        watcher.questions(&mut questions);
        for (tag, question) in questions.drain(..) {
            self.answer(index, tag, &question);
        }
        self.questions = questions;
    }

    // ------------------------------------------------------------ what happens by itself

    fn happen(&mut self, what: What, watchers: &mut [&mut dyn Watcher]) {
        let now = self.now;
        match what {
            What::Beat(slot, life) => self.beat(slot, life, watchers),
            What::Said(said) => {
                self.arrive(*said, watchers);
                self.batch_end(watchers);
            }
            What::Wakes(slot) => self.settle(slot),
            What::Reconnects(slot, life) => self.reconnects(slot, life),
            What::LetsGo(slot, life) => self.lets_go(slot, life, watchers),
            What::Closes(slot, life) => {
                if let Some(worker) = self.workers.get_mut(slot as usize)
                    && worker.life == life
                    && worker.link == Link::Held
                {
                    worker.link = Link::Down;
                }
            }
            What::Drains(slot, life) => self.drains(slot, life, watchers),
            What::Ends(slot, life) => {
                if let Some(worker) = self.workers.get_mut(slot as usize)
                    && worker.life == life
                {
                    worker.running = false;
                    worker.link = Link::Down;
                }
            }
            What::Connects => self.connects(watchers),
            What::Canary(session) => {
                if self.connected && session == self.session {
                    if self.blocked_since.is_none() {
                        self.wait_or(Waiting::Canary, watchers);
                    }
                    let next = if self.monitor.paused.is_some() {
                        self.monitor.until + WAY
                    } else {
                        now + CANARY_EVERY
                    };
                    self.calendar.enter(next, What::Canary(session));
                }
            }
            What::Unblocks => self.unblocks(watchers),
            What::Resumes => self.resumes(watchers),
            What::Answer(answer) => self.wait_or(Waiting::Answer(answer), watchers),
        }
    }

    /// A beat arrives, and the worker's next is on its way.
    fn beat(&mut self, slot: Slot, life: u32, watchers: &mut [&mut dyn Watcher]) {
        let Some(worker) = self.workers.get_mut(slot as usize) else {
            return;
        };
        if worker.life != life {
            return;
        }
        let sent = worker.next_send;
        let lost = worker.burst > 0 || (worker.loss > 0.0 && self.rng.chance(worker.loss));
        worker.burst = worker.burst.saturating_sub(1);
        let said = said(worker, slot, WorkerKind::Heartbeat, sent);
        self.send_next(slot, sent + BEAT);
        if !lost {
            self.arrive(said, watchers);
            self.batch_end(watchers);
        }
    }

    /// The worker's next beat is sent at `at`.
    fn send_next(&mut self, slot: Slot, at: Moment) {
        let Some(worker) = self.workers.get_mut(slot as usize) else {
            return;
        };
        worker.next_send = at;
        // Celery's timer is late by up to some milliseconds, and does not catch up.
        let way = WAY + (self.rng.exponential(worker.delay) * SEC as f64) as Moment;
        worker.arrives = worker.arrives.max(at + way);
        let (arrives, life) = (worker.arrives, worker.life);
        self.calendar.enter(arrives, What::Beat(slot, life));
    }

    /// Begins or ceases to send beats, as the worker can or cannot.
    fn settle(&mut self, slot: Slot) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(slot as usize) else {
            return;
        };
        worker.count_work(now);
        let sends = worker.sends(now);
        if sends == worker.beats {
            return;
        }
        worker.beats = sends;
        worker.life = worker.life.wrapping_add(1);
        if sends {
            // What was due while it could not beat is sent once, at once.
            let at = worker.next_send.max(now + MS);
            self.send_next(slot, at);
        } else if worker.next_send <= now && worker.link != Link::Held {
            // It was on its way, and is what arrives last.
            let said = said(worker, slot, WorkerKind::Heartbeat, worker.next_send);
            worker.next_send += BEAT;
            let arrives = worker.arrives;
            self.calendar.enter(arrives, What::Said(Box::new(said)));
        } else {
            // Nothing is on its way.
            worker.arrives = now;
        }
    }

    fn reconnects(&mut self, slot: Slot, life: u32) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(slot as usize) else {
            return;
        };
        if worker.life != life || !worker.running || worker.link != Link::Down {
            return;
        }
        if now < worker.frozen_until || now < worker.busy_until {
            let later = worker.frozen_until.max(worker.busy_until);
            if later != NEVER {
                self.calendar.enter(later, What::Reconnects(slot, life));
            }
            return;
        }
        worker.link = Link::Up;
        worker.arrives = now;
        // The goodbye of the moment of loss arrives now, and the online up to 1.1 s after it (measured).
        let mut goodbye = said(worker, slot, WorkerKind::Offline, now);
        goodbye.timestamp = worker.wall(worker.lost_at);
        let online_at = now + 5 * MS + self.rng.below(1_100 * MS);
        let online = said(worker, slot, WorkerKind::Online, online_at);
        worker.next_send = online_at + BEAT;
        worker.arrives = online_at;
        self.calendar.enter(now + WAY, What::Said(Box::new(goodbye)));
        self.calendar.enter(online_at + WAY, What::Said(Box::new(online)));
        self.settle(slot);
    }

    /// The network lets go: all that was sent arrives at once, with its true timestamps.
    fn lets_go(&mut self, slot: Slot, life: u32, watchers: &mut [&mut dyn Watcher]) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(slot as usize) else {
            return;
        };
        if worker.life != life || !worker.running {
            return;
        }
        if worker.link == Link::Down {
            // Its connection was closed meanwhile: it notices now, and finds its way back.
            worker.lost_at = now;
            let at = now + self.rng.between(2 * SEC, 4 * SEC);
            self.calendar.enter(at, What::Reconnects(slot, life));
            return;
        }
        worker.link = Link::Up;
        let mut burst = Vec::new();
        while worker.next_send <= now {
            let sent = worker.next_send;
            burst.push(said(worker, slot, WorkerKind::Heartbeat, sent));
            worker.next_send += BEAT;
        }
        worker.arrives = now + BURST;
        for said in burst {
            self.arrive(said, watchers);
        }
        self.batch_end(watchers);
        self.settle(slot);
    }

    fn drains(&mut self, slot: Slot, life: u32, watchers: &mut [&mut dyn Watcher]) {
        let now = self.now;
        let Some(worker) = self.workers.get(slot as usize) else {
            return;
        };
        if worker.life != life || !worker.running || !self.is_heard() || self.monitor.paused.is_some() {
            return;
        }
        let event = TaskEvent {
            kind: TaskKind::Succeeded,
            hostname: &worker.hostname,
            timestamp: Some(worker.wall(now)),
            uuid: "6b0a6a0c-5ba4-4f5b-8d5c-0f4e2b7d1c11",
            name: None,
            queue: None,
            runtime: Some(1.0),
            has_eta: false,
        };
        for watcher in watchers.iter_mut() {
            watcher.task(now, &event);
            watcher.batch_end(now);
        }
        let next = now + self.rng.between(SEC, 10 * SEC);
        self.calendar.enter(next, What::Drains(slot, life));
    }

    // ------------------------------------------------------------ what is done to it

    fn start_later(&mut self, start: (Moment, Action)) {
        // Starts come before anything that the script does: the stage is calm at first.
        if let (at, Action::Start(slot, _)) = start
            && let Some(worker) = self.workers.get_mut(slot as usize)
        {
            worker.frozen_until = 0;
            self.start(slot, None, at);
        }
    }

    fn start(&mut self, slot: Slot, name: Option<CompactString>, at: Moment) {
        let pid = self.next_pid;
        self.next_pid += 1;
        let Some(worker) = self.workers.get_mut(slot as usize) else {
            return;
        };
        if let Some(name) = name {
            self.by_name.remove(&worker.hostname);
            worker.hostname = name;
        }
        self.by_name.insert(worker.hostname.clone(), slot);
        worker.pid = pid;
        worker.clock = 0;
        worker.running = true;
        worker.frozen_until = 0;
        worker.busy_until = 0;
        worker.lingers_until = 0;
        worker.link = Link::Up;
        worker.leaving = false;
        worker.consuming = Consuming::Yes;
        worker.processed = 0.0;
        worker.counted_at = at;
        worker.life = worker.life.wrapping_add(1);
        worker.beats = true;
        let online = said(worker, slot, WorkerKind::Online, at);
        worker.arrives = at + WAY;
        if self.now < self.broker_out {
            // It finds no broker, and tries again as the others do.
            worker.link = Link::Down;
            worker.lost_at = at;
            worker.beats = false;
            let life = worker.life;
            let back = retry(at, self.broker_out, &mut self.rng);
            self.calendar.enter(back, What::Reconnects(slot, life));
            return;
        }
        self.calendar.enter(at + WAY, What::Said(Box::new(online)));
        self.send_next(slot, at + BEAT);
    }

    fn act(&mut self, action: Action, watchers: &mut [&mut dyn Watcher]) {
        let now = self.now;
        match action {
            Action::Start(slot, name) => self.start(slot, name, now),
            Action::Kill(slot) => self.with(slot, |worker| {
                worker.running = false;
                worker.link = Link::Down;
            }),
            Action::PowerLoss(slot, until) => self.with(slot, |worker| {
                worker.running = false;
                worker.link = Link::Down;
                worker.lingers_until = until;
            }),
            Action::Freeze(slot, until) => {
                self.with(slot, |worker| worker.frozen_until = worker.frozen_until.max(until));
                self.wake(slot, until);
            }
            Action::Busy(slot, until) => {
                self.with(slot, |worker| worker.busy_until = until);
                self.wake(slot, until);
            }
            Action::Reset(slot, back) => {
                if self
                    .workers
                    .get(slot as usize)
                    .is_some_and(|worker| worker.link == Link::Up)
                {
                    self.loses_link(slot);
                    let life = self.life(slot);
                    self.calendar.enter(back, What::Reconnects(slot, life));
                }
            }
            Action::Hold(slot, until, closes) => {
                if self
                    .workers
                    .get(slot as usize)
                    .is_some_and(|worker| worker.link == Link::Up)
                {
                    self.with(slot, |worker| worker.link = Link::Held);
                    let life = self.life(slot);
                    self.calendar.enter(until, What::LetsGo(slot, life));
                    self.calendar.enter(closes, What::Closes(slot, life));
                }
            }
            Action::Shutdown(slot, end) => {
                let sends = self.workers.get(slot as usize).is_some_and(|worker| worker.sends(now));
                self.with(slot, |worker| worker.leaving = true);
                if let Some(worker) = self.workers.get_mut(slot as usize).filter(|_| sends) {
                    // It is the last that its connection carries, after a beat that is on its way.
                    let goodbye = said(worker, slot, WorkerKind::Offline, now);
                    let arrives = (now + WAY).max(worker.arrives);
                    self.calendar.enter(arrives, What::Said(Box::new(goodbye)));
                }
                let life = self.life(slot);
                if end > now + SEC {
                    self.calendar.enter(now + SEC, What::Drains(slot, life));
                }
                self.calendar.enter(end, What::Ends(slot, life));
            }
            Action::Consume(slot, consuming) => self.with(slot, |worker| worker.consuming = consuming),
            Action::Backlog(fleet, length) => {
                if let Some(backlog) = self.backlog.get_mut(usize::from(fleet)) {
                    *backlog = length;
                }
            }
            Action::StepClock(slot, by) => self.with(slot, |worker| worker.ahead += by),
            Action::LoseBeats(slot, many) => self.with(slot, |worker| worker.burst = many),
            Action::BrokerOut(until, of) => self.broker_out(until, &of, watchers),
            Action::Block(until) => {
                self.blocked_since = Some(now);
                self.wait_or(Waiting::Blocked(true), watchers);
                self.calendar.enter(until, What::Unblocks);
            }
            Action::PauseMonitor(until) => {
                self.monitor.paused = Some(now);
                self.monitor.until = until;
                self.calendar.enter(until, What::Resumes);
            }
        }
    }

    /// Changes a worker, and what follows from it for its beats.
    fn with(&mut self, slot: Slot, change: impl FnOnce(&mut Worker)) {
        let now = self.now;
        if let Some(worker) = self.workers.get_mut(slot as usize) {
            worker.count_work(now);
            change(worker);
            self.settle(slot);
        }
    }

    fn loses_link(&mut self, slot: Slot) {
        let now = self.now;
        self.with(slot, |worker| {
            worker.link = Link::Down;
            worker.lost_at = now;
        });
    }

    fn wake(&mut self, slot: Slot, at: Moment) {
        if at != NEVER {
            self.calendar.enter(at, What::Wakes(slot));
        }
    }

    fn life(&self, slot: Slot) -> u32 {
        self.workers.get(slot as usize).map_or(0, |worker| worker.life)
    }

    // ------------------------------------------------------------ the broker

    fn broker_out(&mut self, until: Moment, of: &[Slot], watchers: &mut [&mut dyn Watcher]) {
        let now = self.now;
        self.broker_out = until;
        for &slot in of {
            if self
                .workers
                .get(slot as usize)
                .is_none_or(|worker| worker.link == Link::Down)
            {
                continue;
            }
            self.loses_link(slot);
            let life = self.life(slot);
            let back = retry(now, until, &mut self.rng);
            self.calendar.enter(back, What::Reconnects(slot, life));
        }
        if self.connected {
            self.connected = false;
            self.monitor.tries = 0;
            self.wait_or(Waiting::Disconnected, watchers);
            self.calendar.enter(now + 200 * MS, What::Connects);
        }
    }

    /// The monitor tries to connect: 0.2, 0.4, 0.8 … 5 s after one another (`actors/backoff.rs`).
    fn connects(&mut self, watchers: &mut [&mut dyn Watcher]) {
        let now = self.now;
        if now < self.broker_out || self.monitor.paused.is_some() {
            self.monitor.tries += 1;
            let rest = (200 * MS << self.monitor.tries.min(5)).min(5 * SEC);
            self.calendar.enter(now + rest, What::Connects);
            return;
        }
        self.connected = true;
        for watcher in watchers.iter_mut() {
            watcher.connected(now, true);
        }
        self.session += 1;
        self.calendar.enter(now + 20 * MS, What::Canary(self.session));
    }

    fn unblocks(&mut self, watchers: &mut [&mut dyn Watcher]) {
        let now = self.now;
        let since = self.blocked_since.take();
        self.wait_or(Waiting::Blocked(false), watchers);
        if since.is_none() {
            return;
        }
        for slot in 0..u32::try_from(self.workers.len()).unwrap_or(0) {
            let held = self
                .workers
                .get_mut(slot as usize)
                .map(|worker| std::mem::take(&mut worker.held))
                .unwrap_or_default();
            for said in held {
                self.arrive(said, watchers);
            }
            if let Some(worker) = self.workers.get_mut(slot as usize) {
                worker.arrives = worker.arrives.max(now);
            }
        }
        self.batch_end(watchers);
    }

    const fn is_heard(&self) -> bool {
        self.connected && self.blocked_since.is_none()
    }

    /// An event reaches the broker.
    fn arrive(&mut self, said: Said, watchers: &mut [&mut dyn Watcher]) {
        if self.blocked_since.is_some() {
            if let Some(worker) = self.workers.get_mut(said.slot as usize) {
                worker.held.push(said);
            }
            return;
        }
        if !self.connected {
            return;
        }
        self.beats += 1;
        if self.monitor.paused.is_some() {
            self.monitor.waiting.push(Waiting::Said(said));
        } else {
            self.hand(&said, watchers);
        }
    }

    fn hand(&self, said: &Said, watchers: &mut [&mut dyn Watcher]) {
        let hostname = self.hostname(said.slot);
        for watcher in watchers.iter_mut() {
            watcher.said(self.now, hostname, said);
        }
    }

    fn batch_end(&mut self, watchers: &mut [&mut dyn Watcher]) {
        if self.monitor.paused.is_some() {
            return;
        }
        for (index, watcher) in watchers.iter_mut().enumerate() {
            watcher.batch_end(self.now);
            self.serve(index, *watcher);
        }
    }

    // ------------------------------------------------------------ the monitor

    /// Something reaches the monitor, or waits for the end of its pause.
    fn wait_or(&mut self, what: Waiting, watchers: &mut [&mut dyn Watcher]) {
        if self.monitor.paused.is_some() {
            self.monitor.waiting.push(what);
        } else {
            self.reach(what, watchers);
        }
    }

    fn reach(&mut self, what: Waiting, watchers: &mut [&mut dyn Watcher]) {
        let now = self.now;
        match what {
            Waiting::Said(said) => self.hand(&said, watchers),
            Waiting::Canary => watchers.iter_mut().for_each(|watcher| watcher.canary(now)),
            Waiting::Blocked(blocked) => watchers.iter_mut().for_each(|watcher| watcher.blocked(now, blocked)),
            Waiting::Disconnected => watchers.iter_mut().for_each(|watcher| watcher.connected(now, false)),
            Waiting::Answer(answer) => {
                let (index, answer) = *answer;
                if let Some(watcher) = watchers.get_mut(index) {
                    watcher.answered(now, answer);
                    self.serve(index, *watcher);
                }
            }
        }
    }

    /// The monitor's machine goes on: what waited in its sockets comes at once, before or after the timers that are due.
    fn resumes(&mut self, watchers: &mut [&mut dyn Watcher]) {
        let Some(from) = self.monitor.paused.take() else {
            return;
        };
        for watcher in watchers.iter_mut() {
            watcher.was_paused(from, self.now);
        }
        if self.rng.chance(0.5) {
            self.tick(watchers);
        }
        for what in std::mem::take(&mut self.monitor.waiting) {
            self.reach(what, watchers);
        }
        self.batch_end(watchers);
    }
}

/// Notes an event as it is sent.
fn said(worker: &mut Worker, slot: Slot, kind: WorkerKind, at: Moment) -> Said {
    worker.count_work(at);
    worker.clock += 1;
    Said {
        slot,
        kind,
        pid: worker.pid,
        clock: worker.clock,
        timestamp: worker.wall(at),
        active: u64::from(worker.active(at)),
        processed: worker.processed as u64,
    }
}

/// When a worker that lost its broker at `lost` is back, if that can be reached from `until` on: Celery tries again
/// after 2, 4, 6 … 30 s, and every 30 s from then on.
fn retry(lost: Moment, until: Moment, rng: &mut Rng) -> Moment {
    let mut at = lost + rng.below(SEC);
    let mut wait = 2 * SEC;
    loop {
        at += wait;
        if at >= until {
            return at;
        }
        wait = (wait + 2 * SEC).min(30 * SEC);
    }
}

/// An event as the broker delivers it.
pub fn event<'a>(hostname: &'a str, said: &Said) -> WorkerEvent<'a> {
    WorkerEvent {
        kind: said.kind,
        hostname,
        pid: Some(said.pid),
        clock: Some(said.clock),
        timestamp: Some(said.timestamp),
        freq: Some(BEAT as f64 / SEC as f64),
        active: Some(said.active),
        processed: Some(said.processed),
        sw_ident: Some("py-celery"),
        sw_ver: Some("5.7.0"),
        sw_sys: Some("Linux"),
    }
}
