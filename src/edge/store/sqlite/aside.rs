//! Rows that cannot be read: kept for whoever wants to look at them, and out of the way of all others.

use headcount_actors::ports::StoreError;
use headcount_core::time::Wall;
use rusqlite::{Connection, Row, params};

use super::failed;

/// One document that cannot be read.
#[derive(Debug)]
pub(super) struct Bad {
    /// The table that it was in.
    pub(super) source: &'static str,
    /// Its key there, for people.
    pub(super) key: String,
    /// The document, byte by byte.
    pub(super) document: Vec<u8>,
    /// What is wrong with it.
    pub(super) why: String,
}

/// Keeps them. The caller takes them out of their table, so each is met, and logged, once.
pub(super) fn keep(db: &Connection, bad: &[Bad]) -> Result<(), StoreError> {
    let Some(first) = bad.first() else { return Ok(()) };
    let sql = "INSERT INTO set_aside (source, key, document, why, at)
               VALUES (?1, ?2, ?3, ?4, CAST(unixepoch('subsec') * 1000000 AS INTEGER))";
    let mut put = db.prepare_cached(sql).map_err(failed)?;
    for one in bad {
        put.execute(params![one.source, one.key, one.document, one.why])
            .map_err(failed)?;
    }
    let total: i64 = db
        .query_row("SELECT count(*) FROM set_aside", [], |row| row.get(0))
        .map_err(failed)?;
    tracing::error!(
        table = first.source,
        rows = bad.len(),
        total,
        first = first.key,
        why = first.why,
        "rows of the store cannot be read, and what they held is not known any more: they are kept in its table set_aside, and the \
         rest is used; see whether its disk is damaged, or another program writes to its file"
    );
    Ok(())
}

pub(super) fn forget_before(db: &Connection, before: Wall) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM set_aside WHERE at < ?1")
        .and_then(|mut delete| delete.execute([before.as_micros()]))
        .map(drop)
        .map_err(failed)
}

/// A column's bytes as they are: what SQLite calls text need not be UTF-8.
pub(super) fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Vec<u8>>> {
    Ok(row.get_ref(column)?.as_bytes_or_null()?.map(<[u8]>::to_vec))
}

/// For people.
pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
