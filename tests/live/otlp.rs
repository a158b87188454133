//! What Headcount tells of itself by OTLP, read with OpenTelemetry's own definitions; and that a collector that is away, hangs
//! or talks nonsense costs nothing but that. A real one reads it as well, which `make test-collector` builds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headcount_core::alert::IncidentId;
use headcount_core::trace::{SpanId, TraceId};
use headcount_testkit::{
    Answer, Broker, Collector, Headcount, OtlpAnswer, OtlpStandIn, SlackStandIn, Worker, WorkerOptions, finish_script,
    poll_until, start_script,
};
use serde_json::Value;

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const UP_WITHIN: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(60);
/// What nobody must ever read in a request's body.
const KEY: &str = "NRAK-what-only-the-header-holds";

fn otlp(collector: &OtlpStandIn, more: &str) -> String {
    format!(
        "[otlp]\nendpoint = \"{}\"\nheaders = {{ \"api-key\" = \"{KEY}\" }}\nmetrics_every = \"1s\"\n\
         resource = {{ \"deployment.environment.name\" = \"test\" }}\n{more}\n",
        collector.endpoint()
    )
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

fn nanos(of: &Value, key: &str) -> u64 {
    of[key].as_u64().unwrap_or_else(|| panic!("{key} in {of}"))
}

fn list<'a>(read: &'a Value, what: &str) -> &'a Vec<Value> {
    read[what].as_array().unwrap()
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// Waits until this many looks at the metrics have come there from now on: the second began after this. Spans and lines go as
/// often. What is left at an end has less than a second to be sent, and a stall is longer.
fn looks(collector: &OtlpStandIn, count: usize, accepted: bool) {
    let before = Instant::now();
    let looks = poll_until(PATIENCE, || {
        let requests = collector.requests();
        let looks = requests
            .iter()
            .filter(|request| request.path == "/v1/metrics" && request.accepted == accepted && request.at > before);
        (looks.count() >= count).then_some(())
    });
    assert!(looks.is_some(), "no metrics");
}

/// All spans of a trace hang on one root, each has an id of its own, and none begins before its parent or ends before it begins.
fn joined<'a>(spans: &[&'a Value]) -> &'a Value {
    let roots: Vec<_> = spans.iter().filter(|span| text(span, "parent").is_empty()).collect();
    assert_eq!(roots.len(), 1, "{spans:#?}");
    let by_id: BTreeMap<&str, &Value> = spans.iter().map(|span| (text(span, "id"), *span)).collect();
    assert_eq!(by_id.len(), spans.len(), "an id twice: {spans:#?}");
    for span in spans {
        assert_eq!(span["trace"], roots[0]["trace"]);
        assert!(nanos(span, "began") <= nanos(span, "ended"), "{span}");
        if text(span, "parent").is_empty() {
            continue;
        }
        let parent = by_id
            .get(text(span, "parent"))
            .unwrap_or_else(|| panic!("an orphan: {span}"));
        assert!(nanos(parent, "began") <= nanos(span, "began"), "{span} before {parent}");
    }
    roots[0]
}

#[test]
fn one_alert_is_one_trace_on_redis() {
    one_alert_is_one_trace(&Broker::redis());
}

#[test]
fn one_alert_is_one_trace_on_rabbitmq() {
    one_alert_is_one_trace(&Broker::rabbitmq());
}

