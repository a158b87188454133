//! One job as it was configured.

use compact_str::{CompactString, ToCompactString};
use headcount_core::celery::task::{Destination, TaskMessage};
use headcount_core::schedule::{Due, Plan, Run, RunState, Slot, Timing, run};
use headcount_core::span::Span;
use headcount_core::time::Wall;
use serde_json::{Map, Value};

use crate::ports::jobs::{Claim, JobStatus, SharedSender};
use crate::ports::node::SharedTask;

/// A task, and when it is to run.
#[derive(Clone)]
pub struct Job {
    /// When.
    pub plan: Plan,
    /// The name of the task.
    pub task: String,
    /// Positional arguments.
    pub args: Vec<Value>,
    /// Keyword arguments.
    pub kwargs: Map<String, Value>,
    /// How it gets there.
    pub way: Way,
    /// So long after it was claimed it is of no use any more.
    pub expires: Option<Span>,
    /// Its priority, 0 to 9.
    pub priority: Option<u8>,
    /// At most so many runs at once; none: as many as come.
    pub overlap: Option<u32>,
    /// A run of which nothing has been heard for so long is lost.
    pub lost_after: Span,
}

/// How a task gets to where it runs.
#[derive(Clone)]
pub enum Way {
    /// Through a broker.
    Broker {
        /// Who sends it.
        sender: SharedSender,
        /// Where it is sent.
        to: Destination,
    },
    /// Headcount runs it itself.
    Own(SharedTask),
}

impl Job {
    pub(super) fn is_own(&self) -> bool {
        matches!(self.way, Way::Own(_))
    }

    /// The name of the broker that it is sent through.
    pub(super) fn broker(&self) -> Option<&str> {
        match &self.way {
            Way::Broker { sender, .. } => Some(sender.broker()),
            Way::Own(_) => None,
        }
    }

    /// What has to be claimed, in this order, for what is due: a run for each slot, and where nothing is to be run, a
    /// record of what was passed over.
    pub(super) fn claims(&self, due: &Due, owner: &str, now: Wall, until: Wall) -> Vec<Claim> {
        let claim = |run: Run| Claim {
            run,
            owner: owner.to_owned(),
            until,
            limit: self.overlap,
        };
        let mut claims: Vec<Claim> = due.run.iter().map(|slot| claim(self.run(*slot, now))).collect();
        if claims.is_empty()
            && let Some(last) = due.settled
        {
            let skipped = Run {
                state: RunState::Skipped,
                ended_at: Some(now),
                why: Some(match due.skipped {
                    1 => "missed: nobody was there to run it".to_owned(),
                    slots => format!("missed, the last of {slots}: nobody was there to run them"),
                }),
                ..self.run(last, now)
            };
            claims.push(claim(skipped));
        }
        claims
    }

    fn run(&self, slot: Slot, now: Wall) -> Run {
        Run {
            job: self.plan.job.as_str().into(),
            slot: slot.at,
            id: run::task_id(&self.plan.job, &self.task, slot.at).to_compact_string(),
            due: slot.due,
            own: self.is_own(),
            state: RunState::Claimed,
            claimed_at: now,
            sent_at: None,
            started_at: None,
            ended_at: None,
            heard_at: now,
            worker: None,
            runtime: None,
            why: None,
        }
    }

    /// The message of a run.
    pub(super) fn message(&self, run: &Run, origin: &str) -> TaskMessage {
        TaskMessage {
            args: self.args.clone(),
            kwargs: self.kwargs.clone(),
            expires: self.expires_at(run),
            origin: Some(origin.to_owned()),
            priority: self.priority,
            ..TaskMessage::new(run.id.as_str(), self.task.as_str())
        }
    }

    /// When a run is of no use any more.
    pub(super) fn expires_at(&self, run: &Run) -> Option<Wall> {
        self.expires.map(|expires| run.claimed_at + expires.duration())
    }

    pub(super) fn status(&self, next: Option<Slot>) -> JobStatus {
        let (broker, queue) = match &self.way {
            Way::Broker { sender, to } => (Some(sender.broker().to_owned()), Some(to.to_string())),
            Way::Own(_) => (None, None),
        };
        let timezone = match &self.plan.timing {
            Timing::Cron { zone, .. } => zone.iana_name().map(str::to_owned),
            Timing::Every(_) => None,
        };
        JobStatus {
            name: CompactString::from(&self.plan.job),
            timing: self.plan.timing.to_string(),
            timezone,
            task: self.task.clone(),
            broker,
            queue,
            next,
        }
    }
}
