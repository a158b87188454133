//! Roll-ups of task events: minutes, and where they are older hours.

use std::collections::BTreeMap;

use compact_str::CompactString;
use headcount_actors::ports::{Kept, RollupQuery, StoreError};
use headcount_core::celery::TaskKind;
use headcount_core::stats::bucket::Width;
use headcount_core::stats::task::{TaskKey, TaskRollup, Times};
use headcount_core::time::Wall;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::aside::{self, Bad};
use super::{failed, rows};

/// What a row costs beside its texts and times, in bytes: its numbers, and SQLite's own.
const ROW: usize = 64;
/// So many rows are deleted, or added up, by one call at most, so that it does not hold up others.
const AT_ONCE: i64 = 20_000;

/// Adds each to the row of its key; a count that does not fit stays at the greatest that does.
pub(super) fn add(db: &Connection, rollups: Vec<TaskRollup>) -> Result<(), StoreError> {
    let mut grown = 0;
    for rollup in rollups {
        grown += put(db, rollup)?;
    }
    grow(db, grown)
}

/// The first of them in the order of their keys.
pub(super) fn list(db: &Connection, query: &RollupQuery) -> Result<Vec<TaskRollup>, StoreError> {
    let mut found = Vec::new();
    for width in [Width::MINUTE, Width::HOUR] {
        let after = match &query.after {
            Some(after) if after.width > width => continue,
            Some(after) if after.width == width => Some(after),
            _ => None,
        };
        let room = query.limit.saturating_sub(found.len());
        found.extend(list_of(db, query, width, after, room)?);
    }
    Ok(found)
}

fn list_of(
    db: &Connection,
    query: &RollupQuery,
    width: Width,
    after: Option<&TaskKey>,
    room: usize,
) -> Result<Vec<TaskRollup>, StoreError> {
    let sql = "SELECT width, start, fleet, task, queue, outcome, count, times FROM task_rollups
               WHERE width = ?1 AND start >= ?2 AND start < ?3 AND (?4 IS NULL OR fleet = ?4)
                 AND (start, fleet, task, queue, outcome) > (?5, ?6, ?7, ?8, ?9)
               ORDER BY start, fleet, task, queue, outcome LIMIT ?10";
    let from = after.map_or(query.from, |after| after.start.max(query.from));
    let word = |word: fn(&TaskKey) -> &str| after.map_or("", word);
    let mut all = db.prepare_cached(sql).map_err(failed)?;
    let found = all.query_map(
        params![
            micros(width),
            from.as_micros(),
            query.to.as_micros(),
            query.fleet.as_deref(),
            // Before all that there is.
            after.map_or(i64::MIN, |after| after.start.as_micros()),
            word(|after| &after.fleet),
            word(|after| &after.task),
            word(|after| &after.queue),
            word(|after| after.outcome.word()),
            rows(room),
        ],
        read,
    );
    let found: Vec<_> = found.map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    Ok(found.into_iter().map(|row| row.rollup().0).collect())
}

/// One step towards what is to be kept.
pub(super) fn thin(db: &Connection, kept: Kept) -> Result<bool, StoreError> {
    if forget(db, kept.from)? {
        return Ok(true);
    }
    if let Some(hour) = oldest(db, Width::MINUTE)?.map(|oldest| Width::HOUR.start(oldest)) {
        // Where there is not enough room, anything but the last hour.
        let late = match newest(db, Width::MINUTE)? {
            Some(newest) if size(db)? > kept.bytes => Width::HOUR.start(newest),
            _ => kept.minutes_from,
        };
        if Width::HOUR.end(hour) <= late.max(kept.minutes_from) {
            make_hours(db, hour)?;
            return Ok(true);
        }
    }
    if size(db)? <= kept.bytes {
        return Ok(false);
    }
    let first = match oldest(db, Width::HOUR)? {
        Some(hour) => Width::HOUR.end(hour),
        // Nothing but the minutes of one hour: its first goes.
        None => match oldest(db, Width::MINUTE)? {
            Some(minute) => Width::MINUTE.end(minute),
            None => return Ok(false),
        },
    };
    forget(db, first)?;
    Ok(true)
}

