//! `StatsProcessor`: writes the counts of tasks into the store.

use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Supervised, WrapFuture};
use headcount_core::stats::TaskCount;

use crate::clock::Clock;
use crate::messages::TasksCounted;
use crate::ports::SharedStore;

/// The most counts that wait for a store that fails; beyond it the lanes keep theirs, and go on adding up.
const MAX_WAITING: usize = 100_000;
/// How long after a failure of the store it is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long counts, and incidents that are over and told, are kept.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often what is older is deleted.
const CLEAN_EVERY: Duration = Duration::from_secs(3600);

/// The actor.
pub struct StatsProcessor {
    store: SharedStore,
    waiting: Vec<TaskCount>,
    saving: bool,
}

impl StatsProcessor {
    /// A processor with nothing to write.
    pub fn new(store: SharedStore) -> Self {
        Self {
            store,
            waiting: Vec::new(),
            saving: false,
        }
    }

    fn save(&mut self, context: &mut Context<Self>) {
        if self.saving || self.waiting.is_empty() {
            return;
        }
        self.saving = true;
        let counts = std::mem::take(&mut self.waiting);
        let store = self.store.clone();
        let saving = async move { (store.add_task_counts(counts.clone()).await, counts) };
        context.spawn(
            saving
                .into_actor(self)
                .map(|(saved, mut counts), actor, context| match saved {
                    Ok(()) => {
                        actor.saving = false;
                        actor.save(context);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot write the counts of tasks, trying again");
                        counts.append(&mut actor.waiting);
                        actor.waiting = counts;
                        context.run_later(RETRY, |actor, context| {
                            actor.saving = false;
                            actor.save(context);
                        });
                    }
                }),
        );
    }

    fn clean(&mut self, context: &mut Context<Self>) {
        let store = self.store.clone();
        let cleaning = async move { store.forget_before(Clock.now().wall - KEPT_FOR).await };
        context.spawn(cleaning.into_actor(self).map(|cleaned, _, _| {
            if let Err(error) = cleaned {
                tracing::warn!(%error, "cannot delete what is too old, trying again in an hour");
            }
        }));
    }
}

impl Actor for StatsProcessor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.run_interval(CLEAN_EVERY, Self::clean);
    }
}

impl Supervised for StatsProcessor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        // What waited was taken over from the lanes, and is not lost with a panic; a write that was under way either
        // happened or is gone: at most the counts of one second.
        self.saving = false;
    }
}

impl Handler<TasksCounted> for StatsProcessor {
    type Result = ();

    fn handle(&mut self, message: TasksCounted, context: &mut Context<Self>) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.extend(message.0);
        } else {
            tracing::error!(
                lost = message.0.len(),
                "the store has failed for long: counts of tasks are lost"
            );
        }
        self.save(context);
    }
}
