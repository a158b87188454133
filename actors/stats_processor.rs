//! `StatsProcessor`: writes the counts of tasks into the store.

use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Supervised, WrapFuture};
use headcount_core::stats::TaskCount;

use crate::clock::Clock;
use crate::messages::TasksCounted;
use crate::meters::Meters;
use crate::ports::SharedStore;

/// The most counts that are held while the store fails or is slow; what comes beyond is dropped, counted and logged. A
/// count costs about 100 bytes; a hundred kinds of tasks make so many in about a quarter of an hour.
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
    meters: Meters,
    waiting: Vec<TaskCount>,
    /// How many counts are being written: they come back if that fails.
    writing: usize,
    saving: bool,
    /// Counts that were dropped since the store last took some.
    dropped: u64,
}

impl StatsProcessor {
    /// A processor with nothing to write.
    pub fn new(store: SharedStore, meters: Meters) -> Self {
        Self {
            store,
            meters,
            waiting: Vec::new(),
            writing: 0,
            saving: false,
            dropped: 0,
        }
    }

    fn save(&mut self, context: &mut Context<Self>) {
        if self.saving || self.waiting.is_empty() {
            return;
        }
        self.saving = true;
        let counts = std::mem::take(&mut self.waiting);
        self.writing = counts.len();
        let store = self.store.clone();
        let saving = async move { (store.add_task_counts(counts.clone()).await, counts) };
        context.spawn(saving.into_actor(self).map(|(saved, mut counts), actor, context| {
            actor.writing = 0;
            match saved {
                Ok(()) => {
                    actor.saving = false;
                    let dropped = std::mem::take(&mut actor.dropped);
                    if dropped > 0 {
                        tracing::warn!(
                            dropped,
                            "counts of tasks are written again; so many were lost meanwhile"
                        );
                    }
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
            }
        }));
    }

    /// Takes as many as there is room for.
    fn take(&mut self, mut counts: Vec<TaskCount>) {
        let room = MAX_WAITING.saturating_sub(self.waiting.len() + self.writing);
        let lost = counts.len().saturating_sub(room) as u64;
        counts.truncate(room);
        self.waiting.append(&mut counts);
        if lost > 0 {
            if self.dropped == 0 {
                tracing::error!(
                    most = MAX_WAITING,
                    "the store has failed for long: counts of tasks are lost from now on"
                );
            }
            self.dropped += lost;
            self.meters.task_counts_lost.inc_by(lost);
        }
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
        (self.saving, self.writing) = (false, 0);
    }
}

impl Handler<TasksCounted> for StatsProcessor {
    type Result = ();

    fn handle(&mut self, message: TasksCounted, context: &mut Context<Self>) {
        self.take(message.0);
        self.save(context);
    }
}
