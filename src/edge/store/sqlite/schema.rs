//! The file: opening it, claiming it, and bringing it to the newest form.

use std::time::Duration;

use headcount_actors::ports::StoreError;
use rusqlite::{Connection, ErrorCode};

use crate::store::Place;

/// Marks the file as Headcount's (`PRAGMA application_id`): "Hdct". A file of another program is left alone.
const APPLICATION: i64 = 0x4864_6374;

/// How long a Headcount that starts waits for one that is just stopping. Raising it delays the message that a file is
/// in use.
const BUSY: Duration = Duration::from_secs(3);

/// What brings version n to version n + 1. Never edited once released: a change is a new entry.
const MIGRATIONS: &[&str] = &[
    "
    -- An incident is one JSON document; the columns beside it are what is searched by. Times are microseconds since
    -- the epoch, UTC. `told` is a document of its own because it has a writer of its own.
    CREATE TABLE incidents (
        id          TEXT PRIMARY KEY,
        subject     TEXT NOT NULL,
        opened_at   INTEGER NOT NULL,
        resolved_at INTEGER,
        doc         TEXT NOT NULL,
        told        TEXT,
        recovery_told INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX incidents_by_age ON incidents (opened_at DESC, id DESC);
    CREATE INDEX incidents_to_load ON incidents (recovery_told, resolved_at);

    -- The outbox, and once delivered the history. AUTOINCREMENT: a number is never used again, so a late answer for a
    -- debt that is gone cannot pay another. `notice` is dropped on delivery, `text` stays.
    CREATE TABLE debts (
        id           INTEGER PRIMARY KEY AUTOINCREMENT,
        incident     TEXT NOT NULL REFERENCES incidents (id) ON DELETE CASCADE,
        notifier     TEXT NOT NULL,
        act          TEXT NOT NULL,
        notice       TEXT,
        text         TEXT NOT NULL,
        queued_at    INTEGER NOT NULL,
        delivered_at INTEGER,
        error        TEXT
    ) STRICT;
    CREATE INDEX debts_owed ON debts (notifier, id) WHERE delivered_at IS NULL;
    CREATE INDEX debts_of_incident ON debts (incident, id);

    CREATE TABLE receipts (
        incident TEXT NOT NULL REFERENCES incidents (id) ON DELETE CASCADE,
        notifier TEXT NOT NULL,
        receipt  TEXT NOT NULL,
        PRIMARY KEY (incident, notifier)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE fleets (
        name    TEXT PRIMARY KEY,
        workers TEXT NOT NULL
    ) STRICT;

    CREATE TABLE task_counts (
        minute  INTEGER NOT NULL,
        fleet   TEXT NOT NULL,
        task    TEXT NOT NULL,
        outcome TEXT NOT NULL,
        count   INTEGER NOT NULL,
        PRIMARY KEY (minute, fleet, task, outcome)
    ) STRICT, WITHOUT ROWID;
",
    "
    -- Documents that could not be read, as they were.
    CREATE TABLE set_aside (
        id       INTEGER PRIMARY KEY,
        source   TEXT NOT NULL,
        key      TEXT NOT NULL,
        document BLOB NOT NULL,
        why      TEXT NOT NULL,
        at       INTEGER NOT NULL
    ) STRICT;
    -- An incident whose document was set aside. Its row stays: debts and receipts hang on it, and must be paid.
    ALTER TABLE incidents ADD COLUMN bad INTEGER NOT NULL DEFAULT 0;
",
    "
    -- What a fleet has been like: one JSON document, none where nothing is known of its past.
    ALTER TABLE fleets ADD COLUMN history TEXT;
",
    "
    -- Scheduled jobs: up to when the slots of each are settled. Another timing begins anew.
    CREATE TABLE jobs (
        name    TEXT PRIMARY KEY,
        timing  TEXT NOT NULL,
        settled INTEGER NOT NULL
    ) STRICT;
    -- One row for each slot that somebody has taken: the primary key is what lets one in and no other.
    CREATE TABLE job_runs (
        job        TEXT NOT NULL,
        slot       INTEGER NOT NULL,
        id         TEXT NOT NULL,
        due        INTEGER NOT NULL,
        own        INTEGER NOT NULL,
        state      TEXT NOT NULL,
        claimed_at INTEGER NOT NULL,
        sent_at    INTEGER,
        started_at INTEGER,
        ended_at   INTEGER,
        heard_at   INTEGER NOT NULL,
        worker     TEXT,
        runtime    REAL,
        why        TEXT,
        owner      TEXT NOT NULL,
        lease      INTEGER NOT NULL,
        PRIMARY KEY (job, slot)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX job_runs_by_id ON job_runs (id);
    CREATE INDEX job_runs_open ON job_runs (job) WHERE ended_at IS NULL;
    CREATE INDEX job_runs_ended ON job_runs (ended_at);
",
    r#"
    -- Roll-ups of task events. `width` is the length of the bucket in microseconds; `times` is empty where nothing was measured.
    CREATE TABLE task_rollups (
        width   INTEGER NOT NULL,
        start   INTEGER NOT NULL,
        fleet   TEXT NOT NULL,
        task    TEXT NOT NULL,
        queue   TEXT NOT NULL,
        outcome TEXT NOT NULL,
        count   INTEGER NOT NULL,
        times   BLOB NOT NULL,
        PRIMARY KEY (width, start, fleet, task, queue, outcome)
    ) STRICT, WITHOUT ROWID;
    -- How much room they take, so that nobody has to look at all of them to know.
    CREATE TABLE task_rollups_size (bytes INTEGER NOT NULL) STRICT;
    INSERT INTO task_rollups SELECT 60000000, minute, fleet, task, '', trim(outcome, '"'), count, x'' FROM task_counts;
    INSERT INTO task_rollups_size
        SELECT coalesce(sum(64 + length(CAST(fleet AS BLOB)) + length(CAST(task AS BLOB))), 0) FROM task_rollups;
    DROP TABLE task_counts;
"#,
];

/// Opens the file, makes sure that it is ours alone and sound, and migrates it.
pub(super) fn open(place: &Place) -> Result<Connection, StoreError> {
    let shown = match place {
        Place::Memory => "the memory".to_owned(),
        Place::File(path) => path.display().to_string(),
    };
    let says = |error: rusqlite::Error| explain(&shown, &error);
    let mut db = match place {
        Place::Memory => Connection::open_in_memory(),
        Place::File(path) => Connection::open(path),
    }
    .map_err(says)?;
    db.busy_timeout(BUSY).map_err(says)?;
    db.execute_batch("PRAGMA locking_mode = EXCLUSIVE").map_err(says)?;

    let application: i64 = pragma(&db, "application_id").map_err(says)?;
    let found: i64 = pragma(&db, "user_version").map_err(says)?;
    let tables: i64 = db
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(says)?;
    let fresh = application == 0 && found == 0 && tables == 0;
    if !fresh && application != APPLICATION {
        return Err(StoreError::Open(format!(
            "{shown} is a database of another program; name another file"
        )));
    }
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let Some(missing) = usize::try_from(found).ok().and_then(|done| MIGRATIONS.get(done..)) else {
        return Err(StoreError::Newer { found, known });
    };
    claim(&db).map_err(says)?;
    let sound: String = pragma(&db, "quick_check(1)").map_err(says)?;
    if sound != "ok" {
        return Err(StoreError::Open(damaged(&shown, &sound)));
    }
    migrate(&mut db, missing, known).map_err(says)?;
    Ok(db)
}

/// Takes the file for this process alone, until it ends in whatever way: the lock is the kernel's.
fn claim(db: &Connection) -> rusqlite::Result<()> {
    // FULL, not NORMAL: in a write-ahead log NORMAL may lose the newest commits with the power, and a lost commit here
    // is a message that is never sent, or sent twice. One sync for each write is cheap at the rate of incidents.
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")?;
    // In exclusive mode the lock comes with the first access, and then stays: take it now, not at the first incident.
    db.execute_batch("BEGIN IMMEDIATE; COMMIT")
}

fn migrate(db: &mut Connection, missing: &[&str], known: i64) -> rusqlite::Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let all = db.transaction()?;
    for step in missing {
        all.execute_batch(step)?;
    }
    all.pragma_update(None, "application_id", APPLICATION)?;
    all.pragma_update(None, "user_version", known)?;
    all.commit()
}

fn pragma<T: rusqlite::types::FromSql>(db: &Connection, name: &str) -> rusqlite::Result<T> {
    db.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
}

/// What a person can do about it.
fn explain(shown: &str, error: &rusqlite::Error) -> StoreError {
    StoreError::Open(match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => return StoreError::InUse(shown.to_owned()),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => damaged(shown, &error.to_string()),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            format!("{shown} cannot be written ({error}); check who owns it and its directory")
        }
        Some(ErrorCode::CannotOpen) => {
            format!("{shown} cannot be opened ({error}); check that its directory exists and can be written")
        }
        _ => format!("{shown}: {error}"),
    })
}

