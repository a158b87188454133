//! Lets MongoDB do the grouping: a step whose measures it has too (counts, sums, extremes) comes back as one row for each group.
//!
//! Its own idea of a number differs from ours (it ignores a text, and adds a NaN), so it is only given the documents about which
//! there can be no doubt; the others of the step, if there are any, are read and folded here. All of it is read at one moment, so
//! that no document is in both, or in neither.

use futures_util::TryStreamExt;
use headcount_core::stats::group::Group;
use headcount_core::stats::rollup::{Part as Worked, Rollup};
use headcount_core::stats::value::{HUGE, Value};
use headcount_core::stats::window::Placed;
use headcount_core::time::Wall;
use mongodb::bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};
use mongodb::bson::{Bson, Document, doc};
use mongodb::{ClientSession, Collection};

use super::extract::scalar;
use super::fold::{Fold, MAX_STEP_GROUPS, Spec};
use super::home::Fail;
use super::parts::{Part, date};

/// A text of more characters may have more bytes than groups are made of; then it is looked at here.
const LONG_TEXT: usize = 256;

/// What the server has done of a step.
pub(super) struct Pushed {
    /// The last value of the cursor field in it.
    pub(super) at: Bson,
    /// There is nothing behind it in the part.
    pub(super) done: bool,
}

/// Whether MongoDB has all that this pipeline measures.
pub(super) fn suits(spec: &Spec, part: &Part) -> bool {
    let has = spec
        .plan
        .fields()
        .iter()
        .all(|(_, needs)| !needs.sketch && !needs.distinct);
    // Whoever is counted anew is found by time, and not by the cursor; and the server would have to be told who is late.
    has && part.only.is_none() && !(part.judges_late && spec.has_late)
}

/// One step. None where the server cannot do it, or what it says cannot be used: then it is done here.
pub(super) async fn step(
    source: &Collection<Document>,
    spec: &Spec,
    part: &Part,
    most: u64,
    now: Wall,
    fold: &mut Fold<'_>,
) -> Result<Option<Pushed>, Fail> {
    let mut session = source.client().start_session().snapshot(true).await?;
    let Some(range) = Range::find(source, spec, part, most, &mut session).await? else {
        return Ok(None);
    };
    let plain = plain(spec, now);
    let grouped = [
        doc! { "$match": { "$and": [range.filter.clone(), plain.clone()] } },
        doc! { "$group": group(spec) },
        doc! { "$limit": i64::try_from(MAX_STEP_GROUPS + 1).unwrap_or(i64::MAX) },
    ];
    let rows: Vec<RawDocumentBuf> = source
        .aggregate(grouped)
        .allow_disk_use(true)
        .with_type::<RawDocumentBuf>()
        .session(&mut session)
        .await?
        .stream(&mut session)
        .try_collect()
        .await?;
    if rows.len() > MAX_STEP_GROUPS {
        return Ok(None);
    }
    let mut counted = 0;
    let mut placed = Vec::with_capacity(rows.len());
    for row in &rows {
        let Some(row) = read_row(spec, row) else {
            return Ok(None);
        };
        counted += row.rollup.documents();
        placed.push(row);
    }
    if placed.into_iter().any(|row| fold.merge(row).is_err()) {
        return Ok(None);
    }
    fold.documents += counted;
    if counted != range.documents {
        let odd = doc! { "$and": [range.filter, { "$nor": [plain] }] };
        let mut found = source
            .clone_with_type::<RawDocumentBuf>()
            .find(odd)
            .projection(spec.projection())
            .session(&mut session)
            .await?;
        let mut stream = found.stream(&mut session);
        while let Some(document) = stream.try_next().await? {
            fold.add(&document, now, &mut Vec::new())?;
        }
    }
    Ok(Some(Pushed {
        at: range.end,
        done: range.done,
    }))
}

/// The documents of a step.
struct Range {
    filter: Document,
    documents: u64,
    end: Bson,
    done: bool,
}

impl Range {
    /// So many documents from the part's position on, by the index alone. None where the cursor field does not tell documents
    /// apart, or there is nothing.
    async fn find(
        source: &Collection<Document>,
        spec: &Spec,
        part: &Part,
        most: u64,
        session: &mut ClientSession,
    ) -> Result<Option<Self>, Fail> {
        let cursor = spec.cursor.as_str();
        let Some(upto) = part.upto.clone().filter(|_| cursor == "_id") else {
            return Ok(None);
        };
        let mut range = doc! { "$lte": upto.clone() };
        if part.at != Bson::MinKey {
            range.insert("$gt", part.at.clone());
        }
        let last = source
            .find_one(doc! { cursor: range.clone() })
            .sort(doc! { cursor: 1 })
            .skip(most.saturating_sub(1))
            .projection(doc! { cursor: 1 })
            .session(&mut *session)
            .await?;
        if let Some(end) = last.and_then(|last| last.get(cursor).cloned()) {
            range.insert("$lte", end.clone());
            return Ok(Some(Self {
                filter: doc! { cursor: range },
                documents: most,
                end,
                done: false,
            }));
        }
        let filter = doc! { cursor: range };
        let documents = source.count_documents(filter.clone()).session(session).await?;
        Ok(Some(Self {
            filter,
            documents,
            end: upto,
            done: true,
        }))
    }
}

