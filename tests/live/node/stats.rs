//! `app.send_task("headcount.stats.run").get()` from Python: pipelines of a real MongoDB.

use std::time::Duration;

use headcount_testkit::{Broker, ElasticFault, ElasticProxy, ElasticStandIn, Headcount, MongoDb, wait_until};
use serde_json::{Value, json};

use super::{HEADCOUNT, PATIENCE, backend, call, config, joined};
use crate::pipelines::{Pipeline, Source};

pub(crate) fn counted(broker: &Broker) {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let proxy = ElasticProxy::start(elastic.url());
    let pipeline = Pipeline::new(&mongo, &proxy.sink("clicks-1m"));
    let source = Source::of(&mongo);
    source.insert_past(10_000, 1, 600);
    let job =
        "[[job]]\nname = \"count\"\ntask = \"headcount.stats.run\"\nargs = [\"clicks\"]\nevery = \"1s\"\noverlap = 1\n";
    let headcount = Headcount::start(HEADCOUNT, &(config(broker, "") + &pipeline.config() + job));
    joined(&headcount);
    let none = json!({});
    let run = |args: Value| call(broker, &backend(broker), &[("headcount.stats.run", args, none.clone())]).remove(0);

    // When it returns, all that was there is in both sinks.
    let first = run(json!([]));
    assert_eq!(first["ok"]["pipelines"][0]["total"], 10_000, "{first}");
    pipeline.compare(&elastic);
    assert!(
        first["ok"]["seconds"].is_f64() && first["ok"]["documents"].is_u64(),
        "{first}"
    );
    source.insert_random(300, 2);
    let second = run(json!(["clicks"]));
    assert_eq!(second["ok"]["pipelines"][0]["total"], 10_300, "{second}");
    pipeline.compare(&elastic);

    let told = call(
        broker,
        &backend(broker),
        &[
            ("headcount.stats.status", json!([["clicks"]]), none.clone()),
            ("headcount.stats.run", json!(["views"]), none.clone()),
            ("headcount.stats.run", json!([7]), none.clone()),
            ("headcount.stats.status", json!([1, 2]), none.clone()),
        ],
    );
    let status = &told[0]["ok"][0];
    assert_eq!(
        (
            &status["name"],
            &status["documents"],
            &status["lag_documents"],
            &status["unpublished"]
        ),
        (&json!("clicks"), &json!(10_300), &json!(0), &json!(0)),
        "{status}"
    );
    let kinds: Vec<&Value> = told.iter().skip(1).map(|one| &one["type"]).collect();
    assert_eq!(kinds, ["LookupError", "TypeError", "TypeError"], "{told:?}");

    // It does not wait for what comes meanwhile.
    let third = std::thread::scope(|scope| {
        let called = scope.spawn(|| run(json!([["clicks"]])));
        let mut batch = 3;
        while !called.is_finished() {
            source.insert_past(20, batch, 1);
            batch += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
        called.join().unwrap()
    });
    assert!(
        third["ok"]["pipelines"][0]["total"].as_u64().unwrap() >= 10_300,
        "{third}"
    );
    // While a sink takes nothing there is no end of it: with a soft time limit it tells how far it came, and the work goes on.
    proxy.fail_always(Some(ElasticFault::Whole(503)));
    // A seed that none of the batches above had.
    source.insert_random(100, 0);
    let soft = json!({"soft_time_limit": 2});
    let hurried = call(broker, &backend(broker), &[("headcount.stats.run", json!([]), soft)]).remove(0);
    assert_eq!(hurried["ok"]["complete"], false, "{hurried}");
    assert!(hurried["ok"]["pipelines"][0]["total"].is_u64(), "{hurried}");
    proxy.fail_always(None);
    assert_eq!(run(json!([]))["ok"]["complete"], true);
    pipeline.compare(&elastic);

    wait_until("the job has run it as well", PATIENCE, || {
        let jobs = headcount.get("/api/v1/jobs");
        // The newest one may always be under way.
        (jobs[0]["ended"]["state"] == "succeeded").then_some(())
    });
    assert!(headcount.sigterm().success());
}
