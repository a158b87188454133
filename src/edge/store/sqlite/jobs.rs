//! Jobs and their runs.

use async_trait::async_trait;
use compact_str::CompactString;
use headcount_actors::ports::StoreError;
use headcount_actors::ports::jobs::{Claim, Claimed, JobStore};
use headcount_core::schedule::{News, Run, RunState};
use headcount_core::time::Wall;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::writer::failed;
use super::{Sqlite, rows};

/// What its Headcount still has to see to, as SQL. These have not ended, which the indexes of open runs need to be told.
const HELD: &str = "(ended_at IS NULL AND (state = 'claimed' OR (own = 1 AND state = 'started')))";
const COLUMNS: &str = "job, slot, id, due, own, state, claimed_at, sent_at, started_at, ended_at, heard_at, worker, \
                       runtime, why";

#[async_trait]
impl JobStore for Sqlite {
    async fn settled(&self, job: &str, timing: &str, now: Wall) -> Result<Wall, StoreError> {
        let (job, timing) = (job.to_owned(), timing.to_owned());
        self.writer.run(move |db| settled(db, &job, &timing, now)).await
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, StoreError> {
        self.writer.run(move |db| take(db, claim)).await
    }

    async fn adopt(&self, owner: &str, now: Wall, until: Wall) -> Result<Vec<Run>, StoreError> {
        let owner = owner.to_owned();
        self.writer.run(move |db| adopt(db, &owner, now, until)).await
    }

    async fn renew(&self, owner: &str, until: Wall) -> Result<(), StoreError> {
        let owner = owner.to_owned();
        self.writer
            .run(move |db| {
                let sql = format!("UPDATE job_runs SET lease = ?2 WHERE owner = ?1 AND {HELD}");
                change(db, &sql, params![owner, until.as_micros()]).map(drop)
            })
            .await
    }

    async fn hear(&self, news: Vec<News>) -> Result<Vec<Run>, StoreError> {
        self.writer.run(move |db| hear(db, &news)).await
    }

    async fn silent(&self, job: &str, before: Wall, limit: usize) -> Result<Vec<Run>, StoreError> {
        let job = job.to_owned();
        self.writer
            .run(move |db| {
                let under_way =
                    "job = ?1 AND heard_at < ?2 AND ended_at IS NULL AND state <> 'claimed' ORDER BY slot LIMIT ?3";
                select(db, under_way, params![job, before.as_micros(), rows(limit)])
            })
            .await
    }

    async fn runs(&self, job: &str, limit: usize) -> Result<Vec<Run>, StoreError> {
        let job = job.to_owned();
        self.writer
            .run(move |db| select(db, "job = ?1 ORDER BY slot DESC LIMIT ?2", params![job, rows(limit)]))
            .await
    }

    async fn forget_runs(&self, before: Wall, keep: usize) -> Result<(), StoreError> {
        self.writer.run(move |db| forget(db, before, keep)).await
    }
}

fn forget(db: &Connection, before: Wall, keep: usize) -> Result<(), StoreError> {
    change(
        db,
        "DELETE FROM job_runs WHERE ended_at < ?1",
        params![before.as_micros()],
    )?;
    // Of a job that is not configured any more nobody says that a run is lost.
    change(
        db,
        "DELETE FROM job_runs WHERE ended_at IS NULL AND state <> 'claimed' AND heard_at < ?1",
        params![before.as_micros()],
    )?;
    let mut names = db.prepare_cached("SELECT name FROM jobs").map_err(failed)?;
    let names = names.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
    for name in names {
        let sql = "DELETE FROM job_runs WHERE job = ?1 AND ended_at IS NOT NULL AND slot <=
                   (SELECT slot FROM job_runs WHERE job = ?1 ORDER BY slot DESC LIMIT 1 OFFSET ?2)";
        change(db, sql, params![name.map_err(failed)?, rows(keep)])?;
    }
    Ok(())
}

fn settled(db: &Connection, job: &str, timing: &str, now: Wall) -> Result<Wall, StoreError> {
    let known = db
        .prepare_cached("SELECT timing, settled FROM jobs WHERE name = ?1")
        .and_then(|mut known| {
            let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
            known.query_row([job], row).optional()
        })
        .map_err(failed)?;
    if let Some((known, settled)) = known
        && known == timing
    {
        return Ok(Wall::from_micros(settled));
    }
    let sql = "INSERT INTO jobs (name, timing, settled) VALUES (?1, ?2, ?3)
               ON CONFLICT DO UPDATE SET timing = excluded.timing, settled = excluded.settled";
    change(db, sql, params![job, timing, now.as_micros()])?;
    Ok(now)
}

fn take(db: &Connection, claim: Claim) -> Result<Claimed, StoreError> {
    let mut run = claim.run;
    let open: u32 = db
        .prepare_cached("SELECT count(*) FROM job_runs WHERE job = ?1 AND ended_at IS NULL")
        .and_then(|mut open| open.query_row([run.job.as_str()], |row| row.get(0)))
        .map_err(failed)?;
    let full = run.state.is_open() && claim.limit.is_some_and(|limit| open >= limit);
    if full {
        run.state = RunState::Skipped;
        run.ended_at = Some(run.claimed_at);
        run.why = Some(format!("{open} of its runs were still under way"));
    }
    let new = insert(db, &run, &claim.owner, claim.until)?;
    let sql = "UPDATE jobs SET settled = max(settled, ?2) WHERE name = ?1";
    change(db, sql, params![run.job.as_str(), run.slot.as_micros()])?;
    Ok(match (new, full) {
        (false, _) => Claimed::Taken,
        (true, true) => Claimed::Full(open),
        (true, false) => Claimed::Won,
    })
}

/// False if the slot has a run already.
fn insert(db: &Connection, run: &Run, owner: &str, until: Wall) -> Result<bool, StoreError> {
    let sql = format!(
        "INSERT INTO job_runs ({COLUMNS}, owner, lease)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) ON CONFLICT DO NOTHING"
    );
    let inserted = change(
        db,
        &sql,
        params![
            run.job.as_str(),
            run.slot.as_micros(),
            run.id.as_str(),
            run.due.as_micros(),
            run.own,
            run.state.as_str(),
            run.claimed_at.as_micros(),
            run.sent_at.map(Wall::as_micros),
            run.started_at.map(Wall::as_micros),
            run.ended_at.map(Wall::as_micros),
            run.heard_at.as_micros(),
            run.worker.as_deref(),
            run.runtime,
            run.why,
            owner,
            until.as_micros(),
        ],
    )?;
    Ok(inserted == 1)
}

fn adopt(db: &Connection, owner: &str, now: Wall, until: Wall) -> Result<Vec<Run>, StoreError> {
    let sql = format!("UPDATE job_runs SET owner = ?1, lease = ?3 WHERE {HELD} AND (owner = ?1 OR lease < ?2)");
    change(db, &sql, params![owner, now.as_micros(), until.as_micros()])?;
    select(db, &format!("owner = ?1 AND {HELD} ORDER BY job, slot"), params![owner])
}

fn hear(db: &Connection, news: &[News]) -> Result<Vec<Run>, StoreError> {
    let mut changed: Vec<Run> = Vec::new();
    for one in news {
        let Some(mut run) = select(db, "id = ?1", params![one.id.as_str()])?.pop() else {
            continue;
        };
        let before = run.clone();
        run.hear(one);
        if run == before {
            continue;
        }
        let sql = "UPDATE job_runs SET state = ?2, sent_at = ?3, started_at = ?4, ended_at = ?5, heard_at = ?6,
                   worker = ?7, runtime = ?8, why = ?9 WHERE id = ?1";
        change(
            db,
            sql,
            params![
                run.id.as_str(),
                run.state.as_str(),
                run.sent_at.map(Wall::as_micros),
                run.started_at.map(Wall::as_micros),
                run.ended_at.map(Wall::as_micros),
                run.heard_at.as_micros(),
                run.worker.as_deref(),
                run.runtime,
                run.why,
            ],
        )?;
        changed.extend(run.states_since(&before));
    }
    Ok(changed)
}

/// The runs that a condition describes. A row that cannot be read is left out: it is one run of the past.
fn select(db: &Connection, which: &str, params: &[&dyn rusqlite::ToSql]) -> Result<Vec<Run>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM job_runs WHERE {which}");
    let mut found = db.prepare_cached(&sql).map_err(failed)?;
    let mut found = found.query(params).map_err(failed)?;
    let mut runs = Vec::new();
    while let Some(row) = found.next().map_err(failed)? {
        match read(row) {
            Ok(run) => runs.push(run),
            Err(error) => {
                tracing::error!(%error, "a run of a job cannot be read in the store, and is left out: it is neither shown nor sent; see whether its disk is damaged")
            }
        }
    }
    Ok(runs)
}

