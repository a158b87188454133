//! Notes: which roll-ups a step has changed, for whoever publishes.
//!
//! A step leaves them in its own transaction, so what has changed is noted or has not changed. They are read with the states in
//! one snapshot, which therefore has all that they tell of, and they go once every sink has these roll-ups. What changes
//! meanwhile comes with a note of its own.

use std::collections::{BTreeMap, HashSet};

use futures_util::TryStreamExt;
use mongodb::ClientSession;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};

use super::home::{Fail, Home};

/// The share of a pipeline's roll-ups that one belongs to: each is published under a lease of its own.
pub(super) const SHARES: u64 = 4;
/// Roll-ups of one note, each by an `_id` of at most 256 bytes: far from the 16 MiB that a document may have.
const MAX_KEYS: usize = 1_000;
/// Notes of one round. The tail's are short.
const MAX_NOTES: i64 = 200;
/// Notes in one answer of the server: a few long ones are a round.
const BATCH: u32 = 16;

pub(super) fn share_name(pipeline: &str, number: u64) -> String {
    format!("{pipeline}/{number}")
}

pub(super) fn share_names(pipeline: &str) -> Vec<String> {
    (0..SHARES).map(|number| share_name(pipeline, number)).collect()
}

/// Where notes about a share's buckets are kept while these are counted anew.
pub(super) fn held_name(share: &str) -> String {
    format!("{share}/held")
}

fn share(id: &str) -> u64 {
    // A bucket is one share's, so that shares that are written at once do not lie between each other in an index: MongoDB passes
    // over all that another transaction has not committed yet, one by one, whenever it looks for a neighbour.
    let bucket = id.split('|').next().unwrap_or(id);
    // FNV-1a: the same on every machine and in every version, and nothing else is asked of it.
    let hash = bucket.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash >> 32) % SHARES
}

/// The key under which the states of all parts of one roll-up are found.
pub(super) fn key(pipeline: &str, id: &str) -> String {
    format!("{pipeline}/{id}")
}

fn note(share: &str, keys: &[Bson]) -> Document {
    let count = i64::try_from(keys.len()).unwrap_or(i64::MAX);
    doc! { "_id": ObjectId::new(), "share": share, "count": count, "keys": keys.to_vec() }
}

/// The notes about roll-ups with these `_id`s.
pub(super) fn of<'a>(pipeline: &str, ids: impl Iterator<Item = &'a str>) -> Vec<Document> {
    let mut shares: BTreeMap<u64, Vec<Bson>> = BTreeMap::new();
    for id in ids {
        shares.entry(share(id)).or_default().push(key(pipeline, id).into());
    }
    shares
        .into_iter()
        .flat_map(|(number, keys)| {
            let share = share_name(pipeline, number);
            keys.chunks(MAX_KEYS).map(|keys| note(&share, keys)).collect::<Vec<_>>()
        })
        .collect()
}

/// What one round is about.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    notes: Vec<(Bson, Vec<String>)>,
    /// The keys of roll-ups, each once.
    pub(super) keys: Vec<String>,
    /// There are more notes.
    pub(super) more: bool,
    /// Keys of roll-ups that are not whole yet, since their buckets are being counted anew.
    held: HashSet<String>,
}

/// The oldest notes of a share, with `most` roll-ups or a few more.
pub(super) async fn read(home: &Home, share: &str, most: usize, session: &mut ClientSession) -> Result<Round, Fail> {
    let notes = home.notes();
    let found = notes
        .find(doc! { "share": share })
        .sort(doc! { "_id": 1 })
        .limit(MAX_NOTES)
        .batch_size(BATCH);
    let mut found = found.session(&mut *session).await?;
    let mut round = Round::default();
    let mut keys = HashSet::new();
    let mut seen = 0;
    while let Some(note) = found.next(session).await.transpose()? {
        if keys.len() >= most {
            round.more = true;
            return Ok(Round {
                keys: keys.into_iter().collect(),
                ..round
            });
        }
        seen += 1;
        let damaged = || Fail::Damaged("a note of what is to be published cannot be read".to_owned());
        let id = note.get("_id").cloned().ok_or_else(damaged)?;
        let names = note.get_array("keys").map_err(|_| damaged())?;
        let names: Vec<String> = names.iter().filter_map(|key| key.as_str().map(str::to_owned)).collect();
        keys.extend(names.iter().cloned());
        round.notes.push((id, names));
    }
    round.more = seen >= MAX_NOTES;
    round.keys = keys.into_iter().collect();
    Ok(round)
}

