//! `[[stats]]` in other shapes than the usual one: fields within fields, buckets of five minutes, no groups at all, more values
//! than are counted exactly, documents that come late; and what `headcount stats status` says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use headcount_testkit::{ElasticStandIn, Headcount, MongoDb, wait_until};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::Value;

use crate::pipelines::{Dice, Pipeline, Run, Source, program};

/// Long against what a busy machine may take, which is no matter here.
const SOON: Duration = Duration::from_secs(60);
const MINUTE_MS: i64 = 60_000;

fn documents(count: usize, begin_ms: i64, span_ms: u64) -> Vec<Document> {
    let mut dice = Dice(7);
    (0..count)
        .map(|n| {
            let at = begin_ms + i64::try_from(dice.below(span_ms)).unwrap();
            let country = *["de", "fr"].get(dice.below(2) as usize).unwrap();
            doc! {
                "at": DateTime::from_millis(at),
                "place": { "country": country, "unused": "x".repeat(50) },
                "took": { "ms": 1.0 + dice.below(10_000) as f64 },
                "user": { "id": i64::try_from(n).unwrap() },
            }
        })
        .collect()
}

/// What `headcount stats status --json` says of the one pipeline there is, and its table.
fn status(file: &Path) -> (Value, String) {
    let ask = |json: &[&str]| {
        let mut command = Command::new(program());
        let said = command
            .args(["stats", "status", "--config"])
            .arg(file)
            .args(json)
            .output();
        let said = said.unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    };
    let all: Value = serde_json::from_str(&ask(&["--json"])).unwrap();
    let [one] = all.as_array().unwrap().as_slice() else {
        panic!("{all:#}")
    };
    (one.clone(), ask(&[]))
}

#[test]
fn fields_within_fields_wide_buckets_and_many_values() {
    const DOCUMENTS: usize = 6_000;
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let pipeline = Pipeline::shaped(
        &mongo,
        &elastic.sink("clicks-1m"),
        "bucket = \"5m\"\ngroup_by = [\"place.country\"]",
        &[
            ("n", "count"),
            ("half", "p50(took.ms)"),
            ("tail", "p99.9(took.ms)"),
            ("people", "distinct(user.id)"),
        ],
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("headcount.toml");
    std::fs::write(&file, pipeline.config()).unwrap();
    let (before, table) = status(&file);
    assert_eq!(before["begun"], false, "{before:#}");
    assert!(table.contains("not begun"), "{table}");

    // Whole buckets, so that some groups have far more than 1,000 users and others fewer.
    let begin = (DateTime::now().timestamp_millis() / (5 * MINUTE_MS) - 3) * 5 * MINUTE_MS;
    let mut source = documents(DOCUMENTS - 500, begin, 299_000);
    source.extend(documents(500, begin + 5 * MINUTE_MS, 299_000));
    Source::of(&mongo).insert(source.clone());
    let _headcount = Headcount::launch(program(), &pipeline.config());
    let after = wait_until("all of it is published", SOON, || {
        let (one, _) = status(&file);
        (one["documents"] == DOCUMENTS && one["lag_documents"] == 0 && one["unpublished"] == 0).then_some(one)
    });
    assert_eq!(
        (&after["begun"], &after["dead_letters"]),
        (&true.into(), &0.into()),
        "{after:#}"
    );

    let mut groups: BTreeMap<(i64, String), (Vec<f64>, BTreeSet<i64>)> = BTreeMap::new();
    for one in &source {
        let at = one.get_datetime("at").unwrap().timestamp_millis();
        let country = one.get_document("place").unwrap().get_str("country").unwrap();
        let bucket = at / (5 * MINUTE_MS) * 5 * MINUTE_MS;
        let group = groups.entry((bucket, country.to_owned())).or_default();
        group.0.push(one.get_document("took").unwrap().get_f64("ms").unwrap());
        group.1.insert(one.get_document("user").unwrap().get_i64("id").unwrap());
    }
    assert_eq!(groups.len(), 4);
    let rollups = pipeline.rollups();
    assert_eq!(rollups.len(), 4, "{rollups:#?}");
    for rollup in &rollups {
        let names: BTreeSet<&str> = rollup.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            BTreeSet::from(["_id", "bucket", "place", "n", "half", "tail", "people"])
        );
        let country = rollup.get_document("place").unwrap().get_str("country").unwrap();
        let bucket = rollup.get_datetime("bucket").unwrap().timestamp_millis();
        let (took, users) = &groups[&(bucket, country.to_owned())];
        let mut took = took.clone();
        took.sort_by(f64::total_cmp);
        assert_eq!(rollup.get_i64("n").unwrap(), i64::try_from(took.len()).unwrap());
        for (name, quantile) in [("half", 0.5), ("tail", 0.999)] {
            let right = took[(quantile * (took.len() - 1) as f64 + 1e-9) as usize];
            let found = rollup.get_f64(name).unwrap();
            assert!(
                (found - right).abs() <= 0.0101 * right,
                "{name} is {found} instead of {right}"
            );
        }
        // Exact up to 1,000, and then within four times the estimate's standard error, 1.04/√(2^13) (Flajolet et al., 2007).
        let (found, right) = (rollup.get_i64("people").unwrap() as f64, users.len() as f64);
        let off = if users.len() <= 1_000 { 0.0 } else { 0.046 * right };
        assert!((found - right).abs() <= off, "{found} users instead of {right}");
    }
    // The index has the same, in the same shape.
    let hits = elastic.documents("clicks-1m");
    assert_eq!(hits.len(), 4);
    for (id, hit) in hits {
        let rollup = rollups.iter().find(|one| one.get_str("_id").unwrap() == id).unwrap();
        let country = rollup.get_document("place").unwrap().get_str("country").unwrap();
        assert_eq!(hit["place"]["country"], country);
        assert_eq!(hit["people"], rollup.get_i64("people").unwrap());
    }
}

