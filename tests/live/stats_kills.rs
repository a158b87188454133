//! A pipeline that is killed again and again, and a MongoDB that goes meanwhile, count every document once.

use std::collections::BTreeSet;
use std::time::Duration;

use headcount_testkit::{ElasticProxy, ElasticStandIn, Headcount, MongoDb, Proxy, poll_until, wait_until};
use mongodb::bson::doc;

use crate::pipelines::{Dice, Faults, Pipeline, Run, Source, program, seed};

/// Long against what a busy machine may take, which is no matter here.
const SOON: Duration = Duration::from_secs(300);
/// Small steps, so that there are many moments to be killed in.
const SMALL_STEPS: &str = "lease = \"1s\"\nstep = 500";
/// Documents of a backlog that is not over before something is done in the middle of it: a quick machine reads 20,000 a second, and
/// this process may stand still for some seconds.
const MANY: u64 = 120_000;

/// How often each of the commands is killed in the middle of its work.
const KILLS: u64 = 20;

/// Where a stretch of time that is counted anew has got to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anew {
    /// It is asked for, and has not begun.
    Asked,
    /// Parts of it are not counted.
    Counting,
    /// All is counted, and not all of it is in the sinks.
    Publishing,
}

impl Anew {
    const PLACES: [Anew; 3] = [Anew::Asked, Anew::Counting, Anew::Publishing];

    /// None where nothing is counted anew.
    fn of(pipeline: &Pipeline) -> Option<Anew> {
        let asked = doc! { "rebuild": { "$exists": true } };
        if !pipeline.all("headcount_stats_pipelines", asked).is_empty() {
            return Some(Anew::Asked);
        }
        match pipeline.unfinished() {
            (0, 0) => None,
            (0, 1..) => Some(Anew::Publishing),
            (1.., _) => Some(Anew::Counting),
        }
    }
}

/// Kills a command at a random moment of the next so many milliseconds, and says whether it had not ended before.
fn kill_at_random(run: &Run, dice: &mut Dice, within_ms: u64) -> bool {
    // Not a wait for something: the moment is what is tried.
    let moment = Duration::from_millis(dice.below(within_ms));
    match poll_until(moment, || run.process.ended()) {
        // Nobody is there to be killed any more.
        Some(status) => assert!(status.success(), "{}", run.process.last_lines()),
        None => {
            run.process.sigkill();
            return true;
        }
    }
    false
}

/// Who holds a part of the backlog, or has held one last: each process under a name of its own.
fn owners(pipeline: &Pipeline) -> BTreeSet<String> {
    let held = doc! { "kind": "backlog", "owner": { "$ne": "" } };
    let parts = pipeline.all("headcount_stats_parts", held);
    parts
        .iter()
        .map(|part| part.get_str("owner").unwrap().to_owned())
        .collect()
}

#[test]
fn killed_twenty_times_during_a_backlog_every_document_counts_once() {
    let (mongo, elastic) = (MongoDb::start_impatient(), ElasticStandIn::start());
    let proxy = ElasticProxy::start(elastic.url());
    let pipeline = Pipeline::with(&mongo, &proxy.sink("clicks-1m"), SMALL_STEPS);
    let source = Source::of(&mongo);
    let seed = seed();
    // 15 groups in each of 400 minutes.
    source.insert_past(MANY, seed, 400 * 60);
    let (mut dice, mut faults) = (Dice(seed), Faults::of(&proxy));
    let (mut kills, mut in_the_middle) = (0, 0);
    while in_the_middle < KILLS {
        kills += 1;
        assert!(
            kills <= 3 * KILLS,
            "the backlog was over before it could be killed {KILLS} times: {in_the_middle}"
        );
        faults.go_on();
        let before = owners(&pipeline);
        let run = Run::start(&pipeline, &["run"]);
        run.process.wait("it has a part", SOON, || {
            (owners(&pipeline).difference(&before).count() > 0).then_some(())
        });
        assert!(kill_at_random(&run, &mut dice, 200), "it has ended before");
        if pipeline.unfinished() != (0, 0) {
            in_the_middle += 1;
        }
        if kills % 5 == 0 {
            source.insert_random(200, seed + kills);
        }
    }
    Run::start(&pipeline, &["run"]).finish();
    let more = faults.see_each(|round| {
        source.insert_random(200, seed + kills + round);
        Run::start(&pipeline, &["run"]).finish();
    });
    pipeline.compare_whole(&elastic, MANY + 200 * (kills / 5 + more));
}