impl Round {
    /// Leaves out the roll-ups of buckets that are being counted anew. Each range is of keys, without its end.
    pub(super) fn hold_back(&mut self, ranges: &[(String, String)]) {
        let is_held = |key: &String| ranges.iter().any(|(from, to)| from <= key && key < to);
        let (held, keys): (Vec<_>, Vec<_>) = std::mem::take(&mut self.keys).into_iter().partition(is_held);
        self.keys = keys;
        self.held = held.into_iter().collect();
    }

    /// Deletes the notes, but for what they say of roll-ups that `waits` names, and of those that are held back: that is put by,
    /// so that it is not in the way of others.
    pub(super) async fn settle(&self, home: &Home, share: &str, waits: &HashSet<String>) -> Result<(), Fail> {
        let notes = home.notes();
        let mut done = Vec::new();
        for (id, keys) in &self.notes {
            let held: Vec<Bson> = keys
                .iter()
                .filter(|key| self.held.contains(*key))
                .cloned()
                .map(Bson::from)
                .collect();
            if held.len() == keys.len() {
                let put_by = doc! { "$set": { "share": held_name(share) } };
                notes.update_one(doc! { "_id": id.clone() }, put_by).await?;
                continue;
            }
            if !held.is_empty() {
                // First, so that a crash leaves it twice and not without.
                notes.insert_one(note(&held_name(share), &held)).await?;
            }
            let left: Vec<&String> = keys.iter().filter(|key| waits.contains(*key)).collect();
            if left.is_empty() {
                done.push(id.clone());
            } else if left.len() < keys.len() {
                let count = i64::try_from(left.len()).unwrap_or(i64::MAX);
                let left: Vec<Bson> = left.into_iter().cloned().map(Bson::from).collect();
                let shorter = doc! { "$set": { "keys": left, "count": count } };
                notes.update_one(doc! { "_id": id.clone() }, shorter).await?;
            }
        }
        if !done.is_empty() {
            notes.delete_many(doc! { "_id": { "$in": done } }).await?;
        }
        Ok(())
    }
}

fn held_names(pipeline: &str) -> Vec<String> {
    share_names(pipeline).iter().map(|share| held_name(share)).collect()
}

/// Whether anything is held back.
pub(super) async fn has_held(home: &Home, pipeline: &str) -> Result<bool, Fail> {
    let held = doc! { "share": { "$in": held_names(pipeline) } };
    Ok(home
        .notes()
        .find_one(held)
        .projection(doc! { "_id": 1 })
        .await?
        .is_some())
}

/// Lets go what was held back.
pub(super) async fn let_go(home: &Home, pipeline: &str) -> Result<(), Fail> {
    for share in share_names(pipeline) {
        let back = doc! { "$set": { "share": &share } };
        home.notes()
            .update_many(doc! { "share": held_name(&share) }, back)
            .await?;
    }
    Ok(())
}

/// How many roll-ups are held back.
pub(super) async fn count_held(home: &Home, pipeline: &str) -> Result<u64, Fail> {
    count_of(home, held_names(pipeline)).await
}

/// How many roll-ups are noted and not held back, those of which several notes tell several times.
pub(super) async fn count(home: &Home, pipeline: &str) -> Result<u64, Fail> {
    count_of(home, share_names(pipeline)).await
}

async fn count_of(home: &Home, shares: Vec<String>) -> Result<u64, Fail> {
    let sum = [
        doc! { "$match": { "share": { "$in": shares } } },
        doc! { "$group": { "_id": null, "count": { "$sum": "$count" } } },
    ];
    let found: Vec<Document> = home.notes().aggregate(sum).await?.try_collect().await?;
    let count = found.first().and_then(|sum| sum.get_i64("count").ok()).unwrap_or(0);
    Ok(u64::try_from(count).unwrap_or(0))
}
