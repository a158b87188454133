//! `check --connect` against a real broker, and `notify test` against a stand-in for Slack.

use std::process::Command;
use std::time::Duration;

use headcount_testkit::{
    Answer, ElasticStandIn, MongoDb, OtlpAnswer, OtlpStandIn, Process, Redis, SentryStandIn, SlackStandIn, Worker,
    WorkerOptions, free_port, python, run_once, wait_until,
};

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

/// Two workers of which a pattern with a mistake matches none: that is said, and is no failure.
#[test]
fn connect_says_which_fleet_matches_nobody_and_who_matches_none() {
    let redis = Redis::start();
    let _workers = Worker::start_all(&redis.url(), &["sms@h1", "mail@h1"], &WorkerOptions::default());
    let fleet = |name: &str, pattern: &str| format!("[[fleet]]\nname = \"{name}\"\nhostnames = [\"{pattern}\"]\n");
    let text = broker("main", &redis.url()) + &fleet("mail", "mail@*") + &fleet("sms", "smss@*");
    let lines = [
        "ok      fleet mail: workers that answer and match: 1\n",
        "hint    fleet sms: no worker that answers matches smss@*\n",
        "hint    workers that match no fleet, and are left alone: 1 (sms@h1)\n",
    ];
    // It gives them one second, and one that is busy takes longer: then it is asked again.
    wait_until("both to answer, and to be told apart", PATIENCE, || {
        let (code, said) = with_config(&text, &["check", "FILE", "--connect"]);
        let right = code == Some(0) && lines.iter().all(|line| said.contains(line));
        if !right {
            println!("{code:?}: {said}");
        }
        right.then_some(())
    });
}

#[test]
fn connect_tries_whom_headcount_tells_and_tells_nobody() {
    let (redis, results) = (Redis::start(), Redis::start_with_password("first-secret"));
    let (slack, sentry, collector) = (SlackStandIn::start(), SentryStandIn::start(), OtlpStandIn::start());
    let house = |results: &str, slack: &str, sentry: &str, collector: &str| {
        broker("main", &redis.url())
            + &format!("[[node]]\nbroker = \"main\"\nqueue = \"own\"\nresult_backend = \"{results}\"\n{slack}")
            + &format!("[[notify]]\nkind = \"stdout\"\n[sentry]\ndsn = \"{sentry}\"\n")
            + &format!("[otlp]\nendpoint = \"{collector}\"\nheaders = {{ api-key = \"third-secret\" }}\n")
    };
    let check = |text: &str| with_config(text, &["check", "FILE", "--connect"]);
    let good = house(
        &results.url(),
        &slack.webhook_config(),
        &sentry.dsn(),
        &collector.endpoint(),
    );
    let (code, said) = check(&good);
    assert_eq!(code, Some(0), "{said}");
    for line in [
        "ok      result_backend headcount: redis://",
        "ok      notify slack: http://127.0.0.1:",
        "ok      notify stdout: nowhere to connect to",
        "ok      sentry production: http://127.0.0.1:",
        "ok      otlp traces: http://127.0.0.1:",
        "ok      otlp metrics: ",
        "ok      otlp logs: ",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    assert_eq!((slack.requests().len(), sentry.requests()), (0, 0));
    let paths: Vec<String> = collector.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths.len(), 3, "{paths:?}");
    assert!(collector.requests().iter().all(|request| request.body.is_empty()));

    // One refuses the key, the others are not there, or do not let anybody in.
    collector.answer(OtlpAnswer::Status(403, None));
    let away = format!("http://127.0.0.1:{}", free_port());
    let wrong = house(
        &results.url().replace("first-secret", "second-secret"),
        &format!("[[notify]]\nkind = \"slack\"\nwebhook_url = \"{away}/services/T0/B0/fourth-secret\"\n"),
        &(away.replace("http://", "http://fifthsecret@") + "/7"),
        &collector.endpoint(),
    );
    let (code, said) = check(&wrong);
    assert_eq!(code, Some(1), "{said}");
    for line in [
        "FAILED  result_backend headcount: redis://",
        &format!("FAILED  notify slack: {away}: "),
        &format!("FAILED  sentry production: {away}: "),
        "FAILED  otlp traces: ",
        "HTTP 403: the key in [otlp] headers is not accepted",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    assert!(!said.contains("secret"), "{said}");
    let (code, _) = with_config(&wrong, &["check", "FILE"]);
    assert_eq!(code, Some(0), "without --connect nobody is asked");
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

    // Another server, which says 200 to `/` and 404 to what it does not have, as if it were an index.
    let dir = tempfile::tempdir().unwrap();
    let mut serve = Command::new(python());
    serve
        .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"])
        .current_dir(dir.path());
    let other = Process::start("http.server", &mut serve);
    let line = other.wait_line("Serving HTTP on", Duration::from_secs(30));
    let url = line.split(['(', ')']).nth(1).unwrap().trim_end_matches('/').to_owned();
    let (code, said) = check(&pipeline(&source, "_id", &[&format!("elasticsearch+{url}/there")]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("without a `version.number`"), "{said}");

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
    // At night somebody copies the command without the file: what it says is no answer about the channels.
    let (code, said) = with_config(&text, &["notify", "test"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("only standard output is tried") && said.contains("headcount notify test --config FILE"),
        "{said}"
    );

    let (code, said) = with_config(&text, &["notify", "test", "--config", "FILE"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("only standard output"), "{said}");
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