#[test]
fn killed_twenty_times_while_buckets_are_counted_anew_they_are_right() {
    const DOCUMENTS: u64 = 3_000;
    const CYCLES: u64 = 2;
    let (mongo, elastic) = (MongoDb::start_impatient(), ElasticStandIn::start());
    let proxy = ElasticProxy::start(elastic.url());
    let quick = "lease = \"500ms\"\nsettle = \"1s\"\nstep = 100";
    let pipeline = Pipeline::with(&mongo, &proxy.sink("clicks-1m"), quick);
    let source = Source::of(&mongo);
    let seed = seed();
    source.insert_past(DOCUMENTS, seed, 1_800);
    Run::start(&pipeline, &["run"]).finish();
    pipeline.compare_whole(&elastic, DOCUMENTS);
    let (mut dice, mut faults) = (Dice(seed), Faults::of(&proxy));
    let backfill = ["backfill", "--from", "2h", "--to", "2999-01-01T00:00:00Z"];
    let mut killed = [0; Anew::PLACES.len()];
    for cycle in 1..=CYCLES {
        source.mend();
        let (mut kills, mut runs) = (0, 0);
        while kills < KILLS / CYCLES {
            runs += 1;
            assert!(runs <= 6 * KILLS, "killed in the middle {kills} times of {runs}");
            faults.go_on();
            // One that has been asked for and has not begun is gone on with; another one would be refused.
            let begins = Anew::of(&pipeline) != Some(Anew::Asked);
            let run = Run::start(&pipeline, if begins { &backfill[..] } else { &["run"] });
            if begins {
                run.process.wait("a request", SOON, || {
                    let asked = run.process.stderr().iter().any(|line| line.contains("anew"));
                    asked.then_some(())
                });
            }
            // Each place in turn: how soon one is reached is up to the machine.
            let place = Anew::PLACES[killed.iter().sum::<usize>() % Anew::PLACES.len()];
            run.process.wait("it is there, or has ended", SOON, || {
                (Anew::of(&pipeline) == Some(place) || run.process.ended().is_some()).then_some(())
            });
            if kill_at_random(&run, &mut dice, 200)
                && let Some(place) = Anew::of(&pipeline)
            {
                killed[place as usize] += 1;
                kills += u64::from(begins);
            }
        }
        Run::start(&pipeline, &["run"]).finish();
        pipeline.compare_whole(&elastic, DOCUMENTS - cycle);
    }
    println!("killed before it began, while it counted, while it published: {killed:?}");
    assert!(killed.iter().all(|kills| *kills > 0), "{killed:?}");
    assert!(faults.seen() > 0);
}

#[test]
fn killed_twenty_times_while_documents_come_every_one_counts_once() {
    const COMING: usize = 40;
    let (mongo, elastic) = (MongoDb::start_impatient(), ElasticStandIn::start());
    let proxy = ElasticProxy::start(elastic.url());
    // Documents come up to five seconds later than others with greater ids, and later still by as long as nobody reads: `settle` is a
    // minute.
    let pipeline = Pipeline::with(&mongo, &proxy.sink("clicks-1m"), "lease = \"500ms\"\nstep = 100");
    let source = Source::of(&mongo);
    let seed = seed();
    let (mut dice, mut faults) = (Dice(seed), Faults::of(&proxy));
    let mut headcount = Headcount::launch(program(), &pipeline.config());
    let (mut kills, mut in_the_middle) = (0, 0);
    while in_the_middle < KILLS {
        kills += 1;
        assert!(
            kills <= 3 * KILLS,
            "killed in the middle {in_the_middle} times of {kills}"
        );
        faults.go_on();
        source.insert_random(COMING, seed + kills);
        std::thread::sleep(Duration::from_millis(dice.below(900)));
        headcount.sigkill();
        // What is not in the sinks yet, has been read or not.
        let inserted = i64::try_from(kills).unwrap() * COMING as i64;
        if pipeline.counted() < inserted || pipeline.unfinished() != (0, 0) {
            in_the_middle += 1;
        }
        headcount = Headcount::launch(program(), &pipeline.config());
    }
    pipeline.wait_right(&elastic, SOON);
    let more = faults.see_each(|round| {
        source.insert_random(COMING, seed + kills + round);
        pipeline.wait_right(&elastic, SOON);
    });
    pipeline.compare_whole(&elastic, (kills + more) * COMING as u64);
}