fn one_alert_is_one_trace(broker: &Broker) {
    let (slack, collector) = (SlackStandIn::start(), OtlpStandIn::start());
    let mut worker = Worker::start(&broker.url(), "sms@h1", WorkerOptions::default());
    let config = broker.config(&["sms"]) + &slack.webhook_config() + &otlp(&collector, "");
    let headcount = Headcount::start(HEADCOUNT, &config);
    headcount.wait_worker("sms@h1", "up", UP_WITHIN);

    // The first attempt fails, so there are two.
    slack.answer_next([Answer::ServerError]);
    let killed = now();
    worker.sigkill();
    let gone = now();
    slack.next_text("DOWN sms", PATIENCE);
    let id = text(&headcount.get("/api/v1/incidents?state=open")[0], "id").to_owned();
    worker.restart();
    slack.next_text("RECOVERED sms", PATIENCE);
    let delivered = poll_until(PATIENCE, || {
        headcount
            .metric("headcount_notifications_total", "outcome=\"delivered\"")
            .filter(|delivered| *delivered >= 2.0)
    });
    let received = headcount.metric("headcount_events_received_total", "").unwrap();
    looks(&collector, 3, true);
    assert!(headcount.sigterm().success());
    let stopped = now();

    let requests = collector.requests();
    let paths: BTreeSet<&str> = requests.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, BTreeSet::from(["/v1/logs", "/v1/metrics", "/v1/traces"]));
    for request in &requests {
        assert_eq!(request.header("api-key"), Some(KEY));
        assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
        let said = String::from_utf8_lossy(&request.body);
        for secret in [KEY, "B0STANDIN/secret", "T0STANDIN"] {
            assert!(!said.contains(secret), "{secret} in a request to {}", request.path);
        }
    }

    let read = collector.read();
    let about = |span: &&Value| text(&span["attributes"], "headcount.incident") == id;
    let spans: Vec<&Value> = list(&read, "spans").iter().filter(about).collect();
    let root = joined(&spans);
    let trace = TraceId::of_incident(&IncidentId(id.as_str().into()));
    assert_eq!(text(root, "trace"), trace.to_string());
    assert_eq!(text(root, "id"), SpanId::root(trace).to_string());
    assert_eq!(text(root, "name"), "incident");
    let named = |name: &str| -> Vec<&Value> {
        let mut found: Vec<_> = spans
            .iter()
            .copied()
            .filter(|span| text(span, "name") == name)
            .collect();
        found.sort_by_key(|span| nanos(span, "began"));
        assert!(!found.is_empty(), "no {name} in {spans:#?}");
        found
    };
    // From the last sign of life, which was not later than the kill and at most a beat earlier, be it a late one …
    let began = nanos(root, "began");
    let (second, beat) = (1_000_000_000, 10_000_000_000);
    assert!(
        began <= gone + second && began + beat >= killed,
        "{began} and killed from {killed} to {gone}"
    );
    // … in this order …
    let way = [
        "worker.silent",
        "worker.suspect",
        "incident.judge",
        "incident.hold",
        "outbox.write",
        "notify",
    ];
    let steps = way.map(|name| named(name)[0]);
    for pair in steps.windows(2) {
        assert!(
            nanos(pair[0], "began") <= nanos(pair[1], "began"),
            "{} before {}",
            pair[0],
            pair[1]
        );
    }
    for pair in steps[..5].windows(2) {
        assert!(
            nanos(pair[0], "ended") <= nanos(pair[1], "began"),
            "{} before {}",
            pair[0],
            pair[1]
        );
    }
    let checks = named("worker.check");
    assert!(checks.len() >= 2, "{checks:#?}");
    assert!(checks.iter().all(|check| check["parent"] == steps[1]["id"]));
    // … to Slack: refused once, then told; and told that it is over.
    let attempts = named("notify");
    let how: Vec<_> = attempts
        .iter()
        .map(|span| {
            let attributes = &span["attributes"];
            (
                text(span, "status"),
                attributes["headcount.attempt"].as_i64(),
                text(attributes, "headcount.turn"),
            )
        })
        .collect();
    assert_eq!(
        how,
        [
            ("STATUS_CODE_ERROR", Some(1), "opened"),
            ("STATUS_CODE_UNSET", Some(2), "opened"),
            ("STATUS_CODE_UNSET", Some(1), "recovered"),
        ]
    );
    assert_eq!(named("outbox.wait").len(), 2);
    named("incident.store");
    let down = named("worker.down")[0];
    assert!(nanos(down, "began") >= killed && nanos(down, "ended") <= stopped);
    assert!(spans.iter().all(|span| nanos(span, "ended") <= stopped));
    let resource = &root["resource"];
    assert_eq!(text(resource, "service.name"), "headcount");
    assert_eq!(text(resource, "deployment.environment.name"), "test");

    // Log lines that speak of the incident bear its trace.
    let lines: Vec<_> = list(&read, "logs").iter().filter(about).collect();
    assert!(lines.is_empty(), "that is an attribute of spans");
    let of_it = |line: &&Value| text(&line["attributes"], "incident") == id;
    let lines: Vec<_> = list(&read, "logs").iter().filter(of_it).collect();
    assert!(lines.len() >= 3, "opened, not accepted, resolved: {lines:#?}");
    for line in &lines {
        assert_eq!(
            (text(line, "trace"), text(line, "span")),
            (text(root, "trace"), text(root, "id"))
        );
    }
    assert!(lines.iter().any(|line| text(line, "severity") == "WARN"));

    // What was added adds up.
    let total = |name: &str, labels: &[(&str, &str)]| -> f64 {
        let points = list(&read, "metrics")
            .iter()
            .filter(|point| text(point, "name") == name);
        let points = points.filter(|point| {
            labels
                .iter()
                .all(|(key, value)| text(&point["attributes"], key) == *value)
        });
        points
            .inspect(|point| {
                assert_eq!(text(point, "temporality"), "AGGREGATION_TEMPORALITY_DELTA");
                assert!(nanos(point, "from") < nanos(point, "at"));
            })
            .map(|point| point["value"].as_f64().unwrap())
            .sum()
    };
    assert_eq!(
        delivered,
        Some(total("headcount_notifications_total", &[("outcome", "delivered")]))
    );
    assert_eq!(total("headcount_notifications_total", &[("outcome", "retried")]), 1.0);
    let events = total("headcount_events_received_total", &[]);
    // Those between the look at it and the end come on top.
    assert!(
        events >= received && events <= received + 50.0,
        "{events} of {received}"
    );
    let points = |name: &str| {
        list(&read, "metrics")
            .iter()
            .filter(|point| text(point, "name") == name)
            .count()
    };
    assert!(points("headcount_fleet_workers") > 1 && points("headcount_probe_seconds") > 0);
    assert_eq!(total("headcount_otlp_dropped_total", &[]), 0.0);
}

