//! Publishing: what has changed goes to the sinks.
//!
//! A state that a step has written bears the mark `dirty`. A round takes marked states of one share, puts those of all parts of
//! a roll-up together, writes the roll-ups to every sink, and takes the marks away from the states that have not changed
//! meanwhile. Whatever is cut short is done again: writing a roll-up twice changes nothing.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use headcount_actors::ports::stats::{Published, StatsError};
use headcount_core::stats::group::Group;
use headcount_core::stats::rollup::Rollup as State;
use mongodb::ClientSession;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::options::ReturnDocument;

use super::super::rollup::{Fence, Rollup, Verdict};
use super::Desk;
use super::commit::{SHARES, share_name};
use super::home::{Fail, Home, Work, majority, update_many};
use super::parts::{expired, wall};
use super::rebuild::version;
use super::states::{documents, read_state};

/// Roll-ups of one round: enough for a bulk request that is worth its way, few enough that a lease outlives it.
const ROUND: i64 = 1_000;

/// With which share the next round begins, so that none is always last.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Makes the leases of all shares, where they are not there yet: free, and never taken.
pub(super) async fn make_leases(home: &Home, pipeline: &str) -> Result<(), Fail> {
    for number in 0..SHARES {
        let free = doc! { "owner": "", "token": 0_i64, "lease": 0_i64, "renewed": DateTime::from_millis(0) };
        home.leases()
            .update_one(
                doc! { "_id": share_name(pipeline, number) },
                doc! { "$setOnInsert": free },
            )
            .upsert(true)
            .write_concern(majority())
            .await?;
    }
    Ok(())
}

/// A roll-up with the states that it was made of.
struct Made {
    rollup: Rollup,
    /// The `_id` of each, and its documents.
    from: Vec<(String, i64)>,
}

impl Desk {
    pub(super) async fn unpublished(&self, most: u64) -> Result<u64, Fail> {
        let shares: Vec<String> = (0..SHARES).map(|number| share_name(&self.site.name, number)).collect();
        let count = self
            .home
            .states()
            .count_documents(doc! { "dirty": { "$in": shares } })
            .limit(most)
            .await?;
        Ok(count)
    }

    pub(super) async fn publish(&self) -> Result<Published, StatsError> {
        let first = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut all = Published::default();
        for number in 0..SHARES {
            let share = share_name(&self.site.name, (first + number) % SHARES);
            let keys = self.dirty(&share).await?;
            if keys.is_empty() {
                continue;
            }
            // Somebody else is at it.
            let Some(token) = self.take_share(&share).await? else {
                continue;
            };
            let done = self.publish_share(&share, token, keys).await;
            self.release_share(&share, token).await;
            let done = done?;
            all.rollups += done.rollups;
            all.refused += done.refused;
            all.more |= done.more;
        }
        Ok(all)
    }

    /// The keys of roll-ups that wait.
    async fn dirty(&self, share: &str) -> Result<Vec<String>, Fail> {
        let found: Vec<Document> = self
            .home
            .states()
            .find(doc! { "dirty": share })
            .limit(ROUND)
            .projection(doc! { "key": 1 })
            .await?
            .try_collect()
            .await?;
        let keys: HashSet<String> = found
            .iter()
            .filter_map(|state| state.get_str("key").ok().map(str::to_owned))
            .collect();
        Ok(keys.into_iter().collect())
    }

    async fn take_share(&self, share: &str) -> Result<Option<i64>, Fail> {
        let lease = i64::try_from(self.site.lease.as_millis()).unwrap_or(i64::MAX);
        let owner = &self.site.owner;
        let free = doc! { "$or": [{ "$eq": ["$owner", owner] }, expired()] };
        let taken = self
            .home
            .leases()
            .find_one_and_update(
                doc! { "_id": share, "$expr": free },
                doc! {
                    "$set": { "owner": owner, "lease": lease },
                    "$inc": { "token": 1_i64 },
                    "$currentDate": { "renewed": true },
                },
            )
            .return_document(ReturnDocument::After)
            .write_concern(majority())
            .await?;
        Ok(taken.and_then(|lease| lease.get_i64("token").ok()))
    }

    async fn release_share(&self, share: &str, token: i64) {
        let free = doc! { "$set": { "renewed": DateTime::from_millis(0), "owner": "" } };
        // Where this does not arrive, the lease runs out.
        let _ = self
            .home
            .leases()
            .update_one(doc! { "_id": share, "token": token }, free)
            .await;
    }

    async fn publish_share(&self, share: &str, token: i64, keys: Vec<String>) -> Result<Published, StatsError> {
        let more = i64::try_from(keys.len()).is_ok_and(|keys| keys >= ROUND);
        let read = ReadStates { desk: self, keys };
        let states = self.home.transact(&read).await?;
        let made = self.make(states)?;
        let fence = Fence {
            name: share.to_owned(),
            token,
        };
        let rollups: Vec<Rollup> = made.iter().map(|made| made.rollup.clone()).collect();
        // All at once: a sink that fails does not keep the others waiting.
        let written = join_all(self.site.sinks.iter().map(|sink| sink.write(&rollups, &fence))).await;
        let mut failed = None;
        let mut waits = vec![false; made.len()];
        let mut refused = Vec::new();
        for (sink, verdicts) in self.site.sinks.iter().zip(written) {
            match verdicts {
                Ok(verdicts) => {
                    for (place, verdict) in verdicts.into_iter().enumerate() {
                        match verdict {
                            Verdict::Taken => {}
                            Verdict::Refused(why) => refused.push((sink.address(), place, why)),
                            Verdict::Later(why) => {
                                waits.get_mut(place).into_iter().for_each(|waits| *waits = true);
                                let why = format!("{}: {why}", sink.address());
                                failed.get_or_insert(StatsError::Later { after: None, why });
                            }
                        }
                    }
                }
                Err(error) => {
                    waits.fill(true);
                    failed = Some(error);
                }
            }
        }
        self.put_aside(&made, &refused).await?;
        let done: Vec<&Made> = made
            .iter()
            .zip(&waits)
            .filter(|(_, waits)| !**waits)
            .map(|(made, _)| made)
            .collect();
        self.clean(&done).await?;
        match failed {
            Some(error) => Err(error),
            None => Ok(Published {
                rollups: done.len() as u64,
                refused: refused.len() as u64,
                more,
            }),
        }
    }

