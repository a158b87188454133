//! `JobScheduler`: claims each slot of each job when it is due, sees that its task is sent, and keeps what is heard of it.

mod claims;
mod deliver;
mod hold;
mod job;
mod news;
mod own;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, SpawnHandle, Supervised, WrapFuture,
};
use compact_str::CompactString;
use headcount_core::schedule::{Run, Slot};
use headcount_core::time::Wall;
use headcount_core::trace::{self, TRACEPARENT, TraceId};
use serde_json::{Map, Value};
use tokio::sync::{oneshot, watch};

use crate::clock::Clock;
use crate::messages::Finish;
use crate::meters::{JobLabel, Meters};
use crate::ports::jobs::{JobStatus, SharedJobStore};
use crate::ports::traces::SharedTracer;
pub use job::{Job, Way};
use news::Newsroom;

/// How often it looks whether something is due: so late a task may be.
const TICK: Duration = Duration::from_millis(250);
/// How long after a failure of the store it is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a claim is held without a word. A run whose Headcount died before it was sent is late by so much; a Headcount
/// that does not come to renew it for so long may see its run sent by another one, under the same id.
const LEASE: Duration = Duration::from_secs(30);
/// How often claims are renewed, those of others that have run out are looked for, and runs that are lost.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// How long runs are kept after their end.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// How many runs of each job are kept at most: a job that runs each second has 86,400 in a day.
const KEPT_OF_EACH: usize = 2_000;
/// How often what is older is deleted.
const CLEAN_EVERY: Duration = Duration::from_secs(3600);

/// What a scheduler is made of.
#[derive(Clone)]
pub struct Scheduling {
    /// The jobs, in the order of the configuration.
    pub jobs: Vec<Arc<Job>>,
    /// Where their runs are kept.
    pub store: SharedJobStore,
    /// The program's metrics.
    pub meters: Meters,
    /// Where everybody reads how the jobs stand.
    pub view: Arc<watch::Sender<Arc<Vec<JobStatus>>>>,
    /// Tells this Headcount from others on the same store: no other one, living or dead, has the same.
    pub owner: String,
    /// What tasks say they come from, such as `gen42@host1`.
    pub origin: String,
    /// Who is told how runs went.
    pub tracer: SharedTracer,
}

impl Scheduling {
    /// What a run's task is sent with, so that whoever traces it goes on from the run's own span.
    fn trace_headers(&self, run: &str) -> Map<String, Value> {
        let mut headers = Map::new();
        if self.tracer.is_open() {
            let context = trace::run::context(run, self.tracer.keeps(TraceId::of_task(run)));
            headers.insert(TRACEPARENT.to_owned(), context.header().into());
        }
        headers
    }
}

/// The actor.
pub struct JobScheduler {
    with: Scheduling,
    desks: Vec<Desk>,
    /// The runs that are being sent here, by the ids of their tasks.
    sending: BTreeMap<CompactString, Sending>,
    newsroom: Newsroom,
    /// True once nothing more is to be begun.
    finishing: watch::Sender<bool>,
    /// Who waits for the end.
    waiting: Vec<oneshot::Sender<()>>,
}

/// One job's state.
#[derive(Default)]
struct Desk {
    /// Up to when its slots are settled; none before the store has told.
    settled: Option<Wall>,
    /// The first slot that is not due yet.
    next: Option<Slot>,
    /// It is known what comes next.
    looked: bool,
    /// The store has been asked.
    busy: bool,
    /// Its runs are sent one after the other, in their order: the first of them tries again for all.
    turn: Turn,
}

/// Held by the run of a job that is being sent; others wait in line.
type Turn = Rc<tokio::sync::Mutex<()>>;

struct Sending {
    job: usize,
    handle: SpawnHandle,
    precedence: Rc<Precedence>,
}

/// Whether a run gives way to a later one.
#[derive(Default)]
struct Precedence {
    /// The broker has been asked, and has not answered yet: it may have it any moment.
    asked: Cell<bool>,
    /// It gives way if the broker says no.
    given_up: Cell<bool>,
}

impl JobScheduler {
    /// A scheduler that knows nothing yet of what has been run.
    pub fn new(with: Scheduling) -> Self {
        Self {
            desks: with.jobs.iter().map(|_| Desk::default()).collect(),
            with,
            sending: BTreeMap::new(),
            newsroom: Newsroom::default(),
            finishing: watch::channel(false).0,
            waiting: Vec::new(),
        }
    }

