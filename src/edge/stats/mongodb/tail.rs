//! The tail: what comes after the backlog, as it comes.
//!
//! Documents do not appear in the order of their cursor field: producers' clocks differ, and a transaction shows what it wrote
//! when it commits. So a position alone would lose whoever comes late with a smaller value. The tail therefore has two: `at`, the
//! greatest value that was read, and `settled`, behind which nothing is expected any more. What was read between the two is
//! remembered by `_id`, in the same transaction that counts it; that stretch is looked over again and again, and who is in it and
//! not remembered is counted now. `settled` moves on to where `at` was a while ago, after one more look: whom it finds is counted in
//! the same transaction, so it need not find nobody.
//!
//! Where values tell a time, `at` never goes further ahead of the clock than a document's own time may. Who is beyond is put aside.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use headcount_actors::ports::stats::{Next, StatsError, StatsPart, Step};
use headcount_core::stats::value::Value;
use headcount_core::time::Wall;
use mongodb::bson::raw::RawDocumentBuf;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::options::ReadConcern;
use tokio::time::Instant;

use super::commit::{Change, Commit, DeadLetter, Seen};
use super::cursor::{Kind, moment, order, position, range};
use super::fold::Fold;
use super::home::Fail;
use super::ids::{bytes_of, id_of, short};
use super::odd::projection;
use super::parts::{Held, Part, release, renew, renew_swept, wall};
use super::plan::kind_of;
use super::rebuild::Rebuild;
use super::states::Known;
use super::{Desk, now};

/// Documents of one step.
const STEP: usize = 5_000;
/// A step ends at so many bytes of what is read too: `_id`s that are asked for are one command of at most 16 MiB.
const MAX_STEP_BYTES: usize = 8 << 20;
/// The unsettled stretch is looked over so often, or more rarely where that takes long: see [`SWEEP_SHARE`].
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// Looking over takes at most about one part in so many of the time.
const SWEEP_SHARE: u32 = 10;
/// But it is never put off for longer: what stands still during one look (this process, the server) is no measure of the next,
/// and somebody may wait for it.
const SWEEP_AT_LEAST_EVERY: Duration = Duration::from_secs(30);
/// The most ids that are remembered, some 50 bytes each. Where more come within the time of settling, it is cut short.
const MAX_SEEN: usize = 500_000;
/// Where it cannot be cut short, since all that was read is ahead of the clock, nothing new is read from so many on.
const MAX_UNSETTLED: usize = 2 * MAX_SEEN;
/// The most documents that are put aside because they are ahead of the clock, until their time has come.
const MAX_ASIDE: usize = 500_000;
/// Who is ahead of the clock is looked for so often, or more rarely where that takes long: see [`SWEEP_SHARE`].
const ASIDE_EVERY: Duration = Duration::from_secs(1);
/// Who is of another kind is looked for so often, or more rarely where that takes long: see [`ODD_SHARE`].
const ODD_EVERY: Duration = Duration::from_secs(10);
/// Looking for them takes at most about one part in so many of the time.
const ODD_SHARE: u32 = 100;
/// That settling is cut short is said so often.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Whether buckets are to be counted anew is asked so often.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// An idle tail renews its lease so many times before it would run out.
const RENEWALS: u32 = 4;

