//! Publishing: what has changed goes to the sinks.
//!
//! A step leaves notes of what it has changed. A round takes the oldest notes of one share, puts the states of all parts of each
//! roll-up together, writes the roll-ups to every sink, and deletes the notes. Whatever is cut short is done again: writing a
//! roll-up twice changes nothing.

use std::collections::HashSet;

use async_trait::async_trait;
use futures_util::future::join_all;
use headcount_actors::ports::stats::{Published, StatsError};
use headcount_core::stats::group::Group;
use headcount_core::stats::plan::Plan;
use headcount_core::stats::rollup::Rollup as State;
use headcount_core::time::Wall;
use mongodb::ClientSession;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::ReturnDocument;

use super::super::rollup::{Fence, Rollup, Verdict};
use super::Desk;
use super::generation;
use super::home::{Fail, Home, Work, majority, update_many};
use super::notes::{self, Round, share_names};
use super::parts::{expired, wall};
use super::states::{documents, read_state};

/// Roll-ups of one round of a share: enough for a bulk request that is worth its way, few enough that a lease outlives it.
const ROUND: usize = 2_000;
/// Values of one round of a share, those that are grouped by and the measures: with many of them it is of fewer roll-ups.
const ROUND_VALUES: usize = 40_000;
/// States in one answer of the server.
const BATCH: u32 = 10_000;

/// Makes the leases of all shares, where they are not there yet: free, and never taken.
pub(super) async fn make_leases(home: &Home, pipeline: &str, now: DateTime) -> Result<(), Fail> {
    for share in share_names(pipeline) {
        // Sinks remember tokens, also when these leases are forgotten or kept elsewhere.
        let first = generation::first_token(now);
        let free = doc! { "owner": "", "token": first, "lease": 0_i64, "renewed": DateTime::from_millis(0) };
        home.leases()
            .update_one(doc! { "_id": share }, doc! { "$setOnInsert": free })
            .upsert(true)
            .write_concern(majority())
            .await?;
    }
    Ok(())
}

impl Desk {
    /// How many changed roll-ups wait, up to `most`.
    pub(super) async fn unpublished(&self, most: u64) -> Result<u64, Fail> {
        Ok(notes::count(&self.home, &self.site.name).await?.min(most))
    }

    /// One round of each share, all shares at once.
    pub(super) async fn publish(&self) -> Result<Published, StatsError> {
        let name = &self.site.name;
        if notes::has_held(&self.home, name).await? && self.recounted(None).await?.is_empty() {
            notes::let_go(&self.home, name).await?;
        }
        let shares = share_names(name);
        let rounds = join_all(shares.iter().map(|share| self.round(share))).await;
        let mut all = Published::default();
        for done in rounds {
            let done = done?;
            all.rollups += done.rollups;
            all.refused += done.refused;
            all.more |= done.more;
        }
        Ok(all)
    }

    async fn round(&self, share: &str) -> Result<Published, StatsError> {
        let notes = self.home.notes();
        let noted = notes.find_one(doc! { "share": share }).projection(doc! { "_id": 1 });
        if noted.await.map_err(Fail::from)?.is_none() {
            return Ok(Published::default());
        }
        // None: somebody else is at it.
        let Some(token) = self.take_share(share).await? else {
            return Ok(Published::default());
        };
        let done = self.publish_share(share, token).await;
        self.release_share(share, token).await;
        done
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

    async fn publish_share(&self, share: &str, token: i64) -> Result<Published, StatsError> {
        let Noted { round, made, newest } = self.home.transact(&ReadChanged { desk: self, share }).await?;
        let Made { keys, rollups } = made;
        let fence = Fence {
            name: format!("{} {share}", self.site.source),
            token,
            newest,
        };
        // All at once: a sink that fails does not keep the others waiting.
        let written = join_all(self.site.sinks.iter().map(|sink| sink.write(&rollups, &fence))).await;
        let mut failed = None;
        let mut waits = vec![false; rollups.len()];
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
        self.put_aside(&rollups, &refused).await?;
        let waiting: HashSet<String> = keys
            .into_iter()
            .zip(&waits)
            .filter(|(_, waits)| **waits)
            .map(|(key, _)| key)
            .collect();
        round.settle(&self.home, share, &waiting).await?;
        match failed {
            Some(error) => Err(error),
            None => Ok(Published {
                rollups: rollups.len() as u64,
                refused: refused.len() as u64,
                more: round.more,
            }),
        }
    }

    /// A roll-up that a sink will never take stops nobody.
    async fn put_aside(&self, rollups: &[Rollup], refused: &[(String, usize, String)]) -> Result<(), StatsError> {
        if refused.is_empty() {
            return Ok(());
        }
        let letter = |(sink, place, why): &(String, usize, String)| {
            let rollup = rollups.get(*place)?;
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
}

/// Reads notes, and the states of the roll-ups that they name, all as they were at one moment: so of two that read, one has at
/// least what the other has, and the number of documents tells which.
struct ReadChanged<'a> {
    desk: &'a Desk,
    share: &'a str,
}

/// Roll-ups that were put together.
#[derive(Default)]
struct Made {
    /// The key of each.
    keys: Vec<String>,
    rollups: Vec<Rollup>,
}

/// The states of all parts of one roll-up, put together as they come: those of one key follow each other, so that no more than one
/// roll-up's are in memory.
struct Gather<'p> {
    plan: &'p Plan,
    open: Option<Gathered>,
    made: Made,
}

struct Gathered {
    key: String,
    bucket: Wall,
    group: Group,
    whole: State,
    /// The latest generation of its states.
    newest: i64,
}

impl<'p> Gather<'p> {
    fn new(plan: &'p Plan) -> Self {
        Self {
            plan,
            open: None,
            made: Made::default(),
        }
    }

