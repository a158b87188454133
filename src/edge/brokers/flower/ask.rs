//! Asking workers, and for queues, through Flower's API.
//!
//! Flower asks its workers with Celery's inspect commands, and keeps each worker's last replies with the `timestamp` of the
//! newest. It shows them also when nothing new has come, so only a timestamp that has moved is an answer. Its clock is
//! compared with nothing but itself.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use compact_str::CompactString;
use futures_util::future::join_all;
use headcount_actors::ports::{BrokerError, Inspect, Presence, Probe, Queue, Reply};
use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Flower;
use super::bounded::{ByName, List, parse};
use super::http::Http;

/// How long one question to Flower may take. It waits 1 s for each command, with six threads on two cores, and eight
/// commands go to a worker that is asked alone: 2 s for one that is dead, 4 s for two (measured). Beyond this it is Flower
/// that does not answer, not the worker.
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// How long Flower may take for what it need not ask a worker for.
const READ_WITHIN: Duration = Duration::from_secs(3);

/// Where Flower knows more workers than this, one or two are asked alone, with eight commands each: everybody else would
/// send four replies. Where there are fewer, a round costs less, and takes 1 s instead of 2 or 4 for the dead.
const LARGE: usize = 100;

/// So many are asked alone at most: more of the dead would hold Flower's threads for longer than [`ASK_WITHIN`].
const ALONE: usize = 2;

/// So many replies a second may be provoked by asking everybody who may be dead: each worker sends four. In a large fleet
/// of which some are gone for good, the rounds come so much apart.
const REPLIES_A_SECOND: usize = 400;

/// For so long it is believed that only what we asked has moved a timestamp. Raising it lets an answer to somebody else,
/// which came before, be taken for one to us.
const KNOWN_FOR: Duration = Duration::from_secs(3);

/// A round that began so lately is good enough for what changes seldom: a worker's pool and queues are asked for one after
/// the other, and come in the same round.
pub(super) const GOOD_FOR: Duration = Duration::from_secs(3);

/// For so long it is known whose turn it was to be asked by name; what it said is good for [`GOOD_FOR`] only.
const LOOK_KEPT_FOR: Duration = Duration::from_secs(60);

/// What is known from former answers, and what is being asked.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// The last round. Locked for as long as one is being made: there is one at a time.
    round: tokio::sync::Mutex<Option<Arc<Round>>>,
    /// The newest that are known, and when Flower showed them all.
    timestamps: Mutex<Option<(Instant, Timestamps)>>,
    /// See [`UnderWay`].
    under_way: Mutex<BTreeSet<CompactString>>,
    /// What workers said that were asked by name, and when. Locked while they are asked, as `round` is.
    looks: tokio::sync::Mutex<FxHashMap<CompactString, Look>>,
    answer: Mutex<Option<Instant>>,
}

/// What Flower keeps of each worker, not yet read.
type Replies = HashMap<CompactString, Box<RawValue>>;

/// When each worker last answered, by Flower's clock.
type Timestamps = FxHashMap<CompactString, f64>;

/// Everybody was asked.
#[derive(Debug)]
pub(super) struct Round {
    began: Instant,
    took: Duration,
    /// How many workers Flower knows, dead ones too.
    workers: usize,
    /// Who has answered, and what.
    answered: Replies,
}

impl Round {
    pub(super) fn anybody(&self) -> bool {
        !self.answered.is_empty()
    }
}

/// What one worker said when it was asked by name; nothing if it did not answer.
#[derive(Debug)]
struct Look {
    began: Instant,
    said: Option<(Duration, Box<RawValue>)>,
}

/// When a worker last answered, by Flower's clock.
#[derive(Deserialize)]
struct Stamp {
    timestamp: Option<f64>,
}

/// What Flower keeps of one worker. It keeps more, which is passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    stats: Option<Value>,
    active_queues: Option<Value>,
    registered: Option<Value>,
}

/// The tasks that it keeps of one worker, not yet read: their arguments are among them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tasks<'a> {
    #[serde(borrow)]
    active: Option<&'a RawValue>,
    #[serde(borrow)]
    reserved: Option<&'a RawValue>,
    #[serde(borrow)]
    scheduled: Option<&'a RawValue>,
}

/// How a reply to a command comes to Flower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// With everybody's, in a round.
    Round,
    /// Only from a worker that is asked by name: lists of tasks can be long. What a round shows of them is from then.
    ByName,
}

impl Way {
    /// None for a command that Flower has no page for.
    fn of(method: &str) -> Option<Self> {
        match method {
            "ping" | "stats" | "active_queues" | "registered" => Some(Self::Round),
            "active" | "reserved" | "scheduled" => Some(Self::ByName),
            _ => None,
        }
    }
}