#[test]
fn one_rollup_for_each_bucket_where_nothing_is_grouped_by() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let sink = elastic.sink("clicks-1m");
    let pipeline = Pipeline::shaped(&mongo, &sink, "bucket = \"1h\"", &[("n", "count")]);
    // Of one hour that is over.
    let begin = (DateTime::now().timestamp_millis() / (60 * MINUTE_MS) - 1) * 60 * MINUTE_MS;
    Source::of(&mongo).insert(documents(200, begin, 3_599_000));
    let _headcount = Headcount::launch(program(), &pipeline.config());
    wait_until("the one roll-up", SOON, || {
        let [only] = pipeline.rollups().try_into().ok()?;
        let only: Document = only;
        (only.get_i64("n").unwrap() == 200).then_some(())
    });
    wait_until("in the index", SOON, || {
        let [(_, hit)] = elastic.documents("clicks-1m").try_into().ok()?;
        (hit["n"] == 200).then_some(())
    });
}

/// A document about so many minutes ago, which comes to be now.
fn about(minutes: i64) -> Document {
    of(ObjectId::new(), minutes)
}

fn of(id: ObjectId, minutes: i64) -> Document {
    let at = DateTime::from_millis(DateTime::now().timestamp_millis() - minutes * MINUTE_MS);
    doc! { "_id": id, "at": at, "campaign": "x", "country": "de", "price": 1.0, "ms": 5.0, "user": "u" }
}

#[test]
fn what_comes_later_than_is_waited_for_is_put_aside_and_what_was_there_before_is_not() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let pipeline = Pipeline::with(&mongo, &elastic.sink("clicks-1m"), "lease = \"1s\"\nlate = \"10m\"");
    let source = Source::of(&mongo);
    let half_an_hour_old = {
        let mut id = ObjectId::new().bytes();
        let at = DateTime::now().timestamp_millis() / 1_000 - 30 * 60;
        id[..4].copy_from_slice(&u32::try_from(at).unwrap().to_be_bytes());
        ObjectId::from_bytes(id)
    };
    source.insert(vec![of(half_an_hour_old, 60)]);
    let first = Headcount::launch(program(), &pipeline.config());
    pipeline.wait_right(&elastic, SOON);
    assert_eq!(pipeline.rollups().len(), 1, "it was there before the pipeline");
    let (good, late) = (about(8), about(13));
    source.insert(vec![good, late.clone()]);
    let letters = wait_until("the letter", SOON, || {
        Some(pipeline.dead_letters()).filter(|letters| !letters.is_empty())
    });
    let [letter] = letters.as_slice() else {
        panic!("{letters:#?}")
    };
    assert_eq!(letter.get("source_id"), late.get("_id"), "{letter}");
    assert!(letter.get_str("reason").unwrap().contains("closed"), "{letter}");
    wait_until("the one in time", SOON, || {
        pipeline
            .both_are_right_without(&elastic, &[late.get("_id").unwrap().clone()])
            .then_some(())
    });
    assert_eq!(pipeline.rollups().len(), 2);

    // Who came in time while nobody read is in time.
    drop(first);
    source.insert(vec![about(9)]);
    let _second = Headcount::launch(program(), &pipeline.config());
    wait_until("the third", SOON, || (pipeline.counted() == 3).then_some(()));
    assert_eq!(pipeline.dead_letters().len(), 1);
}

