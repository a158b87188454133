//! Cuts what is there to read into parts.
//!
//! Everything up to a certain value of the cursor field becomes the backlog, a number of parts of about equal size; all that
//! comes after is the tail. The border must be settled: behind it nothing may turn up any more. For an `_id` of MongoDB's
//! own kind and for dates that is the moment `settle` ago. Of other values nobody can tell how old they are, so the border is
//! the greatest one, and no part is to be read before `settle` has passed: what came just now may be in any of them.

use std::cmp::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use headcount_actors::ports::stats::PartKind;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::{ClientSession, Collection};

use super::cursor::{Kind, bounded, order, range, short};
use super::home::{Fail, Home, Work, insert_many};
use super::parts::{Buckets, NewPart};
use super::whole;

/// So many documents are not worth a part of their own, nor is less than a step.
const MIN_PART: u64 = 50_000;
/// The most parts of a backlog. More share the work more evenly, and cost a state for each part that a roll-up's documents
/// are spread over.
const MAX_PARTS: u64 = 16;
/// How many documents are looked at for each border: enough for parts that differ by a few per cent.
const SAMPLES_PER_PART: u64 = 100;

/// What a backlog is made of.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The ends of the parts, in order; the last one is where the tail begins. Empty where there is nothing behind.
    pub(super) borders: Vec<Bson>,
    /// About how many documents each part has.
    pub(super) part_size: i64,
    /// Whether the parts must be left alone for a while.
    pub(super) unsettled: bool,
}

impl Plan {
    /// Of nothing that is there.
    pub(super) const fn nothing() -> Self {
        Self {
            borders: Vec::new(),
            part_size: 0,
            unsettled: false,
        }
    }
}

fn value_in(document: &Document, path: &str) -> Option<Bson> {
    let mut names = path.split('.');
    let mut value = document.get(names.next()?)?;
    for name in names {
        value = value.as_document()?.get(name)?;
    }
    Some(value.clone())
}

fn projection(cursor: &str) -> Document {
    if cursor == "_id" {
        doc! { "_id": 1 }
    } else {
        doc! { "_id": 0, cursor: 1 }
    }
}

/// Some values of the cursor field, in their order; for those that are too long to be read by, short ones of their kind.
async fn sample(source: &Collection<Document>, cursor: &str, size: u64) -> Result<Vec<Bson>, Fail> {
    let sample = [
        doc! { "$sample": { "size": i64::try_from(size).unwrap_or(i64::MAX) } },
        doc! { "$project": { "_id": 0, "value": short(cursor) } },
        doc! { "$sort": { "value": 1 } },
    ];
    let sampled: Vec<Document> = source.aggregate(sample).await?.try_collect().await?;
    Ok(sampled
        .into_iter()
        .filter_map(|mut found| found.remove("value"))
        .collect())
}

/// The kind of most values of the cursor field; none where there are none yet.
pub(super) async fn kind_of(source: &Collection<Document>, cursor: &str) -> Result<Option<Kind>, Fail> {
    let sampled = sample(source, cursor, SAMPLES_PER_PART).await?;
    Ok(Kind::of_most(sampled.iter()))
}

