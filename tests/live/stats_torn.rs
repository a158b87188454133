//! `[[stats]]` where a part of what is kept is gone: nothing is counted twice or lost without a word, and somebody is told.

use std::time::Duration;

use headcount_testkit::{ElasticStandIn, Headcount, MongoDb, wait_until};
use mongodb::bson::doc;

use crate::pipelines::{Pipeline, Run, Source, program};

/// Long against what a busy machine may take, which is no matter here, and against the pause after what was refused often: up to 36 s.
const SOON: Duration = Duration::from_secs(180);
/// All that belong together.
const COLLECTIONS: [&str; 5] = ["pipelines", "parts", "states", "seen", "notes"];

fn drop_one(pipeline: &Pipeline, name: &str) {
    pipeline.command("app", doc! { "drop": format!("headcount_stats_{name}") });
}

#[test]
fn a_run_without_one_of_its_collections_refuses_and_says_which() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let pipeline = Pipeline::new(&mongo, &elastic.sink("clicks-1m"));
    let source = Source::of(&mongo);
    source.insert_random(50, 1);
    for (number, name) in COLLECTIONS.into_iter().enumerate() {
        // From nothing, or from what is left once all of it was deleted.
        Run::start(&pipeline, &["run"]).finish();
        pipeline.compare(&elastic);
        let counted = pipeline.counted();
        drop_one(&pipeline, name);
        source.insert_random(10, 10 + number as u64);
        for words in [
            ["run"].as_slice(),
            &["status"],
            &["backfill", "--from", "1h", "--to", "1s"],
        ] {
            let run = Run::start(&pipeline, words);
            let status = run.process.wait_exit(SOON);
            let said = run.process.last_lines();
            assert_eq!(status.code(), Some(1), "{name}: {words:?}: {said}");
            let lacks = said.contains(&format!("is missing in headcount_stats_{name}. "));
            assert!(lacks && said.contains("delete"), "{name}: {words:?}: {said}");
        }
        assert_eq!(pipeline.counted(), counted, "{name}");
        pipeline.forget("app");
    }
    Run::start(&pipeline, &["run"]).finish();
    pipeline.compare(&elastic);
}

#[test]
fn a_daemon_that_loses_one_of_its_collections_stands_still_until_the_others_are_gone() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let pipeline = Pipeline::new(&mongo, &elastic.sink("clicks-1m"));
    let source = Source::of(&mongo);
    source.insert_random(50, 1);
    let headcount = Headcount::launch(program(), &pipeline.config());
    let failures = || {
        headcount
            .metric("headcount_stats_failures_total", "pipeline=\"clicks\"")
            .unwrap_or(0.0)
    };
    // These it notices without anything to commit; the others are those that a commit or a lease needs.
    for (number, name) in ["pipelines", "seen", "states"].into_iter().enumerate() {
        pipeline.wait_right(&elastic, SOON);
        let (counted, failed) = (pipeline.counted(), failures());
        drop_one(&pipeline, name);
        wait_until("it notices", SOON, || (failures() > failed).then_some(()));
        source.insert_random(10, 10 + number as u64);
        let failed = failures();
        wait_until("it is tried again", SOON, || (failures() > failed).then_some(()));
        assert_eq!(pipeline.counted(), counted, "{name}");
        pipeline.forget("app");
    }
    pipeline.wait_right(&elastic, SOON);
}

#[test]
fn leases_that_are_gone_are_made_again() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let pipeline = Pipeline::new(&mongo, &elastic.sink("clicks-1m"));
    let source = Source::of(&mongo);
    source.insert_random(50, 1);
    let _headcount = Headcount::launch(program(), &pipeline.config());
    pipeline.wait_right(&elastic, SOON);
    drop_one(&pipeline, "leases");
    source.insert_random(50, 2);
    pipeline.wait_right(&elastic, SOON);
}
