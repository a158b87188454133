//! How calls come to their end, and the node to its.

use std::time::Duration;

use serde_json::{Value, json};

use super::call::{Call, Run};
use super::events;
use super::follow;
use super::machine::Node;
use super::step::{Conclusion, Outcome, Output, RunId, Settle, Signal, Tag};
use crate::celery::To;
use crate::celery::result::{Failure, State, TaskResult};
use crate::celery::task::{Delivered, NotATask};
use crate::time::{Now, Wall};

impl Node {
    /// Not registered: as Celery does, it is rejected, and its sender is told by the result.
    pub(super) fn unknown(&mut self, now: Now, tag: Tag, delivered: &Delivered, out: &mut Vec<Output>) {
        let task = &delivered.task;
        let failure = Failure::not_registered(&task.name);
        out.push(Output::Signal(Signal::TaskUnknown {
            name: task.name.clone(),
            id: task.id.clone(),
        }));
        let event = json!({"uuid": task.id, "exception": failure.repr()});
        let conclusion = Conclusion {
            result: Some(TaskResult::of(task, State::Failure, Err(failure), now.wall)),
            settle: Some((tag, Settle::Reject)),
            events: self.make_task_event("task-failed", now, event),
            ..Conclusion::default()
        };
        out.push(Output::Conclude(Box::new(conclusion)));
    }

    /// No task at all, or not what it should be.
    pub(super) fn refused(&mut self, now: Now, tag: Tag, refused: NotATask, out: &mut Vec<Output>) {
        if self.leaving {
            settle(tag, Settle::Requeue, out);
            return;
        }
        if let (Some(name), Some(id)) = (&refused.name, &refused.id)
            && !self.tasks.contains_key(name.as_str())
        {
            // Whether what it holds could be read does not matter then.
            let delivered = Delivered {
                task: refused.asker.call(id, name),
                ..Delivered::default()
            };
            self.unknown(now, tag, &delivered, out);
            return;
        }
        let how = if refused.acknowledged {
            Settle::Ack
        } else {
            Settle::Reject
        };
        let event = refused.id.as_ref().map(|id| json!({"uuid": id, "requeue": false}));
        let event = event.filter(|_| how == Settle::Reject);
        let events = event.map(|event| self.make_task_event("task-rejected", now, event));
        // Where it bears an id somebody may wait for it, who hears nothing from Celery.
        let call = refused.name.as_ref().zip(refused.id.as_ref());
        let call = call.map(|(name, id)| refused.asker.call(id, name));
        let failure = Failure::invalid(&refused.why.to_string());
        let told = call.filter(|call| !call.ignore_result);
        let result = told.map(|call| TaskResult::of(&call, State::Failure, Err(failure), now.wall));
        out.push(Output::Signal(Signal::TaskRejected(refused)));
        out.push(Output::Conclude(Box::new(Conclusion {
            result,
            settle: Some((tag, how)),
            events: events.unwrap_or_default(),
            ..Conclusion::default()
        })));
    }

    /// A call that is not run, or not any more: then `signum` is the signal that it was terminated with.
    pub(super) fn revoke(&mut self, now: Now, call: Call, signum: Option<u8>, out: &mut Vec<Output>) {
        let terminated = signum.is_some();
        let expired = !terminated && call.is_expired(now.wall);
        let reason = match (terminated, expired) {
            (true, _) => "terminated",
            (_, true) => "expired",
            _ => "revoked",
        };
        out.push(Output::Signal(Signal::TaskRevoked {
            call: call.info(),
            terminated,
            expired,
        }));
        let event = events::revoked(&call, signum, expired);
        let conclusion = Conclusion {
            result: wanted(&call, State::Revoked, Err(Failure::revoked(reason)), now.wall),
            settle: call.tag.map(|tag| (tag, Settle::Ack)),
            events: self.make_task_event("task-revoked", now, event),
            ..Conclusion::default()
        };
        out.push(Output::Conclude(Box::new(conclusion)));
    }

    pub(super) fn ended(&mut self, now: Now, id: RunId, outcome: Outcome, out: &mut Vec<Output>) {
        // One that was terminated, or ran into its limit, has been concluded already.
        let Some(run) = self.running.remove(&id) else { return };
        let runtime = now.mono.since(run.since.mono);
        match outcome {
            Outcome::Success(value) => {
                let postrun = postrun(now, &run, State::Success);
                out.push(Output::Signal(Signal::TaskSuccess {
                    call: run.call.info(),
                    runtime,
                }));
                self.succeed(now, run.call, value, runtime, out);
                out.push(postrun);
            }
            Outcome::Failure(failure) => {
                let postrun = postrun(now, &run, State::Failure);
                self.fail(now, run.call, failure, out);
                out.push(postrun);
            }
            Outcome::Retry { failure, after } => {
                if run.call.message.retries >= run.call.spec.retries.most {
                    let postrun = postrun(now, &run, State::Failure);
                    self.fail(now, run.call, failure, out);
                    out.push(postrun);
                } else {
                    let postrun = postrun(now, &run, State::Retry);
                    self.retry(now, run.call, failure, after, out);
                    out.push(postrun);
                }
            }
        }
    }

