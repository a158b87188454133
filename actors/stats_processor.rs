//! `StatsProcessor`: writes the roll-ups of task events into the store, and keeps what is in there within bounds.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Supervised, WrapFuture};
use headcount_core::stats::task::{TaskKey, TaskRollup};

use crate::clock::Clock;
use crate::messages::TasksCounted;
use crate::meters::Meters;
use crate::ports::{Kept, SharedStore};

/// The most roll-ups that are held while the store fails or is slow; what comes beyond is dropped, counted and logged. Those of
/// one minute are one, so a hundred kinds of tasks make so many in about three hours. One costs some 500 bytes.
const MAX_WAITING: usize = 20_000;
/// So many are written at once: some 10 ms in which the store does nothing else.
const BATCH: usize = 1_000;
/// How long after a failure of the store it is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long roll-ups, and incidents that are over and told, are kept.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long the minutes are kept; then they are added up to hours.
const MINUTES_FOR: Duration = Duration::from_secs(2 * 24 * 3600);
/// How much room the roll-ups may take in the store, in bytes. A hundred kinds of tasks with four outcomes each take about
/// 100 MB of minutes and 20 MB of hours.
const MAX_STORED: u64 = 256 << 20;
/// How often what is older is deleted, and minutes are made hours.
const CLEAN_EVERY: Duration = Duration::from_secs(600);
/// So many roll-ups written are a reason to do so at once: some 50 MB, by which they may exceed their bound.
const CLEAN_AFTER: usize = 100_000;
/// So many steps of that are taken at once, with others in between; the rest waits for the next time.
const MAX_STEPS: usize = 200;

/// The actor.
pub struct StatsProcessor {
    store: SharedStore,
    meters: Meters,
    waiting: BTreeMap<TaskKey, TaskRollup>,
    /// How many roll-ups are being written: they come back if that fails.
    writing: usize,
    saving: bool,
    /// How many have been written since the store was last tidied.
    written: usize,
    cleaning: bool,
    /// Events that were dropped since the store last took some.
    dropped: u64,
}

impl StatsProcessor {
    /// A processor with nothing to write.
    pub fn new(store: SharedStore, meters: Meters) -> Self {
        Self {
            store,
            meters,
            waiting: BTreeMap::new(),
            writing: 0,
            saving: false,
            written: 0,
            cleaning: false,
            dropped: 0,
        }
    }

    fn save(&mut self, context: &mut Context<Self>) {
        if self.saving || self.waiting.is_empty() {
            return;
        }
        self.saving = true;
        let rollups = self.take_batch();
        self.writing = rollups.len();
        let store = self.store.clone();
        let saving = async move { (store.add_task_rollups(rollups.clone()).await, rollups) };
        context.spawn(saving.into_actor(self).map(|(saved, rollups), actor, context| {
            actor.writing = 0;
            match saved {
                Ok(()) => {
                    actor.saving = false;
                    actor.written += rollups.len();
                    if actor.written >= CLEAN_AFTER {
                        actor.clean(context);
                    }
                    let dropped = std::mem::take(&mut actor.dropped);
                    if dropped > 0 {
                        tracing::warn!(
                            dropped,
                            "counts of tasks are written again; so many events are missing in them"
                        );
                    }
                    actor.save(context);
                }
                Err(_) => {
                    actor.take(rollups);
                    context.run_later(RETRY, |actor, context| {
                        actor.saving = false;
                        actor.save(context);
                    });
                }
            }
        }));
    }

    /// The oldest that wait.
    fn take_batch(&mut self) -> Vec<TaskRollup> {
        match self.waiting.keys().nth(BATCH).cloned() {
            None => std::mem::take(&mut self.waiting).into_values().collect(),
            Some(next) => {
                let rest = self.waiting.split_off(&next);
                std::mem::replace(&mut self.waiting, rest).into_values().collect()
            }
        }
    }

    /// Adds them to those that wait, as many as there is room for.
    fn take(&mut self, rollups: Vec<TaskRollup>) {
        let mut lost = 0;
        for rollup in rollups {
            let full = self.waiting.len() + self.writing >= MAX_WAITING;
            match self.waiting.get_mut(&rollup.key) {
                Some(waiting) => waiting.merge(&rollup),
                None if full => lost += rollup.count,
                None => drop(self.waiting.insert(rollup.key.clone(), rollup)),
            }
        }
        if lost > 0 {
            if self.dropped == 0 {
                tracing::error!(
                    most = MAX_WAITING,
                    "the store has not taken the counts of tasks for long: further ones are lost until it does; see to the store"
                );
            }
            self.dropped += lost;
            self.meters.task_counts_lost.inc_by(lost);
        }
    }

    fn clean(&mut self, context: &mut Context<Self>) {
        if std::mem::replace(&mut self.cleaning, true) {
            return;
        }
        self.written = 0;
        let store = self.store.clone();
        let cleaning = async move {
            let now = Clock.now().wall;
            store.forget_before(now - KEPT_FOR).await?;
            let kept = Kept {
                minutes_from: now - MINUTES_FOR,
                from: now - KEPT_FOR,
                bytes: MAX_STORED,
            };
            for _ in 0..MAX_STEPS {
                if !store.thin_task_rollups(kept).await? {
                    break;
                }
            }
            Ok::<_, crate::ports::StoreError>(())
        };
        context.spawn(cleaning.into_actor(self).map(|_, actor, _| {
            actor.cleaning = false;
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
        (self.saving, self.writing, self.cleaning) = (false, 0, false);
    }
}

impl Handler<TasksCounted> for StatsProcessor {
    type Result = ();

    fn handle(&mut self, message: TasksCounted, context: &mut Context<Self>) {
        self.take(message.0);
        self.save(context);
    }
}
