//! A store in memory that fails, hangs, and stops the world on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use compact_str::CompactString;
use headcount_core::alert::{Incident, IncidentId, Notification, Told, Turn};
use headcount_core::detect::{FleetHistory, WorkerMemory};
use headcount_core::stats::task::TaskRollup;
use headcount_core::time::Wall;

use super::{World, lock};
use crate::ports::{
    Debt, DebtId, IncidentQuery, Kept as Bounds, Owed, Receipt, Remembered, RollupQuery, Store, StoreError,
};

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tests) enum Fate {
    Works,
    /// It fails, and nothing is done.
    Fails,
    /// It is done, and the caller hears that it failed.
    FailsAfterwards,
    /// It is done, and the caller panics.
    PanicsAfterwards,
    /// It is done, and takes so many milliseconds to say so.
    IsSlow(u64),
    /// The world stops before it is done.
    KillsBefore,
    /// The world stops when it is done, and nobody hears of it.
    KillsAfter,
}

/// Decides the fate of each call by its number and name.
type Fates = Box<dyn FnMut(usize, &'static str) -> Fate + Send>;

pub(in crate::tests) struct FakeStore {
    world: Arc<World>,
    fates: Mutex<Fates>,
    calls: Mutex<Vec<&'static str>>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    workers: BTreeMap<CompactString, Vec<WorkerMemory>>,
    histories: BTreeMap<CompactString, FleetHistory>,
    incidents: BTreeMap<IncidentId, Incident>,
    debts: Vec<Debt>,
    last_debt: i64,
    receipts: BTreeMap<(IncidentId, CompactString), Receipt>,
    rollups: Vec<TaskRollup>,
}

impl FakeStore {
    pub(in crate::tests) fn new(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world: world.clone(),
            fates: Mutex::new(Box::new(|_, _| Fate::Works)),
            calls: Mutex::default(),
            kept: Mutex::default(),
        })
    }

    /// From now on calls fare like this.
    pub(in crate::tests) fn fare(&self, fates: impl FnMut(usize, &'static str) -> Fate + Send + 'static) {
        *lock(&self.fates) = Box::new(fates);
    }

    /// The names of all calls so far.
    pub(in crate::tests) fn calls(&self) -> Vec<&'static str> {
        lock(&self.calls).clone()
    }

    pub(in crate::tests) fn all_incidents(&self) -> Vec<Incident> {
        lock(&self.kept).incidents.values().cloned().collect()
    }

    pub(in crate::tests) fn workers_of(&self, fleet: &str) -> Vec<WorkerMemory> {
        lock(&self.kept).workers.get(fleet).cloned().unwrap_or_default()
    }

    /// All roll-ups of tasks, in the order in which they were written.
    pub(in crate::tests) fn rollups(&self) -> Vec<TaskRollup> {
        lock(&self.kept).rollups.clone()
    }

    /// All debts that are not paid.
    pub(in crate::tests) fn debts(&self) -> Vec<Debt> {
        lock(&self.kept).debts.clone()
    }

    async fn call<T>(
        &self,
        name: &'static str,
        work: impl FnOnce(&mut Kept) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.world.step().await;
        let number = {
            let mut calls = lock(&self.calls);
            calls.push(name);
            calls.len() - 1
        };
        let fate = lock(&self.fates)(number, name);
        match fate {
            Fate::Fails => return Err(StoreError::Failed("as the test says".to_owned())),
            Fate::KillsBefore => {
                self.world.stop();
                self.world.step().await;
            }
            _ => {}
        }
        let done = work(&mut lock(&self.kept));
        match fate {
            Fate::FailsAfterwards => return Err(StoreError::Failed("as the test says, and yet it is done".to_owned())),
            Fate::PanicsAfterwards => panic!("as the test says"),
            Fate::IsSlow(ms) => tokio::time::sleep(super::ms(ms)).await,
            Fate::KillsAfter => self.world.stop(),
            _ => {}
        }
        self.world.step().await;
        done
    }
}

impl Kept {
    fn put(&mut self, owed: Owed) {
        self.last_debt += 1;
        let id = DebtId(self.last_debt);
        self.debts.push(Debt { id, owed });
    }
}

#[async_trait]
impl Store for FakeStore {
    async fn load(&self) -> Result<Remembered, StoreError> {
        let load = |kept: &mut Kept| {
            let wanted = |i: &&Incident| i.is_open() || i.told.as_ref().is_some_and(|told| !told.recovered);
            Ok(Remembered {
                workers: kept.workers.clone().into_iter().collect(),
                histories: kept.histories.clone().into_iter().collect(),
                incidents: kept.incidents.values().filter(wanted).cloned().collect(),
            })
        };
        self.call("load", load).await
    }

    async fn save_workers(&self, fleet: &str, workers: Vec<WorkerMemory>) -> Result<(), StoreError> {
        let fleet = CompactString::from(fleet);
        self.call("save_workers", |kept| {
            kept.workers.insert(fleet, workers);
            Ok(())
        })
        .await
    }