    /// Puts the states of all parts together.
    fn make(&self, states: Vec<Document>) -> Result<Vec<Made>, Fail> {
        let plan = &self.site.spec.plan;
        let damaged = |what: &str| Fail::Damaged(format!("a state without its {what}"));
        let mut by_key: BTreeMap<String, Vec<Document>> = BTreeMap::new();
        for state in states {
            let key = state.get_str("key").map_err(|_| damaged("key"))?.to_owned();
            by_key.entry(key).or_default().push(state);
        }
        by_key
            .into_values()
            .map(|states| {
                let first = states.first().ok_or_else(|| damaged("key"))?;
                let bucket = wall(*first.get_datetime("bucket").map_err(|_| damaged("bucket"))?);
                let group = first.get_binary_generic("group").map_err(|_| damaged("group"))?;
                let group = Group::from_bytes(group, plan.group_by().len())
                    .map_err(|error| Fail::Damaged(error.to_string()))?;
                let mut whole = State::new(plan);
                let mut generation = 0;
                let mut from = Vec::with_capacity(states.len());
                for state in &states {
                    whole.merge(&read_state(plan, state)?);
                    generation = generation.max(state.get_i64("generation").unwrap_or(0));
                    let id = state.get_str("_id").map_err(|_| damaged("name"))?;
                    let count = state.get_i64("documents").map_err(|_| damaged("documents"))?;
                    from.push((id.to_owned(), count));
                }
                let groups = plan
                    .group_by()
                    .iter()
                    .map(|field| field.as_str().to_owned())
                    .zip(group.values());
                let measures = whole.finish(plan).map(|(name, value)| (name.to_owned(), value));
                Ok(Made {
                    rollup: Rollup {
                        id: group.id(bucket),
                        bucket,
                        version: version(generation, documents(&whole)),
                        fields: groups.chain(measures).collect(),
                    },
                    from,
                })
            })
            .collect()
    }

    /// A roll-up that a sink will never take stops nobody.
    async fn put_aside(&self, made: &[Made], refused: &[(String, usize, String)]) -> Result<(), StatsError> {
        if refused.is_empty() {
            return Ok(());
        }
        let letter = |(sink, place, why): &(String, usize, String)| {
            let rollup = &made.get(*place)?.rollup;
            let set = doc! { "pipeline": &self.site.name, "rollup_id": &rollup.id, "sink": sink, "reason": why };
            Some(doc! {
                "q": { "_id": { "pipeline": &self.site.name, "id": &rollup.id, "sink": sink } },
                "u": { "$set": set, "$currentDate": { "at": true } },
                "upsert": true,
            })
        };
        let letters = DeadRollups {
            desk: self,
            letters: refused.iter().filter_map(letter).collect(),
        };
        Ok(self.home.transact(&letters).await?)
    }

    /// Takes the marks away, where nothing has changed since it was read.
    async fn clean(&self, done: &[&Made]) -> Result<(), Fail> {
        let statements: Vec<Bson> = done
            .iter()
            .flat_map(|made| &made.from)
            .map(|(id, count)| {
                let unmark = doc! { "$unset": { "dirty": "" } };
                Bson::Document(doc! { "q": { "_id": id, "documents": count }, "u": unmark })
            })
            .collect();
        for some in statements.chunks(super::home::MAX_STATEMENTS) {
            let states = self.home.states();
            let database = self.home.client.database(&states.namespace().db);
            let command = doc! { "update": states.name(), "updates": some.to_vec(), "ordered": false };
            database.run_command(command).await?;
        }
        Ok(())
    }
}

/// Reads the states of some roll-ups, all as they were at one moment: so of two that read, one has at least what the other has,
/// and the number of documents tells which.
struct ReadStates<'a> {
    desk: &'a Desk,
    keys: Vec<String>,
}

#[async_trait]
impl Work for ReadStates<'_> {
    type Out = Vec<Document>;

    async fn run(&self, session: &mut ClientSession) -> Result<Vec<Document>, Fail> {
        let mut found = self
            .desk
            .home
            .states()
            .find(doc! { "key": { "$in": &self.keys } })
            .session(&mut *session)
            .await?;
        let mut states = Vec::new();
        while let Some(state) = found.next(session).await.transpose()? {
            states.push(state);
        }
        Ok(states)
    }
}

struct DeadRollups<'a> {
    desk: &'a Desk,
    letters: Vec<Document>,
}

#[async_trait]
impl Work for DeadRollups<'_> {
    type Out = ();

    async fn run(&self, session: &mut ClientSession) -> Result<(), Fail> {
        let letters = self.desk.home.dead_letters();
        update_many(session, &letters, self.letters.clone()).await.map(drop)
    }
}
