//! A run of a job whose task is one of Headcount's own: what a node does for a message, without the message.

use std::time::Duration;

use headcount_core::celery::result::Failure;
use headcount_core::celery::task::{kwargs_repr, tuple_repr};
use headcount_core::node::{CallInfo, Outcome, RunId, TaskSpec};
use headcount_core::schedule::{News, Run, Word};
use tokio::time::sleep;

use super::job::Job;
use super::{RETRY, Scheduling};
use crate::clock::Clock;
use crate::node::runs::Runs;
use crate::ports::node::SharedTask;

/// There is one run at a time here.
const ONLY: RunId = RunId(0);

/// Runs it to its end, and tries again as often as the task allows. It has a task of its own in the runtime, so that a panic
/// in it is its own; dropping the future ends it.
pub(super) async fn run(task: &SharedTask, job: &Job, run: &Run, with: &Scheduling) -> News {
    let began = Clock.now();
    let started = News::new(run.id.clone(), Word::Started, began.wall);
    while with.store.hear(vec![started.clone()]).await.is_err() {
        sleep(RETRY).await;
    }
    let spec = task.spec();
    let mut retries = 0;
    let ended = loop {
        match attempt(task, job, run, &spec, retries, with).await {
            Outcome::Success(_) => break Ok(()),
            Outcome::Failure(failure) => break Err(failure),
            Outcome::Retry { failure, .. } if retries >= spec.retries.most => break Err(failure),
            Outcome::Retry { after, .. } => {
                sleep(after.unwrap_or_else(|| spec.retries.rest(retries))).await;
                retries += 1;
            }
        }
    };
    let now = Clock.now();
    let news = match ended {
        Ok(()) => News::new(run.id.clone(), Word::Succeeded, now.wall),
        Err(failure) => News::new(run.id.clone(), Word::Failed, now.wall).because(in_words(&failure)),
    };
    News {
        runtime: Some(now.mono.since(began.mono).as_secs_f64()),
        ..news
    }
}

async fn attempt(task: &SharedTask, job: &Job, run: &Run, spec: &TaskSpec, retries: u32, with: &Scheduling) -> Outcome {
    let info = Box::new(CallInfo {
        id: run.id.to_string(),
        name: job.task.clone(),
        retries,
        argsrepr: tuple_repr(&job.args),
        kwargsrepr: kwargs_repr(&job.kwargs),
        root_id: run.id.to_string(),
        parent_id: None,
        redelivered: false,
        headers: with.trace_headers(&run.id),
    });
    let mut runs = Runs::default();
    runs.start(ONLY, task.clone(), info, job.args.clone(), job.kwargs.clone());
    let (soft, hard) = (limit(spec.soft_time_limit), limit(spec.time_limit));
    tokio::pin!(soft, hard);
    let mut hurried = false;
    loop {
        tokio::select! {
            (_, outcome) = runs.next() => return outcome,
            () = &mut soft, if !hurried => {
                hurried = true;
                runs.hurry(ONLY);
            }
            () = &mut hard => {
                let seconds = spec.time_limit.unwrap_or_default().as_secs_f64();
                return Outcome::Failure(Failure::time_limit(seconds));
            }
        }
    }
}

/// Ends after so long; never, where there is no limit.
async fn limit(after: Option<Duration>) {
    match after {
        Some(after) => sleep(after).await,
        None => std::future::pending().await,
    }
}

/// `TypeError: …`, as Python shows an exception at the end of its traceback.
fn in_words(failure: &Failure) -> String {
    let arguments = failure.exc_message.iter().map(|argument| match argument {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    format!("{}: {}", failure.exc_type, arguments.collect::<Vec<_>>().join(", "))
}
