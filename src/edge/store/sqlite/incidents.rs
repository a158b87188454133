//! Incidents: one document each.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use headcount_actors::ports::{IncidentQuery, StoreError};
use headcount_core::alert::{Incident, IncidentId, Scene, Severity, Told};
use headcount_core::time::Wall;
use rusqlite::{Connection, Params, named_params, params};

use super::aside::{self, Bad};
use super::{decode, encode, failed, rows};

/// Inserts or replaces one. What has been told of it stays as it is.
pub(super) fn save(db: &Connection, mut incident: Incident) -> Result<(), StoreError> {
    bound(&mut incident);
    incident.told = None;
    let doc = encode(&incident)?;
    let sql = "INSERT INTO incidents (id, subject, opened_at, resolved_at, doc) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (id) DO UPDATE SET subject = excluded.subject, opened_at = excluded.opened_at,
                   resolved_at = excluded.resolved_at, doc = excluded.doc, bad = 0";
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
    let mut all = select(
        db,
        "(resolved_at IS NULL OR (told IS NOT NULL AND NOT recovery_told)) ORDER BY opened_at, id",
        [],
    )?;
    close_doubles(db, &mut all)?;
    all.retain(|one| one.is_open() || one.told.as_ref().is_some_and(|told| !told.recovered));
    Ok(all)
}

/// One trouble is one incident: of several that are open the oldest stays, which people have known the longest. The
/// others are closed and not deleted, so that whoever was told of them is told that they are over. A unique index would
/// refuse the write instead, and lose what it says.
fn close_doubles(db: &Connection, all: &mut [Incident]) -> Result<(), StoreError> {
    let mut open: BTreeMap<_, IncidentId> = BTreeMap::new();
    for incident in all.iter_mut().filter(|one| one.is_open()) {
        match open.entry((incident.kind, incident.subject.clone())) {
            Entry::Vacant(first) => {
                first.insert(incident.id.clone());
            }
            Entry::Occupied(first) => {
                tracing::warn!(id = %incident.id, goes_on_as = %first.get(), subject = %incident.subject,
                    "two incidents of one subject were open; the newer is closed");
                // Nobody looks at it any more, which is what its last message says: the trouble may go on.
                incident.unwatched = true;
                incident.resolved_at = Some(incident.changed_at.max(incident.opened_at));
                save(db, incident.clone())?;
            }
        }
    }
    Ok(())
}

/// Those that a query asks for, newest first.
pub(super) fn list(db: &Connection, query: &IncidentQuery) -> Result<Vec<Incident>, StoreError> {
    select(
        db,
        "(:open IS NULL OR (resolved_at IS NULL) = :open)
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
    Ok(select(db, "id = ?1", [id.0.as_str()])?.pop())
}

/// A row as it is, before anything of it is believed.
struct Row {
    number: i64,
    id: Vec<u8>,
    doc: Vec<u8>,
    told: Option<Vec<u8>>,
    recovery_told: bool,
}

fn select(db: &Connection, which: &str, with: impl Params) -> Result<Vec<Incident>, StoreError> {
    let rows = {
        let sql = format!("SELECT rowid, id, doc, told, recovery_told FROM incidents WHERE NOT bad AND {which}");
        let mut all = db.prepare_cached(&sql).map_err(failed)?;
        let rows = all
            .query_map(with, |row| {
                Ok(Row {
                    number: row.get(0)?,
                    id: aside::bytes(row, 1)?.unwrap_or_default(),
                    doc: aside::bytes(row, 2)?.unwrap_or_default(),
                    told: aside::bytes(row, 3)?,
                    recovery_told: row.get(4)?,
                })
            })
            .map_err(failed)?;
        rows.collect::<rusqlite::Result<Vec<_>>>().map_err(failed)?
    };
    let mut incidents = Vec::with_capacity(rows.len());
    let mut bad = Vec::new();
    for row in rows {
        incidents.extend(read(db, row, &mut bad)?);
    }
    aside::keep(db, &bad)?;
    Ok(incidents)
}

/// One incident; none if it cannot be read. Its row stays, and the next save makes it good.
fn read(db: &Connection, row: Row, bad: &mut Vec<Bad>) -> Result<Option<Incident>, StoreError> {
    let mut refuse = |document, why: StoreError| {
        bad.push(Bad {
            source: "incidents",
            key: aside::shown(&row.id),
            document,
            why: why.to_string(),
        });
    };
    let mut incident: Incident = match decode(&row.doc) {
        Ok(incident) => incident,
        Err(why) => {
            refuse(row.doc, why);
            db.execute("UPDATE incidents SET bad = 1 WHERE rowid = ?1", [row.number])
                .map_err(failed)?;
            return Ok(None);
        }
    };
    incident.told = match row.told.as_deref().map(decode).transpose() {
        Ok(told) => told,
        Err(why) => {
            refuse(row.told.unwrap_or_default(), why);
            let told = told_least(&incident, row.recovery_told);
            db.execute(
                "UPDATE incidents SET told = ?2 WHERE rowid = ?1",
                params![row.number, encode(&told)?],
            )
            .map_err(failed)?;
            Some(told)
        }
    };
    Ok(Some(incident))
}

/// People know of it, and how much cannot be read any more: as little as can be, so they are told how it stands.
fn told_least(incident: &Incident, recovered: bool) -> Told {
    Told {
        severity: Severity::LEAST,
        shown_severity: Severity::LEAST,
        missing: 0,
        shown: Vec::new(),
        shown_missing: 0,
        recovered,
        flapped: false,
        at: incident.changed_at,
    }
}

/// Deletes what is over, of which nothing is owed, and nothing more will be told.
pub(super) fn forget_before(db: &Connection, before: Wall) -> Result<(), StoreError> {
    // Of one that cannot be read it is not sure that it is over, and it is of no use either way.
    let sql = "DELETE FROM incidents WHERE coalesce(resolved_at, iif(bad, opened_at, NULL)) < ?1
               AND (bad OR told IS NULL OR recovery_told)
               AND NOT EXISTS (SELECT 1 FROM debts WHERE debts.incident = incidents.id AND delivered_at IS NULL)";
    db.prepare_cached(sql)
        .and_then(|mut delete| delete.execute([before.as_micros()]))
        .map(drop)
        .map_err(failed)
}
