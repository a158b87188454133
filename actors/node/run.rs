//! The loop of one node: whatever happens is told to the core, and what it says is done.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use headcount_core::node::{Input, Node, Output, Tag};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;

use super::Joined;
use super::conclude::conclude;
use super::mingle::meet;
use super::runs::Runs;
use super::session::{Event, Sessions};
use super::vitals;
use crate::celery_node::Leaving;
use crate::clock::Clock;
use crate::ports::node::{Heard, Joining, Order, SharedTask};

/// How long tasks may go on running when Headcount stops. All of it has ten seconds to stop.
const FINISH_WITHIN: Duration = Duration::from_millis(1_000);

/// How long saying goodbye may take after that, and longer by what the tasks have left of their time: tens of thousands may have to be
/// given back.
const GOODBYE_WITHIN: Duration = Duration::from_millis(500);

/// Runs a node, until it has left.
pub(crate) async fn run(with: Joined, leaving: watch::Sender<Leaving>) {
    let (broker, node) = (with.broker.name().to_owned(), with.spec.hostname.clone());
    Loop::new(with).run(leaving.subscribe()).await;
    tracing::info!(broker, node, "the node has left");
    leaving.send_replace(Leaving::Done);
}

struct Loop {
    with: Rc<Joined>,
    tasks: BTreeMap<&'static str, SharedTask>,
    node: Node,
    sessions: Sessions,
    runs: Runs,
    /// Each says whether its slot is to be given back.
    concluding: JoinSet<bool>,
    /// What the others tell.
    meeting: JoinSet<Input>,
    out: Vec<Output>,
    /// The command `shutdown` was given.
    told_to_go: bool,
}

impl Loop {
    fn new(with: Joined) -> Self {
        let tasks: BTreeMap<_, _> = with.tasks.iter().map(|task| (task.spec().name, task.clone())).collect();
        let mut spec = with.spec.clone();
        spec.tasks = tasks.values().map(|task| task.spec()).collect();
        let joining = Joining {
            hostname: spec.hostname.clone(),
            queue: spec.queue.clone(),
            prefetch: spec.own_prefetch(),
            max_priority: spec.max_priority,
        };
        Self {
            tasks,
            node: Node::new(spec, Clock.now()),
            sessions: Sessions::new(with.broker.clone(), joining),
            runs: Runs::default(),
            concluding: JoinSet::new(),
            meeting: JoinSet::new(),
            out: Vec::new(),
            told_to_go: false,
            with: Rc::new(with),
        }
    }

    async fn run(&mut self, mut leaving: watch::Receiver<Leaving>) {
        while !self.told_to_go {
            tokio::select! {
                event = self.sessions.next() => self.heard(event),
                (run, outcome) = self.runs.next() => self.step(Input::Ended { run, outcome }),
                Some(ended) = self.concluding.join_next() => self.concluded(ended),
                Some(Ok(met)) = self.meeting.join_next() => self.step(met),
                () = sleep(self.node.rest(Clock.now())) => {
                    self.node.set_load(vitals::load());
                    self.step(Input::Tick);
                }
                // An error means that nobody is left who could ask.
                _ = leaving.wait_for(|leaving| *leaving != Leaving::No) => break,
            }
        }
        self.leave(leaving).await;
    }

    fn heard(&mut self, event: Event) {
        match event {
            Event::Heard(session, Heard::Opened) => self.step(Input::Opened { session }),
            Event::Heard(session, Heard::Message { number, message }) => {
                let tag = Tag { session, number };
                self.step(Input::Message { tag, message });
            }
            Event::Heard(_, Heard::Command(command)) => {
                tracing::debug!(method = command.method, "command");
                self.node.set_usage(vitals::usage());
                self.step(Input::Command(command));
            }
            Event::Heard(_, Heard::Unreadable(why)) => {
                tracing::warn!(
                    broker = self.with.broker.name(),
                    node = self.with.spec.hostname,
                    why,
                    "a remote-control command that cannot be read was left out"
                );
            }
            Event::Ended | Event::Left => self.step(Input::Lost),
        }
    }

    fn concluded(&mut self, ended: Result<bool, JoinError>) {
        // They neither panic nor are they ended while this lives; a slot that was lost would be lost for good.
        if ended.unwrap_or(true) {
            self.step(Input::Concluded);
        }
    }

