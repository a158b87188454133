//! Parts of a pipeline's work, and the leases on them.
//!
//! A lease is the part's own document: who holds it, since when, and a token that grows with each taking. Every commit of a
//! step names the token that it was taken with, so whoever has lost the lease, and does not know it yet, changes nothing.
//! All times are the server's, so that clocks of different machines do not matter.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use headcount_actors::ports::stats::PartKind;
use headcount_core::time::Wall;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::options::ReturnDocument;
use tokio::task::JoinHandle;

use super::generation;
use super::home::{Fail, Home, code, majority};

/// So long is waited for one part; then the next one is tried.
const TAKE_WITHIN: Duration = Duration::from_millis(300);
/// A lease is renewed so many times before it would run out.
const RENEWALS: u32 = 4;
/// MongoDB's code for an operation that took longer than it was allowed to.
const MAX_TIME_EXPIRED: i32 = 50;

/// One part as it was taken.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Its `_id`: the pipeline's name, a slash, and its number or `tail`.
    pub(super) id: String,
    /// Everything up to and with this value of the cursor field has been read.
    pub(super) at: Bson,
    /// The end of its range, which belongs to it; none for the tail.
    pub(super) upto: Option<Bson>,
    /// Of the tail: up to here nothing is going to turn up any more.
    pub(super) settled: Bson,
    /// What the lease was taken with.
    pub(super) token: i64,
    /// Documents that have been read of it.
    pub(super) documents: i64,
    /// Only documents of these buckets count: a range that is counted anew.
    pub(super) only: Option<Buckets>,
    /// Which counting its states are of.
    pub(super) generation: i64,
    /// Whether documents may be too late for their bucket. Not so in what was there before the pipeline was.
    pub(super) judges_late: bool,
}

/// Buckets that begin at or after `from` and before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Buckets {
    pub(super) from: Wall,
    pub(super) to: Wall,
}

pub(super) fn date(wall: Wall) -> DateTime {
    DateTime::from_millis(wall.as_micros().div_euclid(1_000))
}

pub(super) fn wall(date: DateTime) -> Wall {
    Wall::from_micros(date.timestamp_millis().saturating_mul(1_000))
}

pub(super) const fn word(kind: PartKind) -> &'static str {
    match kind {
        PartKind::Backlog => "backlog",
        PartKind::Tail => "tail",
    }
}

impl Part {
    fn read(document: &Document) -> Option<Self> {
        let only = match (document.get_datetime("from"), document.get_datetime("to")) {
            (Ok(from), Ok(to)) => Some(Buckets {
                from: wall(*from),
                to: wall(*to),
            }),
            _ => None,
        };
        Some(Part {
            id: document.get_str("_id").ok()?.to_owned(),
            at: document.get("at")?.clone(),
            upto: document.get("upto").cloned(),
            settled: document.get("settled").cloned().unwrap_or(Bson::MinKey),
            token: document.get_i64("token").ok()?,
            documents: document.get_i64("documents").ok()?,
            only,
            generation: document.get_i64("generation").unwrap_or(0),
            judges_late: document.get_bool("judges_late").unwrap_or(true),
        })
    }
}

/// A part that nobody holds yet, as it is first written.
pub(super) struct NewPart<'a> {
    pub(super) pipeline: &'a str,
    /// Its number, or `tail`.
    pub(super) name: String,
    pub(super) kind: PartKind,
    /// Where it begins; that value itself belongs to the part before.
    pub(super) after: Bson,
    pub(super) upto: Option<Bson>,
    /// About how many documents it has.
    pub(super) size: i64,
    /// Not to be taken before.
    pub(super) not_before: DateTime,
    pub(super) only: Option<Buckets>,
    pub(super) generation: i64,
    pub(super) judges_late: bool,
}

impl NewPart<'_> {
    pub(super) fn document(self) -> Document {
        let mut document = doc! {
            "_id": format!("{}/{}", self.pipeline, self.name),
            "pipeline": self.pipeline,
            "kind": word(self.kind),
            "after": self.after.clone(),
            "at": self.after.clone(),
            "size": self.size,
            "documents": 0_i64,
            "bad": 0_i64,
            "done": false,
            "judges_late": self.judges_late,
            "generation": self.generation,
            "not_before": self.not_before,
            // Greater than any of a part of this name that was deleted, and that somebody may still hold.
            "token": generation::token_of(self.generation),
            "owner": "",
            "lease": 0_i64,
            "renewed": DateTime::from_millis(0),
        };
        match self.upto {
            Some(upto) => document.insert("upto", upto),
            None => document.insert("settled", self.after),
        };
        if let Some(only) = self.only {
            document.insert("from", date(only.from));
            document.insert("to", date(only.to));
        }
        document
    }
}

