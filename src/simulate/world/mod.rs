//! A world of workers, a broker and a monitor, of which all is known.

mod act;
mod asked;
mod broker;
mod calendar;
mod happen;
mod monitor;
mod script;
mod worker;

use compact_str::CompactString;
use headcount_core::celery::{TaskEvent, WorkerEvent, WorkerKind};
use headcount_core::time::{Mono, Now, Wall};
use rustc_hash::FxHashMap;

pub use self::asked::{Answer, Question, Questions, Says};
use self::calendar::Calendar;
pub use self::calendar::{HOUR, MIN, MS, Moment, NEVER, SEC};
pub use self::script::Action;
use self::worker::Worker;
pub use self::worker::{BEAT, Consuming, Leisure, Said, Slot};
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
    fn hostname(&self, slot: Slot) -> &str {
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
