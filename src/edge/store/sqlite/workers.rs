//! What is remembered of workers, and of their fleet's past: one document of each for each fleet.

use compact_str::CompactString;
use headcount_actors::ports::StoreError;
use headcount_core::detect::{FleetHistory, WorkerMemory};
use rusqlite::{Connection, params};
use serde_json::Value;

use super::aside::{self, Bad};
use super::{decode, encode, failed};

/// What is written down of one fleet's; nothing if there are none.
pub(super) fn document(workers: &[WorkerMemory]) -> Result<Option<String>, StoreError> {
    if workers.is_empty() {
        return Ok(None);
    }
    encode(workers).map(Some)
}

/// Replaces one fleet's.
pub(super) fn save(db: &Connection, fleet: &str, document: Option<&str>) -> Result<(), StoreError> {
    let done = match document {
        None => db
            .prepare_cached("DELETE FROM fleets WHERE name = ?1")
            .and_then(|mut all| all.execute([fleet])),
        Some(workers) => db
            .prepare_cached(
                "INSERT INTO fleets (name, workers) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET workers = excluded.workers",
            )
            .and_then(|mut all| all.execute([fleet, workers])),
    };
    done.map(drop).map_err(failed)
}

/// Replaces one fleet's past; a fleet without workers has none.
pub(super) fn save_history(db: &Connection, fleet: &str, history: &FleetHistory) -> Result<(), StoreError> {
    let document = if history.is_empty() {
        None
    } else {
        Some(encode(history)?)
    };
    db.prepare_cached("UPDATE fleets SET history = ?2 WHERE name = ?1")
        .and_then(|mut set| set.execute(params![fleet, document]))
        .map(drop)
        .map_err(failed)
}

/// Something of each of several fleets.
type OfFleets<T> = Vec<(CompactString, T)>;

/// Workers and past of all fleets, in the order of the fleets' names.
pub(super) fn load(db: &Connection) -> Result<(OfFleets<Vec<WorkerMemory>>, OfFleets<FleetHistory>), StoreError> {
    let rows = {
        let mut all = db
            .prepare_cached("SELECT rowid, name, workers, history FROM fleets ORDER BY name")
            .map_err(failed)?;
        let rows = all
            .query_map([], |row| {
                let [name, workers] = [aside::bytes(row, 1)?, aside::bytes(row, 2)?].map(Option::unwrap_or_default);
                Ok((row.get(0)?, name, workers, aside::bytes(row, 3)?))
            })
            .map_err(failed)?;
        rows.collect::<rusqlite::Result<Vec<(i64, _, _, _)>>>()
            .map_err(failed)?
    };
    let mut fleets = Vec::with_capacity(rows.len());
    let mut histories = Vec::new();
    let mut bad = Vec::new();
    for (row, name, document, past) in rows {
        let known = read_history(&name, past, &mut bad);
        if let Err(Unreadable) = known {
            db.execute("UPDATE fleets SET history = NULL WHERE rowid = ?1", [row])
                .map_err(failed)?;
        }
        if let (Ok(name), Ok(Some(history))) = (CompactString::from_utf8(&name), known) {
            histories.push((name, history));
        }
        let aside_before = bad.len();
        let workers = read(&name, &document, &mut bad);
        if bad.len() > aside_before {
            rewrite(db, row, &workers)?;
        }
        // Without a name there is no fleet, and no worker was read.
        if let (Ok(name), false) = (CompactString::from_utf8(&name), workers.is_empty()) {
            fleets.push((name, workers));
        }
    }
    aside::keep(db, &bad)?;
    Ok((fleets, histories))
}

/// It was set aside.
struct Unreadable;

/// A fleet's past. It is learned anew in a day, so one that cannot be read costs no worker.
fn read_history(
    name: &[u8],
    document: Option<Vec<u8>>,
    bad: &mut Vec<Bad>,
) -> Result<Option<FleetHistory>, Unreadable> {
    let Some(document) = document else { return Ok(None) };
    match decode(&document) {
        Ok(history) => Ok(Some(history)),
        Err(error) => {
            bad.push(Bad {
                source: "fleets",
                key: aside::shown(name),
                why: error.to_string(),
                document,
            });
            Err(Unreadable)
        }
    }
}

/// As many of a fleet's workers as can be read.
fn read(name: &[u8], document: &[u8], bad: &mut Vec<Bad>) -> Vec<WorkerMemory> {
    let mut refuse = |document: &[u8], why: String| {
        bad.push(Bad {
            source: "fleets",
            key: aside::shown(name),
            document: document.to_vec(),
            why,
        });
    };
    if std::str::from_utf8(name).is_err() {
        refuse(document, "its name is no text".to_owned());
        return Vec::new();
    }
    let whole = match decode(document) {
        Ok(workers) => return workers,
        Err(error) => error,
    };
    let Ok(each) = decode::<Vec<Value>>(document) else {
        refuse(document, whole.to_string());
        return Vec::new();
    };
    let mut workers = Vec::with_capacity(each.len());
    for one in each {
        let text = one.to_string();
        match serde_json::from_value(one) {
            Ok(worker) => workers.push(worker),
            Err(error) => refuse(text.as_bytes(), error.to_string()),
        }
    }
    workers
}

/// Leaves those that can be read.
fn rewrite(db: &Connection, row: i64, workers: &[WorkerMemory]) -> Result<(), StoreError> {
    let done = if workers.is_empty() {
        db.execute("DELETE FROM fleets WHERE rowid = ?1", [row])
    } else {
        let workers = encode(workers)?;
        db.execute("UPDATE fleets SET workers = ?2 WHERE rowid = ?1", params![row, workers])
    };
    done.map(drop).map_err(failed)
}