    pub(super) fn succeed(&mut self, now: Now, call: Call, value: Value, runtime: Duration, out: &mut Vec<Output>) {
        let event = events::succeeded(&call, &value, runtime.as_secs_f64());
        let conclusion = Conclusion {
            send: follow::after_success(&call.message, &value, &self.spec.routes, now.wall),
            result: wanted(&call, State::Success, Ok(value), now.wall),
            settle: call.tag.map(|tag| (tag, Settle::Ack)),
            events: self.make_task_event("task-succeeded", now, event),
            ..Conclusion::default()
        };
        self.conclude(conclusion, out);
    }

    pub(super) fn fail(&mut self, now: Now, call: Call, failure: Failure, out: &mut Vec<Output>) {
        out.push(Output::Signal(Signal::TaskFailure {
            call: call.info(),
            failure: failure.clone(),
        }));
        let event = events::failed(&call.message.id, &failure);
        let plain = follow::unable(&call.message.embed).is_none();
        let conclusion = Conclusion {
            send: if plain {
                follow::after_failure(&call.message, &self.spec.routes, now.wall)
            } else {
                Vec::new()
            },
            result: wanted(&call, State::Failure, Err(failure), now.wall),
            settle: call.tag.map(|tag| (tag, Settle::Ack)),
            events: self.make_task_event("task-failed", now, event),
            ..Conclusion::default()
        };
        self.conclude(conclusion, out);
    }

    pub(super) fn retry(
        &mut self,
        now: Now,
        call: Call,
        failure: Failure,
        after: Option<Duration>,
        out: &mut Vec<Output>,
    ) {
        let after = after.unwrap_or_else(|| call.spec.retries.rest(call.message.retries));
        let mut again = call.message.clone();
        again.retries += 1;
        again.eta = Some(now.wall + after);
        out.push(Output::Signal(Signal::TaskRetry {
            call: call.info(),
            failure: failure.clone(),
            after,
        }));
        let event = events::failed(&call.message.id, &failure);
        let conclusion = Conclusion {
            send: vec![again.publication(call.way(&self.spec.queue))],
            // The exchange that it came by may be gone; the queue is there.
            detour: Some(To::Queue(self.spec.queue.clone())),
            result: wanted(&call, State::Retry, Err(failure), now.wall),
            settle: call.tag.map(|tag| (tag, Settle::Ack)),
            events: self.make_task_event("task-retried", now, event),
            ..Conclusion::default()
        };
        self.conclude(conclusion, out);
    }

    /// The end of a call whose message is settled already keeps its slot until it is through: else a store that does not
    /// answer would let such ends pile up. Of the others the broker hands out only so many.
    fn conclude(&mut self, mut conclusion: Conclusion, out: &mut Vec<Output>) {
        conclusion.keeps_slot = conclusion.settle.is_none() && conclusion.takes_time();
        self.closing += usize::from(conclusion.keeps_slot);
        out.push(Output::Conclude(Box::new(conclusion)));
    }

    /// Gives back what waits, and says goodbye; what runs goes on.
    pub(super) fn leave(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.leaving {
            return;
        }
        self.leaving = true;
        out.push(Output::Signal(Signal::WorkerShutdown));
        let waiting = std::mem::take(&mut self.reserved).into_iter();
        let waiting = waiting.filter_map(|call| call.tag);
        for tag in waiting.chain(self.scheduled.clear()) {
            settle(tag, Settle::Requeue, out);
        }
        if self.session.is_some() {
            self.beat("worker-offline", now, out);
        }
    }

    /// What did not end in time goes back to the queue where that is possible; of the rest people are told the truth.
    pub(super) fn abandon(&mut self, now: Now, out: &mut Vec<Output>) {
        for (id, run) in std::mem::take(&mut self.running) {
            out.push(Output::Stop(id));
            if let Some(tag) = run.call.tag {
                settle(tag, Settle::Requeue, out);
            } else {
                let postrun = postrun(now, &run, State::Failure);
                let lost = Failure::builtin("RuntimeError", "Headcount was stopped before the task had ended");
                self.fail(now, run.call, lost, out);
                out.push(postrun);
            }
        }
    }
}

/// The last signal of a run, as in Celery: whoever hears it has heard what became of the task.
pub(super) fn postrun(now: Now, run: &Run, state: State) -> Output {
    Output::Signal(Signal::TaskPostrun {
        call: run.call.info(),
        state: state.as_str(),
        runtime: now.mono.since(run.since.mono),
    })
}

/// The result, if somebody wants it.
fn wanted(call: &Call, state: State, value: Result<Value, Failure>, now: Wall) -> Option<TaskResult> {
    (!call.message.ignore_result).then(|| TaskResult::of(&call.message, state, value, now))
}

pub(super) fn settle(tag: Tag, how: Settle, out: &mut Vec<Output>) {
    out.push(Output::Conclude(Box::new(Conclusion {
        settle: Some((tag, how)),
        ..Conclusion::default()
    })));
}
