//! The embedded store: one SQLite file beside the program, and nothing to install.

mod aside;
mod incidents;
mod jobs;
mod outbox;
mod rollups;
mod schema;
mod workers;
mod writer;

use async_trait::async_trait;
use compact_str::CompactString;
use headcount_actors::ports::{
    Debt, DebtId, IncidentQuery, Kept, Owed, Receipt, Remembered, RollupQuery, Store, StoreError,
};
use headcount_core::alert::{Incident, IncidentId, Notification, Told};
use headcount_core::detect::{FleetHistory, WorkerMemory};
use headcount_core::stats::task::TaskRollup;
use headcount_core::time::Wall;
use rusqlite::Connection;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Place;
use writer::{Writer, failed};

/// See the module.
#[derive(Debug)]
pub(super) struct Sqlite {
    writer: Writer,
}

impl Sqlite {
    pub(super) fn open(place: &Place) -> Result<Self, StoreError> {
        Ok(Self {
            writer: Writer::start(schema::open(place)?)?,
        })
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn load(&self) -> Result<Remembered, StoreError> {
        self.writer
            .run(|db| {
                let (workers, histories) = workers::load(db)?;
                Ok(Remembered {
                    workers,
                    histories,
                    incidents: incidents::to_load(db)?,
                })
            })
            .await
    }

    async fn load_incidents(&self) -> Result<Vec<Incident>, StoreError> {
        self.writer.run(incidents::to_load).await
    }

    async fn save_workers(&self, fleet: &str, workers: Vec<WorkerMemory>) -> Result<(), StoreError> {
        let fleet = fleet.to_owned();
        // Not on the writer's thread, where a message that is to be sent would wait for it: it takes the most time.
        let document = tokio::task::spawn_blocking(move || workers::document(&workers)).await;
        let document = document.map_err(|error| StoreError::Failed(format!("cannot write workers: {error}")))??;
        self.writer
            .run(move |db| workers::save(db, &fleet, document.as_deref()))
            .await
    }

    async fn save_history(&self, fleet: &str, history: FleetHistory) -> Result<(), StoreError> {
        let fleet = fleet.to_owned();
        self.writer
            .run(move |db| workers::save_history(db, &fleet, &history))
            .await
    }

    async fn save_incidents(&self, incidents: Vec<Incident>) -> Result<(), StoreError> {
        self.writer
            .run(move |db| incidents.into_iter().try_for_each(|one| incidents::save(db, one)))
            .await
    }

    async fn tell(&self, incident: IncidentId, told: Told, owed: Vec<Owed>) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                incidents::set_told(db, &incident, &told)?;
                owed.iter().try_for_each(|one| outbox::put(db, &incident, one))
            })
            .await
    }

    async fn owed(&self, notifier: &str, limit: usize) -> Result<Vec<Debt>, StoreError> {
        let notifier = CompactString::from(notifier);
        self.writer.run(move |db| outbox::owed(db, &notifier, limit)).await
    }

    async fn paid(&self, debt: DebtId, at: Wall, receipt: Option<Receipt>) -> Result<(), StoreError> {
        self.writer.run(move |db| outbox::paid(db, debt, at, receipt)).await
    }

    async fn unpaid(&self, debt: DebtId, error: String) -> Result<(), StoreError> {
        self.writer.run(move |db| outbox::unpaid(db, debt, &error)).await
    }

    async fn merge(&self, debts: Vec<DebtId>, into: Owed) -> Result<(), StoreError> {
        self.writer.run(move |db| outbox::merge(db, &debts, &into)).await
    }

    async fn waive(&self, debts: Vec<DebtId>) -> Result<(), StoreError> {
        self.writer.run(move |db| outbox::waive(db, &debts)).await
    }

    async fn disown(&self, notifiers: Vec<CompactString>) -> Result<u64, StoreError> {
        self.writer.run(move |db| outbox::disown(db, &notifiers)).await
    }

    async fn receipt(&self, incident: &IncidentId, notifier: &str) -> Result<Option<Receipt>, StoreError> {
        let (incident, notifier) = (incident.clone(), notifier.to_owned());
        self.writer
            .run(move |db| outbox::receipt(db, &incident, &notifier))
            .await
    }

    async fn incidents(&self, query: IncidentQuery) -> Result<Vec<(Incident, Vec<Notification>)>, StoreError> {
        self.writer
            .run(move |db| {
                let found = incidents::list(db, &query)?;
                found.into_iter().map(|one| with_history(db, one)).collect()
            })
            .await
    }

    async fn incident(&self, id: &IncidentId) -> Result<Option<(Incident, Vec<Notification>)>, StoreError> {
        let id = id.clone();
        self.writer
            .run(move |db| incidents::one(db, &id)?.map(|one| with_history(db, one)).transpose())
            .await
    }

    async fn add_task_rollups(&self, rollups: Vec<TaskRollup>) -> Result<(), StoreError> {
        self.writer.run(move |db| rollups::add(db, rollups)).await
    }

    async fn task_rollups(&self, query: RollupQuery) -> Result<Vec<TaskRollup>, StoreError> {
        self.writer.run(move |db| rollups::list(db, &query)).await
    }

    async fn thin_task_rollups(&self, kept: Kept) -> Result<bool, StoreError> {
        self.writer.run(move |db| rollups::thin(db, kept)).await
    }

    async fn forget_before(&self, before: Wall) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                incidents::forget_before(db, before)?;
                aside::forget_before(db, before)
            })
            .await
    }
}

fn with_history(db: &Connection, incident: Incident) -> Result<(Incident, Vec<Notification>), StoreError> {
    let history = outbox::history(db, &incident.id)?;
    Ok((incident, history))
}

/// A document for a column.
fn encode<T: Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Failed(format!("cannot write a document: {error}")))
}

/// A document from a column.
fn decode<T: DeserializeOwned>(text: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(text).map_err(|error| StoreError::Failed(format!("cannot read a document: {error}")))
}

/// How many rows to read, in the database's own type.
fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod damage;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod tests;
