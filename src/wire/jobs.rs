//! Scheduled jobs: from their tables to the actor that runs them.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use actix::Recipient;
use actix_rt::Arbiter;
use headcount_actors::job_scheduler::{Job, JobScheduler, Scheduling, Way};
use headcount_actors::messages::{Finish, TasksHeard};
use headcount_actors::ports::jobs::{JobStatus, SharedJobStore, SharedSender};
use headcount_actors::ports::node::SharedTask;
use headcount_edge::brokers;
use headcount_edge::host::host_name;
use tokio::sync::watch;
use uuid::Uuid;

use super::error::RunError;
use super::plan::Plan;
use crate::config;

/// What tells this process from any other that uses the same store, so that what it claimed is its own also after a
/// reload.
pub(super) static OWNER: LazyLock<String> = LazyLock::new(|| Uuid::new_v4().to_string());

/// A scheduler that runs.
pub(super) struct Scheduler {
    pub(super) thread: Arbiter,
    /// For what is heard of its runs.
    pub(super) heard: Recipient<TasksHeard>,
    /// For the end.
    pub(super) finish: Recipient<Finish>,
}

impl Plan<'_> {
    /// Starts the scheduler, if there are jobs, in a thread of its own, so that its tasks keep nobody from judging.
    pub(super) fn jobs(
        &self,
        store: &SharedJobStore,
        own: &[SharedTask],
        view: watch::Sender<Arc<Vec<JobStatus>>>,
    ) -> Result<Option<Scheduler>, RunError> {
        if self.settings.jobs.is_empty() {
            return Ok(None);
        }
        let senders = self.senders()?;
        let jobs = self.settings.jobs.iter().map(|job| Arc::new(wired(job, &senders, own)));
        let scheduling = Scheduling {
            jobs: jobs.collect(),
            store: store.clone(),
            meters: self.meters.clone(),
            view: Arc::new(view),
            owner: OWNER.clone(),
            origin: origin(),
            tracer: self.tracer.clone(),
        };
        let thread = Arbiter::new();
        let addr = self.start(&thread.handle(), "JobScheduler", None, move || {
            JobScheduler::new(scheduling)
        });
        Ok(Some(Scheduler {
            thread,
            heard: addr.clone().recipient(),
            finish: addr.recipient(),
        }))
    }

    /// One sender for each broker that some job is sent through.
    fn senders(&self) -> Result<BTreeMap<String, SharedSender>, RunError> {
        let mut senders = BTreeMap::new();
        for broker in &self.settings.brokers {
            let name = &broker.config.name;
            let used = |job: &config::Job| job.to.as_ref().is_some_and(|(to, _)| to == name.as_str());
            if !self.settings.jobs.iter().any(used) {
                continue;
            }
            let sender = brokers::sender(broker.config.clone()).map_err(|why| RunError::Broker {
                name: name.clone(),
                why,
            })?;
            senders.extend(sender.map(|sender| (name.clone(), sender)));
        }
        Ok(senders)
    }
}

fn wired(job: &config::Job, senders: &BTreeMap<String, SharedSender>, own: &[SharedTask]) -> Job {
    let way = match &job.to {
        Some((broker, to)) => Way::Broker {
            // The configuration was checked: a job's broker is one of those that are configured, and no Flower.
            sender: senders
                .get(broker.as_str())
                .cloned()
                .unwrap_or_else(|| unreachable!("a job on a broker that no task can be sent through")),
            to: to.clone(),
        },
        None => Way::Own(
            own.iter()
                .find(|task| task.spec().name == job.task)
                .cloned()
                .unwrap_or_else(|| unreachable!("a task of Headcount's own that it does not have")),
        ),
    };
    Job {
        plan: job.plan.clone(),
        task: job.task.clone(),
        args: job.args.clone(),
        kwargs: job.kwargs.clone(),
        way,
        expires: job.expires,
        priority: job.priority,
        overlap: job.overlap,
        lost_after: job.lost_after,
    }
}

/// Who sends the tasks, in the form that Celery's own producers use: `gen42@host1`.
fn origin() -> String {
    format!("gen{}@{}", std::process::id(), host_name())
}
