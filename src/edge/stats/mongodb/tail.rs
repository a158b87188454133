//! The tail: what comes after the backlog, as it comes.
//!
//! Documents do not appear in the order of their cursor field: producers' clocks differ, and a transaction shows what it wrote
//! when it commits. So a position alone would lose whoever comes late with a smaller value. The tail therefore has two: `at`, the
//! greatest value that was read, and `settled`, behind which nothing is expected any more. What was read between the two is
//! remembered by `_id`, in the same transaction that counts it; that stretch is looked over again and again, and who is in it and
//! not remembered is counted now. `settled` moves on to where `at` was a while ago, after one more look.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use headcount_actors::ports::stats::{Next, StatsError, StatsPart, Step};
use headcount_core::stats::value::Value;
use mongodb::bson::raw::{RawDocument, RawDocumentBuf};
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReadConcern;
use tokio::time::Instant;

use super::backlog::after;
use super::commit::{Change, Commit, Seen};
use super::fold::{Fold, position};
use super::home::Fail;
use super::parts::{Held, Part, release, renew};
use super::plan::moment;
use super::rebuild::Rebuild;
use super::states::Known;
use super::{Desk, now};

/// Documents of one step. The ids of a step are one document of at most 16 MiB, and `_id`s are short.
const STEP: i64 = 5_000;
/// The unsettled stretch is looked over so often, or more rarely where that takes long: see [`SWEEP_SHARE`].
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// Looking over takes at most about one part in so many of the time.
const SWEEP_SHARE: u32 = 10;
/// The most ids that are remembered, some 50 bytes each. Where more come within the time of settling, it is cut short.
const MAX_SEEN: usize = 500_000;
/// Whether buckets are to be counted anew is asked so often.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// An idle tail renews its lease so many times before it would run out.
const RENEWALS: u32 = 4;

pub(super) struct Tail {
    desk: Desk,
    part: Part,
    _held: Held,
    known: Known,
    /// The steps whose ids are remembered, the oldest first.
    steps: VecDeque<Remembered>,
    ids: HashSet<Vec<u8>>,
    next_number: i64,
    renewed: Instant,
    sweep_at: Instant,
    ask_at: Instant,
    /// What is to be carried out once all is settled. Until then nothing new is read.
    rebuild: Option<Rebuild>,
}

/// The ids of one step.
struct Remembered {
    number: i64,
    upto: Bson,
    ids: Vec<Vec<u8>>,
    since: Instant,
}

/// An id as bytes: equal if the ids are.
fn bytes_of(id: &Bson) -> Vec<u8> {
    let document = RawDocumentBuf::try_from(&doc! { "i": id.clone() });
    document.map(RawDocumentBuf::into_bytes).unwrap_or_default()
}

impl Tail {
    /// Goes on where the last one ended.
    pub(super) async fn open(desk: Desk, part: Part, held: Held) -> Result<Self, Fail> {
        let server_now = desk.server_now().await?.timestamp_millis();
        let now = Instant::now();
        let mut tail = Self {
            known: Known::of(&part),
            steps: VecDeque::new(),
            ids: HashSet::new(),
            next_number: 1,
            renewed: now,
            sweep_at: now,
            ask_at: now,
            rebuild: None,
            part,
            _held: held,
            desk,
        };
        let remembered: Vec<Document> = tail
            .desk
            .home
            .seen()
            .find(doc! { "pipeline": &tail.desk.site.name })
            .sort(doc! { "number": 1 })
            .read_concern(ReadConcern::majority())
            .await?
            .try_collect()
            .await?;
        for step in remembered {
            let damaged = || Fail::Damaged("the ids that the tail remembers cannot be read".to_owned());
            let number = step.get_i64("number").map_err(|_| damaged())?;
            let at = step.get_datetime("at").map_err(|_| damaged())?.timestamp_millis();
            let ids = step.get_array("ids").map_err(|_| damaged())?;
            let upto = step.get("upto").cloned().ok_or_else(damaged)?;
            let age = Duration::from_millis(u64::try_from(server_now.saturating_sub(at)).unwrap_or(0));
            tail.remember(
                number,
                upto,
                ids.iter().map(bytes_of).collect(),
                now.checked_sub(age).unwrap_or(now),
            );
        }
        Ok(tail)
    }

    fn remember(&mut self, number: i64, upto: Bson, ids: Vec<Vec<u8>>, since: Instant) {
        self.ids.extend(ids.iter().cloned());
        self.steps.push_back(Remembered {
            number,
            upto,
            ids,
            since,
        });
        self.next_number = number + 1;
    }

    /// What has come after `at`, in order.
    async fn newcomers(&self) -> Result<Vec<RawDocumentBuf>, Fail> {
        let spec = &self.desk.site.spec;
        let filter = match self.part.at {
            // Without a value there is no place to go on from.
            Bson::MinKey => doc! { &spec.cursor: { "$ne": null } },
            ref at => after(&spec.cursor, at),
        };
        let found = self
            .desk
            .source
            .clone_with_type::<RawDocumentBuf>()
            .find(filter)
            .sort(doc! { &spec.cursor: 1 })
            .limit(STEP)
            .projection(spec.projection())
            .read_concern(ReadConcern::majority())
            .await?;
        Ok(found.try_collect().await?)
    }