#[test]
fn a_job_and_the_task_that_it_sends_are_one_trace() {
    let (broker, collector) = (Broker::redis(), OtlpStandIn::start());
    let job = "[[node]]\nbroker = \"main\"\nqueue = \"own\"\ntask_events = true\n\n\
               [[job]]\nname = \"pinging\"\nevery = \"2s\"\nbroker = \"main\"\nqueue = \"own\"\ntask = \"headcount.ping\"\n\n";
    let config = broker.config(&[]) + job + &otlp(&collector, "");
    let headcount = Headcount::start(HEADCOUNT, &config);
    let done = poll_until(PATIENCE, || {
        let job = headcount.get("/api/v1/jobs/pinging?limit=20");
        let runs = job["runs"].as_array()?.clone();
        runs.into_iter().find(|run| text(run, "state") == "succeeded")
    });
    let id = text(&done.unwrap(), "id").to_owned();
    looks(&collector, 3, true);
    assert!(headcount.sigterm().success());
    let read = collector.read();
    let trace = id.replace('-', "");
    let spans: Vec<_> = list(&read, "spans")
        .iter()
        .filter(|span| text(span, "trace") == trace)
        .collect();
    let root = joined(&spans);
    let mut names: Vec<_> = spans.iter().map(|span| text(span, "name")).collect();
    names.sort_unstable();
    assert_eq!(names, ["job", "job.run", "job.send", "job.wait", "task"]);
    assert_eq!(text(root, "name"), "job");
    let task = spans.iter().find(|span| text(span, "name") == "task").unwrap();
    assert_eq!(
        (text(task, "kind"), text(&task["attributes"], "state")),
        ("SPAN_KIND_CONSUMER", "SUCCESS")
    );
    let line = list(&read, "logs").iter().find(|line| text(line, "trace") == trace);
    assert!(line.is_some(), "no line of the run {id}");
}