/// The reply to one command, out of what Flower keeps of a worker that has just answered. Of tasks only how many they are
/// is read: a null stands for each.
fn body(kept: &RawValue, method: &str) -> Option<Value> {
    let told = || serde_json::from_str::<Told>(kept.get()).ok();
    let tasks = || serde_json::from_str::<Tasks<'_>>(kept.get()).ok();
    let count = |list: &RawValue| {
        let list: List<IgnoredAny> = serde_json::from_str(list.get()).ok()?;
        Some(Value::Array(vec![Value::Null; list.0.len()]))
    };
    match method {
        "ping" => Some(json!({ "ok": "pong" })),
        "stats" => told()?.stats,
        "active_queues" => told()?.active_queues,
        "registered" => told()?.registered,
        "active" => count(tasks()?.active?),
        "reserved" => count(tasks()?.reserved?),
        "scheduled" => count(tasks()?.scheduled?),
        _ => None,
    }
}

// ------------------------------------------------------------ the port's questions

/// Asks those who do not beat whether they live. Those who do are left out: the question would cost more than it tells.
pub(super) async fn probe(flower: &Flower, targets: &[CompactString]) -> Result<Vec<Probe>, BrokerError> {
    let now = Instant::now();
    let silent: BTreeSet<CompactString> = {
        let beats = flower.beats();
        targets
            .iter()
            .filter(|target| !beats.is_lively(target, now))
            .cloned()
            .collect()
    };
    let ours = UnderWay::begin(&flower.asking, &silent);
    let asked = if ours.mine.is_empty() {
        FxHashMap::default()
    } else if alone(flower, &ours.mine) {
        let told = one_by_one(flower, &ours.mine).await?;
        told.into_iter()
            .map(|(hostname, told)| (hostname, told.map(|told| told.0)))
            .collect()
    } else if flower.asking.rests(now).await {
        FxHashMap::default()
    } else {
        let round = round(flower, now).await?;
        let took = |hostname: &CompactString| round.answered.contains_key(hostname).then_some(round.took);
        ours.mine
            .iter()
            .map(|hostname| (hostname.clone(), took(hostname)))
            .collect()
    };
    let probe = |hostname: &CompactString| {
        let answer = *asked.get(hostname)?;
        Some(Probe {
            hostname: hostname.clone(),
            answer,
            answers: u32::from(answer.is_some()),
            presence: Presence::Unknown,
        })
    };
    Ok(targets.iter().filter_map(probe).collect())
}

/// Whether these are better asked alone than together with everybody.
fn alone(flower: &Flower, hostnames: &BTreeSet<CompactString>) -> bool {
    hostnames.len() <= ALONE && flower.beats().workers() > LARGE
}

/// See [`headcount_actors::ports::Broker::inspect`].
pub(super) async fn inspect(flower: &Flower, ask: &Inspect) -> Result<Vec<Reply>, BrokerError> {
    let Some(way) = Way::of(ask.method) else {
        return Ok(Vec::new());
    };
    let named: Option<BTreeSet<CompactString>> = ask.destination.as_ref().map(|named| named.iter().cloned().collect());
    let reply = |hostname: &CompactString, latency: Duration, kept: &RawValue| {
        Some(Reply {
            hostname: hostname.clone(),
            body: body(kept, ask.method)?,
            latency,
        })
    };
    match (way, named) {
        (Way::ByName, None) => Ok(Vec::new()),
        (Way::Round, Some(named)) if alone(flower, &named) => look(flower, &named, fresh_for(ask), reply).await,
        (Way::ByName, Some(named)) => look(flower, &named, fresh_for(ask), reply).await,
        (Way::Round, named) => {
            let now = Instant::now();
            let round = round(flower, now.checked_sub(fresh_for(ask)).unwrap_or(now)).await?;
            let wanted = |hostname: &CompactString| named.as_ref().is_none_or(|named| named.contains(hostname));
            let answered = round.answered.iter().filter(|(hostname, _)| wanted(hostname));
            Ok(answered
                .filter_map(|(hostname, kept)| reply(hostname, round.took, kept))
                .collect())
        }
    }
}

/// How old an answer to it may be.
fn fresh_for(ask: &Inspect) -> Duration {
    if ask.method == "ping" { Duration::ZERO } else { GOOD_FOR }
}

// ------------------------------------------------------------ everybody at once

