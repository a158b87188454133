//! The one transaction that a step ends in.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc};

use super::home::{Fail, Home, Work, insert_many, update_many};
use super::ids::{bytes_of, short};
use super::notes;
use super::parts::Part;
use super::whole;

/// The state of one (bucket, group) of one part, as it is after the step.
#[derive(Clone, Debug)]
pub(super) struct StateWrite {
    /// The roll-up's `_id`.
    pub(super) id: String,
    /// How many documents are in it.
    pub(super) documents: i64,
    /// How many documents were in it before; none where it was not there.
    pub(super) before: Option<i64>,
    /// Bucket and group.
    pub(super) bucket: DateTime,
    pub(super) group: Vec<u8>,
    pub(super) state: Vec<u8>,
}

/// A document that could not be counted.
#[derive(Clone, Debug)]
pub(super) struct DeadLetter {
    /// Its `_id` in the source.
    pub(super) source_id: Bson,
    /// What is wrong, and where.
    pub(super) reason: String,
    /// Where it is put aside because its cursor field is ahead of the clock: the moment that it tells. Its time comes, and it
    /// is not counted then either.
    pub(super) ahead: Option<DateTime>,
}

/// The longest `_id`, in bytes, that a letter quotes: a longer one might leave no room for the letter.
const MAX_QUOTED: usize = 4 << 20;

/// The letter's own `_id`.
pub(super) fn letter_id(pipeline: &str, source_id: &Bson) -> Document {
    doc! { "pipeline": pipeline, "id": short(source_id) }
}

/// All that a step changes.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// The last value of the cursor field that was read; none where nothing new was.
    pub(super) at: Option<Bson>,
    pub(super) documents: i64,
    pub(super) states: Vec<StateWrite>,
    pub(super) bad: Vec<DeadLetter>,
    /// The part's end has been reached.
    pub(super) done: bool,
    /// Of the tail: what was read, until it is settled.
    pub(super) seen: Option<Seen>,
    /// Of the tail: the border behind which nothing turns up any more, and the seen ids that are forgotten with it.
    pub(super) settled: Option<(Bson, Vec<i64>)>,
    /// Of the tail: the unsettled stretch was looked over, and all that was missed there is in this step.
    pub(super) swept: bool,
}

/// The ids of one step of the tail.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Its number, one more than that of the step before.
    pub(super) number: i64,
    /// Short ones.
    pub(super) ids: Vec<Bson>,
    /// The last value of the cursor field at that time.
    pub(super) upto: Bson,
}

pub(super) struct Commit<'a> {
    pub(super) home: &'a Home,
    pub(super) pipeline: &'a str,
    pub(super) part: &'a Part,
    pub(super) change: &'a Change,
}

pub(super) fn binary(bytes: &[u8]) -> Bson {
    Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    })
}

/// The `_id` of one part's state of a roll-up.
pub(super) fn state_id(part: &Part, id: &str) -> String {
    format!("{}/{id}", part.id)
}

#[async_trait]
impl Work for Commit<'_> {
    type Out = ();

    async fn run(&self, session: &mut ClientSession) -> Result<(), Fail> {
        let change = self.change;
        let mut set = doc! {};
        if let Some(at) = &change.at {
            set.insert("at", at.clone());
        }
        if change.done {
            set.insert("done", true);
        }
        if let Some((settled, _)) = &change.settled {
            set.insert("settled", settled.clone());
        }
        let bad = i64::try_from(change.bad.len()).unwrap_or(i64::MAX);
        let mut update = doc! {
            "$inc": { "documents": change.documents, "bad": bad, "sweeps": i64::from(change.swept) },
            "$currentDate": { "renewed": true },
        };
        if !set.is_empty() {
            update.insert("$set", set);
        }
        // First of all: whoever has lost the lease finds out before anything is sent.
        let moved = self
            .home
            .parts()
            .update_one(
                doc! { "_id": &self.part.id, "token": self.part.token, "done": false },
                update,
            )
            .session(&mut *session)
            .await?;
        if moved.matched_count == 0 {
            return Err(Fail::Fenced);
        }
        whole::check(self.home, self.pipeline, session).await?;
        self.write_states(session).await?;
        self.write_dead_letters(session).await?;
        self.write_seen(session).await
    }
}

impl Commit<'_> {
    async fn write_states(&self, session: &mut ClientSession) -> Result<(), Fail> {
        let (mut fresh, mut changed) = (Vec::new(), Vec::new());
        for state in &self.change.states {
            let id = state_id(self.part, &state.id);
            let bytes = binary(&state.state);
            match state.before {
                None => fresh.push(doc! {
                    "_id": id,
                    "key": notes::key(self.pipeline, &state.id),
                    "bucket": state.bucket,
                    "group": binary(&state.group),
                    "documents": state.documents,
                    "generation": self.part.generation,
                    "state": bytes,
                }),
                Some(before) => {
                    let generation = self.part.generation;
                    let set = doc! { "documents": state.documents, "generation": generation, "state": bytes };
                    changed.push(doc! { "q": { "_id": id, "documents": before }, "u": { "$set": set } });
                }
            }
        }
        let states = self.home.states();
        insert_many(session, &states, fresh).await?;
        let expected = i64::try_from(changed.len()).unwrap_or(i64::MAX);
        // Nobody but the lease's holder changes them, so this only fails where they were read from a server that was behind.
        if update_many(session, &states, changed).await? != expected {
            return Err(Fail::Fenced);
        }
        let changed = self.change.states.iter().map(|state| state.id.as_str());
        insert_many(session, &self.home.notes(), notes::of(self.pipeline, changed)).await
    }

    async fn write_dead_letters(&self, session: &mut ClientSession) -> Result<(), Fail> {
        let letter = |bad: &DeadLetter| {
            let is_quoted = bytes_of(&bad.source_id).len() <= MAX_QUOTED;
            let source_id = if is_quoted {
                bad.source_id.clone()
            } else {
                short(&bad.source_id)
            };
            let mut set = doc! { "pipeline": self.pipeline, "source_id": source_id, "reason": &bad.reason };
            if let Some(ahead) = bad.ahead {
                set.insert("ahead", ahead);
            }
            doc! {
                "q": { "_id": letter_id(self.pipeline, &bad.source_id) },
                "u": { "$set": set, "$currentDate": { "at": true } },
                "upsert": true,
            }
        };
        let letters = self.change.bad.iter().map(letter).collect();
        update_many(session, &self.home.dead_letters(), letters).await.map(drop)
    }

    async fn write_seen(&self, session: &mut ClientSession) -> Result<(), Fail> {
        let seen = self.home.seen();
        if let Some(new) = &self.change.seen {
            // By an update, so that the moment is the server's.
            let statement = doc! {
                "q": { "_id": { "pipeline": self.pipeline, "number": new.number } },
                "u": {
                    "$set": { "pipeline": self.pipeline, "number": new.number, "ids": new.ids.clone(), "upto": new.upto.clone() },
                    "$currentDate": { "at": true },
                },
                "upsert": true,
            };
            update_many(session, &seen, vec![statement]).await?;
        }
        if let Some((_, numbers)) = &self.change.settled
            && !numbers.is_empty()
        {
            let forget: Document = doc! { "pipeline": self.pipeline, "number": { "$in": numbers.clone() } };
            seen.delete_many(forget).session(&mut *session).await?;
        }
        Ok(())
    }
}
