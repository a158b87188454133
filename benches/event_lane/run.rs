//! One run: the daemon, a generator, and what is seen of both from outside.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use headcount_testkit::{Broker, Headcount};

use crate::generator::{Done, Events, Order, Until};
use crate::usage::{self, Idle};

/// How often the daemon's counters are read. Each look costs the daemon a scrape.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The same while a backlog of a second or so is drained.
const LOOK_CLOSELY: Duration = Duration::from_millis(20);

/// When nothing more has come for so long, nothing more will.
const QUIET: Duration = Duration::from_secs(2);

/// Under this share of its rate the generator has not produced it.
const PRODUCED: f64 = 0.98;

/// A machine with less than this to spare was full.
const SPARE: f64 = 0.05;

/// How it is run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// Published while it drains: so many events a second, or 0 for as fast as it goes.
    Live { rate: u64, seconds: u64 },
    /// Published while the daemon is stopped; then it drains.
    Backlog { events: u64 },
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) mode: Mode,
    pub(crate) workers: usize,
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) broker: &'static str,
    pub(crate) plan: Plan,
    pub(crate) done: Done,
    pub(crate) received: u64,
    pub(crate) malformed: u64,
    /// What the daemon itself counted as lost.
    pub(crate) lost: u64,
    /// Events a second, from the first to the last.
    pub(crate) drained: f64,
    /// Seconds on a core while it drained, and how long that took.
    pub(crate) took_s: f64,
    pub(crate) headcount_s: f64,
    pub(crate) broker_s: f64,
    /// What the whole machine had to spare, 0 to 1.
    pub(crate) idle: f64,
    pub(crate) rss_kb: [u64; 3],
    pub(crate) threads: u64,
}

/// What is to be thought of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    /// Not a failure: the rate was not reached, or not carried, for want of processor time.
    Machine(String),
    Failed(String),
}

impl Seen {
    pub(crate) fn missing(&self) -> u64 {
        self.done.sent.saturating_sub(self.received)
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if self.malformed > 0 || self.lost > 0 {
            return Verdict::Failed(format!("{} malformed, {} left out", self.malformed, self.lost));
        }
        let rate = match self.plan.mode {
            Mode::Backlog { .. } if self.missing() > 0 => {
                return Verdict::Failed(format!("{} of a backlog within the queue's bound lost", self.missing()));
            }
            Mode::Backlog { .. } | Mode::Live { rate: 0, .. } => return Verdict::Fine,
            Mode::Live { rate, .. } => rate,
        };
        let produced = self.done.sent as f64 / self.done.seconds;
        if produced < rate as f64 * PRODUCED {
            return Verdict::Machine(format!("only {produced:.0}/s produced: {}", self.who_was_busy()));
        }
        match self.missing() {
            0 => Verdict::Fine,
            missing if self.idle < SPARE => {
                Verdict::Machine(format!("{missing} lost on a full machine: {}", self.who_was_busy()))
            }
            missing => Verdict::Failed(format!(
                "{missing} lost, with {:.0} % of the machine to spare",
                self.idle * 100.0
            )),
        }
    }

    fn who_was_busy(&self) -> String {
        let percent = |seconds: f64, of: f64| seconds / of * 100.0;
        let mut busy = [
            ("generator", percent(self.done.processor_s, self.done.seconds)),
            (self.broker, percent(self.broker_s, self.took_s)),
            ("headcount", percent(self.headcount_s, self.took_s)),
        ];
        busy.sort_by(|one, other| other.1.total_cmp(&one.1));
        let busy: Vec<String> = busy
            .iter()
            .map(|(who, percent)| format!("{who} {percent:.0} %"))
            .collect();
        format!(
            "{} of one core, machine idle {:.0} %",
            busy.join(", "),
            self.idle * 100.0
        )
    }
}

