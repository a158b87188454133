//! A part of the backlog: a range of the cursor field that ends.

use async_trait::async_trait;
use headcount_actors::ports::stats::{Next, StatsError, StatsPart, Step};
use headcount_core::stats::value::Value;
use mongodb::bson::raw::{RawBsonRef, RawDocument};
use mongodb::bson::{Bson, Document, doc};
use mongodb::raw_batch_cursor::RawBatch;

use super::commit::{Change, Commit};
use super::extract::raw;
use super::fold::{Fold, position};
use super::home::Fail;
use super::parts::{Part, date, release};
use super::reader::Reader;
use super::states::Known;
use super::{Desk, now};

pub(super) struct Backlog {
    desk: Desk,
    part: Part,
    known: Known,
    reader: Option<Reader>,
    /// What the last step has left of an answer, and how many of its documents were read.
    left: Option<(RawBatch, usize)>,
}

impl Backlog {
    pub(super) fn new(desk: Desk, part: Part) -> Self {
        Self {
            known: Known::of(&part),
            desk,
            part,
            reader: None,
            left: None,
        }
    }

    fn open(&self) -> Reader {
        let spec = &self.desk.site.spec;
        let mut range = doc! {};
        if self.part.at != Bson::MinKey {
            range.insert("$gt", self.part.at.clone());
        }
        if let Some(upto) = &self.part.upto {
            range.insert("$lte", upto.clone());
        }
        let mut filter = doc! { &spec.cursor: range };
        if let Some(only) = self.part.only {
            filter.insert(&spec.time, doc! { "$gte": date(only.from), "$lt": date(only.to) });
        }
        Reader::open(&self.desk.source, filter, doc! { &spec.cursor: 1 }, spec.projection())
    }

    /// Folds documents until the step is full or the range at its end. The position, and whether it is the end.
    async fn read(&mut self, fold: &mut Fold<'_>) -> Result<(Option<Bson>, bool), Fail> {
        if self.reader.is_none() {
            self.reader = Some(self.open());
        }
        let Some(reader) = &mut self.reader else {
            return Err(Fail::Damaged("no reader".to_owned()));
        };
        let (cursor, step) = (&self.desk.site.spec.cursor, self.desk.site.step);
        let mut at = None;
        loop {
            let (batch, from) = match self.left.take() {
                Some(left) => left,
                None => match reader.next().await? {
                    Some(batch) => (batch, 0),
                    None => return Ok((at, true)),
                },
            };
            let read = fold_batch(fold, (cursor, step), &batch, from, at.as_ref())?;
            at = read.at.or(at);
            if let Some(next) = read.left {
                self.left = Some((batch, next));
                return Ok((at, false));
            }
        }
    }
}

/// How far an answer has been folded.
struct Read {
    at: Option<Bson>,
    /// The first document that was not.
    left: Option<usize>,
}

/// Folds the documents of an answer, from one on. A step that is full ends where the cursor field changes: a position cannot
/// lie between two documents with the same value.
fn fold_batch(
    fold: &mut Fold<'_>,
    (cursor, step): (&str, u64),
    batch: &RawBatch,
    from: usize,
    before: Option<&Bson>,
) -> Result<Read, Fail> {
    let now = now();
    let mut values: Vec<Value<'_>> = Vec::new();
    let mut last: Option<&RawDocument> = None;
    let mut left = None;
    for (place, document) in batch.doc_slices()?.into_iter().enumerate().skip(from) {
        let RawBsonRef::Document(document) = document? else {
            return Err(Fail::Damaged("an answer with something else than documents".to_owned()));
        };
        if (fold.documents >= step || fold.is_full()) && !is_tied(cursor, document, last, before) {
            left = Some(place);
            break;
        }
        fold.add(document, now, &mut values)?;
        last = Some(document);
    }
    let at = last.and_then(|document| position(document, cursor));
    Ok(Read { at, left })
}

/// Whether a document has the same value as the one before it.
fn is_tied(cursor: &str, document: &RawDocument, last: Option<&RawDocument>, before: Option<&Bson>) -> bool {
    // An `_id` is its document's alone.
    if cursor == "_id" {
        return false;
    }
    match last {
        Some(last) => raw(document, cursor) == raw(last, cursor),
        None => before.is_some() && position(document, cursor).as_ref() == before,
    }
}

#[async_trait]
impl StatsPart for Backlog {
    async fn step(&mut self) -> Result<Step, StatsError> {
        let desk = self.desk.clone();
        let mut fold = Fold::new(&desk.site.spec, &self.part);
        let (at, done) = self.read(&mut fold).await?;
        let (folded, bad, documents) = fold.finish();
        let bad_count = bad.len() as u64;
        let change = Change {
            at,
            documents: i64::try_from(documents).unwrap_or(i64::MAX),
            states: desk.writes(&self.part, &self.known, folded).await?,
            bad,
            done,
            ..Change::default()
        };
        let commit = Commit {
            home: &desk.home,
            pipeline: &desk.site.name,
            part: &self.part,
            change: &change,
        };
        desk.home.transact(&commit).await?;
        self.known.add(&change.states);
        if let Some(at) = change.at {
            self.part.at = at;
        }
        Ok(Step {
            documents,
            bad: bad_count,
            next: if done { Next::Done } else { Next::More },
        })
    }

    async fn release(self: Box<Self>) {
        release(&self.desk.home, &self.part).await;
    }
}

/// A filter for everything after a position.
pub(super) fn after(cursor: &str, at: &Bson) -> Document {
    doc! { cursor: { "$gt": at.clone() } }
}