    fn tick(&mut self, context: &mut Context<Self>) {
        if self.is_finishing() {
            return;
        }
        let now = Clock.now().wall;
        for at in 0..self.desks.len() {
            let (Some(desk), Some(job)) = (self.desks.get_mut(at), self.with.jobs.get(at).cloned()) else {
                continue;
            };
            if desk.busy {
                continue;
            }
            match desk.settled {
                None => {
                    desk.busy = true;
                    self.learn(at, job, now, context);
                }
                // Of a clock that was wrong for a while only what it did is left: slots that were taken stay taken.
                Some(settled) if !desk.looked || desk.next.is_some_and(|next| next.due <= now) => {
                    let due = job.plan.due(settled.min(now), now);
                    let moved = desk.next != due.next || !desk.looked;
                    (desk.next, desk.looked) = (due.next, true);
                    if due.settled.is_some() {
                        desk.busy = true;
                        self.settle(at, job, due, now, context);
                    }
                    if moved {
                        self.publish();
                    }
                }
                Some(_) => {}
            }
        }
    }

    fn send(&mut self, at: usize, run: Run, context: &mut Context<Self>) {
        let (Some(job), Some(desk)) = (self.with.jobs.get(at).cloned(), self.desks.get(at)) else {
            return;
        };
        let (id, precedence) = (run.id.clone(), Rc::<Precedence>::default());
        let line = deliver::Line {
            turn: desk.turn.clone(),
            precedence: precedence.clone(),
            finishing: self.finishing.subscribe(),
        };
        let delivering = deliver::deliver(job, run, self.with.clone(), line);
        let handle = context.spawn(delivering.into_actor(self).map({
            let id = id.clone();
            move |news, actor, context| {
                actor.sending.remove(&id);
                if let Some(news) = news {
                    actor.heard(news, context);
                }
                actor.leave();
            }
        }));
        let sending = Sending {
            job: at,
            handle,
            precedence,
        };
        self.sending.insert(id, sending);
    }

    fn is_finishing(&self) -> bool {
        *self.finishing.borrow()
    }

    /// Lets go of those who wait for the end, once it is there.
    fn leave(&mut self) {
        if self.is_finishing() && self.sending.is_empty() && self.newsroom.is_empty() {
            self.waiting.clear();
        }
    }

    /// Deletes what is too old.
    fn clean(&mut self, context: &mut Context<Self>) {
        let store = self.with.store.clone();
        let cleaning = async move { store.forget_runs(Clock.now().wall - KEPT_FOR, KEPT_OF_EACH).await };
        // What was not deleted is, an hour later.
        context.spawn(cleaning.into_actor(self).map(|_, _, _| ()));
    }

    fn publish(&self) {
        let statuses = self.with.jobs.iter().zip(&self.desks);
        let all: Vec<JobStatus> = statuses.map(|(job, desk)| job.status(desk.next)).collect();
        for status in &all {
            let label = JobLabel {
                job: status.name.to_string(),
            };
            let next = status.next.map_or(f64::NAN, |next| next.due.as_micros() as f64 / 1e6);
            self.with.meters.jobs.next.get_or_create(&label).set(next);
            // From zero, so that the first is an increase.
            drop(self.with.meters.jobs.slots_missed.get_or_create(&label));
        }
        self.with.view.send_replace(Arc::new(all));
    }
}

impl Actor for JobScheduler {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.publish();
        self.renew(context);
        context.run_interval(TICK, Self::tick);
        context.run_interval(RENEW_EVERY, |actor, context| {
            actor.renew(context);
            actor.look_for_the_lost(context);
        });
        context.run_interval(CLEAN_EVERY, Self::clean);
    }
}

impl Supervised for JobScheduler {
    fn restarting(&mut self, _: &mut Context<Self>) {
        // Whatever was being sent died with the panic: it is this owner's, and adopted again. What was heard and not
        // written yet is kept.
        let newsroom = std::mem::take(&mut self.newsroom);
        *self = Self::new(self.with.clone());
        self.newsroom = newsroom.after_a_panic();
    }
}

impl Handler<Finish> for JobScheduler {
    type Result = ResponseFuture<()>;

    /// What the broker is just confirming is noted, so that it is not sent again after the next start. What cannot be sent
    /// now stays claimed, and is sent after the next start.
    fn handle(&mut self, _: Finish, _: &mut Context<Self>) -> ResponseFuture<()> {
        self.finishing.send_replace(true);
        let (done, finished) = oneshot::channel();
        self.waiting.push(done);
        self.leave();
        Box::pin(async move {
            // The other end is dropped when all is noted.
            let _ = finished.await;
        })
    }
}