/// Deletes what starts before, up to a bound; whether there was anything.
fn forget(db: &Connection, before: Wall) -> Result<bool, StoreError> {
    let mut shrunk = 0;
    let mut gone = 0;
    for width in [Width::MINUTE, Width::HOUR] {
        let sql = "DELETE FROM task_rollups WHERE (width, start, fleet, task, queue, outcome) IN (
                       SELECT width, start, fleet, task, queue, outcome FROM task_rollups
                       WHERE width = ?1 AND start < ?2 ORDER BY start LIMIT ?3)
                   RETURNING length(CAST(fleet AS BLOB)) + length(CAST(task AS BLOB))
                           + length(CAST(queue AS BLOB)) + length(times)";
        let mut delete = db.prepare_cached(sql).map_err(failed)?;
        let sizes = delete
            .query_map(params![micros(width), before.as_micros(), AT_ONCE], |row| {
                row.get::<_, i64>(0)
            })
            .map_err(failed)?;
        for size in sizes {
            shrunk += size.map_err(failed)? + ROW as i64;
            gone += 1;
        }
    }
    grow(db, -shrunk)?;
    Ok(gone > 0)
}

/// Adds up minutes of the hour that starts there, up to a bound: what there is of the hour already grows with the rest.
fn make_hours(db: &Connection, hour: Wall) -> Result<(), StoreError> {
    let mut sums: BTreeMap<TaskKey, TaskRollup> = BTreeMap::new();
    let mut shrunk = 0;
    let mut bad = Vec::new();
    {
        let sql = "DELETE FROM task_rollups WHERE (width, start, fleet, task, queue, outcome) IN (
                       SELECT width, start, fleet, task, queue, outcome FROM task_rollups
                       WHERE width = ?1 AND start >= ?2 AND start < ?3 ORDER BY start LIMIT ?4)
                   RETURNING width, start, fleet, task, queue, outcome, count, times";
        let mut take = db.prepare_cached(sql).map_err(failed)?;
        let end = Width::HOUR.end(hour);
        let taken = take
            .query_map(
                params![micros(Width::MINUTE), hour.as_micros(), end.as_micros(), AT_ONCE],
                read,
            )
            .map_err(failed)?;
        for row in taken {
            let row = row.map_err(failed)?;
            shrunk += row.size();
            let (mut rollup, damaged) = row.rollup();
            bad.extend(damaged);
            (rollup.key.start, rollup.key.width) = (hour, Width::HOUR);
            match sums.get_mut(&rollup.key) {
                Some(sum) => sum.merge(&rollup),
                None => drop(sums.insert(rollup.key.clone(), rollup)),
            }
        }
    }
    aside::keep(db, &bad)?;
    let mut grown = -shrunk;
    for rollup in sums.into_values() {
        grown += put(db, rollup)?;
    }
    grow(db, grown)
}

/// Adds one to the row of its key. Returns by how much that row has grown.
fn put(db: &Connection, mut rollup: TaskRollup) -> Result<i64, StoreError> {
    let key = &rollup.key;
    let there = {
        let sql = "SELECT width, start, fleet, task, queue, outcome, count, times FROM task_rollups
                   WHERE width = ?1 AND start = ?2 AND fleet = ?3 AND task = ?4 AND queue = ?5 AND outcome = ?6";
        let mut find = db.prepare_cached(sql).map_err(failed)?;
        find.query_row(
            params![
                micros(key.width),
                key.start.as_micros(),
                key.fleet.as_str(),
                key.task.as_str(),
                key.queue.as_str(),
                key.outcome.word()
            ],
            read,
        )
        .optional()
        .map_err(failed)?
    };
    let before = there.as_ref().map_or(0, Stored::size);
    if let Some((there, damaged)) = there.map(Stored::rollup) {
        aside::keep(db, damaged.as_slice())?;
        rollup.merge(&there);
    }
    let times = rollup.times.to_bytes();
    let sql = "INSERT OR REPLACE INTO task_rollups (width, start, fleet, task, queue, outcome, count, times)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let key = &rollup.key;
    db.prepare_cached(sql)
        .and_then(|mut put| {
            put.execute(params![
                micros(key.width),
                key.start.as_micros(),
                key.fleet.as_str(),
                key.task.as_str(),
                key.queue.as_str(),
                key.outcome.word(),
                i64::try_from(rollup.count).unwrap_or(i64::MAX),
                times
            ])
        })
        .map_err(failed)?;
    let texts = key.fleet.len() + key.task.len() + key.queue.len();
    Ok((ROW + texts + times.len()) as i64 - before)
}

