//! What is owed to notifiers, and what they have been told.

use compact_str::CompactString;
use headcount_actors::ports::{Act, Debt, DebtId, Owed, Receipt, StoreError};
use headcount_core::alert::{IncidentId, Notification};
use headcount_core::time::Wall;
use rusqlite::{Connection, OptionalExtension, params};

use super::aside::{self, Bad};
use super::{decode, encode, failed, rows};

/// How many delivered messages one incident keeps for each notifier, the newest. An incident that flaps for days must
/// not grow without end; raising it costs about 200 bytes a message.
pub(super) const MAX_HISTORY: usize = 100;

/// How much of an error is kept, in characters.
const MAX_ERROR: usize = 500;

/// Owes one thing more for an incident.
pub(super) fn put(db: &Connection, incident: &IncidentId, owed: &Owed) -> Result<(), StoreError> {
    let sql = "INSERT INTO debts (incident, notifier, act, notice, text, queued_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let notice = encode(&owed.notice)?;
    db.prepare_cached(sql)
        .and_then(|mut put| {
            put.execute(params![
                incident.0.as_str(),
                owed.notifier.as_str(),
                word(owed.act),
                notice,
                owed.notice.text(),
                owed.notice.at.as_micros(),
            ])
        })
        .map(drop)
        .map_err(failed)
}

/// What a notifier owes, oldest first.
pub(super) fn owed(db: &Connection, notifier: &CompactString, limit: usize) -> Result<Vec<Debt>, StoreError> {
    loop {
        let (debts, bad) = readable(db, notifier, limit)?;
        if bad.is_empty() {
            return Ok(debts);
        }
        let (ids, bad): (Vec<_>, Vec<_>) = bad.into_iter().unzip();
        aside::keep(db, &bad)?;
        waive(db, &ids)?;
        // Those after them move up, so that no number of bad ones hides the good.
    }
}

type Readable = (Vec<Debt>, Vec<(DebtId, Bad)>);

/// The first debts of a notifier: those that can be read, and those that cannot.
fn readable(db: &Connection, notifier: &CompactString, limit: usize) -> Result<Readable, StoreError> {
    let sql = "SELECT id, act, notice, incident, text FROM debts WHERE notifier = ?1 AND delivered_at IS NULL
               ORDER BY id LIMIT ?2";
    let mut all = db.prepare_cached(sql).map_err(failed)?;
    let mut found = all.query(params![notifier.as_str(), rows(limit)]).map_err(failed)?;
    let (mut debts, mut bad) = (Vec::new(), Vec::new());
    while let Some(row) = found.next().map_err(failed)? {
        let id = DebtId(row.get(0).map_err(failed)?);
        let column = |n| aside::bytes(row, n).map(Option::unwrap_or_default).map_err(failed);
        let (act, notice) = (aside::shown(&column(1)?), column(2)?);
        match act_of(&act).and_then(|act| Ok((act, decode(&notice)?))) {
            Ok((act, notice)) => debts.push(Debt {
                id,
                owed: Owed {
                    notifier: notifier.clone(),
                    act,
                    notice,
                },
            }),
            Err(why) => {
                let (incident, text) = (aside::shown(&column(3)?), aside::shown(&column(4)?));
                let one = Bad {
                    source: "debts",
                    key: format!("{act} {} of {incident} to {notifier}: {text}", id.0),
                    document: notice,
                    why: why.to_string(),
                };
                bad.push((id, one));
            }
        }
    }
    Ok((debts, bad))
}

/// Delivered. A debt that is paid already, or gone, stays as it is.
pub(super) fn paid(db: &Connection, debt: DebtId, at: Wall, receipt: Option<Receipt>) -> Result<(), StoreError> {
    let sql = "UPDATE debts SET delivered_at = ?2, notice = NULL, error = NULL
               WHERE id = ?1 AND delivered_at IS NULL RETURNING incident, notifier, act";
    let found = db
        .prepare_cached(sql)
        .and_then(|mut pay| {
            pay.query_row(params![debt.0, at.as_micros()], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, String>(2)?,
                ))
            })
            .optional()
        })
        .map_err(failed)?;
    let Some((incident, notifier, act)) = found else {
        return Ok(());
    };
    if let Some(Receipt(receipt)) = receipt {
        let sql = "INSERT INTO receipts (incident, notifier, receipt) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        db.prepare_cached(sql)
            .and_then(|mut keep| keep.execute([&incident, &notifier, &receipt]))
            .map_err(failed)?;
    }
    if act_of(&act)? == Act::Refresh {
        // It changed a message and was none itself: the history has no use for it.
        db.prepare_cached("DELETE FROM debts WHERE id = ?1")
            .and_then(|mut delete| delete.execute([debt.0]))
            .map_err(failed)?;
    }
    let sql = "DELETE FROM debts WHERE incident = ?1 AND notifier = ?2 AND delivered_at IS NOT NULL AND id NOT IN
               (SELECT id FROM debts WHERE incident = ?1 AND notifier = ?2 AND delivered_at IS NOT NULL
                ORDER BY id DESC LIMIT ?3)";
    db.prepare_cached(sql)
        .and_then(|mut delete| delete.execute(params![incident, notifier, rows(MAX_HISTORY)]))
        .map(drop)
        .map_err(failed)
}

/// An attempt failed.
pub(super) fn unpaid(db: &Connection, debt: DebtId, error: &str) -> Result<(), StoreError> {
    let short: String = error.chars().take(MAX_ERROR).collect();
    db.prepare_cached("UPDATE debts SET error = ?2 WHERE id = ?1 AND delivered_at IS NULL")
        .and_then(|mut note| note.execute(params![debt.0, short]))
        .map(drop)
        .map_err(failed)
}

