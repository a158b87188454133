//! What is heard of runs, on its way into the store.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use compact_str::CompactString;
use headcount_core::schedule::{News, Run, RunState, Word};
use headcount_core::span::Span;
use headcount_core::time::Wall;
use headcount_core::trace;

use super::{Job, JobScheduler, RETRY};
use crate::clock::Clock;
use crate::messages::TasksHeard;

/// The most news that wait for a store that fails; the oldest are dropped beyond. A run whose end is dropped is `lost`.
const MAX_NEWS: usize = 50_000;
/// News that are written in one go.
const BATCH: usize = 500;
/// Runs of a job that are looked at in one go whether they are lost.
const MAX_SILENT: usize = 1_000;

/// See the module.
#[derive(Default)]
pub(super) struct Newsroom {
    waiting: VecDeque<News>,
    /// The first so many are being written.
    writing: usize,
    /// While the store is asked for runs that are not sent: of these there were news since, which its answer does not know.
    noted: Option<BTreeSet<CompactString>>,
}

impl Newsroom {
    /// Whether there are news of this run that are not written yet.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.waiting.iter().any(|news| news.id == id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Begins to note what is written. False if it has begun before.
    pub(super) fn begin_to_note(&mut self) -> bool {
        let first = self.noted.is_none();
        self.noted.get_or_insert_default();
        first
    }

    /// What was written since then.
    pub(super) fn noted(&mut self) -> BTreeSet<CompactString> {
        self.noted.take().unwrap_or_default()
    }

    fn written(&mut self) {
        let count = std::mem::take(&mut self.writing);
        let written = self.waiting.drain(..count);
        if let Some(noted) = &mut self.noted {
            noted.extend(written.map(|news| news.id));
        }
    }

    /// What was being written is written again, which changes nothing where it was.
    pub(super) fn after_a_panic(mut self) -> Self {
        (self.writing, self.noted) = (0, None);
        self
    }
}

impl JobScheduler {
    /// Takes in news.
    pub(super) fn heard(&mut self, news: News, context: &mut Context<Self>) {
        if self.newsroom.waiting.len() >= MAX_NEWS {
            let oldest = self.newsroom.writing;
            self.newsroom.waiting.remove(oldest);
            tracing::error!(
                "the store has not taken the news of jobs for long: the oldest are lost, and what became of some runs is not known; see to the store"
            );
        }
        self.newsroom.waiting.push_back(news);
        self.write(context);
    }

    /// A run of a job that is not configured any more.
    pub(super) fn gone(&mut self, id: CompactString, context: &mut Context<Self>) {
        let news = News::new(id, Word::Superseded, Clock.now().wall);
        self.heard(news.because("the job is not configured any more"), context);
    }

    fn write(&mut self, context: &mut Context<Self>) {
        if self.newsroom.writing > 0 || self.newsroom.waiting.is_empty() {
            return;
        }
        let batch: Vec<News> = self.newsroom.waiting.iter().take(BATCH).cloned().collect();
        self.newsroom.writing = batch.len();
        let store = self.with.store.clone();
        let writing = async move { store.hear(batch).await };
        context.spawn(writing.into_actor(self).map(|written, actor, context| match written {
            Ok(changed) => {
                actor.newsroom.written();
                for run in &changed {
                    actor.with.meters.jobs.count(run);
                    actor.trace(run);
                    tell(run, actor.job(run));
                }
                actor.write(context);
                actor.leave();
            }
            Err(_) => {
                context.run_later(RETRY, |actor, context| {
                    actor.newsroom.writing = 0;
                    actor.write(context);
                });
            }
        }));
    }

    /// Whose run it is; none of a job that is not configured any more.
    fn job(&self, run: &Run) -> Option<&Arc<Job>> {
        self.with.jobs.iter().find(|job| job.plan.job.as_str() == run.job)
    }

    /// Tells the tracer of a run that has ended.
    fn trace(&self, run: &Run) {
        if !self.with.tracer.is_open() {
            return;
        }
        let task = self.job(run).map(|job| job.task.as_str());
        for span in trace::run::spans(run, task) {
            self.with.tracer.take(span);
        }
    }

    /// Gives up runs of which nothing has been heard for too long.
    pub(super) fn look_for_the_lost(&mut self, context: &mut Context<Self>) {
        let now = Clock.now().wall;
        let jobs = self.with.jobs.iter().filter(|job| !job.is_own());
        let asked: Vec<(String, Wall, Duration)> = jobs
            .map(|job| {
                let after = job.lost_after.duration();
                (job.plan.job.clone(), now - after, after)
            })
            .collect();
        let store = self.with.store.clone();
        let looking = async move {
            let mut lost = Vec::new();
            for (job, before, after) in asked {
                // Where the store fails they stay open, and are looked for again.
                let runs = store.silent(&job, before, MAX_SILENT).await.into_iter().flatten();
                lost.extend(runs.map(|run| {
                    let why = format!("nothing was heard of it for {}", Span::about(after));
                    News::new(run.id, Word::Lost, now).because(why)
                }));
            }
            lost
        };
        context.spawn(looking.into_actor(self).map(|lost, actor, context| {
            for news in lost {
                actor.heard(news, context);
            }
        }));
    }
}

/// Says what has become of a run. One that has failed for good, or of which nothing is known, somebody has to look at.
fn tell(run: &Run, of: Option<&Arc<Job>>) {
    let (job, id, state, why) = (&run.job, &run.id, run.state.as_str(), run.why.as_deref());
    let (task, broker) = (of.map(|job| job.task.as_str()), of.and_then(|job| job.broker()));
    match run.state {
        RunState::Failed => {
            // `TypeError: …`, or of a worker's task `TypeError`: the class alone, because the words may be what the task was given.
            let exception = why
                .and_then(|why| why.split(": ").next())
                .filter(|class| !class.contains(' '));
            tracing::error!(%job, task, broker, %id, state, why, exception, "a job has failed: its next slot runs as planned; see `why`, and the log of who ran it");
        }
        RunState::Lost => tracing::error!(
            %job, task, broker, %id, state, why,
            "a job's run is given up, since nothing was heard of it for `lost_after`: its next slot runs as planned; see whether its \
             worker lives, and sends task events (-E)"
        ),
        other => tracing::info!(%job, task, broker, %id, state, why, "the job's run {}", became(other)),
    }
}

/// What a sentence says of a run, after "the job's run".
const fn became(state: RunState) -> &'static str {
    match state {
        RunState::Claimed => "is due, and is being sent",
        RunState::Sent => "has been sent: the broker has its task",
        RunState::Received => "has come to a worker, which has not begun it",
        RunState::Started => "has begun",
        RunState::Retrying => "has failed, and its worker tries it again",
        RunState::Succeeded => "has ended well",
        RunState::Failed => "has failed for good",
        RunState::Revoked => "was revoked, or came to its worker too late",
        RunState::Rejected => "was rejected by its worker",
        RunState::Lost => "is lost sight of",
        RunState::Expired => "could not be sent before it was too late, and is left out",
        RunState::Superseded => "could not be sent before the next was due, and is left out",
        RunState::Skipped => "was not to be sent, and is left out: missed, or too many of them are under way",
    }
}

impl Handler<TasksHeard> for JobScheduler {
    type Result = ();

    fn handle(&mut self, message: TasksHeard, context: &mut Context<Self>) {
        for news in message.0 {
            self.heard(news, context);
        }
    }
}
