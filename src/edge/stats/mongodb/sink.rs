//! A collection as a sink.
//!
//! Roll-ups have no field of their own that would tell an older one from a newer one, so whoever writes is checked instead:
//! the token of the writer's lease is kept beside the sink, in the same transaction, and a smaller one is refused.

use async_trait::async_trait;
use headcount_actors::ports::stats::StatsError;
use headcount_core::stats::value::Value;
use mongodb::bson::{Document, doc};
use mongodb::{Client, ClientSession, Collection};
use tokio::sync::OnceCell;

use super::super::rollup::{Fence, NOT_OURS, Rollup, Sink, Verdict, unless_all_refused};
use super::super::sink_url;
use super::extract::{bson, insert};
use super::generation;
use super::home::{DUPLICATE_KEY, Fail, Work, code, connect, transact, update_many};

/// Where so many are refused one after the other and none was taken, the others are not tried: each costs a transaction.
const ENOUGH: usize = 20;

/// One collection.
pub(crate) struct CollectionSink {
    to: sink_url::Collection,
    client: OnceCell<Client>,
}

impl CollectionSink {
    pub(crate) fn new(to: sink_url::Collection) -> Self {
        Self {
            to,
            client: OnceCell::new(),
        }
    }
}

#[async_trait]
impl Sink for CollectionSink {
    fn address(&self) -> String {
        self.to.to_string()
    }

    async fn look(&self) -> Result<String, StatsError> {
        super::look::home(&self.to).await
    }

    async fn write(&self, rollups: &[Rollup], fence: &Fence) -> Result<Vec<Verdict>, StatsError> {
        let client = self.client.get_or_try_init(|| connect(&self.to)).await?;
        let database = client.database(&self.to.database);
        let mut write = Write {
            fences: database.collection("headcount_stats_fences"),
            into: database.collection(&self.to.collection),
            fence,
            rollups,
        };
        // Where one is refused, nothing of the transaction is there: those before it are written for themselves, and so are those
        // after it.
        let (mut left, mut verdicts) = (vec![rollups], Vec::with_capacity(rollups.len()));
        while let Some(some) = left.pop() {
            if some.is_empty() {
                continue;
            }
            write.rollups = some;
            match transact(client, &write).await {
                Ok(()) => verdicts.resize(verdicts.len() + some.len(), Verdict::Taken),
                Err(Fail::Unwritten { place: 0, why }) => {
                    verdicts.push(Verdict::Refused(why.clone()));
                    if verdicts.len() >= ENOUGH && !verdicts.contains(&Verdict::Taken) {
                        return Ok(vec![Verdict::Later(why); rollups.len()]);
                    }
                    left.extend(some.get(1..));
                }
                Err(Fail::Unwritten { place, .. }) if place < some.len() => {
                    let (before, from) = some.split_at(place);
                    left.extend([from, before]);
                }
                Err(Fail::Fenced) => return Err(self.fenced(&write).await),
                Err(fail) => return Err(self.failed(fail)),
            }
        }
        Ok(unless_all_refused(verdicts))
    }
}

impl CollectionSink {
    fn failed(&self, fail: impl Into<StatsError>) -> StatsError {
        match fail.into() {
            StatsError::Later { after, why } => StatsError::Later {
                after,
                why: format!("{}: {why}", self.to),
            },
            StatsError::Refused { why } => StatsError::Refused {
                why: format!("{}: {why}", self.to),
            },
            StatsError::Fenced => StatsError::Fenced,
        }
    }

    /// A greater token is that of a newer lease, mostly of this one. Where it is not, waiting for it brings nothing.
    async fn fenced(&self, write: &Write<'_>) -> StatsError {
        let there = write.fences.find_one(doc! { "_id": write.fence_id() }).await;
        let token = match there {
            Ok(there) => there.and_then(|there| there.get_i64("token").ok()).unwrap_or(0),
            Err(error) => return self.failed(Fail::Driver(error)),
        };
        if generation::of(token) <= generation::of(write.fence.token) {
            return StatsError::Fenced;
        }
        StatsError::Refused {
            why: format!("{}: {NOT_OURS}", self.to),
        }
    }
}

struct Write<'a> {
    fences: Collection<Document>,
    into: Collection<Document>,
    fence: &'a Fence,
    rollups: &'a [Rollup],
}

impl Write<'_> {
    /// Whoever writes something else, to another collection or from another source, is in nobody's way.
    fn fence_id(&self) -> String {
        format!("{} < {}", self.into.name(), self.fence.name)
    }
}

#[async_trait]
impl Work for Write<'_> {
    type Out = ();

    async fn run(&self, session: &mut ClientSession) -> Result<(), Fail> {
        // An equal token changes nothing and conflicts with nobody. Where the one that is there is greater, nothing is found,
        // and what would be inserted is there already.
        let fenced = self
            .fences
            .update_one(
                doc! { "_id": self.fence_id(), "token": { "$lte": self.fence.token } },
                doc! { "$set": { "token": self.fence.token } },
            )
            .upsert(true)
            .session(&mut *session)
            .await;
        match fenced {
            Err(error) if code(&error) == Some(DUPLICATE_KEY) => return Err(Fail::Fenced),
            other => other?,
        };
        let statement = |rollup: &Rollup| doc! { "q": { "_id": &rollup.id }, "u": document(rollup), "upsert": true };
        update_many(session, &self.into, self.rollups.iter().map(statement).collect())
            .await
            .map(drop)
    }
}

/// The document of a roll-up.
fn document(rollup: &Rollup) -> Document {
    let mut document = doc! { "_id": &rollup.id, "bucket": bson(&Value::Date(rollup.bucket)) };
    for (path, value) in &rollup.fields {
        insert(&mut document, path, bson(value));
    }
    document
}
