//! Whether what is kept of a pipeline is whole.
//!
//! Its collections are of use together alone. Without what the tail remembers, documents would be counted twice; without states,
//! less than a sink has would replace it; without parts nothing would be counted any more, and nobody would say so. So each of
//! them has a mark, the same one, from the transaction that plans the pipeline; every commit of a step looks for them, in its own
//! transaction. Where one is missing nothing goes on, and somebody decides: beginning anew by itself would replace the roll-ups
//! of all that the source has forgotten meanwhile by smaller ones.

use async_trait::async_trait;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};
use mongodb::{ClientSession, Collection};

use super::home::{Fail, Home, Work, insert_many};

/// One of the collections that belong together, beside that of pipelines.
struct Marked {
    collection: Collection<Document>,
    /// Finds the document with the mark.
    mark: Document,
    /// Finds whatever there is of the pipeline.
    any: Document,
}

/// The `_id` of a tail, which bears the mark of the parts.
fn tail_id(pipeline: &str) -> String {
    format!("{pipeline}/tail")
}

fn all(home: &Home, pipeline: &str) -> [Marked; 4] {
    let name = format!("{pipeline}/mark");
    // A slash is no part of a pipeline's name, and a nought comes after it.
    let own = doc! { "$gte": format!("{pipeline}/"), "$lt": format!("{pipeline}0") };
    let marked = |collection, mark, any| Marked { collection, mark, any };
    [
        marked(
            home.parts(),
            doc! { "_id": tail_id(pipeline) },
            doc! { "pipeline": pipeline },
        ),
        marked(home.states(), doc! { "_id": &name }, doc! { "key": own.clone() }),
        marked(
            home.seen(),
            doc! { "_id": { "pipeline": pipeline, "number": 0_i64 } },
            doc! { "pipeline": pipeline },
        ),
        marked(home.notes(), doc! { "_id": &name }, doc! { "share": own }),
    ]
}

/// Marks all collections of a pipeline, in the transaction that plans it; its document and its tail are there.
pub(super) async fn mark(home: &Home, pipeline: &str, session: &mut ClientSession) -> Result<(), Fail> {
    let mark = ObjectId::new();
    let own = [
        (home.pipelines(), doc! { "_id": pipeline }),
        (home.parts(), doc! { "_id": tail_id(pipeline) }),
    ];
    for (collection, of) in own {
        let set = doc! { "$set": { "mark": mark } };
        collection.update_one(of, set).session(&mut *session).await?;
    }
    let name = format!("{pipeline}/mark");
    // Whoever deletes what there is of the pipeline finds them by the same fields as the rest.
    let marks = [
        (home.states(), doc! { "_id": &name, "key": &name, "mark": mark }),
        (
            home.seen(),
            doc! { "_id": { "pipeline": pipeline, "number": 0_i64 }, "pipeline": pipeline, "mark": mark },
        ),
        (home.notes(), doc! { "_id": &name, "share": &name, "mark": mark }),
    ];
    for (collection, document) in marks {
        insert_many(session, &collection, vec![document]).await?;
    }
    Ok(())
}

/// Whether the pipeline has been planned.
///
/// # Errors
/// What is kept of it is not whole, with what is missing and what to do about it.
pub(super) async fn check(home: &Home, pipeline: &str, session: &mut ClientSession) -> Result<bool, Fail> {
    let all = all(home, pipeline);
    // In one question: a commit asks it, too.
    let mut stages = vec![doc! { "$match": { "_id": pipeline } }];
    let mut fields = doc! { "planned": 1, "mark": 1 };
    for Marked { collection, mark, .. } in &all {
        let name = collection.name();
        let only = [doc! { "$match": mark.clone() }, doc! { "$project": { "mark": 1 } }];
        stages.push(doc! { "$lookup": { "from": name, "pipeline": only.to_vec(), "as": name } });
        fields.insert(name, 1);
    }
    stages.push(doc! { "$project": fields });
    let mut found = home.pipelines().aggregate(stages).session(&mut *session).await?;
    let kept = found.next(session).await.transpose()?;
    let mut lacking = Vec::new();
    let planned = kept.filter(|kept| kept.contains_key("planned"));
    let is_planned = planned.is_some();
    if let Some(kept) = planned {
        let mark = kept.get("mark");
        for Marked { collection, .. } in &all {
            let there = kept.get_array(collection.name()).ok().and_then(|found| found.first());
            let there = there.and_then(|found| found.as_document()?.get("mark"));
            if mark.is_none() || there != mark {
                lacking.push(collection.name().to_owned());
            }
        }
    } else {
        let mut has_any = false;
        for Marked { collection, any, .. } in &all {
            match collection.find_one(any.clone()).session(&mut *session).await? {
                Some(_) => has_any = true,
                None => lacking.push(collection.name().to_owned()),
            }
        }
        if !has_any {
            return Ok(false);
        }
        lacking.push(home.pipelines().name().to_owned());
    }
    if lacking.is_empty() {
        return Ok(is_planned);
    }
    Err(Fail::Damaged(format!(
        "what is kept of the pipeline {pipeline} in the database {} is not whole: what belongs to the rest of it is missing in {}. \
         Nothing is counted until the rest is deleted as well, the documents of {pipeline} in all of headcount_stats_* there or these \
         collections; then all that the source still has is counted anew",
        home.database(),
        lacking.join(", ")
    )))
}

/// [`check`] for itself, of one moment.
pub(super) struct Check<'a> {
    pub(super) home: &'a Home,
    pub(super) pipeline: &'a str,
}

#[async_trait]
impl Work for Check<'_> {
    type Out = bool;

    async fn run(&self, session: &mut ClientSession) -> Result<bool, Fail> {
        check(self.home, self.pipeline, session).await
    }
}
