//! The store as actors see it: each call goes through, and what fails is told here, in one place and for all of them.
//!
//! Whoever calls knows what a failure means for its own work, and tries again; none of them knows whether the store fails for
//! others too, and for how long it has. What is said of it, `trouble.rs` decides; what metrics, `/healthz` and `headcount status` show
//! of it is set here as well. What nobody tries again is passed through:
//! a client that reads over HTTP is told itself, and so is whoever starts the program.

mod trouble;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use compact_str::CompactString;
use headcount_core::alert::{Incident, IncidentId, Notification, Told};
use headcount_core::detect::{FleetHistory, WorkerMemory};
use headcount_core::schedule::{News, Run};
use headcount_core::span::Span;
use headcount_core::stats::task::TaskRollup;
use headcount_core::time::{Now, Wall};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::meters::store::StoreMeters;
use crate::ports::jobs::{Claim, Claimed, JobStore, SharedJobStore};
use crate::ports::{
    Debt, DebtId, IncidentQuery, Kept, Owed, Receipt, Remembered, RollupQuery, SharedStore, Store, StoreError,
    StoreTrouble, StoreView,
};
use crate::vitals;
#[cfg(test)]
pub(crate) use trouble::Harm;
pub(crate) use trouble::Said;
use trouble::{Call, Trouble};
pub use trouble::{PATIENCE, SAID_AGAIN};

/// Watches over one store, whichever of its ports is called.
#[derive(Debug)]
pub struct StoreWatch {
    /// Where the store is, for people.
    place: String,
    trouble: Mutex<Trouble>,
    meters: StoreMeters,
    shown: watch::Sender<Option<StoreTrouble>>,
    #[cfg(test)]
    pub(crate) said: Mutex<Vec<(Said, Option<&'static str>)>>,
}

impl StoreWatch {
    /// A watch over the store at `place`, which is for people and holds no secret.
    pub fn new(place: impl Into<String>, meters: StoreMeters) -> Arc<Self> {
        Arc::new(Self {
            place: place.into(),
            trouble: Mutex::default(),
            meters,
            shown: watch::Sender::default(),
            #[cfg(test)]
            said: Mutex::default(),
        })
    }

    /// How the store stands, at any time.
    pub fn view(&self) -> StoreView {
        self.shown.subscribe()
    }

    /// The store, watched.
    pub fn store(self: &Arc<Self>, store: SharedStore) -> SharedStore {
        Arc::new(Watched {
            watch: self.clone(),
            store,
        })
    }

    /// The same store's port for jobs, watched.
    pub fn jobs(self: &Arc<Self>, store: SharedJobStore) -> SharedJobStore {
        Arc::new(Watched {
            watch: self.clone(),
            store,
        })
    }

    /// Notes how a call ended; `of` is the fleet, the notifier or the job that it was for, if it was for one.
    fn note<T>(&self, call: Call, of: &str, result: Result<T, StoreError>) -> Result<T, StoreError> {
        let now = Clock.now();
        let said = {
            // A panic cannot leave it half changed in a way that matters: at worst something is said once more.
            let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
            let said = match &result {
                Ok(_) => trouble.worked(now.mono, call, of),
                Err(_) => trouble.failed(now.mono, call, of),
            };
            self.show(now, &trouble, result.as_ref().err());
            said
        };
        if let Err(error) = &result {
            tracing::debug!(%error, ?call, of, "a call of the store failed");
        }
        if let Some(said) = said {
            // It is the store's trouble, not that of the actor which happened to ask.
            let _nobody = vitals::off_duty();
            self.say(&said, result.as_ref().err());
        }
        result
    }

    /// Shows how the store stands. Who calls holds the lock, so that what is newer is not overwritten.
    fn show(&self, now: Now, trouble: &Trouble, error: Option<&StoreError>) {
        let since = trouble.since();
        self.meters.failing.set(u64::from(since.is_some()));
        self.meters.failures.inc_by(u64::from(error.is_some()));
        if since.is_none() && self.shown.borrow().is_none() {
            return;
        }
        let harms = trouble.harms();
        self.shown.send_modify(|shown| {
            let before = shown.take().map(|shown| shown.error);
            *shown = since.map(|since| StoreTrouble {
                since: now.wall_at(since),
                error: error.map(ToString::to_string).or(before).unwrap_or_default(),
                meanwhile: harms.iter().map(|harm| harm.in_words()).collect(),
                alerts_wait: harms.iter().any(|harm| harm.holds_alerts()),
            });
        });
    }

    fn say(&self, said: &Said, error: Option<&StoreError>) {
        #[cfg(test)]
        {
            let of = vitals::duty().map(|duty| duty.kind);
            self.said.lock().unwrap().push((said.clone(), of));
        }
        let store = &self.place;
        let error = error.map(tracing::field::display);
        match said {
            Said::Begins(harm) => {
                tracing::warn!(store, error, "the store fails, trying again: {}", harm.in_words());
            }
            Said::Lasts(lasted, harms) => {
                let meanwhile: Vec<&str> = harms.iter().map(|harm| harm.in_words()).collect();
                tracing::error!(
                    store,
                    error,
                    meanwhile = meanwhile.join("; "),
                    lasted = %Span::about(*lasted),
                    "the store goes on failing, and is tried again: make room on its disk, or mend what `error` says; Headcount \
                     goes on by itself then, and until then holds what `meanwhile` says"
                );
            }
            Said::Over(lasted) => tracing::info!(store, lasted = %Span::about(*lasted), "the store works again"),
        }
    }
}

/// One port of a watched store.
struct Watched<S> {
    watch: Arc<StoreWatch>,
    store: S,
}

#[async_trait]
impl Store for Watched<SharedStore> {
    async fn load(&self) -> Result<Remembered, StoreError> {
        self.watch.note(Call::Load, "", self.store.load().await)
    }

