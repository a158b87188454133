//! `check --connect` against a real broker, and `notify test` against a stand-in for Slack.

use std::time::Duration;

use headcount_testkit::{Answer, ElasticStandIn, MongoDb, Redis, SlackStandIn, free_port, run_once};

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command on a configuration; its exit code, and both of its outputs.
fn with_config(text: &str, args: &[&str]) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "{text}\n[store]\nurl = \"sqlite:{}\"\n",
        dir.path().join("store.db").display()
    );
    let path = dir.path().join("headcount.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    let args: Vec<&str> = args
        .iter()
        .map(|arg| if *arg == "FILE" { &path } else { *arg })
        .collect();
    let output = run_once(HEADCOUNT, &args, PATIENCE);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(!dir.path().join("store.db").exists(), "a look leaves nothing behind");
    (output.status.code(), said.into_owned())
}

fn broker(name: &str, url: &str) -> String {
    format!("[[broker]]\nname = \"{name}\"\nurl = \"{url}\"\n")
}

#[test]
fn connect_tries_each_broker_and_says_which_cannot_be_reached() {
    let redis = Redis::start_with_password("first-secret");
    let there = broker("there", &redis.url());
    let (code, said) = with_config(&there, &["check", "FILE", "--connect"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("ok      broker there"), "{said}");

    // Another database: one broker twice is a mistake of its own.
    let other = redis.url().replace("first-secret", "second-secret").replace("/0", "/1");
    let refusing = broker("refusing", &other);
    let away = broker("away", &format!("redis://127.0.0.1:{}/0", free_port()));
    let all = format!("{there}{refusing}{away}");
    let (code, said) = with_config(&all, &["check", "FILE", "--connect"]);
    assert_eq!(code, Some(1), "{said}");
    for line in ["ok      broker there", "FAILED  broker refusing", "FAILED  broker away"] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    assert!(!said.contains("secret"), "{said}");

    let (code, said) = with_config(&all, &["check", "FILE"]);
    assert_eq!(code, Some(0), "without --connect nobody is asked: {said}");
}

/// A pipeline between these, with a cursor of its own.
fn pipeline(source: &str, cursor: &str, sinks: &[&str]) -> String {
    format!(
        "[[stats]]\nname = \"clicks\"\nsource = \"{source}\"\ncursor = \"{cursor}\"\ntime = \"at\"\nbucket = \"1m\"\n\
         sinks = {sinks:?}\nmeasures = {{ n = \"count\" }}\n"
    )
}

#[test]
fn connect_tries_what_a_pipeline_needs() {
    let (mongo, alone) = (MongoDb::start(), MongoDb::start_alone());
    let elastic = ElasticStandIn::start();
    elastic.create_index("there", &serde_json::json!({}));
    let redis = Redis::start();
    let check = |pipeline: &str| {
        with_config(
            &(broker("main", &redis.url()) + pipeline),
            &["check", "FILE", "--connect"],
        )
    };
    let (source, sink) = (mongo.url("app.clicks"), mongo.url("app.clicks_1m"));

    let (code, said) = check(&pipeline(
        &source,
        "_id",
        &[&sink, &elastic.sink("there"), &elastic.sink("new")],
    ));
    assert_eq!(code, Some(0), "{said}");
    for line in [
        ", 1 pipeline, ",
        "/app.clicks: reached; the collection is not there yet",
        "/app.clicks_1m: reached; the replica set headcount",
        "/there: reached; the index is there",
        "/new: reached; the index is not there yet",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }

    // A source may be anything; state needs transactions, and a cursor needs an index.
    mongo.command("app", &serde_json::json!({"create": "clicks"}));
    let (code, said) = check(&pipeline(&source, "at", &[&alone.url("app.clicks_1m")]));
    assert_eq!(code, Some(1), "{said}");
    for line in [
        "FAILED  stats clicks: source mongodb://",
        "/app.clicks has no index that begins with `at`",
        "FAILED  stats clicks: sink mongodb://",
        "/app.clicks_1m: no replica set",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    let (code, said) = check(&pipeline(&alone.url("app.clicks"), "_id", &[&elastic.sink("there")]));
    assert_eq!(
        code,
        Some(1),
        "without a collection among the sinks, state is kept at the source: {said}"
    );
    assert!(said.contains("FAILED  stats clicks: state in mongodb://"), "{said}");

    // Nobody is there, and nobody's password is told.
    let (port, other) = (free_port(), free_port());
    let away = format!("mongodb://me:s3cret@127.0.0.1:{port}/app.clicks");
    let no_index = format!("elasticsearch+http://me:s3cret@127.0.0.1:{other}/clicks-1m");
    let (code, said) = check(&pipeline(&away, "_id", &[&sink, &no_index]));
    assert_eq!(code, Some(1), "{said}");
    for line in [
        format!("FAILED  stats clicks: source mongodb://127.0.0.1:{port}/app.clicks: "),
        format!("FAILED  stats clicks: sink elasticsearch+http://127.0.0.1:{other}/clicks-1m: "),
    ] {
        assert!(said.contains(&line), "{line:?} is not in\n{said}");
    }
    assert!(
        said.contains("Connection refused") && !said.contains("s3cret"),
        "{said}"
    );
}

#[test]
fn a_test_message_goes_through_each_notifier() {
    let slack = SlackStandIn::start();
    let text = format!(
        "{}{}name = \"hook\"\n{}name = \"bot\"\n",
        broker("main", "redis://127.0.0.1/0"),
        slack.webhook_config(),
        slack.token_config()
    );
    let (code, said) = with_config(&text, &["notify", "test", "--config", "FILE"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("ok      hook") && said.contains("ok      bot"), "{said}");
    let texts = slack.texts();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts.iter().all(|text| text.starts_with("TEST ")), "{texts:?}");

    slack.answer_next([Answer::TooMany(7)]);
    let (code, said) = with_config(&text, &["notify", "test", "--config", "FILE"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("FAILED  hook") && said.contains("7 s") && said.contains("ok      bot"),
        "{said}"
    );
}
