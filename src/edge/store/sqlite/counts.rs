//! Task counts by minute.

use headcount_actors::ports::StoreError;
use headcount_core::celery::TaskKind;
use headcount_core::stats::TaskCount;
use headcount_core::time::Wall;
use rusqlite::{Connection, params};

use super::{decode, encode, failed};

/// Adds; a sum that does not fit stays at the greatest that does.
pub(super) fn add(db: &Connection, counts: &[TaskCount]) -> Result<(), StoreError> {
    let sql = "INSERT INTO task_counts (minute, fleet, task, outcome, count) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT DO UPDATE SET count = min(count + excluded.count, 9223372036854775807)";
    let mut add = db.prepare_cached(sql).map_err(failed)?;
    for one in counts {
        let count = i64::try_from(one.count).unwrap_or(i64::MAX);
        let outcome = encode(&one.outcome)?;
        add.execute(params![
            one.minute.as_micros(),
            one.fleet.as_str(),
            one.task.as_str(),
            outcome,
            count
        ])
        .map_err(failed)?;
    }
    Ok(())
}

/// Those of minutes in `[from, to)`, in the order of minute, fleet and task.
pub(super) fn between(db: &Connection, from: Wall, to: Wall) -> Result<Vec<TaskCount>, StoreError> {
    let sql = "SELECT minute, fleet, task, outcome, count FROM task_counts WHERE minute >= ?1 AND minute < ?2
               ORDER BY minute, fleet, task, outcome";
    let mut all = db.prepare_cached(sql).map_err(failed)?;
    let mut found = all.query([from.as_micros(), to.as_micros()]).map_err(failed)?;
    let mut counts = Vec::new();
    while let Some(row) = found.next().map_err(failed)? {
        let outcome: TaskKind = decode(row.get::<_, String>(3).map_err(failed)?.as_bytes())?;
        counts.push(TaskCount {
            minute: Wall::from_micros(row.get(0).map_err(failed)?),
            fleet: row.get::<_, String>(1).map_err(failed)?.into(),
            task: row.get::<_, String>(2).map_err(failed)?.into(),
            outcome,
            count: u64::try_from(row.get::<_, i64>(4).map_err(failed)?).unwrap_or(0),
        });
    }
    Ok(counts)
}

pub(super) fn forget_before(db: &Connection, before: Wall) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM task_counts WHERE minute < ?1")
        .and_then(|mut delete| delete.execute([before.as_micros()]))
        .map(drop)
        .map_err(failed)
}