/// One debt instead of several of the same incident and notifier. All of them must still be owed: what has been
/// delivered cannot be taken back.
pub(super) fn merge(db: &Connection, debts: &[DebtId], into: &Owed) -> Result<(), StoreError> {
    let incident = &into.notice.incident.id;
    if debts.is_empty() {
        return Err(StoreError::Failed("there is nothing to merge".to_owned()));
    }
    for debt in debts {
        let sql = "DELETE FROM debts WHERE id = ?1 AND incident = ?2 AND notifier = ?3 AND delivered_at IS NULL";
        let gone = db
            .prepare_cached(sql)
            .and_then(|mut delete| delete.execute(params![debt.0, incident.0.as_str(), into.notifier.as_str()]))
            .map_err(failed)?;
        if gone != 1 {
            let why = format!(
                "debt {} of incident {incident} is not owed to {} any more",
                debt.0, into.notifier
            );
            return Err(StoreError::Failed(why));
        }
    }
    put(db, incident, into)
}

/// Those that are still owed are owed no more.
pub(super) fn waive(db: &Connection, debts: &[DebtId]) -> Result<(), StoreError> {
    let mut delete = db
        .prepare_cached("DELETE FROM debts WHERE id = ?1 AND delivered_at IS NULL")
        .map_err(failed)?;
    debts
        .iter()
        .try_for_each(|debt| delete.execute([debt.0]).map(drop).map_err(failed))
}

/// Nothing is owed to anybody but these. What was owed to somebody else is owed to those of them who have never had a
/// message of the incident: a channel that was renamed goes on under its new name.
pub(super) fn disown(db: &Connection, notifiers: &[CompactString]) -> Result<u64, StoreError> {
    // Of several strangers one speaks for all of an incident, or a message would be owed twice.
    let hand_on = "
        WITH strange AS MATERIALIZED (
                SELECT * FROM debts
                WHERE delivered_at IS NULL AND act = ?2 AND notifier NOT IN (SELECT value FROM json_each(?1))),
             spoken AS MATERIALIZED (SELECT incident, MIN(notifier) AS notifier FROM strange GROUP BY incident),
             heirs AS MATERIALIZED (
                SELECT spoken.incident, spoken.notifier AS stranger, configured.value AS heir
                FROM spoken, json_each(?1) AS configured
                WHERE NOT EXISTS (
                    SELECT 1 FROM debts
                    WHERE debts.incident = spoken.incident AND debts.notifier = configured.value))
        INSERT INTO debts (incident, notifier, act, notice, text, queued_at)
        SELECT strange.incident, heirs.heir, strange.act, strange.notice, strange.text, strange.queued_at
        FROM strange JOIN heirs ON heirs.incident = strange.incident AND heirs.stranger = strange.notifier
        ORDER BY strange.id";
    let drop = "DELETE FROM debts WHERE delivered_at IS NULL AND notifier NOT IN (SELECT value FROM json_each(?1))";
    let notifiers = encode(notifiers)?;
    db.execute(hand_on, params![notifiers, word(Act::Post)])
        .map_err(failed)?;
    let gone = db.execute(drop, [notifiers]).map_err(failed)?;
    Ok(u64::try_from(gone).unwrap_or(u64::MAX))
}

/// What the incident's first message can be found by. Without one that can be read the next message is a new first one.
pub(super) fn receipt(db: &Connection, incident: &IncidentId, notifier: &str) -> Result<Option<Receipt>, StoreError> {
    let key = [incident.0.as_str(), notifier];
    let found = db
        .prepare_cached("SELECT receipt FROM receipts WHERE incident = ?1 AND notifier = ?2")
        .and_then(|mut find| find.query_row(key, |row| aside::bytes(row, 0)).optional())
        .map_err(failed)?;
    match found.flatten().map(String::from_utf8).transpose() {
        Ok(found) => Ok(found.map(Receipt)),
        Err(error) => {
            let one = Bad {
                source: "receipts",
                key: format!("{incident} to {notifier}"),
                why: error.to_string(),
                document: error.into_bytes(),
            };
            aside::keep(db, &[one])?;
            db.execute("DELETE FROM receipts WHERE incident = ?1 AND notifier = ?2", key)
                .map_err(failed)?;
            Ok(None)
        }
    }
}

/// The messages of one incident, oldest first: at most [`MAX_HISTORY`] of each notifier, and what is owed.
pub(super) fn history(db: &Connection, incident: &IncidentId) -> Result<Vec<Notification>, StoreError> {
    let sql = "SELECT notifier, text, queued_at, delivered_at, error FROM debts
               WHERE incident = ?1 AND act = ?2 ORDER BY id";
    let mut all = db.prepare_cached(sql).map_err(failed)?;
    let found = all
        .query_map([incident.0.as_str(), word(Act::Post)], |row| {
            Ok(Notification {
                notifier: row.get::<_, String>(0)?.into(),
                text: row.get(1)?,
                queued_at: Wall::from_micros(row.get(2)?),
                delivered_at: row.get::<_, Option<i64>>(3)?.map(Wall::from_micros),
                error: row.get(4)?,
            })
        })
        .map_err(failed)?;
    found.collect::<rusqlite::Result<_>>().map_err(failed)
}

const fn word(act: Act) -> &'static str {
    match act {
        Act::Post => "post",
        Act::Refresh => "refresh",
    }
}

fn act_of(word: &str) -> Result<Act, StoreError> {
    match word {
        "post" => Ok(Act::Post),
        "refresh" => Ok(Act::Refresh),
        other => Err(StoreError::Failed(format!("an act {other:?} is not known"))),
    }
}