    /// Who is in the unsettled stretch and was not read.
    async fn stragglers(&self) -> Result<Vec<RawDocumentBuf>, Fail> {
        let spec = &self.desk.site.spec;
        let mut range = doc! { "$lte": self.part.at.clone() };
        if self.part.settled != Bson::MinKey {
            range.insert("$gt", self.part.settled.clone());
        }
        let source = self.desk.source.clone_with_type::<RawDocumentBuf>();
        let mut all = source
            .find(doc! { &spec.cursor: range })
            .projection(doc! { "_id": 1 })
            .read_concern(ReadConcern::majority())
            .await?;
        let mut missed = Vec::new();
        while let Some(found) = all.try_next().await? {
            let id = id_of(&found);
            if !self.ids.contains(&bytes_of(&id)) {
                missed.push(id);
                if missed.len() as i64 >= STEP {
                    break;
                }
            }
        }
        if missed.is_empty() {
            return Ok(Vec::new());
        }
        let found = source
            .find(doc! { "_id": { "$in": missed } })
            .projection(spec.projection())
            .read_concern(ReadConcern::majority())
            .await?;
        Ok(found.try_collect().await?)
    }

    /// Where the border moves to, and how many steps are forgotten with it, after a look that began at `looked`.
    fn settles(&self, looked: Instant) -> Option<(Bson, usize)> {
        let settle = self.desk.site.settle;
        let settled_moment = now() - settle;
        let mut over = self.ids.len().saturating_sub(MAX_SEEN);
        let mut border = None;
        for (place, step) in self.steps.iter().enumerate() {
            let is_old = looked.saturating_duration_since(step.since) >= settle;
            // A producer whose clock is ahead must not take the border there: all others would be behind it.
            let is_past = moment(&step.upto).is_none_or(|moment| super::parts::wall(moment) <= settled_moment);
            if !(is_old && is_past) && over == 0 {
                break;
            }
            over = over.saturating_sub(step.ids.len());
            border = Some((step.upto.clone(), place + 1));
        }
        border
    }

    async fn keep(&mut self) -> Result<(), Fail> {
        if self.renewed.elapsed() >= self.desk.site.lease / RENEWALS {
            renew(&self.desk.home, &self.part).await?;
            self.renewed = Instant::now();
        }
        Ok(())
    }
}

fn id_of(document: &RawDocument) -> Bson {
    document
        .get("_id")
        .ok()
        .flatten()
        .and_then(|id| Bson::try_from(id).ok())
        .unwrap_or(Bson::Null)
}

#[async_trait]
impl StatsPart for Tail {
    async fn step(&mut self) -> Result<Step, StatsError> {
        let desk = self.desk.clone();
        let looked = Instant::now();
        let has_unsettled = !self.steps.is_empty() && self.part.at != Bson::MinKey;
        let sweeps = has_unsettled && looked >= self.sweep_at;
        // The look comes first: whoever it misses is behind what is read next, and is found by the next look.
        let stragglers = if sweeps { self.stragglers().await? } else { Vec::new() };
        if sweeps {
            self.sweep_at = Instant::now() + (looked.elapsed() * SWEEP_SHARE).max(SWEEP_EVERY);
        }
        if looked >= self.ask_at {
            self.rebuild = desk.rebuild().await?;
            if self.rebuild.is_some() && desk.has_backlog().await? {
                self.rebuild = None;
            }
            self.ask_at = Instant::now() + ASK_EVERY;
        }
        let newcomers = match self.rebuild {
            None => self.newcomers().await?,
            Some(_) => Vec::new(),
        };
        if let Some(rebuild) = self.rebuild
            && self.steps.is_empty()
        {
            desk.carry_out(rebuild, &self.part).await?;
            self.rebuild = None;
            self.part.generation = rebuild.generation;
            self.renewed = Instant::now();
            return Ok(Step {
                next: Next::More,
                ..Step::default()
            });
        }
        let settled = if sweeps && stragglers.is_empty() {
            self.settles(looked)
        } else {
            None
        };
        if stragglers.is_empty() && newcomers.is_empty() && settled.is_none() {
            self.keep().await?;
            return Ok(Step::default());
        }

        let mut fold = Fold::new(&desk.site.spec, &self.part);
        let now = now();
        let mut values: Vec<Value<'_>> = Vec::new();
        let mut ids = Vec::new();
        for document in stragglers.iter().chain(&newcomers) {
            fold.add(document, now, &mut values)?;
            ids.push(id_of(document));
        }
        let at = newcomers.last().and_then(|last| position(last, &desk.site.spec.cursor));
        let more = newcomers.len() as i64 >= STEP || stragglers.len() as i64 >= STEP;
        let (folded, bad, documents) = fold.finish();
        let upto = at.clone().unwrap_or_else(|| self.part.at.clone());
        let seen = (!ids.is_empty()).then(|| Seen {
            number: self.next_number,
            ids,
            upto,
        });
        let forgotten = settled.as_ref().map_or(0, |(_, steps)| *steps);
        let change = Change {
            at,
            documents: i64::try_from(documents).unwrap_or(i64::MAX),
            states: desk.writes(&self.part, &self.known, folded).await?,
            bad,
            done: false,
            seen,
            settled: settled
                .map(|(border, steps)| (border, self.steps.iter().take(steps).map(|step| step.number).collect())),
        };
        let commit = Commit {
            home: &desk.home,
            pipeline: &desk.site.name,
            part: &self.part,
            change: &change,
        };
        desk.home.transact(&commit).await?;

        self.known.add(&change.states);
        self.renewed = Instant::now();
        for step in self.steps.drain(..forgotten) {
            for id in &step.ids {
                self.ids.remove(id);
            }
        }
        if let Some((border, _)) = change.settled {
            self.part.settled = border;
        }
        if let Some(at) = change.at {
            self.part.at = at;
        }
        if let Some(seen) = change.seen {
            let ids = seen.ids.iter().map(bytes_of).collect();
            self.remember(seen.number, seen.upto, ids, Instant::now());
        }
        Ok(Step {
            documents,
            bad: change.bad.len() as u64,
            next: if more { Next::More } else { Next::Wait },
        })
    }

    async fn release(self: Box<Self>) {
        release(&self.desk.home, &self.part).await;
    }
}
