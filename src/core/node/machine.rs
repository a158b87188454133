//! The node: takes tasks, keeps those that have to wait, has them run, and brings each to its end.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use super::call::{Call, Run};
use super::endings::{postrun, settle};
use super::events;
use super::follow;
use super::rate::{Bucket, Rate};
use super::revoked::Revoked;
use super::schedule::{Due, Schedule};
use super::spec::{MAX_SCHEDULED, NodeSpec, TaskSpec, Usage};
use super::step::{Input, Output, RunId, Settle, Signal, Tag};
use crate::celery::result::{Failure, State};
use crate::celery::task::Delivered;
use crate::time::{Mono, Now};

/// How often a worker says that it lives: Celery's own interval, which other monitors reckon with.
const BEAT_EVERY: Duration = Duration::from_secs(2);

/// How long nothing has to be looked at, where nothing is waited for.
const REST: Duration = Duration::from_secs(1);

/// A Celery node.
#[derive(Debug)]
pub struct Node {
    pub(super) spec: NodeSpec,
    pub(super) tasks: BTreeMap<&'static str, TaskSpec>,
    pub(super) clock: u64,
    pub(super) session: Option<u64>,
    pub(super) reserved: VecDeque<Call>,
    pub(super) scheduled: Schedule,
    pub(super) running: BTreeMap<RunId, Run>,
    /// Calls that have ended, and keep their slots until all of their end is done.
    pub(super) closing: usize,
    numbers: u64,
    pub(super) revoked: Revoked,
    pub(super) buckets: BTreeMap<&'static str, Bucket>,
    pub(super) processed: u64,
    pub(super) totals: BTreeMap<&'static str, u64>,
    pub(super) started: Now,
    pub(super) concurrency: u16,
    pub(super) task_events: bool,
    prefetch: u16,
    /// So many wait for their time, as was told last.
    told_waiting: Option<usize>,
    next_beat: Mono,
    pub(super) leaving: bool,
    /// The others are being asked what has been revoked.
    meeting: bool,
    load: Option<[f64; 3]>,
    pub(super) usage: Option<Usage>,
}

impl Node {
    /// A node that is not connected yet.
    pub fn new(spec: NodeSpec, now: Now) -> Self {
        Self {
            tasks: spec.tasks.iter().map(|task| (task.name, task.clone())).collect(),
            clock: 0,
            session: None,
            reserved: VecDeque::new(),
            scheduled: Schedule::default(),
            running: BTreeMap::new(),
            closing: 0,
            numbers: 0,
            revoked: Revoked::default(),
            buckets: BTreeMap::new(),
            processed: 0,
            totals: BTreeMap::new(),
            started: now,
            concurrency: spec.concurrency.max(1),
            task_events: spec.task_events,
            prefetch: 0,
            told_waiting: None,
            next_beat: now.mono,
            leaving: false,
            meeting: false,
            load: None,
            usage: None,
            spec,
        }
    }