/// A lease that has run out, by the server's clock.
pub(super) fn expired() -> Document {
    doc! { "$lt": [{ "$add": ["$renewed", "$lease"] }, "$$NOW"] }
}

/// The parts that one processor works on. What it holds by the database and not here, an error has dropped.
#[derive(Clone, Debug, Default)]
pub(super) struct Hands(Arc<Mutex<HashSet<String>>>);

impl Hands {
    fn get(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a part, and keeps its lease, as long as what it returns lives.
    pub(super) fn hold(&self, home: &Home, part: &Part, lease: Duration) -> Held {
        self.get().insert(part.id.clone());
        Held {
            id: part.id.clone(),
            hands: self.clone(),
            keeper: tokio::spawn(keep(home.clone(), part.clone(), lease / RENEWALS)),
        }
    }
}

/// A part that is worked on.
#[derive(Debug)]
pub(super) struct Held {
    id: String,
    hands: Hands,
    keeper: JoinHandle<()>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.keeper.abort();
        self.hands.get().remove(&self.id);
    }
}

/// Takes the first free part of a kind. What an owner has held and dropped is free to it at once.
pub(super) async fn take(
    home: &Home,
    pipeline: &str,
    (owner, hands): (&str, &Hands),
    kind: PartKind,
    lease: i64,
) -> Result<Option<Part>, Fail> {
    let free = doc! { "$or": [{ "$eq": ["$owner", owner] }, expired()] };
    let held: Vec<Bson> = hands.get().iter().cloned().map(Bson::from).collect();
    let filter = doc! {
        "_id": { "$nin": held },
        "pipeline": pipeline,
        "kind": word(kind),
        "done": false,
        "$expr": { "$and": [free, { "$lte": ["$not_before", "$$NOW"] }] },
    };
    let candidates: Vec<Document> = home
        .parts()
        .find(filter.clone())
        .sort(doc! { "_id": 1 })
        .projection(doc! { "_id": 1 })
        .await?
        .try_collect()
        .await?;
    for candidate in candidates {
        let Some(id) = candidate.get("_id") else { continue };
        let mut this = filter.clone();
        // None of those that are held is a candidate.
        this.insert("_id", id.clone());
        let update = doc! {
            "$set": { "owner": owner, "lease": lease },
            // That the looks of the tail are counted shows from here on: an earlier version does not.
            "$inc": { "token": 1_i64, "sweeps": 0_i64 },
            "$currentDate": { "renewed": true },
        };
        let taken = home
            .parts()
            .find_one_and_update(this, update)
            .return_document(ReturnDocument::After)
            .max_time(TAKE_WITHIN)
            .write_concern(majority())
            .await;
        match taken {
            // Somebody was quicker.
            Ok(None) => {}
            Ok(Some(document)) => {
                let damaged = || Fail::Damaged(format!("the part {id} cannot be read"));
                return Part::read(&document).map(Some).ok_or_else(damaged);
            }
            // Its last holder went in the middle of a transaction that the server has not given up yet.
            Err(error) if code(&error) == Some(MAX_TIME_EXPIRED) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Renews the lease of a part until it has gone to somebody else: an answer of the source may take longer than the lease, and
/// so may the step of a part that is held beside it. Whoever is stopped stops this as well.
async fn keep(home: Home, part: Part, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        // Another failure may pass; and whoever commits next finds out what this one has.
        if let Err(Fail::Fenced) = renew(&home, &part).await {
            return;
        }
    }
}

/// Keeps a part a while longer, where there is nothing to commit.
pub(super) async fn renew(home: &Home, part: &Part) -> Result<(), Fail> {
    keep_with(home, part, doc! {}).await
}

/// The same of the tail, whose unsettled stretch was looked over: nothing was missed there.
pub(super) async fn renew_swept(home: &Home, part: &Part) -> Result<(), Fail> {
    keep_with(home, part, doc! { "$inc": { "sweeps": 1_i64 } }).await
}

async fn keep_with(home: &Home, part: &Part, mut update: Document) -> Result<(), Fail> {
    // One that was given back is nobody's.
    let filter = doc! { "_id": &part.id, "token": part.token, "owner": { "$ne": "" } };
    update.insert("$currentDate", doc! { "renewed": true });
    let renewed = home
        .parts()
        .update_one(filter, update)
        .write_concern(majority())
        .await?;
    if renewed.matched_count == 0 {
        return Err(Fail::Fenced);
    }
    Ok(())
}

/// Gives a part back, if it is still held.
pub(super) async fn release(home: &Home, part: &Part) {
    let filter = doc! { "_id": &part.id, "token": part.token };
    let update = doc! { "$set": { "renewed": DateTime::from_millis(0), "owner": "" } };
    // Where this does not arrive, the lease runs out.
    let _ = home.parts().update_one(filter, update).await;
}