#[test]
fn a_mongodb_that_steps_down_and_is_killed_costs_nothing() {
    let (mut mongo, elastic) = (MongoDb::start_impatient(), ElasticStandIn::start());
    let proxy = ElasticProxy::start(elastic.url());
    let pipeline = Pipeline::with(&mongo, &proxy.sink("clicks-1m"), SMALL_STEPS);
    Source::of(&mongo).insert_past(MANY, 7, 200 * 60);
    let mut faults = Faults::of(&proxy);
    faults.go_on();
    let run = Run::start(&pipeline, &["run"]);
    let begun = |parts: usize| move |pipeline: &Pipeline| (1..=parts).contains(&pipeline.unfinished().0);
    wait_until("some parts done", SOON, || begun(14)(&pipeline).then_some(()));
    faults.go_on();
    mongo.step_down();
    mongo.wait_primary();
    wait_until("more parts done", SOON, || begun(10)(&pipeline).then_some(()));
    faults.go_on();
    mongo.kill();
    mongo.restart();
    run.finish();
    pipeline.compare_whole(&elastic, MANY);
    assert!(faults.seen() >= 2, "only {} faults", faults.seen());
}

#[test]
fn two_headcounts_share_one_backlog() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let pipeline = Pipeline::with(&mongo, &elastic.sink("clicks-1m"), SMALL_STEPS);
    Source::of(&mongo).insert_past(MANY, 8, 200 * 60);
    let pair = [0, 1].map(|_| Headcount::launch(program(), &pipeline.config()));
    wait_until("both sinks", SOON, || (pipeline.unfinished() == (0, 0)).then_some(()));
    pipeline.wait_right(&elastic, SOON);
    let read = pair.each_ref().map(|one| {
        one.metric("headcount_stats_documents_total", "pipeline=\"clicks\"")
            .unwrap_or(0.0)
    });
    assert_eq!(read[0] + read[1], MANY as f64);
    assert!(read.iter().all(|one| *one > 0.0), "{read:?}");
}

#[test]
fn whoever_slept_through_its_lease_commits_nothing() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let pipeline = Pipeline::new(&mongo, &elastic.sink("clicks-1m"));
    let source = Source::of(&mongo);
    source.insert_random(200, 9);
    let first = Headcount::launch(program(), &pipeline.config());
    let read = |one: &Headcount| {
        one.metric("headcount_stats_documents_total", "pipeline=\"clicks\"")
            .unwrap_or(0.0)
    };
    wait_until("the first has the tail", SOON, || (read(&first) == 200.0).then_some(()));
    let second = Headcount::launch(program(), &pipeline.config());
    first.process().sigstop();
    source.insert_random(100, 10);
    pipeline.wait_right(&elastic, SOON);
    assert_eq!(read(&second), 100.0);
    // It believes that it holds the tail, and finds what it has not read.
    first.process().sigcont();
    let fenced = || {
        first
            .metric("headcount_stats_fenced_total", "pipeline=\"clicks\"")
            .filter(|fenced| *fenced > 0.0)
    };
    wait_until("the first is fenced off", SOON, fenced);
    source.insert_random(100, 11);
    pipeline.wait_right(&elastic, SOON);
    assert_eq!(read(&first) + read(&second), 400.0);
}

#[test]
fn what_is_counted_anew_from_nothing_reaches_both_sinks() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let pipeline = Pipeline::with(&mongo, &elastic.sink("clicks-1m"), "lease = \"1s\"\nsettle = \"1s\"");
    let source = Source::of(&mongo);
    source.insert_past(8_000, 40, 1_200);
    Run::start(&pipeline, &["run"]).finish();
    let backfill = ["backfill", "--from", "2h", "--to", "2999-01-01T00:00:00Z"];
    Run::start(&pipeline, &backfill).finish();
    pipeline.compare(&elastic);
    source.mend();
    // What counted before had been counted anew already, and is gone with all its numbers.
    pipeline.forget("app");
    Run::start(&pipeline, &["run"]).finish();
    pipeline.compare(&elastic);
}

#[test]
fn state_that_is_dropped_while_it_runs_is_made_again() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    // `settle` is a minute: what is inserted below is up to five seconds old, and the new beginning may be made before it is there.
    let pipeline = Pipeline::new(&mongo, &elastic.sink("clicks-1m"));
    let source = Source::of(&mongo);
    // So that half of it is a backlog.
    source.insert_past(400, 41, 120);
    let _headcount = Headcount::launch(program(), &pipeline.config());
    pipeline.wait_right(&elastic, SOON);
    // Before: once it is gone, all may be counted again at any moment.
    source.mend();
    pipeline.forget("app");
    source.insert_random(100, 42);
    pipeline.wait_right(&elastic, SOON);
}

