//! How a pipeline stands.

use std::time::Duration;

use futures_util::TryStreamExt;
use headcount_actors::ports::stats::Standing;
use mongodb::bson::{Bson, Document, doc};

use super::cursor::{Kind, moment, same};
use super::home::Fail;
use super::parts::{expired, wall};
use super::plan::kind_of;
use super::{Desk, notes, now};

/// What waits is counted so far and no further: from there on it is estimated, or just "many".
const MOST: u64 = 20_000;

impl Desk {
    pub(super) async fn standing(&self) -> Result<Standing, Fail> {
        let pipeline = &self.site.name;
        let fields = doc! {
            "kind": 1, "done": 1, "documents": 1, "size": 1, "at": 1, "renewed": 1,
            "settled": 1, "sweeps": 1, "held": { "$not": [expired()] },
        };
        let parts: Vec<Document> = self
            .home
            .parts()
            .aggregate([doc! { "$match": { "pipeline": pipeline } }, doc! { "$project": fields }])
            .await?
            .try_collect()
            .await?;
        let now = self.server_now().await?;
        let mut standing = Standing {
            rebuilds: self.rebuild().await?.is_some(),
            ..Standing::default()
        };
        let (mut oldest, mut many) = (None, false);
        for part in &parts {
            let number = |name: &str| {
                part.get_i64(name)
                    .ok()
                    .and_then(|number| u64::try_from(number).ok())
                    .unwrap_or(0)
            };
            let (documents, is_done) = (number("documents"), part.get_bool("done").unwrap_or(false));
            standing.documents += documents;
            standing.parts_held += u64::from(part.get_bool("held").unwrap_or(false));
            let at = part.get("at").cloned().unwrap_or(Bson::MinKey);
            if part.get_str("kind").is_ok_and(|kind| kind == "tail") {
                let (waiting, first) = self.behind(&at).await?;
                standing.lag_documents += waiting;
                many = waiting >= MOST;
                oldest = oldest.or(first);
                // It has no such number while an earlier version holds it.
                let unsettled = part.get("settled").is_some_and(|settled| !same(settled, &at));
                standing.sweeps = (unsettled && part.contains_key("sweeps")).then(|| number("sweeps"));
                standing.looked_at = part.get_datetime("renewed").ok().map(|at| wall(*at));
                continue;
            }
            standing.parts += 1;
            standing.parts_done += u64::from(is_done);
            if !is_done {
                standing.lag_documents += number("size").saturating_sub(documents);
                oldest = oldest.or(moment(&at));
            }
        }
        if many {
            let all = self.source.estimated_document_count().await?;
            standing.lag_documents = standing.lag_documents.max(all.saturating_sub(standing.documents));
        }
        if standing.lag_documents == 0 && standing.parts == standing.parts_done {
            standing.lag = Some(Duration::ZERO);
        } else {
            standing.lag = oldest.map(|oldest| wall(now).since(wall(oldest)));
        }
        standing.unpublished = self.unpublished(MOST).await? + notes::count_held(&self.home, pipeline).await?;
        standing.dead_letters = self
            .home
            .dead_letters()
            .count_documents(doc! { "pipeline": pipeline })
            .await?;
        Ok(standing)
    }

    /// How many documents come after a position, and when the first of them came to be.
    async fn behind(&self, at: &Bson) -> Result<(u64, Option<mongodb::bson::DateTime>), Fail> {
        let cursor = &self.site.spec.cursor;
        let kind = match Kind::of(at) {
            Some(kind) => Some(kind),
            None => kind_of(&self.source, cursor).await?,
        };
        // Nothing is there, or nothing that is read.
        let Some(kind) = kind else { return Ok((0, None)) };
        let filter = self.site.spec.after(at, kind, now());
        let waiting = self.source.count_documents(filter.clone()).limit(MOST).await?;
        if waiting == 0 {
            return Ok((0, None));
        }
        let first = self
            .source
            .find_one(filter)
            .sort(doc! { cursor: 1 })
            .projection(doc! { cursor: 1 })
            .await?;
        Ok((waiting, first.and_then(|first| first.get(cursor).and_then(moment))))
    }
}
