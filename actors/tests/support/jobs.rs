//! Jobs' ports in memory: a store that several schedulers share, a broker, and kills at any call of either.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use compact_str::CompactString;
use headcount_core::celery::task::{Destination, TaskMessage};
use headcount_core::schedule::{News, Run, RunState};
use headcount_core::time::Wall;

use super::{World, lock};
use crate::clock::Clock;
use crate::ports::jobs::{Claim, Claimed, JobStore, TaskSender};
use crate::ports::{BrokerError, StoreError};

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tests) enum Fate {
    Works,
    /// Nothing is done, and the caller hears so.
    Fails,
    /// It is done, and the caller hears that it failed.
    FailsAfterwards,
    /// The caller dies before it is done.
    KillsBefore,
    /// The caller dies when it is done.
    KillsAfter,
    /// It is done, and takes so many seconds to say so.
    IsSlow(u64),
    /// Nothing is done, and it takes so many seconds to say so.
    FailsLate(u64),
    /// It is done, and the caller's actor panics.
    PanicsAfterwards,
}

type Fates = Box<dyn FnMut(&'static str) -> Fate + Send>;

/// A run with who holds it.
#[derive(Clone, Debug)]
struct Held {
    run: Run,
    owner: String,
    until: Wall,
}

/// What lasts: the store's rows and the broker's queue. Schedulers come and go.
#[derive(Default)]
pub(in crate::tests) struct Lasting {
    jobs: Mutex<BTreeMap<String, (String, Wall)>>,
    rows: Mutex<BTreeMap<(CompactString, Wall), Held>>,
    queue: Mutex<Vec<(Wall, TaskMessage)>>,
    /// What must never happen, and did.
    wrong: Mutex<Vec<String>>,
}

impl Lasting {
    pub(in crate::tests) fn runs_of(&self, job: &str) -> Vec<Run> {
        let rows = lock(&self.rows);
        let of_job = rows.values().filter(|held| held.run.job == job);
        of_job.map(|held| held.run.clone()).collect()
    }

    /// What must never happen, and did.
    pub(in crate::tests) fn wrong(&self) -> Vec<String> {
        lock(&self.wrong).clone()
    }

    /// What the broker has taken, with the moments.
    pub(in crate::tests) fn sent(&self) -> Vec<(Wall, TaskMessage)> {
        lock(&self.queue).clone()
    }
}

/// What one scheduler has of them. When its world stops it is dead: no call of its returns.
#[derive(Clone)]
pub(in crate::tests) struct Door {
    pub(in crate::tests) lasting: Arc<Lasting>,
    pub(in crate::tests) world: Arc<World>,
    owner: String,
    fates: Arc<Mutex<Fates>>,
}

impl Door {
    pub(in crate::tests) fn new(lasting: &Arc<Lasting>, owner: &str) -> Self {
        Self {
            owner: owner.to_owned(),
            lasting: lasting.clone(),
            world: Arc::default(),
            fates: Arc::new(Mutex::new(Box::new(|_| Fate::Works))),
        }
    }

    /// From now on calls fare like this, by their names.
    pub(in crate::tests) fn fare(&self, fates: impl FnMut(&'static str) -> Fate + Send + 'static) {
        *lock(&self.fates) = Box::new(fates);
    }

    async fn call<R>(&self, name: &'static str, act: impl FnOnce() -> R) -> Option<R> {
        self.world.step().await;
        let fate = (lock(&self.fates))(name);
        match fate {
            Fate::Fails => return None,
            Fate::FailsLate(seconds) => {
                super::pass(super::secs(seconds)).await;
                return None;
            }
            Fate::KillsBefore => self.world.stop(),
            _ => {}
        }
        self.world.step().await;
        let done = act();
        match fate {
            Fate::KillsAfter => self.world.stop(),
            Fate::IsSlow(seconds) => super::pass(super::secs(seconds)).await,
            Fate::PanicsAfterwards => panic!("on purpose, after {name}"),
            _ => {}
        }
        self.world.step().await;
        (fate != Fate::FailsAfterwards).then_some(done)
    }

    async fn ask<R>(&self, name: &'static str, act: impl FnOnce(&Lasting) -> R) -> Result<R, StoreError> {
        let done = self.call(name, || act(&self.lasting)).await;
        done.ok_or_else(|| StoreError::Failed("on purpose".into()))
    }
}

#[async_trait]
impl JobStore for Door {
    async fn settled(&self, job: &str, timing: &str, now: Wall) -> Result<Wall, StoreError> {
        self.ask("settled", |lasting| {
            let mut jobs = lock(&lasting.jobs);
            let known = jobs.entry(job.to_owned()).or_insert((timing.to_owned(), now));
            if known.0 != timing {
                *known = (timing.to_owned(), now);
            }
            known.1
        })
        .await
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, StoreError> {
        self.ask("claim", |lasting| {
            let mut rows = lock(&lasting.rows);
            let mut run = claim.run;
            let open = rows
                .values()
                .filter(|held| held.run.job == run.job && held.run.state.is_open())
                .count();
            let open = u32::try_from(open).unwrap();
            if let Some(known) = lock(&lasting.jobs).get_mut(run.job.as_str()) {
                known.1 = known.1.max(run.slot);
            }
            let key = (run.job.clone(), run.slot);
            if rows.contains_key(&key) {
                return Claimed::Taken;
            }
            let full = run.state.is_open() && claim.limit.is_some_and(|limit| open >= limit);
            if full {
                (run.state, run.ended_at) = (RunState::Skipped, Some(run.claimed_at));
            }
            let (owner, until) = (claim.owner, claim.until);
            rows.insert(key, Held { run, owner, until });
            if full { Claimed::Full(open) } else { Claimed::Won }
        })
        .await
    }

    async fn adopt(&self, owner: &str, now: Wall, until: Wall) -> Result<Vec<Run>, StoreError> {
        self.ask("adopt", |lasting| {
            let mut rows = lock(&lasting.rows);
            let mine = rows
                .values_mut()
                .filter(|held| held.is_held() && (held.owner == owner || held.until < now));
            mine.map(|held| {
                (held.owner, held.until) = (owner.to_owned(), until);
                held.run.clone()
            })
            .collect()
        })
        .await
    }

    async fn renew(&self, owner: &str, until: Wall) -> Result<(), StoreError> {
        self.ask("renew", |lasting| {
            let mut rows = lock(&lasting.rows);
            let mine = rows.values_mut().filter(|held| held.is_held() && held.owner == owner);
            mine.for_each(|held| held.until = until);
        })
        .await
    }

    async fn hear(&self, news: Vec<News>) -> Result<Vec<Run>, StoreError> {
        self.ask("hear", |lasting| {
            let mut rows = lock(&lasting.rows);
            let mut changed = Vec::new();
            for one in news {
                let row = rows.values_mut().find(|held| held.run.id == one.id);
                if let Some(held) = row {
                    let before = held.run.clone();
                    held.run.hear(&one);
                    changed.extend(held.run.states_since(&before));
                }
            }
            changed
        })
        .await
    }

    async fn silent(&self, job: &str, before: Wall, limit: usize) -> Result<Vec<Run>, StoreError> {
        self.ask("silent", |lasting| {
            let runs = lasting.runs_of(job).into_iter();
            let silent =
                runs.filter(|run| run.state.is_open() && run.state != RunState::Claimed && run.heard_at < before);
            silent.take(limit).collect()
        })
        .await
    }

    async fn runs(&self, job: &str, limit: usize) -> Result<Vec<Run>, StoreError> {
        self.ask("runs", |lasting| {
            lasting.runs_of(job).into_iter().rev().take(limit).collect()
        })
        .await
    }

    async fn forget_runs(&self, _: Wall, _: usize) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Held {
    fn is_held(&self) -> bool {
        self.run.state == RunState::Claimed || (self.run.own && self.run.state == RunState::Started)
    }
}

#[async_trait]
impl TaskSender for Door {
    fn broker(&self) -> &str {
        "main"
    }

    async fn send(&self, task: &TaskMessage, _: &Destination) -> Result<(), BrokerError> {
        let sent = self
            .call("send", || {
                let rows = lock(&self.lasting.rows);
                let held = rows.values().find(|held| held.run.id == task.id.as_str());
                let rightful = held.is_some_and(|held| held.run.state == RunState::Claimed && held.owner == self.owner);
                if !rightful {
                    lock(&self.lasting.wrong).push(format!("{} sent {held:?}", self.owner));
                }
                lock(&self.lasting.queue).push((Clock.now().wall, task.clone()));
            })
            .await;
        sent.ok_or_else(|| BrokerError::Lost("on purpose".into()))
    }
}