/// The state of `one` in a database of its own, and its roll-ups beside those of others.
fn apart(mongo: &MongoDb, elastic: &ElasticStandIn, one: &str) -> Pipeline {
    let sinks = format!(
        "{}\", \"{}",
        mongo.url(&format!("{one}.clicks_1m")),
        mongo.url(&format!("shared.{one}_1m"))
    );
    Pipeline::new(mongo, &elastic.sink(one)).moved(&mongo.url("app.clicks_1m"), &sinks)
}

#[test]
fn pipelines_of_one_name_do_not_fence_each_other() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let pair = ["first", "second"].map(|one| apart(&mongo, &elastic, one));
    let source = Source::of(&mongo);
    source.insert_past(500, 43, 600);
    Run::start(&pair[0], &["run"]).finish();
    // As if it had written for years.
    let often = doc! { "q": {}, "u": { "$inc": { "token": 1_000_i64 } }, "multi": true };
    pair[0].command("first", doc! { "update": "headcount_stats_leases", "updates": [often] });
    source.insert_random(100, 44);
    Run::start(&pair[0], &["run"]).finish();
    // It has written less often.
    Run::start(&pair[1], &["run"]).finish();
    Run::start(&pair[0], &["run"]).finish();
    let [first, second] = ["first_1m", "second_1m"].map(|one| pair[0].all_in("shared", one, doc! {}));
    assert!(!first.is_empty());
    let sorted = |mut all: Vec<mongodb::bson::Document>| {
        all.sort_by_key(|one| one.get_str("_id").unwrap().to_owned());
        all
    };
    assert_eq!(sorted(first), sorted(second));
}

#[test]
fn a_part_is_kept_while_the_source_takes_its_time() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let proxy = Proxy::start(mongo.port());
    // Steps are small, so that it is still at the backlog when the source is held.
    let short = "lease = \"500ms\"\nsettle = \"1s\"\nstep = 500";
    let pipeline = Pipeline::with(&mongo, &elastic.sink("clicks-1m"), short)
        .moved(&mongo.url("app.clicks"), &through(&proxy, &mongo, "app.clicks"));
    Source::of(&mongo).insert_past(MANY, 45, 3_600);
    let headcount = Headcount::launch(program(), &pipeline.config());
    let held = || {
        pipeline.all(
            "headcount_stats_parts",
            doc! { "kind": "backlog", "done": false, "owner": { "$ne": "" } },
        )
    };
    wait_until("a part is held", SOON, || held().pop());
    proxy.hold();
    let before = held();
    assert!(!before.is_empty(), "the backlog was over before the source was held");
    for part in &before {
        // Four leases, of which none was renewed by a step that ended.
        let later =
            mongodb::bson::DateTime::from_millis(part.get_datetime("renewed").unwrap().timestamp_millis() + 2_000);
        // Or the step that was under way was its last.
        let kept = doc! { "token": part.get_i64("token").unwrap(), "renewed": { "$gt": later } };
        let kept = doc! { "_id": part.get_str("_id").unwrap(), "$or": [kept, { "done": true }] };
        wait_until("it is renewed", Duration::from_secs(20), || {
            pipeline.all("headcount_stats_parts", kept.clone()).pop()
        });
    }
    assert!(!held().is_empty(), "no part was left to be kept");
    proxy.release();
    pipeline.wait_right(&elastic, SOON);
    assert_eq!(
        headcount
            .metric("headcount_stats_fenced_total", "pipeline=\"clicks\"")
            .unwrap_or(0.0),
        0.0
    );
}

/// A collection through a proxy, which the driver would go around if it knew the other members of the set.
fn through(proxy: &Proxy, mongo: &MongoDb, collection: &str) -> String {
    proxy.through(&format!(
        "mongodb://127.0.0.1:{}/{collection}?directConnection=true",
        mongo.port()
    ))
}