pub(crate) fn run(program: &str, broker: &Broker, plan: Plan) -> Seen {
    let headcount = Headcount::start_with_args(program, &["--broker", &broker.url()]);
    let at_start = headcount.usage().rss_kb;
    let broker_pid = match broker {
        Broker::Redis(redis) => redis.process().pid(),
        Broker::RabbitMq(rabbit) => rabbit.process().pid(),
    };
    let processor_s = || [headcount.process().pid(), broker_pid].map(|pid| usage::processor_s(&pid.to_string()));
    let order = |rate, until| Order {
        url: broker.url(),
        workers: plan.workers,
        events: Events::Heartbeats,
        rate,
        until,
    };
    let mut drain = Drain::new(&headcount);
    let (done, before, idle);
    match plan.mode {
        Mode::Live { rate, seconds } => {
            (before, idle) = (processor_s(), Idle::begin());
            let mut generator = Generator::start(&order(rate, Until::Seconds(seconds)));
            drain.until(LOOK_EVERY, || generator.done());
            done = generator.wait();
        }
        Mode::Backlog { events } => {
            headcount.process().sigstop();
            done = Generator::start(&order(0, Until::Events(events))).wait();
            (before, idle) = (processor_s(), Idle::begin());
            headcount.process().sigcont();
            drain.began = Instant::now();
            drain.until(LOOK_CLOSELY, || Some(done));
        }
    }
    let idle_share = idle.share();
    let after = processor_s();
    let counted = |name: &str| headcount.metric(name, "").unwrap_or(0.0) as u64;
    let usage = headcount.usage();
    Seen {
        broker: broker.kind(),
        plan,
        done,
        received: drain.received,
        malformed: counted("headcount_events_malformed_total"),
        lost: counted("headcount_events_lost_total"),
        drained: drain.rate(),
        took_s: drain.began.elapsed().as_secs_f64(),
        headcount_s: after[0] - before[0],
        broker_s: after[1] - before[1],
        idle: idle_share,
        rss_kb: [at_start, usage::peak_rss_kb(headcount.process().pid()), usage.rss_kb],
        threads: usage.threads,
    }
}

/// The generating process.
pub(crate) struct Generator {
    child: Child,
    done: Option<Done>,
}

impl Generator {
    pub(crate) fn start(order: &Order) -> Self {
        let child = Command::new(std::env::current_exe().expect("the bench's own program"))
            .arg(crate::GENERATE)
            .args(order.arguments())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the generator");
        Generator { child, done: None }
    }

    /// What it has done, once it has ended.
    fn done(&mut self) -> Option<Done> {
        if self.done.is_none() && self.child.try_wait().expect("a child").is_some() {
            self.done = Some(self.wait());
        }
        self.done
    }

    pub(crate) fn wait(&mut self) -> Done {
        if let Some(done) = self.done {
            return done;
        }
        let mut said = String::new();
        let mut out = self.child.stdout.take().expect("asked for");
        out.read_to_string(&mut said).expect("what the generator says");
        let status = self.child.wait().expect("a child");
        assert!(status.success(), "the generator failed: {status}");
        said.trim()
            .parse()
            .unwrap_or_else(|_| panic!("the generator said: {said}"))
    }
}

/// Watches the daemon's counter grow.
struct Drain<'a> {
    headcount: &'a Headcount,
    received: u64,
    /// Moment and count of the first look that saw any.
    first: Option<(Instant, u64)>,
    last: Instant,
    began: Instant,
}

impl<'a> Drain<'a> {
    fn new(headcount: &'a Headcount) -> Self {
        let now = Instant::now();
        Drain {
            headcount,
            received: 0,
            first: None,
            last: now,
            began: now,
        }
    }

    /// Looks until all have come, or none has come for [`QUIET`] though the generator is `done`.
    fn until(&mut self, every: Duration, mut done: impl FnMut() -> Option<Done>) {
        loop {
            let all = done().map(|done| done.sent);
            let received = self
                .headcount
                .metric("headcount_events_received_total", "")
                .unwrap_or(0.0) as u64;
            let now = Instant::now();
            if received > self.received {
                self.received = received;
                self.last = now;
                self.first.get_or_insert((now, received));
            }
            match all {
                Some(all) if self.received >= all || now - self.last.max(self.began) > QUIET => return,
                _ => std::thread::sleep(every),
            }
        }
    }

    fn rate(&self) -> f64 {
        let (first, before) = self.first.unwrap_or((self.began, 0));
        (self.received - before) as f64 / (self.last - first).as_secs_f64()
    }
}