/// Cuts a whole collection; what lies after `upto` is left out, where somebody knows that all before it is settled.
pub(super) async fn cut(
    source: &Collection<Document>,
    cursor: &str,
    step: u64,
    settle: Duration,
    now: DateTime,
    upto: Option<Bson>,
) -> Result<Plan, Fail> {
    let count = source.estimated_document_count().await?;
    let parts = (count / MIN_PART.min(step)).clamp(1, MAX_PARTS);
    let part_size = i64::try_from(count / parts).unwrap_or(i64::MAX);
    let sampled = sample(source, cursor, parts * SAMPLES_PER_PART).await?;
    let kind = match &upto {
        Some(upto) => Kind::of(upto),
        None => Kind::of_most(sampled.iter()),
    };
    let Some(kind) = kind else { return Ok(Plan::nothing()) };
    let settle = i64::try_from(settle.as_millis()).unwrap_or(i64::MAX);
    let settled = DateTime::from_millis(now.timestamp_millis().saturating_sub(settle));
    // What lies ahead of the clock is not settled either.
    let (end, unsettled) = match (upto, kind.value_at(settled)) {
        (Some(border), _) | (None, Some(border)) => (border, false),
        (None, None) => {
            let last = source
                .find_one(range(cursor, kind, &Bson::MinKey, None))
                .sort(doc! { cursor: -1 })
                .projection(projection(cursor))
                .await?;
            match last.and_then(|last| value_in(&last, cursor)) {
                Some(greatest) => (bounded(greatest), true),
                None => return Ok(Plan::nothing()),
            }
        }
    };
    // Others would not be compared with it, and what comes after it is the tail's.
    let is_inside = |value: &Bson| Kind::of(value) == Some(kind) && order(value, &end) == Some(Ordering::Less);
    let sampled: Vec<Bson> = sampled.into_iter().filter(is_inside).collect();
    let mut borders: Vec<Bson> = (1..parts)
        .filter_map(|part| sampled.get(usize::try_from(part).ok()? * sampled.len() / usize::try_from(parts).ok()?))
        .cloned()
        .collect();
    borders.dedup_by(|a, b| order(a, b) == Some(Ordering::Equal));
    borders.push(end);
    Ok(Plan {
        borders,
        part_size,
        unsettled,
    })
}

/// Writes a plan: once, however many try.
pub(super) struct Write<'a> {
    pub(super) home: &'a Home,
    pub(super) pipeline: &'a str,
    pub(super) plan: &'a Plan,
    pub(super) now: DateTime,
    pub(super) settle: Duration,
    /// That of the pipeline.
    pub(super) generation: i64,
}

#[async_trait]
impl Work for Write<'_> {
    type Out = ();

    async fn run(&self, session: &mut ClientSession) -> Result<(), Fail> {
        let (pipelines, parts) = (self.home.pipelines(), self.home.parts());
        let first = pipelines
            .update_one(
                doc! { "_id": self.pipeline, "planned": { "$exists": false } },
                doc! { "$set": { "planned": self.now } },
            )
            .session(&mut *session)
            .await?;
        if first.matched_count == 0 {
            return Ok(());
        }
        let documents = parts_of(self.pipeline, self.plan, self.now, self.settle, (self.generation, None));
        let tail = NewPart {
            pipeline: self.pipeline,
            name: "tail".to_owned(),
            kind: PartKind::Tail,
            after: self.plan.borders.last().cloned().unwrap_or(Bson::MinKey),
            upto: None,
            size: 0,
            not_before: self.now,
            only: None,
            generation: self.generation,
            judges_late: true,
        };
        let all = documents.into_iter().chain([tail.document()]).collect();
        insert_many(session, &parts, all).await?;
        whole::mark(self.home, self.pipeline, session).await
    }
}

/// The documents of a plan's parts.
pub(super) fn parts_of(
    pipeline: &str,
    plan: &Plan,
    now: DateTime,
    settle: Duration,
    (generation, only): (i64, Option<Buckets>),
) -> Vec<Document> {
    let settle = i64::try_from(settle.as_millis()).unwrap_or(i64::MAX);
    let later = DateTime::from_millis(now.timestamp_millis().saturating_add(settle));
    let mut after = Bson::MinKey;
    let mut documents = Vec::new();
    for (index, border) in plan.borders.iter().enumerate() {
        let part = NewPart {
            pipeline,
            name: format!("{generation:010}-{index:04}"),
            kind: PartKind::Backlog,
            after: std::mem::replace(&mut after, border.clone()),
            upto: Some(border.clone()),
            size: plan.part_size,
            not_before: if plan.unsettled { later } else { now },
            only,
            generation,
            judges_late: false,
        };
        documents.push(part.document());
    }
    documents
}