#[test]
fn a_publisher_that_slept_through_its_lease_overwrites_nothing_newer() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let proxy = Proxy::start(mongo.port());
    let own = mongo.url("app.clicks_1m");
    let second =
        |url: &str| Pipeline::new(&mongo, &elastic.sink("clicks-1m")).moved(&own, &format!("{own}\", \"{url}"));
    let sleeper = second(&through(&proxy, &mongo, "far.clicks_1m"));
    let other = second(&mongo.url("far.clicks_1m"));
    let both_are_right = || {
        let sorted = |mut all: Vec<mongodb::bson::Document>| {
            all.sort_by_key(|one| one.get_str("_id").unwrap().to_owned());
            all
        };
        other.both_are_right(&elastic) && sorted(other.all_in("far", "clicks_1m", doc! {})) == sorted(other.rollups())
    };
    let source = Source::of(&mongo);
    source.insert_random(200, 46);
    let first = Headcount::launch(program(), &sleeper.config());
    wait_until("all three sinks", SOON, || both_are_right().then_some(()));
    // It has put its roll-ups together, and one of the sinks does not get them.
    proxy.hold();
    source.insert_random(100, 47);
    wait_until("a sink that gets them", SOON, || (other.counted() > 200).then_some(()));
    first.process().sigstop();
    source.insert_random(100, 48);
    let _second = Headcount::launch(program(), &other.config());
    wait_until("all three sinks", SOON, || both_are_right().then_some(()));
    proxy.release();
    first.process().sigcont();
    // Its reader finds out that it has lost the tail, and its publisher that it must not write.
    let stopped = |name: &str| first.metric(name, "pipeline=\"clicks\"").unwrap_or(0.0);
    wait_until("both have found out", SOON, || {
        (stopped("headcount_stats_fenced_total") + stopped("headcount_stats_failures_total") >= 2.0).then_some(())
    });
    assert!(both_are_right(), "something older has been written over what was newer");
}

#[test]
fn another_order_of_sinks_does_not_count_everything_again_beside() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let pipeline = Pipeline::new(&mongo, &elastic.sink("clicks-1m"));
    Source::of(&mongo).insert_past(100, 49, 600);
    Run::start(&pipeline, &["run"]).finish();
    let (own, new) = (mongo.url("app.clicks_1m"), mongo.url("far.clicks_1m"));
    let behind = |first: &str, second: &str| {
        Pipeline::new(&mongo, &elastic.sink("clicks-1m")).moved(&own, &format!("{first}\", \"{second}"))
    };
    let moved = Run::start(&behind(&new, &own), &["run"]);
    assert!(!moved.process.wait_exit(SOON).success());
    let said = moved.process.stderr().concat();
    assert!(
        said.contains("is kept in the database app of") && said.contains("beside"),
        "{said}"
    );
    assert!(pipeline.all_in("far", "headcount_stats_pipelines", doc! {}).is_empty());
    Run::start(&behind(&own, &new), &["run"]).finish();
    pipeline.compare(&elastic);
}

#[test]
fn sinks_never_have_a_part_of_what_is_counted_anew() {
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let quick = "lease = \"1s\"\nsettle = \"1s\"\nstep = 100";
    let pipeline = Pipeline::with(&mongo, &elastic.sink("clicks-1m"), quick);
    Source::of(&mongo).insert_past(8_000, 51, 1_200);
    Run::start(&pipeline, &["run"]).finish();
    pipeline.compare(&elastic);
    let numbers = || -> Vec<(String, i64)> {
        let number =
            |one: &mongodb::bson::Document| (one.get_str("_id").unwrap().to_owned(), one.get_i64("n").unwrap());
        let mut all: Vec<_> = pipeline.rollups().iter().map(number).collect();
        all.sort();
        all
    };
    let before = numbers();
    let run = Run::start(&pipeline, &["backfill", "--from", "2h", "--to", "2999-01-01T00:00:00Z"]);
    let ended = poll_until(SOON, || {
        assert_eq!(numbers(), before, "a part was shown");
        run.process.ended()
    });
    assert!(
        ended.is_some_and(|status| status.success()),
        "{}",
        run.process.last_lines()
    );
    pipeline.compare(&elastic);
    assert_eq!(pipeline.unfinished(), (0, 0));
}

#[test]
fn a_run_ends_when_it_is_told_to_also_while_mongodb_hangs() {
    let (mongo, elastic) = (MongoDb::start_impatient(), ElasticStandIn::start());
    let proxy = Proxy::start(mongo.port());
    let pipeline = Pipeline::with(&mongo, &elastic.sink("clicks-1m"), SMALL_STEPS)
        .moved(&mongo.url("app.clicks"), &through(&proxy, &mongo, "app.clicks"))
        .moved(&mongo.url("app.clicks_1m"), &through(&proxy, &mongo, "app.clicks_1m"));
    Source::of(&mongo).insert_past(MANY, 52, 3_600);
    let run = Run::start(&pipeline, &["run"]);
    let held = doc! { "kind": "backlog", "done": false, "owner": { "$ne": "" } };
    run.process.wait("a part", SOON, || {
        pipeline.all("headcount_stats_parts", held.clone()).pop()
    });
    proxy.hold();
    run.process.sigterm();
    assert!(!run.process.wait_exit(SOON).success());
    proxy.release();
    Run::start(&pipeline, &["run"]).finish();
    pipeline.compare(&elastic);
}