/// A round that began at `since` or later. Whoever comes while one is under way that began before waits for the next.
pub(super) async fn round(flower: &Flower, since: Instant) -> Result<Arc<Round>, BrokerError> {
    let mut last = flower.asking.round.lock().await;
    if let Some(round) = last.as_ref().filter(|round| round.began >= since) {
        return Ok(Arc::clone(round));
    }
    flower.asking.know_before(&flower.http).await?;
    let began = Instant::now();
    let before = flower
        .asking
        .timestamps()
        .as_ref()
        .map(|(_, known)| known.clone())
        .unwrap_or_default();
    let body = flower.http.get("api/workers", &[("refresh", "1")], ASK_WITHIN).await?;
    let took = began.elapsed();
    let mut answered = workers(&body)?;
    let (now, workers) = (timestamps(&answered), answered.len());
    answered.retain(|hostname, _| now.get(hostname).is_some_and(|now| before.get(hostname) != Some(now)));
    *flower.asking.timestamps() = Some((Instant::now(), now));
    if !answered.is_empty() {
        flower.asking.note_answer();
    }
    let round = Arc::new(Round {
        began,
        took,
        workers,
        answered,
    });
    *last = Some(Arc::clone(&round));
    Ok(round)
}

fn workers(body: &[u8]) -> Result<Replies, BrokerError> {
    let replies: ByName<Box<RawValue>> = parse("replies of workers", body)?;
    Ok(replies.0)
}

/// When that worker last answered; none where this is not what Flower keeps.
fn stamp(kept: &RawValue) -> Option<f64> {
    serde_json::from_str::<Stamp>(kept.get()).ok()?.timestamp
}

fn timestamps(told: &Replies) -> Timestamps {
    told.iter()
        .filter_map(|(hostname, kept)| Some((hostname.clone(), stamp(kept)?)))
        .collect()
}

/// From the beginning of a round with so many workers to the next.
fn rest_after(workers: usize) -> Duration {
    /// `stats`, `active_queues`, `registered` and `conf`.
    const REPLIES_EACH: usize = 4;
    Duration::from_millis((workers * REPLIES_EACH * 1000 / REPLIES_A_SECOND) as u64)
}

impl Asking {
    /// Learns which replies Flower has from before, where that is not known well enough: others may ask through it too, and
    /// it asks everybody when it is started.
    ///
    /// # Errors
    /// Where its API cannot be used.
    pub(super) async fn know_before(&self, http: &Http) -> Result<(), BrokerError> {
        let known = self.timestamps().as_ref().map(|(at, _)| *at);
        if known.is_some_and(|at| at.elapsed() < KNOWN_FOR) {
            return Ok(());
        }
        let body = http.get("api/workers", &[], READ_WITHIN).await?;
        *self.timestamps() = Some((Instant::now(), timestamps(&workers(&body)?)));
        Ok(())
    }

