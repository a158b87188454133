//! Scheduled jobs: when they run next, and what became of their last runs.

use actix_web::{HttpResponse, web};
use headcount_actors::ports::jobs::{JobStatus, JobsView, SharedJobStore};
use headcount_core::schedule::Run;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::problem::Problem;
use super::views::Time;

/// How many runs a client gets that does not say how many.
const DEFAULT_LIMIT: usize = 20;
/// How many runs one answer may hold.
const MAX_LIMIT: usize = 1_000;

/// Among so many runs of a job the last that has ended is looked for.
const LOOK_BACK: usize = 20;

/// What is read of jobs.
#[derive(Clone)]
pub struct Jobs {
    /// How they stand.
    pub view: JobsView,
    /// Their runs.
    pub store: SharedJobStore,
}

#[derive(Serialize)]
struct JobView<'a> {
    name: &'a str,
    schedule: &'a str,
    timezone: Option<&'a str>,
    task: &'a str,
    broker: Option<&'a str>,
    queue: Option<&'a str>,
    /// When it is due next, its jitter included.
    next: Option<Time>,
    /// The newest run.
    last: Option<RunView<'a>>,
    /// The newest run that has ended, which is another one while the last is under way.
    ended: Option<RunView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<Vec<RunView<'a>>>,
}

#[derive(Serialize)]
struct RunView<'a> {
    id: &'a str,
    slot: Time,
    due: Time,
    state: &'static str,
    sent_at: Option<Time>,
    started_at: Option<Time>,
    ended_at: Option<Time>,
    worker: Option<&'a str>,
    runtime: Option<f64>,
    why: Option<&'a str>,
}

impl<'a> From<&'a Run> for RunView<'a> {
    fn from(run: &'a Run) -> Self {
        Self {
            id: &run.id,
            slot: Time(run.slot),
            due: Time(run.due),
            state: run.state.as_str(),
            sent_at: run.sent_at.map(Time),
            started_at: run.started_at.map(Time),
            ended_at: run.ended_at.map(Time),
            worker: run.worker.as_deref(),
            runtime: run.runtime,
            why: run.why.as_deref(),
        }
    }
}

impl<'a> JobView<'a> {
    fn new(job: &'a JobStatus, runs: &'a [Run]) -> Self {
        Self {
            name: &job.name,
            schedule: &job.timing,
            timezone: job.timezone.as_deref(),
            task: &job.task,
            broker: job.broker.as_deref(),
            queue: job.queue.as_deref(),
            next: job.next.map(|next| Time(next.due)),
            last: runs.first().map(RunView::from),
            ended: runs.iter().find(|run| !run.state.is_open()).map(RunView::from),
            runs: None,
        }
    }
}

pub(super) async fn jobs(shared: web::Data<Shared>) -> Result<HttpResponse, Problem> {
    let statuses = shared.jobs.view.borrow().clone();
    let mut all = Vec::with_capacity(statuses.len());
    for job in statuses.iter() {
        let last = shared.jobs.store.runs(&job.name, LOOK_BACK).await;
        all.push((job, last.map_err(|error| Problem::store(&error))?));
    }
    let views = all.iter().map(|(job, last)| JobView::new(job, last));
    Ok(HttpResponse::Ok().json(views.collect::<Vec<_>>()))
}

/// How many runs to show.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunQuery {
    limit: Option<usize>,
}

pub(super) async fn job(
    shared: web::Data<Shared>,
    name: web::Path<String>,
    query: web::Query<RunQuery>,
) -> Result<HttpResponse, Problem> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if limit == 0 || limit > MAX_LIMIT {
        return Err(Problem::bad_request(format_args!(
            "limit: expected 1 to {MAX_LIMIT}, found {limit}"
        )));
    }
    let statuses = shared.jobs.view.borrow().clone();
    let job = statuses.iter().find(|job| job.name == name.as_str());
    let job = job.ok_or_else(|| Problem::not_found(format_args!("there is no job {name}; /api/v1/jobs lists them")))?;
    let runs = shared.jobs.store.runs(&job.name, limit).await;
    let runs = runs.map_err(|error| Problem::store(&error))?;
    let view = JobView {
        runs: Some(runs.iter().map(RunView::from).collect()),
        ..JobView::new(job, &runs)
    };
    Ok(HttpResponse::Ok().json(view))
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use tokio::sync::watch;

    use super::Jobs;
    use crate::store::{Config, open_all};

    /// Of a Headcount that has no jobs.
    pub(in crate::http) fn no_jobs() -> Jobs {
        let memory = Config {
            url: "sqlite::memory:".to_owned(),
        };
        Jobs {
            view: watch::channel(Arc::default()).1,
            store: open_all(&memory).unwrap().jobs,
        }
    }
}