/// How much room all of them take, in bytes.
fn size(db: &Connection) -> Result<u64, StoreError> {
    let bytes: i64 = db
        .query_row("SELECT bytes FROM task_rollups_size", [], |row| row.get(0))
        .map_err(failed)?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

fn grow(db: &Connection, by: i64) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE task_rollups_size SET bytes = max(bytes + ?1, 0)")
        .and_then(|mut grow| grow.execute([by]))
        .map(drop)
        .map_err(failed)
}

/// The start of the oldest row of that width.
fn oldest(db: &Connection, width: Width) -> Result<Option<Wall>, StoreError> {
    edge(
        db,
        "SELECT start FROM task_rollups WHERE width = ?1 ORDER BY start LIMIT 1",
        width,
    )
}

fn newest(db: &Connection, width: Width) -> Result<Option<Wall>, StoreError> {
    edge(
        db,
        "SELECT start FROM task_rollups WHERE width = ?1 ORDER BY start DESC LIMIT 1",
        width,
    )
}

fn edge(db: &Connection, sql: &str, width: Width) -> Result<Option<Wall>, StoreError> {
    let mut find = db.prepare_cached(sql).map_err(failed)?;
    find.query_row([micros(width)], |row| row.get(0).map(Wall::from_micros))
        .optional()
        .map_err(failed)
}

/// A row as it is stored.
struct Stored {
    width: i64,
    start: i64,
    texts: [Vec<u8>; 4],
    count: i64,
    times: Vec<u8>,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let text = |column| aside::bytes(row, column).map(Option::unwrap_or_default);
    Ok(Stored {
        width: row.get(0)?,
        start: row.get(1)?,
        texts: [text(2)?, text(3)?, text(4)?, text(5)?],
        count: row.get(6)?,
        times: text(7)?,
    })
}

impl Stored {
    fn size(&self) -> i64 {
        let [fleet, task, queue, _] = &self.texts;
        (ROW + fleet.len() + task.len() + queue.len() + self.times.len()) as i64
    }

    /// As it was meant; and its times, if they cannot be read. A key that somebody has damaged is read as well as it can be:
    /// what was counted under it still was.
    fn rollup(self) -> (TaskRollup, Option<Bad>) {
        let [fleet, task, queue, outcome] = self.texts.each_ref().map(|text| String::from_utf8_lossy(text));
        let key = TaskKey {
            width: if self.width == micros(Width::HOUR) {
                Width::HOUR
            } else {
                Width::MINUTE
            },
            start: Wall::from_micros(self.start),
            fleet: CompactString::from(fleet),
            task: task.into(),
            queue: queue.into(),
            outcome: TaskKind::of_word(&outcome).unwrap_or(TaskKind::Custom),
        };
        let (times, bad) = match Times::from_bytes(&self.times) {
            Ok(times) => (times, None),
            Err(error) => {
                let bad = Bad {
                    source: "task_rollups",
                    key: format!(
                        "{} {} {} {} {}",
                        self.start,
                        key.fleet,
                        key.task,
                        key.queue,
                        key.outcome.word()
                    ),
                    document: self.times,
                    why: error.to_string(),
                };
                (Times::default(), Some(bad))
            }
        };
        let count = u64::try_from(self.count).unwrap_or(0);
        (TaskRollup { key, count, times }, bad)
    }
}

fn micros(width: Width) -> i64 {
    i64::try_from(width.duration().as_micros()).unwrap_or(i64::MAX)
}