    /// Takes what has happened, and says what is to be done.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Opened { session } => self.opened(now, session, out),
            Input::Met { clock, revoked } => self.met(now, clock, &revoked),
            Input::Lost => self.lost(),
            Input::Message { tag, message } => match message {
                Ok(delivered) => self.message(now, tag, *delivered, out),
                Err(refused) => self.refused(now, tag, refused, out),
            },
            Input::Command(command) => self.command(now, command, out),
            Input::Ended { run, outcome } => self.ended(now, run, outcome, out),
            Input::Concluded => self.closing = self.closing.saturating_sub(1),
            Input::Tick => {}
            Input::Leave => self.leave(now, out),
            Input::Abandon => self.abandon(now, out),
        }
        self.advance(now, out);
    }

    /// How long nothing has to be looked at, if nothing happens.
    pub fn rest(&self, now: Now) -> Duration {
        let until = |at: Mono| at.since(now.mono);
        let beat = self.session.map(|_| until(self.next_beat));
        let due = self.scheduled.next().map(|at| at.since(now.wall));
        let limits = self.running.values().filter_map(|run| {
            let soft = run.call.soft_limit().filter(|_| !run.hurried);
            let limit = soft.into_iter().chain(run.call.hard_limit()).min()?;
            Some(until(run.since.mono + limit))
        });
        let turns = self.reserved.iter().filter_map(|call| {
            let free = self.has_slot();
            let bucket = self.buckets.get(call.spec.name).filter(|_| free)?;
            Some(until(bucket.next()))
        });
        let waits = beat.into_iter().chain(due).chain(limits).chain(turns);
        waits.min().unwrap_or(REST).min(REST)
    }

    /// The machine's load over 1, 5 and 15 minutes, where it is known: beats tell it.
    pub fn set_load(&mut self, load: Option<[f64; 3]>) {
        self.load = load;
    }

    /// What the process has used so far, where it is known: `stats` tells it.
    pub fn set_usage(&mut self, usage: Option<Usage>) {
        self.usage = usage;
    }

    /// Whether tasks are running.
    pub fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    fn opened(&mut self, now: Now, session: u64, out: &mut Vec<Output>) {
        // Whatever the last session had handed out comes again.
        self.lost();
        self.session = Some(session);
        self.prefetch = 0;
        if self.leaving {
            return;
        }
        self.beat("worker-online", now, out);
        self.next_beat = now.mono + BEAT_EVERY;
        self.meeting = true;
        out.push(Output::Meet {
            revoked: self.revoked.ids(now.mono),
        });
        out.push(Output::Signal(Signal::WorkerReady));
    }

    fn met(&mut self, now: Now, clock: u64, revoked: &[String]) {
        self.meeting = false;
        self.clock = self.clock.max(clock);
        for id in revoked {
            self.revoked.add(id, now.mono);
        }
    }

    fn lost(&mut self) {
        self.session = None;
        self.reserved.clear();
        self.scheduled.clear();
    }

    fn message(&mut self, now: Now, tag: Tag, delivered: Delivered, out: &mut Vec<Output>) {
        if self.leaving {
            settle(tag, Settle::Requeue, out);
            return;
        }
        let Some(spec) = self.tasks.get(delivered.task.name.as_str()).cloned() else {
            self.unknown(now, tag, &delivered, out);
            return;
        };
        let id = delivered.task.id.as_str();
        // Handed out again because its session was lost, while it runs here: the run goes on, and answers for this message.
        let same = self.running.values_mut().find(|run| run.call.message.id == id);
        if let Some(run) = same.filter(|run| run.call.tag.is_some_and(|old| old.session != tag.session)) {
            run.call.tag = Some(tag);
            return;
        }
        let call = Call::new(delivered, tag, spec);
        if self.is_out(now, &call) {
            self.revoke(now, call, None, out);
            return;
        }
        out.push(Output::Signal(Signal::TaskReceived(call.info())));
        self.task_event("task-received", now, events::received(&call), out);
        if let Some(why) = follow::unable(&call.message.embed) {
            self.fail(now, call, Failure::builtin("NotImplementedError", why), out);
            return;
        }
        match call.message.eta {
            Some(eta) if eta > now.wall => {
                self.numbers += 1;
                self.scheduled.add(eta, self.numbers, call);
            }
            _ => self.reserved.push_back(call),
        }
    }

    /// Revoked, or too late.
    pub(super) fn is_out(&self, now: Now, call: &Call) -> bool {
        call.is_expired(now.wall) || self.revoked.contains(&call.message.id, now.mono)
    }

    /// Everything that the passing of time asks for.
    fn advance(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.session.is_some() && !self.leaving && now.mono >= self.next_beat {
            self.beat("worker-heartbeat", now, out);
            // Beats that were missed are not made up for.
            self.next_beat = (self.next_beat + BEAT_EVERY).max(now.mono);
        }
        while let Some(due) = self.scheduled.take_due(now.wall) {
            match due {
                Due::Call(call) => self.reserved.push_back(*call),
                Due::Left(tag) => settle(tag, Settle::Requeue, out),
            }
        }
        self.limits(now, out);
        self.start_what_can(now, out);
        self.widen(out);
        self.tell_waiting(out);
    }

    fn start_what_can(&mut self, now: Now, out: &mut Vec<Output>) {
        let mut waiting = VecDeque::with_capacity(self.reserved.len());
        while let Some(call) = self.reserved.pop_front() {
            if self.is_out(now, &call) {
                self.revoke(now, call, None, out);
            } else if self.has_slot() && self.has_turn(&call, now.mono) {
                self.start(now, call, out);
            } else {
                waiting.push_back(call);
            }
        }
        self.reserved = waiting;
    }

    fn has_slot(&self) -> bool {
        !self.meeting && self.running.len() + self.closing < usize::from(self.concurrency)
    }

    fn has_turn(&mut self, call: &Call, now: Mono) -> bool {
        match self.rate_limit(call.spec.name) {
            None => true,
            Some(rate) => self.buckets.entry(call.spec.name).or_default().take(&rate, now),
        }
    }

    fn rate_limit(&self, name: &str) -> Option<Rate> {
        self.tasks.get(name).and_then(|task| task.rate_limit.clone())
    }

    fn start(&mut self, now: Now, mut call: Call, out: &mut Vec<Output>) {
        self.numbers += 1;
        let run = RunId(self.numbers);
        self.processed += 1;
        *self.totals.entry(call.spec.name).or_default() += 1;
        if !call.spec.acks_late
            && let Some(tag) = call.tag.take()
        {
            settle(tag, Settle::Ack, out);
        }
        // The limits may have been changed by a command since it came.
        if let Some(spec) = self.tasks.get(call.spec.name) {
            call.spec = spec.clone();
        }
        let info = call.info();
        self.task_event("task-started", now, json!({"uuid": call.message.id}), out);
        out.push(Output::Signal(Signal::TaskPrerun(info.clone())));
        out.push(Output::Start {
            run,
            call: info,
            args: call.message.args.clone(),
            kwargs: call.message.kwargs.clone(),
        });
        let hurried = false;
        self.running.insert(
            run,
            Run {
                call,
                since: now,
                hurried,
            },
        );
    }

    /// Tells those whose soft limit is over, and ends those whose hard limit is.
    fn limits(&mut self, now: Now, out: &mut Vec<Output>) {
        let mut over = Vec::new();
        for (id, run) in &mut self.running {
            let ran = now.mono.since(run.since.mono);
            if run.call.hard_limit().is_some_and(|limit| ran >= limit) {
                over.push(*id);
            } else if !run.hurried && run.call.soft_limit().is_some_and(|limit| ran >= limit) {
                run.hurried = true;
                out.push(Output::Hurry(*id));
            }
        }
        for id in over {
            let Some(run) = self.running.remove(&id) else { continue };
            out.push(Output::Stop(id));
            let seconds = run.call.hard_limit().unwrap_or_default().as_secs_f64();
            let postrun = postrun(now, &run, State::Failure);
            self.fail(now, run.call, Failure::time_limit(seconds), out);
            out.push(postrun);
        }
    }

    /// Lets the broker hand out one more for each that waits for its time, so that those do not keep others from running.
    fn widen(&mut self, out: &mut Vec<Output>) {
        if self.session.is_none() {
            return;
        }
        // The concurrency may have been changed by a command.
        let own = usize::from(self.concurrency) * usize::from(self.spec.prefetch_multiplier.max(1));
        let wanted = own + self.scheduled.len().min(MAX_SCHEDULED);
        let wanted = u16::try_from(wanted).unwrap_or(u16::MAX);
        if wanted != self.prefetch {
            self.prefetch = wanted;
            out.push(Output::Prefetch(wanted));
        }
    }

    /// How many wait for their time, where that has changed.
    fn tell_waiting(&mut self, out: &mut Vec<Output>) {
        let tasks = self.scheduled.len();
        if self.told_waiting.replace(tasks) != Some(tasks) {
            out.push(Output::Signal(Signal::Waiting {
                tasks,
                full: tasks >= MAX_SCHEDULED,
            }));
        }
    }

    /// How many the broker may hand out at once.
    pub(super) fn prefetch(&self) -> u16 {
        self.prefetch
    }

    /// The next value of the logical clock.
    pub(super) fn tick_clock(&mut self) -> u64 {
        self.clock = self.clock.saturating_add(1);
        self.clock
    }

    pub(super) fn beat(&mut self, kind: &str, now: Now, out: &mut Vec<Output>) {
        let mut fields = events::software(&self.spec);
        fields.insert("freq".into(), json!(BEAT_EVERY.as_secs_f64()));
        fields.insert("active".into(), json!(self.running.len()));
        fields.insert("processed".into(), json!(self.processed));
        if let Some(load) = self.load {
            fields.insert("loadavg".into(), json!(load));
        }
        self.event(kind, now, Value::Object(fields), out);
    }

    pub(super) fn event(&mut self, kind: &str, now: Now, fields: Value, out: &mut Vec<Output>) {
        let clock = self.tick_clock();
        out.push(Output::Publish(events::event(
            &self.spec, kind, clock, now.wall, fields,
        )));
    }

    fn task_event(&mut self, kind: &str, now: Now, fields: Value, out: &mut Vec<Output>) {
        let made = self.make_task_event(kind, now, fields);
        out.extend(made.into_iter().map(Output::Publish));
    }

    /// The event, if events of tasks are sent.
    pub(super) fn make_task_event(&mut self, kind: &str, now: Now, fields: Value) -> Vec<crate::celery::Publication> {
        if !self.task_events {
            return Vec::new();
        }
        let clock = self.tick_clock();
        vec![events::event(&self.spec, kind, clock, now.wall, fields)]
    }
}
