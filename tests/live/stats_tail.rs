//! The order in which a pipeline reads: documents that come out of it, clocks that are wrong, and cursor fields with odd values.

use std::collections::HashSet;
use std::time::Duration;

use headcount_testkit::{ElasticStandIn, Headcount, MongoDb, poll_until, wait_until};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc};

use crate::pipelines::{Pipeline, Run, Source, program};

/// Long against what a busy machine may take, which is no matter here; and values that cannot be read by are looked for again only
/// after a hundred times as long as the last look took, which is two seconds at most.
const SOON: Duration = Duration::from_secs(300);

/// An `_id` of a producer's, of so many seconds from now.
fn id(producer: u8, number: u64, ahead: i64) -> ObjectId {
    let mut bytes = [producer; 12];
    let seconds = DateTime::now().timestamp_millis() / 1_000 + ahead;
    bytes[..4].copy_from_slice(&u32::try_from(seconds).unwrap().to_be_bytes());
    bytes[5..].copy_from_slice(&number.to_be_bytes()[1..]);
    ObjectId::from_bytes(bytes)
}

fn document(id: ObjectId) -> Document {
    let moment = DateTime::now();
    doc! { "_id": id, "at": moment, "campaign": "x", "country": "de", "price": 1.0, "ms": 5.0, "user": 1_i64 }
}

/// A document with a value in the field `n`.
fn numbered(n: impl Into<Bson>) -> Document {
    let mut document = document(ObjectId::new());
    document.insert("n", n);
    document
}

fn tail(pipeline: &Pipeline) -> Document {
    let mut tails = pipeline.all("headcount_stats_parts", doc! { "kind": "tail" });
    tails.pop().unwrap_or_default()
}

/// The letter for a document, and what it says.
fn letter(pipeline: &Pipeline, of: &Document) -> Option<String> {
    let letters = pipeline.dead_letters();
    let letter = letters.iter().find(|letter| letter.get("source_id") == of.get("_id"))?;
    Some(letter.get_str("reason").unwrap().to_owned())
}

/// How many documents the pipeline says are still to be read.
fn lag(headcount: &Headcount) -> Option<f64> {
    headcount.metric("headcount_stats_lag_documents", "pipeline=\"clicks\"")
}

#[test]
fn two_producers_whose_ids_interleave_do_not_keep_the_tail_from_settling() {
    const BORDERS: usize = 4;
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let pipeline = Pipeline::with(&mongo, &elastic.sink("clicks-1m"), "lease = \"1s\"\nsettle = \"6s\"");
    let source = Source::of(&mongo);
    let headcount = Headcount::launch(program(), &pipeline.config());
    let (mut number, mut borders) = (0, HashSet::new());
    // The second one's ids are smaller than the first's of the same second, so there is hardly a look that finds nobody.
    wait_until("the tail settles while both go on", SOON, || {
        for producer in [0xee, 0x11] {
            number += 1;
            source.insert(vec![document(id(producer, number, 0))]);
        }
        if let Some(Bson::ObjectId(border)) = tail(&pipeline).get("settled") {
            borders.insert(*border);
        }
        (borders.len() >= BORDERS).then_some(())
    });
    pipeline.wait_right(&elastic, SOON);
    let read = headcount.metric("headcount_stats_documents_total", "pipeline=\"clicks\"");
    assert_eq!(read, Some(number as f64));
    wait_until("nothing is remembered any more", SOON, || {
        let remembered = doc! { "ids": { "$exists": true } };
        pipeline
            .all("headcount_stats_seen", remembered)
            .is_empty()
            .then_some(())
    });
}

#[test]
fn an_id_a_day_ahead_is_put_aside_and_hides_nobody() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let settings = "lease = \"1s\"\nsettle = \"3s\"\nfuture = \"2s\"";
    let pipeline = Pipeline::with(&mongo, &elastic.sink("clicks-1m"), settings);
    let source = Source::of(&mongo);
    let day = document(id(1, 1, 86_400));
    source.insert(vec![day.clone(), document(id(1, 2, 0))]);
    let mut headcount = Headcount::launch(program(), &pipeline.config());
    let reason = wait_until("the letter", SOON, || letter(&pipeline, &day));
    assert!(reason.contains("`_id`: a time in the future"), "{reason}");
    source.insert((10..110).map(|number| document(id(2, number, 0))).collect());
    pipeline.wait_right(&elastic, SOON);
    // It also stays aside when its time comes, whoever reads by then.
    // So far ahead that somebody looks before, also on a machine that stands still for a while.
    let soon = document(id(1, 3, 15));
    source.insert(vec![soon.clone()]);
    wait_until("the other letter", SOON, || letter(&pipeline, &soon));
    drop(headcount);
    headcount = Headcount::launch(program(), &pipeline.config());
    let mut number = 1_000;
    wait_until("the tail is past that", SOON, || {
        number += 1;
        source.insert(vec![document(id(1, number, 0))]);
        let settled = tail(&pipeline).get_object_id("settled").ok()?;
        (settled > soon.get_object_id("_id").unwrap()).then_some(())
    });
    pipeline.wait_right(&elastic, SOON);
    assert_eq!(pipeline.dead_letters().len(), 2);
    wait_until("nobody is waited for", SOON, || {
        (lag(&headcount) == Some(0.0)).then_some(())
    });
}