/// The documents about which there is no doubt.
fn plain(spec: &Spec, now: Wall) -> Document {
    let one = |name: &str, allowed: Document| doc! { "$or": [{ name: Bson::Null }, allowed] };
    let no_list = |name: &str| doc! { name: { "$not": { "$type": "array" } } };
    // No later than now: what lies ahead is looked at here.
    let time = doc! { "$gte": date(Wall::from_micros(0)), "$lte": date(now) };
    let mut all = vec![doc! { &spec.time: time }, no_list(&spec.time)];
    for field in spec.plan.group_by() {
        let name = field.as_str();
        let kinds = doc! { name: { "$type": ["int", "long", "bool", "objectId", "date"] } };
        let long = doc! { "$regex": format!("^[\\s\\S]{{{LONG_TEXT}}}") };
        let texts = doc! { name: { "$type": "string", "$not": long } };
        all.push(one(name, doc! { "$or": [texts, kinds] }));
        all.push(no_list(name));
    }
    for (field, needs) in spec.plan.fields() {
        let name = field.as_str();
        // Decimals are of another precision, and left out by their type.
        let number = doc! { name: { "$gte": -HUGE, "$lte": HUGE, "$type": ["int", "long", "double"] } };
        let allowed = if needs.sum {
            number
        } else {
            doc! { "$or": [number, { name: { "$type": "date" } }] }
        };
        all.push(one(name, allowed));
        all.push(no_list(name));
    }
    doc! { "$and": all }
}

/// The stage that groups them.
fn group(spec: &Spec) -> Document {
    let field = |name: &str| format!("${name}");
    let time = field(&spec.time);
    let width = i64::try_from(spec.window.width.duration().as_millis()).unwrap_or(i64::MAX);
    let mut id = doc! { "b": { "$subtract": [&time, { "$mod": [{ "$toLong": &time }, width] }] } };
    for (place, by) in spec.plan.group_by().iter().enumerate() {
        id.insert(format!("g{place}"), field(by.as_str()));
    }
    let mut stage = doc! { "_id": id, "n": { "$sum": 1 } };
    for (place, (measured, needs)) in spec.plan.fields().iter().enumerate() {
        let name = field(measured.as_str());
        stage.insert(
            format!("c{place}"),
            doc! { "$sum": { "$cond": [{ "$isNumber": &name }, 1, 0] } },
        );
        if needs.sum {
            stage.insert(format!("s{place}"), doc! { "$sum": &name });
        }
        if needs.extremes {
            stage.insert(format!("l{place}"), doc! { "$min": &name });
            stage.insert(format!("h{place}"), doc! { "$max": &name });
        }
    }
    stage
}

/// A row as a roll-up; none where it cannot be one.
fn read_row(spec: &Spec, row: &RawDocument) -> Option<Placed> {
    let get = |name: String| row.get(name.as_str()).ok().flatten();
    let value = |name: String| get(name).map_or(Value::Null, scalar);
    let count = |name: String| match get(name)? {
        RawBsonRef::Int32(count) => u64::try_from(count).ok(),
        RawBsonRef::Int64(count) => u64::try_from(count).ok(),
        _ => None,
    };
    let id = row.get_document("_id").ok()?;
    let Value::Date(bucket) = scalar(id.get("b").ok()??) else {
        return None;
    };
    let plan = &spec.plan;
    let mut groups = Vec::with_capacity(plan.group_by().len());
    for place in 0..plan.group_by().len() {
        groups.push(id.get(format!("g{place}").as_str()).ok()?.map_or(Value::Null, scalar));
    }
    let mut worked = Vec::with_capacity(plan.fields().len());
    for (place, (_, needs)) in plan.fields().iter().enumerate() {
        worked.push(Worked {
            numbers: count(format!("c{place}"))?,
            sum: if needs.sum {
                value(format!("s{place}"))
            } else {
                Value::Null
            },
            min: value(format!("l{place}")),
            max: value(format!("h{place}")),
            ..Worked::default()
        });
    }
    let mut rollup = Rollup::new(plan);
    rollup.absorb(plan, count("n".to_owned())?, &worked).ok()?;
    Some(Placed {
        bucket: spec.window.width.start(bucket),
        group: Group::of(plan.group_by(), &groups).ok()?,
        rollup,
    })
}