/// Nobody can tell when such a document came to be, and judging by when it is read would put aside what came in time while
/// nobody read.
#[test]
fn nothing_is_too_late_by_a_cursor_that_tells_no_time() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let more = "cursor = \"serial\"\nsettle = \"1s\"\nlate = \"10m\"";
    let pipeline = Pipeline::with(&mongo, &elastic.sink("clicks-1m"), more);
    let source = Source::of(&mongo);
    source.index("serial");
    let numbered = |serial: i64, minutes: i64| {
        let mut document = about(minutes);
        document.insert("serial", serial);
        document
    };
    source.insert(vec![numbered(1, 60)]);
    let _headcount = Headcount::launch(program(), &pipeline.config());
    pipeline.wait_right(&elastic, SOON);
    source.insert(vec![numbered(2, 90), numbered(3, 1)]);
    wait_until("all three", SOON, || (pipeline.rollups().len() == 3).then_some(()));
    pipeline.wait_right(&elastic, SOON);
    assert_eq!(pipeline.dead_letters().len(), 0);
}

/// The most that `headcount stats backfill` may have resident at any moment: 32 MiB of open buckets (`MAX_STEP_MEMORY`), some of it
/// once more while it is written, roll-ups on their way to the sink, and what the program takes in any case. Without that bound
/// 302 MiB are resident here.
const MOST_RESIDENT_KB: u64 = 160 << 10;

#[test]
fn memory_is_bounded_by_the_bytes_of_open_buckets() {
    const DOCUMENTS: u32 = 8_000;
    const FIELDS: u32 = 99;
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let leak = |text: String| -> &'static str { text.leak() };
    let measures: Vec<(&str, &str)> = (0..FIELDS)
        .map(|n| (leak(format!("half{n}")), leak(format!("p50(f{n})"))))
        .chain([("n", "count")])
        .collect();
    let more = "bucket = \"1m\"\nlease = \"1s\"\nsettle = \"1s\"\nstep = 100000";
    // Only the collection: it is about what is read.
    let index = elastic.sink("clicks-1m");
    let pipeline = Pipeline::shaped(&mongo, &index, more, measures.leak()).moved(&format!("\", \"{index}"), "");
    let source = Source::of(&mongo);
    let now = DateTime::now().timestamp_millis();
    // A minute of its own for each document, and an `_id` as old as that.
    let one = |n: u32| {
        let at = now - i64::from(n) * MINUTE_MS;
        let mut id = [0; 12];
        id[..4].copy_from_slice(&u32::try_from(at / 1_000).unwrap().to_be_bytes());
        let mut document = doc! { "_id": ObjectId::from_bytes(id), "at": DateTime::from_millis(at) };
        document.extend((0..FIELDS).map(|field| (format!("f{field}"), f64::from(n + field).into())));
        document
    };
    source.insert((1..=DOCUMENTS).map(one).collect());
    let run = Run::start(
        &pipeline,
        &["backfill", "--from", "30d", "--to", "2999-01-01T00:00:00Z"],
    );
    let mut peak_kb = 0;
    let ended = run.process.wait("its end", Duration::from_secs(600), || {
        peak_kb = run.process.peak_kb().unwrap_or(peak_kb);
        run.process.ended()
    });
    assert!(ended.success(), "{}", run.process.last_lines());
    assert_eq!(pipeline.counted(), i64::from(DOCUMENTS));
    println!("{DOCUMENTS} open buckets of {FIELDS} quantiles: {peak_kb} KiB resident at most");
    assert!((1..MOST_RESIDENT_KB).contains(&peak_kb), "{peak_kb} KiB");
}