#[test]
fn a_collector_that_is_of_no_use_costs_nothing_but_its_own_data() {
    let broker = Broker::redis();
    let (slack, hanging) = (SlackStandIn::start(), OtlpStandIn::start());
    hanging.answer(OtlpAnswer::Hang);
    let worker = Worker::start(&broker.url(), "sms@h1", WorkerOptions::default());
    let house = broker.config(&["sms"]) + &slack.webhook_config();
    let headcount = Headcount::start(HEADCOUNT, &(house.clone() + &otlp(&hanging, "")));
    headcount.wait_worker("sms@h1", "up", UP_WITHIN);
    hanging.wait("anything", PATIENCE, |request| request.path == "/v1/metrics");
    worker.sigkill();
    slack.next_text("DOWN sms", PATIENCE);

    // Another one, which wants to be left alone: the configuration is read again, which is quick although the first still hangs.
    let busy = OtlpStandIn::start();
    busy.answer_next((0..3).map(|_| OtlpAnswer::Status(429, Some(3))));
    headcount.reconfigure(&(house.clone() + &otlp(&busy, "")));
    let first = busy.wait("metrics", PATIENCE, |request| request.path == "/v1/metrics");
    let again = busy.wait("metrics again", PATIENCE, |request| {
        request.path == "/v1/metrics" && request.at > first.at
    });
    let waited = again.at.duration_since(first.at);
    assert!(
        first.accepted || waited >= Duration::from_millis(2_900),
        "asked for 3 s, and came after {waited:?}"
    );
    busy.wait("what it had refused", PATIENCE, |request| {
        request.path == "/v1/metrics" && request.accepted
    });

    // Nonsense for an answer is an answer. What a server says of these contents is final, and what it was about is counted.
    busy.answer(OtlpAnswer::Garbage);
    let many = busy.requests().len();
    busy.wait("more", PATIENCE, |_| busy.requests().len() > many + 3);
    busy.answer(OtlpAnswer::Status(400, None));
    let dropped = poll_until(PATIENCE, || {
        headcount
            .metric("headcount_otlp_dropped_total", "signal=\"metrics\"")
            .filter(|dropped| *dropped > 0.0)
    });
    assert!(dropped.is_some());

    // And none at all.
    busy.answer(OtlpAnswer::Hang);
    let many = busy.requests().len();
    busy.wait("one more", PATIENCE, |_| busy.requests().len() > many);
    let told = Instant::now();
    assert!(headcount.sigterm().success());
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    assert!(
        headcount
            .process()
            .stderr()
            .iter()
            .any(|line| line.contains("OTLP collector"))
    );
}

/// With nobody there each batch fails at once, also the last.
#[test]
fn what_is_left_for_a_collector_that_is_away_is_told_at_the_end() {
    let broker = Broker::redis();
    let nobody = "[otlp]\nendpoint = \"http://127.0.0.1:9\"\nlogs = \"info\"\n";
    let headcount = Headcount::start(HEADCOUNT, &(broker.config(&["sms"]) + nobody));
    assert!(headcount.sigterm().success());
    let log = headcount.process().stderr().join("\n");
    assert!(log.contains("what was left for the OTLP collector"), "{log}");
    assert!(log.contains("\"host\":\"127.0.0.1:9\""), "{log}");
}

/// What `headcount log-level` has to present.
const TOKEN: &str = "what-the-log-is-changed-with";