fn read(row: &Row<'_>) -> Result<Run, rusqlite::Error> {
    let wall = |at: usize| row.get::<_, i64>(at).map(Wall::from_micros);
    let maybe = |at: usize| row.get::<_, Option<i64>>(at).map(|at| at.map(Wall::from_micros));
    let word: String = row.get(5)?;
    let state = RunState::of_word(&word).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(5, rusqlite::types::Type::Text, format!("no state {word:?}").into())
    })?;
    Ok(Run {
        job: row.get::<_, String>(0)?.into(),
        slot: wall(1)?,
        id: row.get::<_, String>(2)?.into(),
        due: wall(3)?,
        own: row.get(4)?,
        state,
        claimed_at: wall(6)?,
        sent_at: maybe(7)?,
        started_at: maybe(8)?,
        ended_at: maybe(9)?,
        heard_at: wall(10)?,
        worker: row.get::<_, Option<String>>(11)?.map(CompactString::from),
        runtime: row.get(12)?,
        why: row.get(13)?,
    })
}

fn change(db: &Connection, sql: &str, params: &[&dyn rusqlite::ToSql]) -> Result<usize, StoreError> {
    db.prepare_cached(sql)
        .and_then(|mut change| change.execute(params))
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Place;
    use crate::store::sqlite::schema;

    #[test]
    fn what_is_held_is_sought_among_the_open_runs_only() {
        let db = schema::open(&Place::Memory).unwrap();
        for which in [
            format!("{HELD} AND (owner = 'a' OR lease < 1)"),
            format!("owner = 'a' AND {HELD} ORDER BY job, slot"),
        ] {
            let sql = format!("EXPLAIN QUERY PLAN SELECT id FROM job_runs WHERE {which}");
            let plan: String = db.query_row(&sql, [], |row| row.get(3)).unwrap();
            // Either index holds the open ones together.
            let sought = ["INDEX job_runs_open", "INDEX job_runs_ended (ended_at=?)"];
            assert!(sought.iter().any(|index| plan.contains(index)), "{plan}");
        }
    }
}