#[test]
fn a_text_and_a_list_among_the_numbers_of_a_cursor_hide_no_number() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let settings = "lease = \"1s\"\nsettle = \"1s\"\ncursor = \"n\"\nstep = 200";
    let pipeline = Pipeline::with(&mongo, &elastic.sink("clicks-1m"), settings);
    let source = Source::of(&mongo);
    source.index("n");
    let odd = || [numbered("12"), numbered(vec![5, 1_000_000])];
    let before = odd();
    source.insert((0..2_000).map(numbered).chain(before.iter().cloned()).collect());
    let headcount = Headcount::launch(program(), &pipeline.config());
    let letters = |odd: &[Document; 2]| {
        for (document, says) in odd.iter().zip(["`n`: a text", "`n`: a list"]) {
            let reason = wait_until("a letter", SOON, || letter(&pipeline, document));
            assert!(reason.contains(says), "{reason}");
        }
    };
    letters(&before);
    pipeline.wait_right(&elastic, SOON);
    // And in what comes later.
    let later = odd();
    source.insert(later.iter().cloned().chain((2_000..2_500).map(numbered)).collect());
    letters(&later);
    pipeline.wait_right(&elastic, SOON);
    assert_eq!(pipeline.dead_letters().len(), 4);
    // It is shown every few seconds.
    wait_until("nothing is left", SOON, || (lag(&headcount) == Some(0.0)).then_some(()));
}

#[test]
fn a_run_waits_for_who_came_after_greater_ones() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    // Nobody takes over from one that stands still.
    let pipeline = Pipeline::with(&mongo, &elastic.sink("clicks-1m"), "lease = \"300s\"\nsettle = \"10m\"");
    let source = Source::of(&mongo);
    let documents = |producer, ahead| {
        (0..100)
            .map(|number| document(id(producer, number, ahead)))
            .collect::<Vec<_>>()
    };
    let late = documents(2, -10);
    source.insert(documents(1, 0));
    let headcount = Headcount::launch(program(), &pipeline.config());
    pipeline.wait_right(&elastic, SOON);
    headcount.process().sigstop();
    let at = tail(&pipeline).get_object_id("at").unwrap();
    assert!(
        late.iter().all(|one| one.get_object_id("_id").unwrap() < at),
        "all of them have been passed"
    );
    source.insert(late);
    let run = Run::start(&pipeline, &["run"]);
    // Long against its start and three looks, which is what it takes where nothing is left.
    let ended = poll_until(Duration::from_secs(10), || run.process.ended());
    assert_eq!(ended, None, "{}", run.process.last_lines());
    headcount.process().sigcont();
    run.finish();
    pipeline.compare_whole(&elastic, 200);
}

#[test]
fn a_nan_that_is_there_first_hides_no_number() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let pipeline = Pipeline::with(&mongo, &elastic.sink("clicks-1m"), "lease = \"1s\"\ncursor = \"n\"");
    let source = Source::of(&mongo);
    source.index("n");
    let nan = numbered(f64::NAN);
    source.insert(vec![nan.clone()]);
    let _headcount = Headcount::launch(program(), &pipeline.config());
    wait_until("its letter", SOON, || letter(&pipeline, &nan));
    source.insert((0..50).map(numbered).collect());
    pipeline.wait_right(&elastic, SOON);
    assert_eq!(pipeline.counted(), 50);
}

#[test]
fn numbers_that_are_equal_and_of_several_kinds_are_never_parted() {
    const VALUES: i32 = 2_000;
    let (mongo, elastic) = (MongoDb::start_impatient(), ElasticStandIn::start());
    let settings = "lease = \"500ms\"\nsettle = \"0s\"\ncursor = \"n\"\nstep = 100";
    let pipeline = Pipeline::with(&mongo, &elastic.sink("clicks-1m"), settings);
    let source = Source::of(&mongo);
    source.index("n");
    // A hundred is no multiple of three, so most steps would end among them.
    let kinds = |n: i32| [Bson::from(n), Bson::from(i64::from(n)), Bson::from(f64::from(n))];
    source.insert((0..VALUES).flat_map(|n| kinds(n).map(numbered)).collect());
    let read = || -> i64 {
        let parts = pipeline.all("headcount_stats_parts", doc! {});
        parts.iter().map(|part| part.get_i64("documents").unwrap()).sum()
    };
    for kill in 1..=4 {
        let run = Run::start(&pipeline, &["run"]);
        wait_until("some steps", SOON, || (read() > kill * 1_000).then_some(()));
        run.process.sigkill();
    }
    Run::start(&pipeline, &["run"]).finish();
    let said = pipeline.compare(&elastic);
    assert_eq!(said["documents"], serde_json::json!(3 * VALUES), "{said:#}");
}