    fn add(&mut self, state: &Document) -> Result<(), Fail> {
        let damaged = |what: &str| Fail::Damaged(format!("a state without its {what}"));
        let key = state.get_str("key").map_err(|_| damaged("key"))?;
        let part = read_state(self.plan, state)?;
        let generation = state.get_i64("generation").unwrap_or(0);
        if let Some(open) = self.open.as_mut().filter(|open| open.key == key) {
            open.whole.merge(&part);
            open.newest = open.newest.max(generation);
            return Ok(());
        }
        self.close();
        let group = state.get_binary_generic("group").map_err(|_| damaged("group"))?;
        let group = Group::from_bytes(group, self.plan.group_by().len());
        self.open = Some(Gathered {
            key: key.to_owned(),
            bucket: wall(*state.get_datetime("bucket").map_err(|_| damaged("bucket"))?),
            group: group.map_err(|error| Fail::Damaged(error.to_string()))?,
            whole: part,
            newest: generation,
        });
        Ok(())
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let groups = self
            .plan
            .group_by()
            .iter()
            .map(|field| field.as_str().to_owned())
            .zip(open.group.values());
        let measures = open
            .whole
            .finish(self.plan)
            .map(|(name, value)| (name.to_owned(), value));
        self.made.rollups.push(Rollup {
            id: open.group.id(open.bucket),
            bucket: open.bucket,
            version: generation::version(open.newest, documents(&open.whole)),
            fields: groups.chain(measures).collect(),
        });
        self.made.keys.push(open.key);
    }

    fn finish(mut self) -> Made {
        self.close();
        self.made
    }
}

/// What was read.
struct Noted {
    round: Round,
    made: Made,
    /// The pipeline's generation at that moment: no roll-up of its own is of a later one.
    newest: i64,
}

#[async_trait]
impl Work for ReadChanged<'_> {
    type Out = Noted;

    async fn run(&self, session: &mut ClientSession) -> Result<Self::Out, Fail> {
        let home = &self.desk.home;
        let plan = &self.desk.site.spec.plan;
        let most = ROUND.min(ROUND_VALUES / plan.values().max(1));
        let mut round = notes::read(home, self.share, most, session).await?;
        round.hold_back(&self.desk.recounted(Some(&mut *session)).await?);
        let all = home.states();
        // In the order of the index, the greatest first, and so they are written to a collection. When MongoDB looks for an `_id` that
        // is not there yet, it goes on to the next greater one, and passes over all that other transactions have not committed,
        // one by one: those of the next bucket, which is another share's. Whoever comes from above has its own there. (60,000
        // roll-ups by four transactions at once: 23 s of the server's processor in rising order, 0.9 s in falling order.)
        let found = all
            .find(doc! { "key": { "$in": &round.keys } })
            .sort(doc! { "key": -1 })
            .batch_size(BATCH);
        let mut found = found.session(&mut *session).await?;
        let mut gather = Gather::new(plan);
        while let Some(state) = found.next(session).await.transpose()? {
            gather.add(&state)?;
        }
        let pipeline = home
            .pipelines()
            .find_one(doc! { "_id": &self.desk.site.name })
            .session(&mut *session)
            .await?;
        let newest = pipeline.and_then(|pipeline| pipeline.get_i64("generation").ok());
        Ok(Noted {
            round,
            made: gather.finish(),
            newest: newest.unwrap_or(0),
        })
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