    /// When anybody last answered.
    pub(super) fn last_answer(&self) -> Option<Instant> {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_answer(&self) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether the last round was so large that the next has to wait.
    async fn rests(&self, now: Instant) -> bool {
        let last = self.round.lock().await;
        // One that began while it was waited for is as good as a new one.
        let is_old = |round: &&Arc<Round>| round.began < now;
        last.as_ref()
            .filter(is_old)
            .is_some_and(|round| now < round.began + rest_after(round.workers))
    }

    fn timestamps(&self) -> MutexGuard<'_, Option<(Instant, Timestamps)>> {
        self.timestamps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// ------------------------------------------------------------ one by one

/// Each who was asked, and the answer, if there was one.
type Answers = FxHashMap<CompactString, Option<(Duration, Box<RawValue>)>>;

/// Asks at most [`ALONE`] of these by name, those who beat and have not been asked for longest first, or takes what such a
/// question has just brought: several commands about one worker are one question. The others have their turn another time.
async fn look(
    flower: &Flower,
    named: &BTreeSet<CompactString>,
    fresh_for: Duration,
    reply: impl Fn(&CompactString, Duration, &RawValue) -> Option<Reply>,
) -> Result<Vec<Reply>, BrokerError> {
    let came = Instant::now();
    // What a round moves would be taken for an answer to us, and what Flower kept of tasks for new. Always locked first.
    let _no_round = flower.asking.round.lock().await;
    let mut looks = flower.asking.looks.lock().await;
    looks.retain(|_, look| came.saturating_duration_since(look.began) < LOOK_KEPT_FOR);
    let fresh = |look: &Look| look.began + fresh_for >= came;
    let mut turns: Vec<_> = {
        let beats = flower.beats();
        let turn = |hostname: &CompactString| {
            let look = looks.get(hostname);
            let is_new = look.is_some_and(fresh);
            let began = look.map(|look| look.began);
            (!is_new, !beats.is_lively(hostname, came), began, hostname.clone())
        };
        named.iter().map(turn).collect()
    };
    turns.sort_unstable();
    turns.truncate(ALONE);
    let mut unasked = turns.clone();
    unasked.retain(|(is_old, ..)| *is_old);
    let unasked: Vec<CompactString> = unasked.into_iter().map(|(.., hostname)| hostname).collect();
    let began = Instant::now();
    for (hostname, said) in one_by_one(flower, &unasked).await? {
        looks.insert(hostname, Look { began, said });
    }
    let replies = turns.iter().filter_map(|(.., hostname)| {
        let (took, kept) = looks.get(hostname)?.said.as_ref()?;
        reply(hostname, *took, kept)
    });
    Ok(replies.collect())
}

/// Asks each, all at once.
async fn one_by_one(
    flower: &Flower,
    hostnames: impl IntoIterator<Item = &CompactString>,
) -> Result<Answers, BrokerError> {
    let mut hostnames = hostnames.into_iter().peekable();
    if hostnames.peek().is_none() {
        return Ok(Answers::default());
    }
    flower.asking.know_before(&flower.http).await?;
    let asked = join_all(hostnames.map(|hostname| ask_one(flower, hostname))).await;
    asked.into_iter().collect()
}

async fn ask_one(
    flower: &Flower,
    hostname: &CompactString,
) -> Result<(CompactString, Option<(Duration, Box<RawValue>)>), BrokerError> {
    let known = || {
        flower
            .asking
            .timestamps()
            .as_ref()
            .and_then(|(_, known)| known.get(hostname).copied())
    };
    let (before, began) = (known(), Instant::now());
    let query = [("refresh", "1"), ("workername", hostname.as_str())];
    let body = flower.http.find("api/workers", &query, ASK_WITHIN).await?;
    let took = began.elapsed();
    // A worker that has never answered is unknown to Flower (404).
    let told = body.as_deref().map(workers).transpose()?;
    let told = told.and_then(|mut all| all.remove(hostname));
    let told = told.and_then(|kept| Some((stamp(&kept)?, kept)));
    let answer = told.filter(|(now, _)| Some(*now) != before);
    if let (Some((now, _)), Some((_, known))) = (&answer, flower.asking.timestamps().as_mut()) {
        known.insert(hostname.clone(), *now);
    }
    if answer.is_some() {
        flower.asking.note_answer();
    }
    Ok((hostname.clone(), answer.map(|(_, kept)| (took, kept))))
}

/// Workers that are being asked whether they live. A second question would have the answer to the first, or share a round
/// with a third, and one silence would count as two.
#[derive(Debug)]
struct UnderWay<'a> {
    asking: &'a Asking,
    mine: BTreeSet<CompactString>,
}

impl<'a> UnderWay<'a> {
    /// Those of the workers that are not being asked already.
    fn begin(asking: &'a Asking, hostnames: &BTreeSet<CompactString>) -> Self {
        let mut under_way = asking.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = hostnames
            .iter()
            .filter(|hostname| under_way.insert((*hostname).clone()));
        let mine = mine.cloned().collect();
        Self { asking, mine }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut under_way = self.asking.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        self.mine.iter().for_each(|hostname| {
            under_way.remove(hostname);
        });
    }
}

// ------------------------------------------------------------ queues

/// The lengths of the queues that Flower's workers consume.
#[derive(Debug, Deserialize)]
pub(super) struct Lengths {
    active_queues: List<Length>,
}

#[derive(Debug, Deserialize)]
struct Length {
    name: Option<CompactString>,
    messages: Option<u64>,
    consumers: Option<u32>,
    /// RabbitMQ's management API has told it, which answers also while its broker blocks.
    vhost: Option<IgnoredAny>,
}

/// Asks for the lengths.
pub(super) async fn queue_lengths(http: &Http) -> Result<Lengths, BrokerError> {
    let body = http.get("api/queues/length", &[], READ_WITHIN).await?;
    parse("lengths of queues", &body)
}

impl Lengths {
    /// Whether Flower has just asked the very broker that carries the workers' events: it does so on Redis.
    pub(super) fn show_the_broker(&self) -> bool {
        !self.active_queues.0.is_empty() && self.active_queues.0.iter().all(|queue| queue.vhost.is_none())
    }

    pub(super) fn into_queues(self, names: &[CompactString]) -> Vec<Queue> {
        let queue = |length: Length| {
            Some(Queue {
                name: length.name?,
                length: length.messages?,
                consumers: length.consumers,
            })
        };
        let queues = self.active_queues.0.into_iter().filter_map(queue);
        queues.filter(|queue| names.contains(&queue.name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_workers_the_longer_the_rest() {
        for (workers, millis) in [(0, 0), (3, 30), (100, 1_000), (5_000, 50_000)] {
            assert_eq!(rest_after(workers), Duration::from_millis(millis));
        }
    }
}
