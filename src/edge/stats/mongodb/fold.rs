//! Folds documents as they come from the server into roll-ups.

use headcount_core::stats::group::Group;
use headcount_core::stats::plan::Plan;
use headcount_core::stats::rollup::Rollup;
use headcount_core::stats::value::{Bad, Value};
use headcount_core::stats::window::{Open, Window};
use headcount_core::time::Wall;
use mongodb::bson::raw::RawDocument;
use mongodb::bson::{Bson, Document};

use super::commit::DeadLetter;
use super::cursor::{Kind, range, too_long};
use super::extract::{Wanted, moment, raw};
use super::home::Fail;
use super::parts::{Buckets, Part, date};

/// A step ends once it has touched so many (bucket, group)s: they are in memory, and written in one transaction, which must not
/// take a minute. Raising it costs memory (half a kilobyte each, more with sketches) and saves little.
pub(super) const MAX_STEP_GROUPS: usize = 20_000;
/// A step also ends once its groups take so many bytes in memory: with many measures, quantiles or different values that is long
/// before they are too many. Written out, and in the driver's hands, they are there up to three times more.
const MAX_STEP_MEMORY: usize = 32 << 20;
/// The most that documents with one and the same value of the cursor field may touch beyond that: such documents cannot be told
/// apart by a position, so one step must take them all.
const MAX_TIED_GROUPS: usize = 100_000;
/// A step ends once so many documents were bad: they are written in the same transaction.
const MAX_STEP_BAD: usize = 5_000;
/// The longest reason, in characters.
const MAX_REASON: usize = 300;

/// What is to be made of documents.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) plan: Plan,
    pub(super) window: Window,
    /// Whether a document may be too late at all.
    pub(super) has_late: bool,
    pub(super) cursor: String,
    pub(super) time: String,
    /// The time, the fields that are grouped by, and those that are measured.
    wanted: Wanted,
}

impl Spec {
    pub(super) fn new(plan: Plan, window: Window, has_late: bool, cursor: &str, time: &str) -> Self {
        let groups = plan.group_by().iter().map(|field| field.as_str());
        let measured = plan.fields().iter().map(|(field, _)| field.as_str());
        let wanted = Wanted::of(std::iter::once(time).chain(groups).chain(measured));
        Self {
            wanted,
            plan,
            window,
            has_late,
            cursor: cursor.to_owned(),
            time: time.to_owned(),
        }
    }

    /// What the server is asked to send of each document.
    pub(super) fn projection(&self) -> Document {
        self.wanted.projection(&["_id", &self.cursor])
    }

    /// How far the tail reads, for values that tell a time: one that is ahead of all clocks would have everybody else behind it.
    pub(super) fn horizon(&self, kind: Kind, now: Wall) -> Option<Bson> {
        let ahead = i64::try_from(self.window.ahead.as_micros()).unwrap_or(i64::MAX);
        kind.value_at(date(Wall::from_micros(now.as_micros().saturating_add(ahead))))
    }

    /// The documents after a position that the tail reads.
    pub(super) fn after(&self, at: &Bson, kind: Kind, now: Wall) -> Document {
        range(&self.cursor, kind, at, self.horizon(kind, now).as_ref())
    }
}

/// One step's roll-ups while documents are folded.
pub(super) struct Fold<'s> {
    spec: &'s Spec,
    judges_late: bool,
    /// Whether the cursor field may be longer than documents are read by: a text, or nobody knows yet.
    may_be_long: bool,
    only: Option<Buckets>,
    open: Open,
    pub(super) bad: Vec<DeadLetter>,
    pub(super) documents: u64,
}

impl<'s> Fold<'s> {
    pub(super) fn new(spec: &'s Spec, part: &Part) -> Self {
        Self {
            spec,
            judges_late: part.judges_late && spec.has_late,
            may_be_long: Kind::of(part.upto.as_ref().unwrap_or(&part.at)).is_none_or(|kind| kind == Kind::Text),
            only: part.only,
            open: Open::with_room(MAX_STEP_GROUPS + MAX_TIED_GROUPS),
            bad: Vec::new(),
            documents: 0,
        }
    }

    /// Whether the step should end at the next value of the cursor field.
    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= MAX_STEP_GROUPS || self.open.bytes() >= MAX_STEP_MEMORY || self.bad.len() >= MAX_STEP_BAD
    }

    /// Folds one document. `values` is a buffer.
    pub(super) fn add<'d>(
        &mut self,
        document: &'d RawDocument,
        now: Wall,
        values: &mut Vec<Value<'d>>,
    ) -> Result<(), Fail> {
        self.documents += 1;
        if self.spec.wanted.read(document, values).is_err() {
            self.put_aside(document, "not BSON as it should be".to_owned());
            return Ok(());
        }
        if self.may_be_long
            && let Some(why) = raw(document, &self.spec.cursor).and_then(|value| too_long(&self.spec.cursor, value))
        {
            self.put_aside(document, why);
            return Ok(());
        }
        let groups = self.spec.plan.group_by().len();
        let (Some(time), Some(group), Some(measured)) =
            (values.first(), values.get(1..=groups), values.get(groups + 1..))
        else {
            return Err(Fail::Damaged("a document without places for its fields".to_owned()));
        };
        let floor = self.floor(document);
        let bucket = match self.spec.window.place(floor, now, time) {
            Ok(bucket) => bucket,
            Err(why) => {
                let field = self.spec.time.as_str().into();
                self.put_aside(document, Bad { field, why }.to_string());
                return Ok(());
            }
        };
        if self.only.is_some_and(|only| bucket < only.from || bucket >= only.to) {
            return Ok(());
        }
        match self.open.fold(&self.spec.plan, bucket, group, measured) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Fail::Damaged(format!(
                "more than {} groups have one and the same value of `{}`: a cursor field should tell documents apart",
                MAX_TIED_GROUPS, self.spec.cursor
            ))),
            Err(bad) => {
                self.put_aside(document, bad.to_string());
                Ok(())
            }
        }
    }

    /// The oldest bucket that still takes this document. It is judged by when the document came to be, so that it makes no
    /// difference when it is read; where the cursor field does not tell, none is too old.
    fn floor(&self, document: &RawDocument) -> Wall {
        let came = raw(document, &self.spec.cursor).and_then(moment);
        match came.filter(|_| self.judges_late) {
            Some(came) => self.spec.window.floor(came),
            None => Wall::from_micros(i64::MIN),
        }
    }

    fn put_aside(&mut self, document: &RawDocument, mut reason: String) {
        let source_id = raw(document, "_id")
            .and_then(|id| Bson::try_from(id).ok())
            .unwrap_or(Bson::Null);
        if let Some((end, _)) = reason.char_indices().nth(MAX_REASON) {
            reason.truncate(end);
        }
        self.bad.push(DeadLetter {
            source_id,
            reason,
            ahead: None,
        });
    }

    /// The roll-ups of the step.
    pub(super) fn finish(mut self) -> (Vec<(Wall, Group, Rollup)>, Vec<DeadLetter>, u64) {
        let all = self.open.close(Wall::from_micros(i64::MAX));
        let all = all
            .into_iter()
            .map(|(placed, _)| (placed.bucket, placed.group, placed.rollup));
        (all.collect(), self.bad, self.documents)
    }
}
