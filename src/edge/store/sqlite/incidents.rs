//! Incidents: one document each.

use headcount_actors::ports::{IncidentQuery, StoreError};
use headcount_core::alert::{Incident, IncidentId, Scene, Told};
use headcount_core::time::Wall;
use rusqlite::{Connection, Params, named_params, params};

use super::{decode, encode, failed, rows};

/// Inserts or replaces one. What has been told of it stays as it is.
pub(super) fn save(db: &Connection, mut incident: Incident) -> Result<(), StoreError> {
    bound(&mut incident);
    incident.told = None;
    let doc = encode(&incident)?;
    let sql = "INSERT INTO incidents (id, subject, opened_at, resolved_at, doc) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (id) DO UPDATE SET subject = excluded.subject, opened_at = excluded.opened_at,
                   resolved_at = excluded.resolved_at, doc = excluded.doc";
    let (opened, resolved) = (
        incident.opened_at.as_micros(),
        incident.resolved_at.map(Wall::as_micros),
    );
    db.prepare_cached(sql)
        .and_then(|mut save| {
            save.execute(params![
                incident.id.0.as_str(),
                incident.subject.as_str(),
                opened,
                resolved,
                doc
            ])
        })
        .map(drop)
        .map_err(failed)
}

/// The core keeps to these bounds; the file does not rely on it.
fn bound(incident: &mut Incident) {
    let too_many = incident.evidence.len().saturating_sub(Incident::MAX_EVIDENCE);
    incident.evidence.drain(..too_many);
    incident.scene.missing.truncate(Scene::MAX_MISSING);
    incident.scene.fleets.truncate(Scene::MAX_FLEETS);
}

/// Notes what has been told. An incident that is not there is an error: a message must belong to one.
pub(super) fn set_told(db: &Connection, id: &IncidentId, told: &Told) -> Result<(), StoreError> {
    let doc = encode(told)?;
    let changed = db
        .prepare_cached("UPDATE incidents SET told = ?2, recovery_told = ?3 WHERE id = ?1")
        .and_then(|mut set| set.execute(params![id.0.as_str(), doc, told.recovered]))
        .map_err(failed)?;
    if changed == 1 {
        Ok(())
    } else {
        Err(StoreError::Failed(format!("there is no incident {id} to tell of")))
    }
}

/// Those that a restart goes on with.
pub(super) fn to_load(db: &Connection) -> Result<Vec<Incident>, StoreError> {
    select(
        db,
        "WHERE resolved_at IS NULL OR (told IS NOT NULL AND NOT recovery_told) ORDER BY opened_at, id",
        [],
    )
}

/// Those that a query asks for, newest first.
pub(super) fn list(db: &Connection, query: &IncidentQuery) -> Result<Vec<Incident>, StoreError> {
    select(
        db,
        "WHERE (:open IS NULL OR (resolved_at IS NULL) = :open)
           AND (:subject IS NULL OR subject = :subject)
           AND (:since IS NULL OR resolved_at IS NULL OR resolved_at >= :since)
         ORDER BY opened_at DESC, id DESC LIMIT :limit",
        named_params! {
            ":open": query.open,
            ":subject": query.subject.as_deref(),
            ":since": query.since.map(Wall::as_micros),
            ":limit": rows(query.limit),
        },
    )
}

/// One by its name.
pub(super) fn one(db: &Connection, id: &IncidentId) -> Result<Option<Incident>, StoreError> {
    Ok(select(db, "WHERE id = ?1", [id.0.as_str()])?.pop())
}

fn select(db: &Connection, which: &str, with: impl Params) -> Result<Vec<Incident>, StoreError> {
    let mut all = db
        .prepare_cached(&format!("SELECT doc, told FROM incidents {which}"))
        .map_err(failed)?;
    let found = all
        .query_map(with, |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?))
        })
        .map_err(failed)?;
    found
        .map(|row| {
            let (doc, told) = row.map_err(failed)?;
            let mut incident: Incident = decode(&doc)?;
            incident.told = told.as_deref().map(decode).transpose()?;
            Ok(incident)
        })
        .collect()
}

/// Deletes what is over, of which nothing is owed, and nothing more will be told.
pub(super) fn forget_before(db: &Connection, before: Wall) -> Result<(), StoreError> {
    let sql = "DELETE FROM incidents WHERE resolved_at < ?1 AND (told IS NULL OR recovery_told)
               AND NOT EXISTS (SELECT 1 FROM debts WHERE debts.incident = incidents.id AND delivered_at IS NULL)";
    db.prepare_cached(sql)
        .and_then(|mut delete| delete.execute([before.as_micros()]))
        .map(drop)
        .map_err(failed)
}