pub(super) struct Tail {
    desk: Desk,
    part: Part,
    /// What is read; none before there is anything.
    kind: Option<Kind>,
    _held: Held,
    known: Known,
    /// The steps whose ids are remembered, the oldest first.
    steps: VecDeque<Remembered>,
    ids: HashSet<Vec<u8>>,
    /// Who was put aside for being ahead of the clock, and until when.
    aside: HashMap<Vec<u8>, DateTime>,
    next_number: i64,
    renewed: Instant,
    sweep_at: Instant,
    ask_at: Instant,
    aside_at: Instant,
    odd_at: Instant,
    say_at: Instant,
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

/// A border, and how many steps are forgotten with it.
#[derive(Debug, PartialEq)]
struct Settled {
    border: Bson,
    steps: usize,
    /// It is nearer than it should be, because too much would have to be remembered.
    short: bool,
}

/// Where the border moves to, after a look that began at `looked`, if all `over` a number of ids are to be forgotten.
fn settles(
    steps: &VecDeque<Remembered>,
    looked: Instant,
    settle: Duration,
    settled_moment: Wall,
    mut over: usize,
) -> Option<Settled> {
    let mut settled = None;
    let mut short = false;
    for (place, step) in steps.iter().enumerate() {
        let is_old = looked.saturating_duration_since(step.since) >= settle;
        // A producer whose clock is ahead must not take the border there: all others would be behind it.
        let is_past = moment(&step.upto).is_none_or(|moment| wall(moment) <= settled_moment);
        if !is_past || !is_old && over == 0 {
            break;
        }
        short |= !is_old;
        over = over.saturating_sub(step.ids.len());
        settled = Some(Settled {
            border: step.upto.clone(),
            steps: place + 1,
            short,
        });
    }
    settled
}

/// What one look has found.
#[derive(Default)]
struct Found {
    documents: Vec<RawDocumentBuf>,
    /// There is more of it.
    more: bool,
}

impl Tail {
    /// Goes on where the last one ended.
    pub(super) async fn open(desk: Desk, part: Part, held: Held) -> Result<Self, Fail> {
        let server_now = desk.server_now().await?.timestamp_millis();
        let now = Instant::now();
        let mut tail = Self {
            known: Known::of(&part),
            kind: Kind::of(&part.at),
            aside: HashMap::new(),
            aside_at: now,
            odd_at: now,
            say_at: now,
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
            // Not the mark.
            .find(doc! { "pipeline": &tail.desk.site.name, "number": { "$exists": true } })
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
        tail.recall_aside().await?;
        Ok(tail)
    }

    /// Who was put aside, and whose time has not come.
    async fn recall_aside(&mut self) -> Result<(), Fail> {
        let mut ahead = doc! { "$exists": true };
        if let Some(settled) = moment(&self.part.settled) {
            ahead.insert("$gte", settled);
        }
        let mut letters = self
            .desk
            .home
            .dead_letters()
            .find(doc! { "pipeline": &self.desk.site.name, "ahead": ahead })
            .projection(doc! { "ahead": 1 })
            .read_concern(ReadConcern::majority())
            .await?;
        while let Some(letter) = letters.try_next().await? {
            let id = letter.get_document("_id").ok().and_then(|id| id.get("id"));
            if let (Some(id), Ok(ahead)) = (id, letter.get_datetime("ahead")) {
                self.aside.insert(bytes_of(id), *ahead);
            }
        }
        Ok(())
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

    fn is_known(&self, id: &[u8]) -> bool {
        self.ids.contains(id) || self.aside.contains_key(id)
    }

    /// What has come after `at`, in order.
    async fn newcomers(&self, kind: Kind, now: Wall) -> Result<Found, Fail> {
        if self.ids.len() >= MAX_UNSETTLED {
            return Ok(Found::default());
        }
        let spec = &self.desk.site.spec;
        let mut all = self
            .desk
            .source
            .clone_with_type::<RawDocumentBuf>()
            .find(spec.after(&self.part.at, kind, now))
            .sort(doc! { &spec.cursor: 1 })
            .limit(i64::try_from(STEP).unwrap_or(i64::MAX))
            .projection(spec.projection())
            .read_concern(ReadConcern::majority())
            .await?;
        let (mut found, mut bytes) = (Found::default(), 0);
        while bytes < MAX_STEP_BYTES
            && let Some(document) = all.try_next().await?
        {
            bytes += document.as_bytes().len();
            found.documents.push(document);
        }
        found.more = found.documents.len() >= STEP || bytes >= MAX_STEP_BYTES;
        Ok(found)
    }

    /// Who is in the unsettled stretch and was not read.
    async fn stragglers(&self, kind: Kind) -> Result<Found, Fail> {
        let spec = &self.desk.site.spec;
        let source = self.desk.source.clone_with_type::<RawDocumentBuf>();
        let mut all = source
            .find(range(&spec.cursor, kind, &self.part.settled, Some(&self.part.at)))
            .projection(doc! { "_id": 1 })
            .read_concern(ReadConcern::majority())
            .await?;
        let (mut missed, mut bytes, mut more) = (Vec::new(), 0, false);
        while let Some(found) = all.try_next().await? {
            let id = id_of(&found);
            if self.is_known(&bytes_of(&short(&id))) {
                continue;
            }
            bytes += found.as_bytes().len();
            if !missed.is_empty() && (missed.len() >= STEP || bytes > MAX_STEP_BYTES) {
                more = true;
                break;
            }
            missed.push(id);
        }
        if missed.is_empty() {
            return Ok(Found::default());
        }
        let found = source
            .find(doc! { "_id": { "$in": missed } })
            .projection(spec.projection())
            .read_concern(ReadConcern::majority())
            .await?;
        let documents = found.try_collect().await?;
        Ok(Found { documents, more })
    }

    /// Who is so far ahead of the clock that it is put aside.
    async fn ahead(&self, kind: Kind, now: Wall) -> Result<Vec<DeadLetter>, Fail> {
        let spec = &self.desk.site.spec;
        let Some(horizon) = spec.horizon(kind, now) else {
            return Ok(Vec::new());
        };
        // Where this clock is behind another one that has read here before, what was read stays read.
        let after = match order(&horizon, &self.part.at) {
            Some(std::cmp::Ordering::Less) => &self.part.at,
            _ => &horizon,
        };
        let mut all = self
            .desk
            .source
            .clone_with_type::<RawDocumentBuf>()
            .find(range(&spec.cursor, kind, after, None))
            .projection(projection(&spec.cursor))
            .read_concern(ReadConcern::majority())
            .await?;
        let room = STEP.min(MAX_ASIDE.saturating_sub(self.aside.len()));
        let (mut letters, mut bytes) = (Vec::new(), 0);
        while letters.len() < room
            && bytes < MAX_STEP_BYTES
            && let Some(document) = all.try_next().await?
        {
            let source_id = id_of(&document);
            if self.is_known(&bytes_of(&short(&source_id))) {
                continue;
            }
            bytes += document.as_bytes().len();
            letters.push(DeadLetter {
                source_id,
                reason: format!("field `{}`: a time in the future", spec.cursor),
                ahead: position(&document, &spec.cursor, kind).as_ref().and_then(moment),
            });
        }
        Ok(letters)
    }

    /// Those that are not read and never will be.
    async fn unread(&mut self, kind: Kind, now: Wall) -> Result<Vec<DeadLetter>, Fail> {
        let mut letters = Vec::new();
        let began = Instant::now();
        if began >= self.aside_at {
            letters = self.ahead(kind, now).await?;
            self.aside_at = Instant::now() + (began.elapsed() * SWEEP_SHARE).max(ASIDE_EVERY);
        }
        let began = Instant::now();
        if began >= self.odd_at {
            letters.extend(self.desk.odd(kind).await?);
            self.odd_at = Instant::now() + (began.elapsed() * ODD_SHARE).max(ODD_EVERY);
        }
        Ok(letters)
    }

    /// Where the border moves to, after a look that began at `looked`.
    fn settles(&mut self, looked: Instant) -> Option<Settled> {
        let settle = self.desk.site.settle;
        let over = self.ids.len().saturating_sub(MAX_SEEN);
        let settled = settles(&self.steps, looked, settle, now() - settle, over)?;
        if settled.short && looked >= self.say_at {
            self.say_at = looked + SAY_EVERY;
            tracing::warn!(
                pipeline = %self.desk.site.name,
                "more than {MAX_SEEN} documents came within `settle`, which is cut short: who comes late may not be counted; count that time \
                 anew with `headcount stats backfill`, or set a shorter `settle`"
            );
        }
        Some(settled)
    }

    /// Keeps the part where there is nothing to commit. That it was looked over is what somebody may wait for.
    async fn keep(&mut self, swept: bool) -> Result<(), Fail> {
        if swept {
            renew_swept(&self.desk.home, &self.part).await?;
        } else if self.renewed.elapsed() >= self.desk.site.lease / RENEWALS {
            renew(&self.desk.home, &self.part).await?;
        } else {
            return Ok(());
        }
        self.renewed = Instant::now();
        Ok(())
    }
}

#[async_trait]
impl StatsPart for Tail {
    async fn step(&mut self) -> Result<Step, StatsError> {
        let desk = self.desk.clone();
        let (looked, now) = (Instant::now(), now());
        if self.kind.is_none() {
            self.kind = kind_of(&desk.source, &desk.site.spec.cursor).await?;
        }
        let kind = self.kind;
        let sweeps = !self.steps.is_empty() && looked >= self.sweep_at;
        // The look comes first: whoever it misses is behind what is read next, and is found by the next look.
        let stragglers = match kind {
            Some(kind) if sweeps => self.stragglers(kind).await?,
            _ => Found::default(),
        };
        let swept = sweeps && !stragglers.more;
        if swept {
            let rest = (looked.elapsed() * SWEEP_SHARE).clamp(SWEEP_EVERY, SWEEP_AT_LEAST_EVERY);
            self.sweep_at = Instant::now() + rest;
        }
        let unread = match kind {
            Some(kind) => self.unread(kind, now).await?,
            None => Vec::new(),
        };
        if looked >= self.ask_at {
            // Also where there is nothing to commit.
            desk.check_whole().await?;
            self.rebuild = desk.rebuild().await?;
            if self.rebuild.is_some() && desk.has_backlog().await? {
                self.rebuild = None;
            }
            self.ask_at = Instant::now() + ASK_EVERY;
        }
        let newcomers = match (kind, self.rebuild) {
            (Some(kind), None) => self.newcomers(kind, now).await?,
            _ => Found::default(),
        };
        if let Some(rebuild) = self.rebuild
            && self.steps.is_empty()
            && unread.is_empty()
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
        let settled = if swept { self.settles(looked) } else { None };
        if stragglers.documents.is_empty() && newcomers.documents.is_empty() && unread.is_empty() && settled.is_none() {
            self.keep(swept).await?;
            return Ok(Step::default());
        }

        let mut fold = Fold::new(&desk.site.spec, &self.part);
        let mut values: Vec<Value<'_>> = Vec::new();
        let mut ids = Vec::new();
        for document in stragglers.documents.iter().chain(&newcomers.documents) {
            let id = short(&id_of(document));
            // Who was put aside before its time is not counted when that has come.
            if !self.aside.is_empty() && self.aside.contains_key(&bytes_of(&id)) {
                continue;
            }
            fold.add(document, now, &mut values)?;
            ids.push(id);
        }
        let last = newcomers.documents.last().zip(kind);
        let at = last.and_then(|(last, kind)| position(last, &desk.site.spec.cursor, kind));
        let more = newcomers.more || stragglers.more;
        let (folded, mut bad, documents) = fold.finish();
        let aside: Vec<_> = unread
            .iter()
            .filter_map(|letter| Some((bytes_of(&short(&letter.source_id)), letter.ahead?)))
            .collect();
        bad.extend(unread);
        let upto = at.clone().unwrap_or_else(|| self.part.at.clone());
        // Also where all of them were put aside before: the stretch that `at` moves over is to be looked over.
        let seen = (!ids.is_empty() || at.is_some()).then(|| Seen {
            number: self.next_number,
            ids,
            upto,
        });
        let cut_short = settled.as_ref().is_some_and(|settled| settled.short);
        let forgotten = settled.as_ref().map_or(0, |settled| settled.steps);
        let change = Change {
            at,
            documents: i64::try_from(documents).unwrap_or(i64::MAX),
            states: desk.writes(&self.part, &self.known, folded).await?,
            bad,
            done: false,
            seen,
            settled: settled.map(|settled| {
                let forgotten = self.steps.iter().take(settled.steps).map(|step| step.number);
                (settled.border, forgotten.collect())
            }),
            swept,
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
        self.aside.extend(aside);
        if let Some((border, _)) = change.settled {
            if let Some(border) = moment(&border) {
                self.aside.retain(|_, ahead| *ahead >= border);
            }
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
            cut_short,
            next: if more { Next::More } else { Next::Wait },
        })
    }

    async fn release(self: Box<Self>) {
        release(&self.desk.home, &self.part).await;
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::oid::ObjectId;

    use super::*;

    const SETTLE: Duration = Duration::from_secs(60);

    fn step(number: i64, upto: impl Into<Bson>, since: Instant) -> Remembered {
        Remembered {
            number,
            upto: upto.into(),
            ids: vec![Vec::new(); 10],
            since,
        }
    }

    fn id(seconds: u32) -> ObjectId {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&seconds.to_be_bytes());
        ObjectId::from_bytes(bytes)
    }

    #[test]
    fn the_border_is_where_the_position_was_a_while_ago() {
        let began = Instant::now();
        let steps: VecDeque<_> = (0..5).map(|n| step(n, n, began + n as u32 * SETTLE)).collect();
        let at = |looked, over| settles(&steps, looked, SETTLE, Wall::from_micros(0), over);
        assert_eq!(at(began, 0), None);
        let settled = |border: i64, short| {
            let steps = usize::try_from(border).unwrap() + 1;
            let border = border.into();
            Some(Settled { border, steps, short })
        };
        assert_eq!(at(began + 3 * SETTLE, 0), settled(2, false));
        // Two steps have settled; what is over needs a third.
        assert_eq!(at(began + 2 * SETTLE, 25), settled(2, true));
        assert_eq!(at(began + 2 * SETTLE, 15), settled(1, false));
    }

    #[test]
    fn nothing_takes_the_border_ahead_of_the_clock() {
        let began = Instant::now();
        let steps: VecDeque<_> = [step(1, id(100), began), step(2, id(10_000), began)].into();
        let looked = began + 2 * SETTLE;
        let settled = settles(&steps, looked, SETTLE, Wall::from_micros(200_000_000), 1_000);
        let border = id(100).into();
        assert_eq!(
            settled,
            Some(Settled {
                border,
                steps: 1,
                short: false
            })
        );
    }
}