/// The sum of all points of a counter that a collector has accepted, with these labels.
fn added(collector: &OtlpStandIn, name: &str, labels: &[(&str, &str)]) -> f64 {
    let read = collector.read();
    let points = list(&read, "metrics").iter().filter(|point| {
        let attributes = &point["attributes"];
        text(point, "name") == name && labels.iter().all(|(key, value)| text(attributes, key) == *value)
    });
    points.map(|point| point["value"].as_f64().unwrap()).sum()
}

#[test]
fn what_was_added_adds_up_over_a_wrong_key_and_over_a_reload() {
    let broker = Broker::redis();
    let (first, second) = (OtlpStandIn::start(), OtlpStandIn::start());
    let config = |collector| broker.config(&[]) + &otlp(collector, "");
    let headcount = Headcount::launch_with(HEADCOUNT, &config(&first), &[("HEADCOUNT__SERVER__TOKEN", TOKEN)]);
    // Each says the same in the log, which is soon a storm.
    let storm = || {
        for _ in 0..15 {
            let said = headcount.ask(&["log-level", "--token", TOKEN, "--reset"]);
            assert!(said.status.success(), "{said:?}");
        }
    };
    let (name, info) = ("headcount_log_suppressed_total", [("level", "info")]);
    let counted = || headcount.metric(name, "level=\"info\"").unwrap();
    storm();
    assert!(counted() > 0.0);
    looks(&first, 2, true);
    let early = counted();

    first.answer(OtlpAnswer::Status(401, None));
    storm();
    looks(&first, 2, false);
    assert!(counted() > early);
    let dropped = headcount.metric("headcount_otlp_dropped_total", "signal=\"metrics\"");
    assert_eq!(dropped, Some(0.0), "it is kept");

    // That counter goes on, and all others begin anew.
    headcount.reconfigure(&config(&second));
    looks(&second, 2, true);
    storm();
    looks(&second, 2, true);
    let all = counted();
    assert!(headcount.sigterm().success());
    let (before, after) = (added(&first, name, &info), added(&second, name, &info));
    assert!(before >= 5.0 && after > 0.0, "{before} and {after}");
    assert_eq!(before + after, all);
}

/// How often one task fails.
const TIMES: u64 = 1_000;

#[test]
fn a_storm_is_held_back_and_says_nothing_of_what_tasks_were_given() {
    let (broker, collector) = (Broker::redis(), OtlpStandIn::start());
    let node = "[[node]]\nbroker = \"main\"\nconcurrency = 16\n\n";
    let config = broker.config(&[]) + node + &otlp(&collector, "");
    let headcount = Headcount::start(HEADCOUNT, &config);
    headcount.process().wait_line("the node has joined", PATIENCE);
    let (times, args) = (TIMES.to_string(), "[\"arg-secret\"]");
    let flood = ["headcount", "headcount.ping", times.as_str(), args];
    finish_script(&start_script(&broker.url(), "flood.py", &flood));
    let failed = || headcount.metric("headcount_node_tasks_total", "state=\"FAILURE\"");
    let all = poll_until(PATIENCE, || failed().filter(|failed| *failed > TIMES as f64 - 0.5));
    assert!(all.is_some(), "{:?}", failed());
    assert!(headcount.sigterm().success());

    for request in collector.requests() {
        let said = String::from_utf8_lossy(&request.body);
        assert!(!said.contains("arg-secret"), "in a request to {}", request.path);
    }
    let read = collector.read();
    let said = |line: &Value, words: &str| text(line, "body").contains(words);
    let failures: Vec<&Value> = list(&read, "logs")
        .iter()
        .filter(|line| said(line, "task failed, and is not tried again"))
        .collect();
    let (more, plain): (Vec<&Value>, Vec<&Value>) = failures
        .into_iter()
        .partition(|line| !line["attributes"]["suppressed"].is_null());
    // Ten in the first minute, one in each that a slow machine takes more.
    assert!((10..20).contains(&plain.len()), "{plain:#?}");
    let suppressed: u64 = more
        .iter()
        .filter_map(|line| line["attributes"]["suppressed"].as_u64())
        .sum();
    assert_eq!(suppressed + plain.len() as u64, TIMES, "{more:#?}");
    assert!(
        plain
            .iter()
            .all(|line| text(&line["attributes"], "exception") == "TypeError")
    );
}

