//! Whoever looks on.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use headcount_core::node::{MAX_SCHEDULED, Signal};
use headcount_core::span::Span;

use crate::meters::node::{NodeRuntimeLabel, NodeTaskLabel};
use crate::meters::{BrokerLabel, Meters};
use crate::ports::node::Hook;

/// With fewer that wait for their time it is said anew that they are too many.
const ROOM_AGAIN: usize = MAX_SCHEDULED / 10 * 9;

/// Writes the log, each line as Celery's worker would.
#[derive(Debug)]
pub struct Log {
    /// The node's broker: another node may be called the same on another one.
    broker: String,
    /// That too many tasks wait has been said, and is said again when it was over.
    full: AtomicBool,
}

impl Log {
    /// Writes what the node on this broker does.
    pub fn new(broker: impl Into<String>) -> Self {
        Self {
            broker: broker.into(),
            full: AtomicBool::new(false),
        }
    }
}

impl Hook for Log {
    fn on(&self, node: &str, signal: &Signal) {
        let broker = self.broker.as_str();
        match signal {
            Signal::WorkerReady => tracing::debug!(broker, node, "ready"),
            Signal::WorkerShutdown => tracing::info!(
                broker,
                node,
                "the node is leaving: it takes no more tasks, and gives back what it has"
            ),
            Signal::TaskReceived(call) => {
                tracing::debug!(broker, node, task = call.name, id = call.id, "task received")
            }
            Signal::TaskPrerun(call) => {
                // Without its arguments, as Celery's own lines: they may hold what nobody is to read in a log.
                tracing::info!(broker, node, task = call.name, id = call.id, "task begins");
            }
            Signal::TaskPostrun { .. } => {}
            Signal::TaskSuccess { call, runtime } => {
                tracing::info!(broker, node, task = call.name, id = call.id, ?runtime, "task succeeded");
            }
            Signal::TaskFailure { call, failure } => {
                tracing::error!(
                    broker,
                    node,
                    task = call.name,
                    id = call.id,
                    error = failure.repr(),
                    exception = failure.exc_type,
                    panic = failure.is_panic(),
                    "task failed, and is not tried again: who waits for its result is told; see `error`, and send it again if it matters"
                );
            }
            Signal::TaskRetry { call, failure, after } => tracing::warn!(
                broker, node,
                task = call.name,
                id = call.id,
                error = failure.repr(),
                retries = call.retries,
                after = %Span::about(*after),
                "task failed, and is tried again: nothing has to be done, unless it goes on; see `error`"
            ),
            Signal::TaskRevoked {
                call,
                terminated,
                expired,
            } => {
                tracing::info!(
                    broker,
                    node,
                    task = call.name,
                    id = call.id,
                    terminated,
                    expired,
                    "task revoked"
                );
            }
            // A mistake of who sent it, who is told: nothing of Headcount's own has failed.
            Signal::TaskUnknown { name, id } => tracing::warn!(
                broker,
                node,
                task = name,
                id,
                "a task that Headcount does not have: rejected, and its sender is told; send it to the queue of who has it"
            ),
            Signal::TaskRejected(refused) => tracing::warn!(
                broker, node, task = refused.name, id = refused.id, why = %refused.why, "a message that is no task of Celery's: rejected, and gone; see who else sends to the node's queue"
            ),
            Signal::Waiting { tasks, full } => {
                if *tasks < ROOM_AGAIN {
                    self.full.store(false, Ordering::Relaxed);
                } else if *full && !self.full.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        broker,
                        node,
                        tasks,
                        "as many tasks wait for their time as a node may have: it takes no others, whatever they are, until one of \
                         these is due or revoked"
                    );
                }
            }
            Signal::TaskInternalError {
                name,
                id,
                parent_id,
                why,
            } => tracing::error!(
                broker,
                node,
                task = name,
                id,
                after = parent_id,
                why,
                "a task that was to follow another one cannot be sent, and is lost: mend what `why` says, and send it by hand if it matters"
            ),
        }
    }
}

/// Counts.
#[derive(Debug)]
pub struct Count {
    meters: Meters,
    broker: String,
    /// What this node has of the tasks that wait; another one of the broker adds its own.
    waiting: AtomicI64,
}

impl Count {
    /// Counts what the node on this broker does.
    pub fn new(meters: Meters, broker: impl Into<String>) -> Self {
        let broker = broker.into();
        // From zero, so that the first is an increase.
        for counter in [&meters.node.refused, &meters.node.unsent] {
            drop(counter.get_or_create(&BrokerLabel { broker: broker.clone() }));
        }
        drop(
            meters
                .node
                .waiting
                .get_or_create(&BrokerLabel { broker: broker.clone() }),
        );
        Self {
            meters,
            broker,
            waiting: AtomicI64::new(0),
        }
    }

    fn task(&self, task: &str, state: &'static str) {
        let label = NodeTaskLabel {
            broker: self.broker.clone(),
            task: task.to_owned(),
            state,
        };
        self.meters.node.tasks.get_or_create(&label).inc();
    }
}

impl Hook for Count {
    fn on(&self, _: &str, signal: &Signal) {
        match signal {
            Signal::TaskPostrun { call, state, runtime } => {
                self.task(&call.name, state);
                let label = NodeRuntimeLabel {
                    broker: self.broker.clone(),
                    task: call.name.clone(),
                };
                self.meters
                    .node
                    .runtime
                    .get_or_create(&label)
                    .observe(runtime.as_secs_f64());
            }
            // One that was terminated has ended, and was counted as that.
            Signal::TaskRevoked {
                call,
                terminated: false,
                ..
            } => self.task(&call.name, "REVOKED"),
            Signal::TaskUnknown { .. } | Signal::TaskRejected(_) => {
                let broker = self.broker.clone();
                self.meters.node.refused.get_or_create(&BrokerLabel { broker }).inc();
            }
            Signal::Waiting { tasks, .. } => {
                let now = i64::try_from(*tasks).unwrap_or(i64::MAX);
                let before = self.waiting.swap(now, Ordering::Relaxed);
                let broker = self.broker.clone();
                self.meters
                    .node
                    .waiting
                    .get_or_create(&BrokerLabel { broker })
                    .inc_by(now - before);
            }
            Signal::TaskInternalError { .. } => {
                let broker = self.broker.clone();
                self.meters.node.unsent.get_or_create(&BrokerLabel { broker }).inc();
            }
            _ => {}
        }
    }
}
