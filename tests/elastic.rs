//! `make test-elastic`: pipelines into a real Elasticsearch and a real OpenSearch, which the stand-in of the quick tests is not.
//!
//! `HEADCOUNT_ELASTIC` is the product's name, or `all`: without it nothing is started, so that `cargo test` neither needs Java nor
//! waits for it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod stats;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use headcount_testkit::{ElasticNode, ElasticProxy, Headcount, MongoDb, Product, poll_until, wait_until};
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde_json::{Value, json};

use stats::{FAULTS, Pipeline, Run, Source, program};

/// Long against what a busy machine may take, which is no matter here.
const SOON: Duration = Duration::from_secs(120);

/// Each scenario against each product, with one node of it for all.
macro_rules! on_each {
    ($($scenario:ident),+ $(,)?) => {
        mod elasticsearch { $(#[test] fn $scenario() { super::on(super::Product::Elasticsearch, super::$scenario); })+ }
        mod opensearch { $(#[test] fn $scenario() { super::on(super::Product::OpenSearch, super::$scenario); })+ }
    };
}

on_each![
    what_is_inserted_is_found_soon,
    killed_in_the_middle_every_document_counts_once,
    an_older_rollup_never_replaces_a_newer_one,
    a_node_that_fails_in_its_ways_gets_everything_in_the_end,
    a_mapping_that_refuses_a_type_costs_only_what_has_it,
    a_strict_mapping_without_a_field_is_waited_for,
];

fn on(product: Product, scenario: fn(&ElasticNode)) {
    // They end with this process.
    static NODES: [OnceLock<ElasticNode>; 2] = [const { OnceLock::new() }; 2];
    let chosen = std::env::var("HEADCOUNT_ELASTIC").unwrap_or_default();
    if chosen == product.name() || chosen == "all" {
        scenario(NODES[product as usize].get_or_init(|| ElasticNode::start(product)));
    } else {
        println!("nothing started: make test-elastic");
    }
}

fn what_is_inserted_is_found_soon(node: &ElasticNode) {
    const DOCUMENTS: usize = 20;
    let mongo = MongoDb::start();
    let pipeline = Pipeline::new(&mongo, &node.sink("soon"));
    let source = Source::of(&mongo);
    source.insert_past(500, 1, 600);
    let _headcount = Headcount::launch(program(), &pipeline.config());
    pipeline.wait_right(node, SOON);
    let mut took: Vec<Duration> = (0..DOCUMENTS)
        .map(|number| {
            let campaign = format!("only-{number}");
            let began = Instant::now();
            source.insert(vec![
                doc! { "at": DateTime::now(), "campaign": &campaign, "country": "de", "ms": 1 },
            ]);
            wait_until("it is found", SOON, || {
                let is_it = |(_, hit): &(String, Value)| hit["campaign"] == json!(campaign);
                node.documents("soon").iter().any(is_it).then_some(())
            });
            began.elapsed()
        })
        .collect();
    took.sort();
    println!(
        "from insert until a search finds it, {DOCUMENTS} documents one by one: half within {:.2} s, all within {:.2} s",
        took[DOCUMENTS / 2].as_secs_f64(),
        took[DOCUMENTS - 1].as_secs_f64()
    );
    pipeline.wait_right(node, SOON);
}

fn killed_in_the_middle_every_document_counts_once(node: &ElasticNode) {
    const KILLS: usize = 5;
    let mongo = MongoDb::start_impatient();
    let pipeline = Pipeline::with(&mongo, &node.sink("killed"), "lease = \"1s\"\nstep = 500");
    Source::of(&mongo).insert_past(20_000, 2, 200 * 60);
    let mut dice = stats::Dice(2);
    for _ in 0..KILLS {
        let run = Run::start(&pipeline, &["run"]);
        // Not a wait for something: the moment is what is tried.
        let moment = Duration::from_millis(200 + dice.below(400));
        assert_eq!(poll_until(moment, || run.process.ended()), None, "it was over before");
        run.process.sigkill();
    }
    Run::start(&pipeline, &["run"]).finish();
    pipeline.wait_right(node, SOON);
}

fn an_older_rollup_never_replaces_a_newer_one(node: &ElasticNode) {
    let mongo = MongoDb::start();
    let pipeline = Pipeline::new(&mongo, &node.sink("versions"));
    let source = Source::of(&mongo);
    let at = DateTime::now();
    let both = || ["newer", "older"].map(|campaign| one(at, campaign)).to_vec();
    source.insert(both());
    Run::start(&pipeline, &["run"]).finish();
    // Somebody else has been here: of one roll-up with more documents than will be counted, of the other with as many as were.
    let mut versions = BTreeMap::new();
    for rollup in pipeline.rollups() {
        let campaign = rollup.get_str("campaign").unwrap();
        let (_, found) = node.ask("GET", &document_of(&rollup), &Value::Null);
        let version = found["_version"].as_u64().unwrap() + if campaign == "newer" { 999 } else { 0 };
        versions.insert(campaign.to_owned(), version);
        let path = format!("{}?version={version}&version_type=external_gte", document_of(&rollup));
        let (status, said) = node.ask("PUT", &path, &json!({"campaign": campaign, "mark": true}));
        assert_eq!(status, 200, "{said}");
    }
    source.insert(both());
    Run::start(&pipeline, &["run"]).finish();
    for rollup in pipeline.rollups() {
        assert_eq!(rollup.get("n"), Some(&Bson::Int64(2)), "{rollup}");
        let (_, found) = node.ask("GET", &document_of(&rollup), &Value::Null);
        let campaign = rollup.get_str("campaign").unwrap();
        let expected = if campaign == "newer" {
            (json!(versions[campaign]), json!(true))
        } else {
            (json!(versions[campaign] + 1), Value::Null)
        };
        assert_eq!(
            (found["_version"].clone(), found["_source"]["mark"].clone()),
            expected,
            "{found}"
        );
    }
    assert_eq!(pipeline.dead_letters(), []);
}

/// Where the index `versions` has a roll-up.
fn document_of(rollup: &Document) -> String {
    let id = rollup.get_str("_id").unwrap();
    let escaped: String = id.bytes().map(|byte| format!("%{byte:02x}")).collect();
    format!("versions/_doc/{escaped}")
}

fn a_node_that_fails_in_its_ways_gets_everything_in_the_end(node: &ElasticNode) {
    let mongo = MongoDb::start();
    let proxy = ElasticProxy::start(node.url());
    let pipeline = Pipeline::new(&mongo, &proxy.sink("faults"));
    let source = Source::of(&mongo);
    source.insert_random(400, 4);
    proxy.fail_next(FAULTS);
    let headcount = Headcount::launch(program(), &pipeline.config());
    wait_until("all faults", SOON, || (proxy.bulks().1 >= FAULTS.len()).then_some(()));
    pipeline.wait_right(node, SOON);
    // What a node does by itself where its disk is full, with 429 for each item; and what an administrator does, with 403.
    for block in ["read_only_allow_delete", "write"] {
        let set = |on: bool| {
            let settings = json!({ format!("index.blocks.{block}"): if on { json!(true) } else { Value::Null } });
            let (status, said) = node.ask("PUT", "faults/_settings", &settings);
            assert_eq!(status, 200, "{said}");
        };
        set(true);
        source.insert_random(50, 5);
        let before = proxy.bulks().0;
        wait_until("it was tried twice", SOON, || {
            (proxy.bulks().0 >= before + 2).then_some(())
        });
        assert!(!pipeline.both_are_right(node), "it took what it should have refused");
        set(false);
        pipeline.wait_right(node, SOON);
    }
    assert_eq!(pipeline.dead_letters(), []);
    assert_eq!(
        headcount
            .metric("headcount_stats_refused_total", "pipeline=\"clicks\"")
            .unwrap_or(0.0),
        0.0
    );
}

fn one(at: DateTime, campaign: &str) -> Document {
    doc! { "at": at, "campaign": campaign, "country": "de", "price": 1.5, "ms": 5.0, "user": "u" }
}

fn a_mapping_that_refuses_a_type_costs_only_what_has_it(node: &ElasticNode) {
    node.create_index("typed", &json!({"properties": {"campaign": {"type": "long"}}}));
    let (letters, found) = refused(node, "typed", &["word", "7", "8"], 1);
    assert_eq!(found, 2);
    let letter = &letters[0];
    assert!(letter.get_str("rollup_id").unwrap().contains("|word|de"), "{letter}");
    let reason = letter.get_str("reason").unwrap();
    assert!(
        reason.contains("400") && reason.contains("campaign") && reason.contains("word"),
        "{reason}"
    );
}

fn a_strict_mapping_without_a_field_is_waited_for(node: &ElasticNode) {
    let keyword = json!({"type": "keyword"});
    let properties = json!({"bucket": {"type": "date"}, "campaign": keyword, "country": keyword, "n": {"type": "long"},
                            "paid": {"type": "double"}, "slow": {"type": "double"}});
    node.create_index("strict", &json!({"dynamic": "strict", "properties": properties}));
    let mongo = MongoDb::start();
    let pipeline = Pipeline::new(&mongo, &node.sink("strict"));
    let at = DateTime::now();
    Source::of(&mongo).insert(["a", "b"].map(|campaign| one(at, campaign)).to_vec());
    let headcount = Headcount::launch(program(), &pipeline.config());
    // It takes nothing at all, so the mistake is the index's, and no roll-up's.
    let line = headcount.process().wait_line("strict_dynamic_mapping_exception", SOON);
    assert!(line.contains("[people]"), "{line}");
    wait_until("it was tried again", SOON, || {
        let failures = headcount.metric("headcount_stats_failures_total", "pipeline=\"clicks\"");
        failures.is_some_and(|failures| failures >= 2.0).then_some(())
    });
    assert_eq!(node.documents("strict").len(), 0);
    let (status, said) = node.ask(
        "PUT",
        "strict/_mapping",
        &json!({"properties": {"people": {"type": "long"}}}),
    );
    assert_eq!(status, 200, "{said}");
    pipeline.wait_right(node, SOON);
    assert_eq!(pipeline.dead_letters(), []);
}

/// Counts a document of each campaign into an index that refuses some; returns the dead letters, and how many the index has.
fn refused(node: &ElasticNode, index: &str, campaigns: &[&str], refusals: usize) -> (Vec<Document>, usize) {
    let mongo = MongoDb::start();
    let pipeline = Pipeline::new(&mongo, &node.sink(index));
    let at = DateTime::now();
    Source::of(&mongo).insert(campaigns.iter().map(|campaign| one(at, campaign)).collect());
    Run::start(&pipeline, &["run"]).finish();
    assert_eq!(pipeline.rollups().len(), campaigns.len(), "the collection has them all");
    let letters = pipeline.dead_letters();
    assert_eq!(letters.len(), refusals, "{letters:#?}");
    for letter in &letters {
        let sink = letter.get_str("sink").unwrap();
        assert!(
            sink.starts_with("elasticsearch+http://") && sink.ends_with(index),
            "{letter}"
        );
    }
    let taken = campaigns.len() - refusals;
    wait_until("the others", SOON, || {
        (node.documents(index).len() >= taken).then_some(())
    });
    (letters, node.documents(index).len())
}