    async fn save_history(&self, fleet: &str, history: FleetHistory) -> Result<(), StoreError> {
        let fleet = CompactString::from(fleet);
        self.call("save_history", |kept| {
            kept.histories.insert(fleet, history);
            Ok(())
        })
        .await
    }

    async fn save_incidents(&self, incidents: Vec<Incident>) -> Result<(), StoreError> {
        self.call("save_incidents", |kept| {
            for mut incident in incidents {
                let known = kept.incidents.get(&incident.id);
                incident.told = known.and_then(|known| known.told.clone());
                kept.incidents.insert(incident.id.clone(), incident);
            }
            Ok(())
        })
        .await
    }

    async fn tell(&self, incident: IncidentId, told: Told, owed: Vec<Owed>) -> Result<(), StoreError> {
        self.call("tell", |kept| {
            let known = kept.incidents.get_mut(&incident);
            let known = known.ok_or_else(|| StoreError::Failed(format!("there is no incident {incident}")))?;
            known.told = Some(told);
            owed.into_iter().for_each(|owed| kept.put(owed));
            Ok(())
        })
        .await
    }

    async fn owed(&self, notifier: &str, limit: usize) -> Result<Vec<Debt>, StoreError> {
        let notifier = CompactString::from(notifier);
        self.call("owed", |kept| {
            let own = kept.debts.iter().filter(|debt| debt.owed.notifier == notifier);
            Ok(own.take(limit).cloned().collect())
        })
        .await
    }

    async fn paid(&self, debt: DebtId, _: Wall, receipt: Option<Receipt>) -> Result<(), StoreError> {
        let world = self.world.clone();
        self.call("paid", |kept| {
            let Some(at) = kept.debts.iter().position(|one| one.id == debt) else {
                return Ok(());
            };
            let owed = kept.debts.remove(at).owed;
            world.known(&owed.notifier);
            if let Some(receipt) = receipt {
                let key = (owed.notice.incident.id, owed.notifier);
                kept.receipts.entry(key).or_insert(receipt);
            }
            Ok(())
        })
        .await
    }

    async fn unpaid(&self, _: DebtId, _: String) -> Result<(), StoreError> {
        self.call("unpaid", |_| Ok(())).await
    }

    async fn merge(&self, debts: Vec<DebtId>, into: Owed) -> Result<(), StoreError> {
        self.call("merge", |kept| {
            let owed = |id: &DebtId| kept.debts.iter().any(|debt| debt.id == *id);
            if !debts.iter().all(owed) {
                return Err(StoreError::Failed("not owed any more".to_owned()));
            }
            kept.debts.retain(|debt| !debts.contains(&debt.id));
            kept.put(into);
            Ok(())
        })
        .await
    }

    async fn waive(&self, debts: Vec<DebtId>) -> Result<(), StoreError> {
        self.call("waive", |kept| {
            kept.debts.retain(|debt| !debts.contains(&debt.id));
            Ok(())
        })
        .await
    }

    async fn disown(&self, notifiers: Vec<CompactString>) -> Result<u64, StoreError> {
        self.call("disown", |kept| {
            let before = kept.debts.len();
            kept.debts.retain(|debt| notifiers.contains(&debt.owed.notifier));
            Ok((before - kept.debts.len()) as u64)
        })
        .await
    }

    async fn receipt(&self, incident: &IncidentId, notifier: &str) -> Result<Option<Receipt>, StoreError> {
        let key = (incident.clone(), CompactString::from(notifier));
        self.call("receipt", |kept| Ok(kept.receipts.get(&key).cloned())).await
    }

    async fn incidents(&self, _: IncidentQuery) -> Result<Vec<(Incident, Vec<Notification>)>, StoreError> {
        unreachable!("actors do not read the history")
    }

    async fn incident(&self, _: &IncidentId) -> Result<Option<(Incident, Vec<Notification>)>, StoreError> {
        unreachable!("actors do not read the history")
    }

    async fn add_task_rollups(&self, rollups: Vec<TaskRollup>) -> Result<(), StoreError> {
        self.call("add_task_rollups", |kept| {
            kept.rollups.extend(rollups);
            Ok(())
        })
        .await
    }

    async fn task_rollups(&self, _: RollupQuery) -> Result<Vec<TaskRollup>, StoreError> {
        unreachable!("no actor reads them")
    }

    async fn thin_task_rollups(&self, _: Bounds) -> Result<bool, StoreError> {
        self.call("thin_task_rollups", |_| Ok(false)).await
    }

    async fn forget_before(&self, _: Wall) -> Result<(), StoreError> {
        self.call("forget_before", |_| Ok(())).await
    }
}

/// What is owed, in short: notifier, act and turn.
pub(in crate::tests) fn turns(debts: &[Debt]) -> Vec<Turn> {
    debts.iter().map(|debt| debt.owed.notice.turn).collect()
}