#[test]
fn who_comes_while_parts_are_planned_is_in_one_of_them() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    // Long against what it takes to insert all of them once there is a plan.
    let settings = "lease = \"1s\"\nsettle = \"15s\"\ncursor = \"n\"\nstep = 100";
    let pipeline = Pipeline::with(&mongo, &elastic.sink("clicks-1m"), settings);
    let source = Source::of(&mongo);
    source.index("n");
    source.insert((0..2_000).map(numbered).collect());
    let _headcount = Headcount::launch(program(), &pipeline.config());
    wait_until("a plan", SOON, || {
        let planned = doc! { "planned": { "$exists": true } };
        (!pipeline.all("headcount_stats_pipelines", planned).is_empty()).then_some(())
    });
    // In every part. A number says nothing of when it came.
    source.insert((0..2_000).map(|n| numbered(f64::from(n) + 0.5)).collect());
    wait_until("all of them", SOON, || (pipeline.counted() == 4_000).then_some(()));
    pipeline.wait_right(&elastic, SOON);
}

/// With values of the cursor field that are too long to be read by, among others and alone. `of` makes one of so many bytes, that
/// begins with a letter.
fn long_values_stop_nobody(of: impl Fn(u8, usize) -> Bson) {
    const LONG: usize = 7 << 20;
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let settings = "lease = \"1s\"\nsettle = \"1s\"\ncursor = \"n\"";
    let pipeline = Pipeline::with(&mongo, &elastic.sink("clicks-1m"), settings);
    let source = Source::of(&mongo);
    source.index("n");
    let long = |first: u8| numbered(of(first, LONG));
    let short = |first: u8| numbered(of(first, 1));
    let longs = [long(b'c'), long(b'e'), long(b'g')];
    // Alone, nothing is left to read once it has been looked at.
    source.insert(vec![longs[0].clone()]);
    Run::start(&pipeline, &["run"]).finish();
    pipeline.forget("app");
    source.insert(vec![short(b'a'), short(b'b')]);
    let headcount = Headcount::launch(program(), &pipeline.config());
    let told = |long: &Document| {
        let reason = wait_until("a letter", SOON, || letter(&pipeline, long));
        assert!(
            reason.contains("more than the 4096 bytes that documents are read by"),
            "{reason}"
        );
    };
    told(&longs[0]);
    wait_until("two", SOON, || (pipeline.counted() == 2).then_some(()));
    source.insert(vec![short(b'd'), longs[1].clone(), short(b'f')]);
    source.insert(vec![longs[2].clone(), short(b'h')]);
    wait_until("five", SOON, || (pipeline.counted() == 5).then_some(()));
    longs.iter().for_each(told);
    let ids = longs.map(|long| long.get("_id").unwrap().clone());
    wait_until("all of them", SOON, || {
        pipeline.both_are_right_without(&elastic, &ids).then_some(())
    });
    wait_until("nothing is left", SOON, || (lag(&headcount) == Some(0.0)).then_some(()));
}

fn text(first: u8, bytes: usize) -> String {
    char::from(first).to_string().repeat(bytes)
}

#[test]
fn texts_of_many_megabytes_in_a_cursor_are_put_aside_and_stop_nobody() {
    long_values_stop_nobody(|first, bytes| text(first, bytes).into());
}

#[test]
fn binary_data_of_many_megabytes_in_a_cursor_is_put_aside_and_stops_nobody() {
    long_values_stop_nobody(|first, bytes| {
        Bson::Binary(Binary {
            subtype: BinarySubtype::Generic,
            bytes: vec![first; bytes],
        })
    });
}

#[test]
fn documents_of_many_megabytes_in_a_cursor_are_put_aside_and_stop_nobody() {
    long_values_stop_nobody(|first, bytes| doc! { "a": text(first, bytes) }.into());
}

#[test]
fn ids_of_many_megabytes_are_counted_and_put_aside_as_others_are() {
    // MongoDB itself takes hardly more: it writes an `_id` twice into its log.
    const LONG: usize = 7 << 20;
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let settings = "lease = \"1s\"\nsettle = \"1s\"\ncursor = \"n\"";
    let pipeline = Pipeline::with(&mongo, &elastic.sink("clicks-1m"), settings);
    let source = Source::of(&mongo);
    source.index("n");
    let headcount = Headcount::launch(program(), &pipeline.config());
    for n in 0..4 {
        let mut document = numbered(n);
        document.insert("_id", format!("{n}{}", "x".repeat(LONG)));
        if n == 3 {
            document.insert("price", "12");
        }
        source.insert(vec![document]);
    }
    source.insert(vec![numbered(4)]);
    wait_until("four of five", SOON, || (pipeline.counted() == 4).then_some(()));
    let letters = pipeline.dead_letters();
    let reasons: Vec<&str> = letters.iter().map(|letter| letter.get_str("reason").unwrap()).collect();
    assert_eq!(reasons, ["field `price`: expected a number, found a text"]);
    let read = headcount.metric("headcount_stats_documents_total", "pipeline=\"clicks\"");
    assert_eq!(read, Some(5.0));
}