    async fn load_incidents(&self) -> Result<Vec<Incident>, StoreError> {
        let loaded = self.store.load_incidents().await;
        self.watch.note(Call::LoadIncidents, "", loaded)
    }

    async fn save_workers(&self, fleet: &str, workers: Vec<WorkerMemory>) -> Result<(), StoreError> {
        let saved = self.store.save_workers(fleet, workers).await;
        self.watch.note(Call::SaveWorkers, fleet, saved)
    }

    async fn save_history(&self, fleet: &str, history: FleetHistory) -> Result<(), StoreError> {
        let saved = self.store.save_history(fleet, history).await;
        self.watch.note(Call::SaveHistory, fleet, saved)
    }

    async fn save_incidents(&self, incidents: Vec<Incident>) -> Result<(), StoreError> {
        let saved = self.store.save_incidents(incidents).await;
        self.watch.note(Call::SaveIncidents, "", saved)
    }

    async fn tell(&self, incident: IncidentId, told: Told, owed: Vec<Owed>) -> Result<(), StoreError> {
        let of = incident.to_string();
        let noted = self.store.tell(incident, told, owed).await;
        self.watch.note(Call::Tell, &of, noted)
    }

    async fn owed(&self, notifier: &str, limit: usize) -> Result<Vec<Debt>, StoreError> {
        let owed = self.store.owed(notifier, limit).await;
        self.watch.note(Call::Owed, notifier, owed)
    }

    async fn paid(&self, debt: DebtId, at: Wall, receipt: Option<Receipt>) -> Result<(), StoreError> {
        let noted = self.store.paid(debt, at, receipt).await;
        self.watch.note(Call::Paid, "", noted)
    }

    async fn unpaid(&self, debt: DebtId, error: String) -> Result<(), StoreError> {
        let noted = self.store.unpaid(debt, error).await;
        self.watch.note(Call::Unpaid, "", noted)
    }

    async fn merge(&self, debts: Vec<DebtId>, into: Owed) -> Result<(), StoreError> {
        let merged = self.store.merge(debts, into).await;
        self.watch.note(Call::Merge, "", merged)
    }

    async fn waive(&self, debts: Vec<DebtId>) -> Result<(), StoreError> {
        let waived = self.store.waive(debts).await;
        self.watch.note(Call::Waive, "", waived)
    }

    async fn disown(&self, notifiers: Vec<CompactString>) -> Result<u64, StoreError> {
        self.store.disown(notifiers).await
    }

    async fn receipt(&self, incident: &IncidentId, notifier: &str) -> Result<Option<Receipt>, StoreError> {
        let receipt = self.store.receipt(incident, notifier).await;
        self.watch.note(Call::Receipt, notifier, receipt)
    }

    async fn incidents(&self, query: IncidentQuery) -> Result<Vec<(Incident, Vec<Notification>)>, StoreError> {
        self.store.incidents(query).await
    }

    async fn incident(&self, id: &IncidentId) -> Result<Option<(Incident, Vec<Notification>)>, StoreError> {
        self.store.incident(id).await
    }

    async fn add_task_rollups(&self, rollups: Vec<TaskRollup>) -> Result<(), StoreError> {
        let added = self.store.add_task_rollups(rollups).await;
        self.watch.note(Call::AddTaskRollups, "", added)
    }

    async fn task_rollups(&self, query: RollupQuery) -> Result<Vec<TaskRollup>, StoreError> {
        self.store.task_rollups(query).await
    }

    async fn thin_task_rollups(&self, kept: Kept) -> Result<bool, StoreError> {
        let thinned = self.store.thin_task_rollups(kept).await;
        self.watch.note(Call::ThinTaskRollups, "", thinned)
    }

    async fn forget_before(&self, before: Wall) -> Result<(), StoreError> {
        let forgotten = self.store.forget_before(before).await;
        self.watch.note(Call::ForgetBefore, "", forgotten)
    }
}

#[async_trait]
impl JobStore for Watched<SharedJobStore> {
    async fn settled(&self, job: &str, timing: &str, now: Wall) -> Result<Wall, StoreError> {
        let settled = self.store.settled(job, timing, now).await;
        self.watch.note(Call::Settled, job, settled)
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, StoreError> {
        let job = claim.run.job.clone();
        let claimed = self.store.claim(claim).await;
        self.watch.note(Call::Claim, &job, claimed)
    }

    async fn adopt(&self, owner: &str, now: Wall, until: Wall) -> Result<Vec<Run>, StoreError> {
        let adopted = self.store.adopt(owner, now, until).await;
        self.watch.note(Call::Adopt, "", adopted)
    }

    async fn renew(&self, owner: &str, until: Wall) -> Result<(), StoreError> {
        let renewed = self.store.renew(owner, until).await;
        self.watch.note(Call::Renew, "", renewed)
    }

    async fn hear(&self, news: Vec<News>) -> Result<Vec<Run>, StoreError> {
        let heard = self.store.hear(news).await;
        self.watch.note(Call::Hear, "", heard)
    }

    async fn silent(&self, job: &str, before: Wall, limit: usize) -> Result<Vec<Run>, StoreError> {
        let silent = self.store.silent(job, before, limit).await;
        self.watch.note(Call::Silent, job, silent)
    }

    async fn runs(&self, job: &str, limit: usize) -> Result<Vec<Run>, StoreError> {
        self.store.runs(job, limit).await
    }

    async fn forget_runs(&self, before: Wall, keep: usize) -> Result<(), StoreError> {
        let forgotten = self.store.forget_runs(before, keep).await;
        self.watch.note(Call::ForgetRuns, "", forgotten)
    }
}