#[test]
#[ignore = "needs the collector that `make test-collector` builds"]
fn a_real_collector_takes_all_three_signals() {
    let program = std::env::var_os("HEADCOUNT_COLLECTOR").expect("HEADCOUNT_COLLECTOR is the collector's program");
    let (broker, slack, collector) = (
        Broker::redis(),
        SlackStandIn::start(),
        Collector::start(program.as_ref()),
    );
    let mut worker = Worker::start(&broker.url(), "sms@h1", WorkerOptions::default());
    let config = |temporality: &str| {
        let table = format!(
            "[otlp]\nendpoint = \"{}\"\nmetrics_every = \"1s\"\nmetrics_temporality = \"{temporality}\"\n",
            collector.endpoint()
        );
        broker.config(&["sms"]) + &slack.webhook_config() + &table
    };
    let headcount = Headcount::start(HEADCOUNT, &config("cumulative"));
    headcount.wait_worker("sms@h1", "up", UP_WITHIN);
    worker.sigkill();
    slack.next_text("DOWN sms", PATIENCE);
    let incidents = headcount.get("/api/v1/incidents?state=open");
    let trace = TraceId::of_incident(&IncidentId(text(&incidents[0], "id").into())).to_string();

    // What a span, a line and a point look like in the log of the collector.
    let logged = |words: &'static str, about: &str| {
        let lines = poll_until(PATIENCE, || {
            let lines = collector.log();
            let mut found = lines.iter().filter(|line| line.contains(words) && line.contains(about));
            found.next().is_some().then_some(())
        });
        assert!(
            lines.is_some(),
            "no {words} with {about:?}:\n{}",
            collector.log().join("\n")
        );
    };
    logged("Trace ID       :", &trace);
    logged("Trace ID:", &trace);
    logged("-> Name: headcount_events_received_total", "");
    logged("-> AggregationTemporality: Cumulative", "");
    // The collector adds up to what Headcount itself shows.
    let shown = |name: &str, label: &str| {
        let metrics = collector.metrics()?;
        let line = metrics
            .lines()
            .find(|line| line.starts_with(name) && line.contains(label))?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    let delivered = || shown("headcount_notifications_total", "outcome=\"delivered\"");
    assert_eq!(
        poll_until(PATIENCE, || delivered().filter(|count| *count == 1.0)),
        Some(1.0)
    );
    // Each has been sent, and nothing of it was dropped.
    let all_taken = |signals: &[&str]| {
        for signal in signals {
            let labels = format!("signal=\"{signal}\"");
            let metric = |name| headcount.metric(name, &labels).unwrap_or(0.0);
            let sent = poll_until(PATIENCE, || (metric("headcount_otlp_sent_total") > 0.0).then_some(()));
            assert!(sent.is_some(), "no {signal}");
            assert_eq!(metric("headcount_otlp_dropped_total"), 0.0, "{signal}");
        }
    };
    all_taken(&["traces", "metrics", "logs"]);

    headcount.reconfigure(&config("delta"));
    logged("-> AggregationTemporality: Delta", "");
    worker.restart();
    // Of differences too the collector makes what Headcount itself shows: not the last of them, and none of them twice.
    let events = "headcount_events_received_total";
    let adds_up = poll_until(PATIENCE, || {
        let before = headcount.metric(events, "").filter(|events| *events >= 6.0)?;
        let shown = poll_until(PATIENCE, || shown(events, "").filter(|shown| *shown >= before))?;
        Some((shown, headcount.metric(events, "")?))
    });
    let (shown, own) = adds_up.expect("the differences add up");
    assert!(shown <= own, "{shown} of {own}");
    all_taken(&["metrics", "logs"]);
    assert!(headcount.sigterm().success());
}