    fn step(&mut self, input: Input) {
        let mut out = std::mem::take(&mut self.out);
        self.node.step(Clock.now(), input, &mut out);
        for output in out.drain(..) {
            self.carry_out(output);
        }
        self.out = out;
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Meet { revoked } => {
                let with = self.with.clone();
                // Of a session before: this one asks anew.
                self.meeting.abort_all();
                self.meeting.spawn_local(async move { meet(&with, revoked).await });
            }
            Output::Start {
                run,
                call,
                args,
                kwargs,
            } => {
                // The core knows only the tasks that were taken from here.
                if let Some(task) = self.tasks.get(call.name.as_str()) {
                    self.runs.start(run, task.clone(), call, args, kwargs);
                }
            }
            Output::Hurry(run) => self.runs.hurry(run),
            Output::Stop(run) => self.runs.stop(run),
            Output::Publish(publication) => {
                self.sessions.order(Order::Publish {
                    publication,
                    sent: None,
                });
            }
            Output::Conclude(conclusion) => {
                // What is only to be settled keeps its place among what is sent.
                if !conclusion.takes_time() {
                    if let Some((tag, how)) = conclusion.settle
                        && tag.session == self.sessions.number()
                    {
                        self.sessions.order(Order::Settle {
                            number: tag.number,
                            how,
                        });
                    }
                    for publication in conclusion.events {
                        self.sessions.order(Order::Publish {
                            publication,
                            sent: None,
                        });
                    }
                } else {
                    let (with, line) = (self.with.clone(), self.sessions.line());
                    let keeps_slot = conclusion.keeps_slot;
                    self.concluding.spawn_local(async move {
                        conclude(*conclusion, with, line).await;
                        keeps_slot
                    });
                }
            }
            Output::Prefetch(count) => {
                self.sessions.order(Order::Prefetch(count));
            }
            Output::Signal(signal) => self.with.signal(&signal),
            Output::Shutdown => {
                tracing::warn!(
                    broker = self.with.broker.name(),
                    node = self.with.spec.hostname,
                    "told to shut down by a remote-control command: the node leaves, until Headcount is started anew or reads its configuration"
                );
                self.told_to_go = true;
            }
        }
    }

    /// Gives back what waits, says goodbye, and waits for what runs: for a while. Where only the node was told to go, it waits
    /// for as long as that takes, as a worker does.
    async fn leave(&mut self, mut leaving: watch::Receiver<Leaving>) {
        let began = Clock.mono();
        // First, or what is given back would be handed out to this one again.
        self.sessions.order(Order::TakeNoMore);
        self.step(Input::Leave);
        tokio::select! {
            () = self.finish() => {}
            () = async {
                let _ = leaving.wait_for(|leaving| *leaving != Leaving::No).await;
                sleep(FINISH_WITHIN).await;
            } => {}
        }
        self.step(Input::Abandon);
        let goodbye = async {
            while self.sessions.is_open() && !self.concluding.is_empty() {
                tokio::select! {
                    event = self.sessions.next() => self.heard(event),
                    Some(ended) = self.concluding.join_next() => self.concluded(ended),
                }
            }
            if self.sessions.order(Order::Leave) {
                loop {
                    match self.sessions.next().await {
                        Event::Left | Event::Ended => break,
                        event @ Event::Heard(..) => self.heard(event),
                    }
                }
            }
        };
        let left = (FINISH_WITHIN + GOODBYE_WITHIN).saturating_sub(Clock.mono().since(began));
        if tokio::time::timeout(left.max(GOODBYE_WITHIN), goodbye).await.is_err() {
            tracing::warn!(
                broker = self.with.broker.name(),
                node = self.with.spec.hostname,
                "the node could not take its leave in time; what it had taken comes again"
            );
        }
    }

    async fn finish(&mut self) {
        while self.sessions.is_open() && (self.node.is_busy() || !self.concluding.is_empty()) {
            tokio::select! {
                event = self.sessions.next() => self.heard(event),
                (run, outcome) = self.runs.next() => self.step(Input::Ended { run, outcome }),
                Some(ended) = self.concluding.join_next() => self.concluded(ended),
                () = sleep(self.node.rest(Clock.now())) => self.step(Input::Tick),
            }
        }
    }
}