fn damaged(shown: &str, how: &str) -> String {
    format!("{shown} is damaged, or no store of Headcount ({how}); move it away to start with an empty one")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(place: &Place) -> String {
        open(place).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);

        std::fs::write(
            path("text"),
            "not a database, but longer than the header of one, which is 100 bytes; ".repeat(50),
        )
        .unwrap();
        assert!(refused(&Place::File(path("text"))).contains("is damaged, or no store of Headcount"));
        assert!(
            std::fs::read_to_string(path("text"))
                .unwrap()
                .starts_with("not a database")
        );

        Connection::open(path("other"))
            .unwrap()
            .execute_batch("CREATE TABLE theirs (a)")
            .unwrap();
        assert!(refused(&Place::File(path("other"))).contains("is a database of another program"));

        assert!(refused(&Place::File(path("no/such/dir.db"))).contains("check that its directory exists"));
        assert!(refused(&Place::File(dir.path().to_owned())).contains("cannot be opened"));
    }

    #[test]
    fn a_newer_version_is_refused_and_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::File(dir.path().join("store"));
        open(&place).unwrap().pragma_update(None, "user_version", 99).unwrap();
        match open(&place) {
            Err(StoreError::Newer { found: 99, known }) => assert_eq!(known, MIGRATIONS.len() as i64),
            other => panic!("{other:?}"),
        }
        assert!(refused(&place).contains("version 99"));
    }

    #[test]
    fn damage_in_the_middle_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        drop(open(&Place::File(path.clone())).unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        let half = bytes.len() / 2;
        bytes[half..].fill(0x5A);
        std::fs::write(&path, bytes).unwrap();
        assert!(refused(&Place::File(path)).contains("is damaged"));
    }
}
