//! Counts buckets anew: `headcount stats backfill`.
//!
//! Somebody asks by a note in the pipeline's document. Whoever holds the tail carries it out, once no part of a backlog is left:
//! it reads nothing new until all that it has read is settled, so that every document is either before its position, or not
//! read by anybody; deletes the states of these buckets; and then, in one transaction, plans parts for all that is before its
//! position. Documents that come later are the tail's, as ever. A crash in between is gone on from by the next one.
//!
//! What the sinks have stays until what replaces it is whole: what is noted of these buckets is held back until no part is left.
//! States bear the generation of the rebuild that they are of, and it
//! counts for more in a roll-up's version than any number of documents.

use async_trait::async_trait;
use futures_util::TryStreamExt;
use headcount_core::stats::bucket::Rfc3339;
use headcount_core::time::Wall;
use mongodb::ClientSession;
use mongodb::bson::{Bson, DateTime, Document, doc};

use super::home::{Fail, Home, Work, insert_many, majority};
use super::parts::{Buckets, Part, date, wall};
use super::plan::{Plan, cut, parts_of};
use super::{Desk, generation};

/// What somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rebuild {
    pub(super) buckets: Buckets,
    /// Greater than that of any before.
    pub(super) generation: i64,
}

impl Desk {
    /// Asks for it. False if another one is under way.
    pub(super) async fn ask_rebuild(&self, buckets: Buckets) -> Result<bool, Fail> {
        let ask = doc! { "from": date(buckets.from), "to": date(buckets.to) };
        let now = generation::at(self.server_now().await?);
        let next = doc! { "$max": [{ "$add": ["$generation", 1_i64] }, now] };
        let asked = self
            .home
            .pipelines()
            .update_one(
                doc! { "_id": &self.site.name, "rebuild": { "$exists": false } },
                vec![doc! { "$set": { "rebuild": ask, "generation": next } }],
            )
            .write_concern(majority())
            .await?;
        Ok(asked.modified_count == 1)
    }

    /// What is asked for.
    pub(super) async fn rebuild(&self) -> Result<Option<Rebuild>, Fail> {
        let found = self.home.pipelines().find_one(doc! { "_id": &self.site.name }).await?;
        let Some(pipeline) = found else { return Ok(None) };
        let Ok(asked) = pipeline.get_document("rebuild") else {
            return Ok(None);
        };
        let damaged = |_| Fail::Damaged("what is asked to be counted anew cannot be read".to_owned());
        Ok(Some(Rebuild {
            buckets: Buckets {
                from: wall(*asked.get_datetime("from").map_err(damaged)?),
                to: wall(*asked.get_datetime("to").map_err(damaged)?),
            },
            generation: pipeline.get_i64("generation").map_err(damaged)?,
        }))
    }

    pub(super) async fn has_backlog(&self) -> Result<bool, Fail> {
        let open = doc! { "pipeline": &self.site.name, "kind": "backlog", "done": false };
        Ok(self.home.parts().find_one(open).await?.is_some())
    }

    /// Where the keys of these buckets' roll-ups begin and end.
    fn keys(&self, buckets: Buckets) -> (String, String) {
        // The `_id`s of roll-ups begin with their bucket, in a form that sorts by time.
        let key = |bucket: Wall| super::notes::key(&self.site.name, &Rfc3339(bucket).to_string());
        (key(buckets.from), key(buckets.to))
    }

    /// The ranges of keys whose buckets are being counted anew: what there is of them is only a part.
    pub(super) async fn recounted(&self, session: Option<&mut ClientSession>) -> Result<Vec<(String, String)>, Fail> {
        let open = doc! { "pipeline": &self.site.name, "kind": "backlog", "done": false, "from": { "$exists": true } };
        let ranges = [
            doc! { "$match": open },
            doc! { "$group": { "_id": { "from": "$from", "to": "$to" } } },
        ];
        let parts = self.home.parts();
        let asked = parts.aggregate(ranges);
        let mut found: Vec<Document> = Vec::new();
        match session {
            None => found = asked.await?.try_collect().await?,
            Some(session) => {
                let mut ranges = asked.session(&mut *session).await?;
                while let Some(range) = ranges.next(session).await.transpose()? {
                    found.push(range);
                }
            }
        }
        let keys = |range: &Document| {
            let range = range.get_document("_id").ok()?;
            let moment = |name: &str| range.get_datetime(name).ok().copied().map(wall);
            Some(self.keys(Buckets {
                from: moment("from")?,
                to: moment("to")?,
            }))
        };
        Ok(found.iter().filter_map(keys).collect())
    }

    /// Carries it out, for whoever holds the tail and has settled all that it has read.
    pub(super) async fn carry_out(&self, rebuild: Rebuild, tail: &Part) -> Result<(), Fail> {
        self.clear(rebuild).await?;
        let now = self.server_now().await?;
        let spec = &self.site.spec;
        let plan = match &tail.at {
            Bson::MinKey => Plan::nothing(),
            at => {
                let settled = Some(at.clone());
                let mut plan = cut(
                    &self.source,
                    &spec.cursor,
                    self.site.step,
                    self.site.settle,
                    now,
                    settled,
                )
                .await?;
                let buckets = doc! { "$gte": date(rebuild.buckets.from), "$lt": date(rebuild.buckets.to) };
                let count = self.source.count_documents(doc! { &spec.time: buckets }).await?;
                let parts = u64::try_from(plan.borders.len().max(1)).unwrap_or(1);
                plan.part_size = i64::try_from(count / parts).unwrap_or(i64::MAX);
                plan
            }
        };
        let begin = Begin {
            home: &self.home,
            pipeline: &self.site.name,
            tail,
            rebuild,
            parts: parts_of(
                &self.site.name,
                &plan,
                now,
                self.site.settle,
                (rebuild.generation, Some(rebuild.buckets)),
            ),
        };
        self.home.transact(&begin).await
    }

    /// Deletes the states of these buckets that are of an earlier rebuild: so a straggler deletes nothing of this one.
    async fn clear(&self, rebuild: Rebuild) -> Result<(), Fail> {
        let (from, to) = self.keys(rebuild.buckets);
        let old = doc! {
            "key": { "$gte": from, "$lt": to },
            "generation": { "$lt": rebuild.generation },
        };
        self.home.states().delete_many(old).write_concern(majority()).await?;
        Ok(())
    }
}

/// Plans the parts, takes the note away, and lets the tail go on.
struct Begin<'a> {
    home: &'a Home,
    pipeline: &'a str,
    tail: &'a Part,
    rebuild: Rebuild,
    parts: Vec<Document>,
}

#[async_trait]
impl Work for Begin<'_> {
    type Out = ();

    async fn run(&self, session: &mut ClientSession) -> Result<(), Fail> {
        let tail = doc! { "_id": &self.tail.id, "token": self.tail.token };
        let held = self
            .home
            .parts()
            .update_one(
                tail,
                doc! { "$set": { "generation": self.rebuild.generation }, "$currentDate": { "renewed": true } },
            )
            .session(&mut *session)
            .await?;
        let noted = self
            .home
            .pipelines()
            .update_one(
                doc! { "_id": self.pipeline, "generation": self.rebuild.generation, "rebuild": { "$exists": true } },
                doc! { "$unset": { "rebuild": "" }, "$set": { "rebuilt": DateTime::now() } },
            )
            .session(&mut *session)
            .await?;
        if held.matched_count == 0 || noted.matched_count == 0 {
            return Err(Fail::Fenced);
        }
        insert_many(session, &self.home.parts(), self.parts.clone()).await
    }
}
