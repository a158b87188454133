//! A part of the backlog: a range of the cursor field that ends.

use std::time::Duration;

use async_trait::async_trait;
use headcount_actors::ports::stats::{Next, StatsError, StatsPart, Step};
use headcount_core::stats::value::Value;
use mongodb::bson::raw::{RawBsonRef, RawDocument};
use mongodb::bson::{Bson, doc};
use mongodb::raw_batch_cursor::RawBatch;
use tokio::time::Instant;

use super::commit::{Change, Commit};
use super::cursor::{Kind, is_same, position, range, same};
use super::extract::raw;
use super::fold::Fold;
use super::home::Fail;
use super::parts::{Held, Part, date, release};
use super::reader::{Answer, Reader};
use super::states::Known;
use super::{Desk, now};

/// A step ends after so long, so that the tail has its turn, and what a crash costs stays small.
const STEP_WITHIN: Duration = Duration::from_secs(2);

pub(super) struct Backlog {
    desk: Desk,
    part: Part,
    kind: Kind,
    _held: Held,
    known: Known,
    reader: Reader,
    /// What the last step has left of an answer, and how many of its documents were read.
    left: Option<(Answer, usize)>,
}

impl Backlog {
    pub(super) fn new(desk: Desk, part: Part, held: Held) -> Result<Self, Fail> {
        let damaged = || Fail::Damaged(format!("the part {} has no end", part.id));
        let kind = part.upto.as_ref().and_then(Kind::of).ok_or_else(damaged)?;
        Ok(Self {
            known: Known::of(&part),
            // At once, so that there is something when its turn comes.
            reader: open(&desk, &part, kind),
            kind,
            desk,
            part,
            _held: held,
            left: None,
        })
    }

    /// Folds documents until the step is full or the range at its end. The position, and whether it is the end.
    async fn read(&mut self, fold: &mut Fold<'_>) -> Result<(Option<Bson>, bool), Fail> {
        let until = Instant::now() + STEP_WITHIN;
        let (cursor, mut step) = (&self.desk.site.spec.cursor, self.desk.site.step);
        let mut at = None;
        loop {
            let (answer, from) = match self.left.take() {
                Some(left) => left,
                None => match self.reader.next().await? {
                    Some(answer) => (answer, 0),
                    None => return Ok((at, true)),
                },
            };
            let read = fold_batch(fold, (cursor, self.kind, step), &answer.batch, from, at.as_ref())?;
            at = read.at.or(at);
            if let Some(next) = read.left {
                self.left = Some((answer, next));
                return Ok((at, false));
            }
            if Instant::now() >= until {
                // The next value is the next step's.
                step = 0;
            }
        }
    }
}

fn open(desk: &Desk, part: &Part, kind: Kind) -> Reader {
    let spec = &desk.site.spec;
    let mut filter = range(&spec.cursor, kind, &part.at, part.upto.as_ref());
    if let Some(only) = part.only {
        filter.insert(&spec.time, doc! { "$gte": date(only.from), "$lt": date(only.to) });
    }
    Reader::open(&desk.source, filter, doc! { &spec.cursor: 1 }, spec.projection())
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
    (cursor, kind, step): (&str, Kind, u64),
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
    let at = last.and_then(|document| position(document, cursor, kind));
    Ok(Read { at, left })
}

/// Whether a document has the same value as the one before it.
fn is_tied(cursor: &str, document: &RawDocument, last: Option<&RawDocument>, before: Option<&Bson>) -> bool {
    // An `_id` is its document's alone.
    if cursor == "_id" {
        return false;
    }
    let value = raw(document, cursor);
    match (value, last, before) {
        (Some(value), Some(last), _) => raw(last, cursor).is_some_and(|last| is_same(value, last)),
        (Some(value), None, Some(before)) => Bson::try_from(value).is_ok_and(|value| same(&value, before)),
        _ => false,
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
            ..Step::default()
        })
    }

    async fn release(self: Box<Self>) {
        release(&self.desk.home, &self.part).await;
    }
}
