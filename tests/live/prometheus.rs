//! A real Prometheus scrapes Headcount while real workers work: counts are those of the workers, the rules give the right
//! answers, what is served is documented, and series end with their worker.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use headcount_testkit::{
    Broker, Headcount, Pool, Process, Prometheus, Sample, Worker, WorkerOptions, finish_script, promtool, repository,
    run_script, send_tasks, start_script, wait_until,
};
use serde_json::{Value, json};

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const PATIENCE: Duration = Duration::from_secs(120);
/// How long tasks are sent: five minutes in a soak.
const SECONDS: u32 = 15;
const SECONDS_SOAK: u32 = 300;
/// The jobs that scrape: celery-exporter's rules ask for a name such as the first, Headcount's for the second.
const JOBS: [&str; 2] = ["celery-exporter", "headcount"];

/// The expressions of celery-exporter's rules, as it publishes them.
const FAIL_RATE: &str = r#"
    sum(increase(celery_task_failed_total{job=~".*celery.*", queue_name!~"None", name!~"None"}[10m]))
        by (job, namespace, queue_name, name)
    / (
        sum(increase(celery_task_failed_total{job=~".*celery.*", queue_name!~"None", name!~"None"}[10m]))
            by (job, namespace, queue_name, name)
        +
        sum(increase(celery_task_succeeded_total{job=~".*celery.*", queue_name!~"None", name!~"None"}[10m]))
            by (job, namespace, queue_name, name)
    ) * 100 > 5"#;
const QUEUE_LENGTH: &str =
    r#"sum(celery_queue_length{job=~".*celery.*", queue_name!~"None"}) by (job, namespace, queue_name) > 100"#;
const WORKER_DOWN: &str = r#"celery_worker_up{job=~".*celery.*"} == 0"#;

#[test]
fn on_redis() {
    scraped(&Broker::redis());
}

#[test]
fn on_rabbitmq() {
    scraped(&Broker::rabbitmq());
}

fn scraped(broker: &Broker) {
    let soak = std::env::var_os("HEADCOUNT_SOAK").is_some();
    let seconds = if soak { SECONDS_SOAK } else { SECONDS };
    let url = broker.url();
    let config = broker.config(&["sms", "tracker"]) + "[metrics]\nlabels = { env = \"test\" }\n";
    let headcount = Headcount::start(HEADCOUNT, &config);
    let prometheus = Prometheus::start(headcount.url().trim_start_matches("http://"), &JOBS);
    let names = ["sms@h1", "sms@h2", "tracker@h1"];
    // The counts are compared with the workers' own, to the task. A pool of threads adds to its totals from all of them,
    // without a lock, and now and then loses one (8,184 of 8,185 tasks); one of processes adds from its main thread alone.
    let exactly = WorkerOptions {
        pool: Pool::Prefork,
        ..WorkerOptions::default()
    };
    let workers = Worker::start_all(&url, &names, &exactly);
    for name in names {
        headcount.wait_worker(name, "up", PATIENCE);
    }
    prometheus.wait("all workers to be up", PATIENCE, || {
        (prometheus.query("celery_worker_up{job=\"headcount\"} == 1").len() == names.len()).then_some(())
    });
    // Once it is known what each consumes: from then on what they receive counts under that queue.
    prometheus.wait("the queues of all workers", PATIENCE, || {
        (prometheus
            .query(r#"sum(celery_active_worker_count{job="headcount"}) == 3"#)
            .len()
            == 1)
            .then_some(())
    });
    for rule in [FAIL_RATE, QUEUE_LENGTH, WORKER_DOWN] {
        assert!(prometheus.query(rule).is_empty(), "{rule}");
    }

    let load = start_script(&url, "load.py", &[&seconds.to_string(), "3"]);
    let totals = finish_load(&load, seconds);
    counts_are_the_workers(&prometheus, &totals);
    failures_are_seen(&prometheus);
    gauges_are_right(&prometheus);
    let text = headcount.get_text("/metrics");
    assert_eq!(promtool(&repository(), &["check", "metrics"], &text), Ok(String::new()));
    assert!(
        text.lines()
            .all(|line| line.starts_with('#') || line.contains("env=\"test\""))
    );
    what_is_served_is_documented(&text);
    let strictly = run_script(&url, "openmetrics.py", &[&format!("{}/metrics", headcount.url())]);
    for kind in ["counter", "gauge", "histogram", "unknown"] {
        assert!(strictly[kind].as_u64() > Some(0), "{kind}: {strictly}");
    }

    assert_eq!(hostnames(&prometheus, WORKER_DOWN), BTreeSet::new());
    workers[1].sigkill();
    headcount.wait_worker("sms@h2", "down", PATIENCE);
    prometheus.wait("the worker that died", PATIENCE, || {
        (hostnames(&prometheus, WORKER_DOWN) == BTreeSet::from(["sms@h2".to_owned()])).then_some(())
    });
    // Its series stay, as they were.
    counts_are_the_workers(&prometheus, &totals);

    assert!(prometheus.query(QUEUE_LENGTH).is_empty());
    workers[2].warm_shutdown(PATIENCE);
    let many: Vec<(&str, &str, Value)> = (0..120).map(|n| ("tracker", "add", json!([n, 1]))).collect();
    send_tasks(&url, &many);
    prometheus.wait("the queue that is long", PATIENCE, || {
        let long = prometheus.query(QUEUE_LENGTH);
        (long.len() == 1 && long[0].label("queue_name") == "tracker").then_some(())
    });

    // And when all is well again.
    let _back = Worker::start_all(&url, &names[1..], &WorkerOptions::default());
    prometheus.wait("everybody to be back, and the queue short", PATIENCE, || {
        let well = [QUEUE_LENGTH, WORKER_DOWN]
            .iter()
            .all(|rule| prometheus.query(rule).is_empty());
        let up = prometheus.query("celery_worker_up{job=\"headcount\"} == 1").len();
        (well && up == names.len()).then_some(())
    });
}

/// What the workers say they have begun, and how many were sent to fail.
fn finish_load(load: &Process, seconds: u32) -> Value {
    load.wait_exit(Duration::from_secs(u64::from(seconds)) + PATIENCE);
    finish_script(load)
}

/// What an expression gives, as soon as it gives something: a scrape that failed, as when Headcount was stalled for the second that
/// it may take, ends all series until the next one.
fn some(prometheus: &Prometheus, query: &str) -> Vec<Sample> {
    prometheus.wait(query, PATIENCE, || {
        Some(prometheus.query(query)).filter(|samples| !samples.is_empty())
    })
}

fn counts_are_the_workers(prometheus: &Prometheus, load: &Value) {
    let sums = |metric: &str| -> BTreeMap<(String, String), u64> {
        let query = format!("sum by (hostname, name) ({metric}{{job=\"celery-exporter\"}}) > 0");
        let samples = some(prometheus, &query);
        let each = samples.iter().map(|sample| {
            let key = (sample.label("hostname").to_owned(), sample.label("name").to_owned());
            (key, sample.value as u64)
        });
        each.collect()
    };
    let totals: BTreeMap<(String, String), u64> = load["totals"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(worker, of)| of.as_object().unwrap().iter().map(move |(task, n)| (worker, task, n)))
        .map(|(worker, task, n)| ((worker.clone(), task.clone()), n.as_u64().unwrap()))
        .collect();
    assert!(totals.len() >= 6, "{totals:?}");
    println!("begun, by the workers' own account: {totals:?}");
    // Both jobs scrape, each at a time of its own.
    prometheus.wait("the ends of all tasks", PATIENCE, || {
        let ended = |job: &str| -> u64 {
            let names = "celery_task_(succeeded|failed|retried)_total";
            let ended = prometheus.query(&format!("sum({{__name__=~\"{names}\", job=\"{job}\"}})"));
            ended.iter().map(|sample| sample.value as u64).sum()
        };
        let all: u64 = totals.values().sum();
        JOBS.into_iter().all(|job| ended(job) >= all).then_some(())
    });
    assert_eq!(sums("celery_task_started_total"), totals);
    assert_eq!(sums("celery_task_received_total"), totals);
    // A `task-sent` may come after its `task-received`, which names no queue; but these consume one queue each.
    let queues = "sum by (queue_name) (celery_task_received_total{job=\"headcount\"}) > 0";
    let queues = some(prometheus, queues);
    let queues: BTreeSet<&str> = queues.iter().map(|sample| sample.label("queue_name")).collect();
    assert_eq!(queues, BTreeSet::from(["sms", "tracker"]));
    let failed = sums("celery_task_failed_total");
    assert_eq!(failed.values().sum::<u64>(), load["failing"].as_u64().unwrap());
    let sum = |query: &str| {
        some(prometheus, query)
            .iter()
            .map(|sample| sample.value as u64)
            .sum::<u64>()
    };
    let retried = totals[&("tracker@h1".to_owned(), "flaky".to_owned())] / 2;
    assert_eq!(sum("sum(celery_task_retried_total{job=\"headcount\"})"), retried);
    assert_eq!(
        sum("sum(celery_task_sent_total{job=\"headcount\", env=\"test\"})"),
        load["sent"].as_u64().unwrap() + retried
    );
    let exceptions = "sum by (name, exception) (celery_task_failed_total{job=\"headcount\"}) > 0";
    let exceptions = some(prometheus, exceptions);
    let exceptions: BTreeSet<(&str, &str)> = exceptions
        .iter()
        .map(|sample| (sample.label("name"), sample.label("exception")))
        .collect();
    assert_eq!(
        exceptions,
        BTreeSet::from([("fail", "RuntimeError"), ("mixed", "ValueError")])
    );
    // Flower's are of the same events.
    let flower = |kind: &str| {
        sum(&format!(
            "sum(flower_events_total{{job=\"headcount\", type=\"task-{kind}\"}})"
        ))
    };
    assert_eq!(flower("started"), totals.values().sum::<u64>());
    assert_eq!(flower("failed"), load["failing"].as_u64().unwrap());
    let succeeded = sum("sum(celery_task_succeeded_total{job=\"headcount\"})");
    assert_eq!(sum("sum(celery_task_runtime_count{job=\"headcount\"})"), succeeded);
    assert_eq!(
        sum("sum(flower_task_runtime_seconds_count{job=\"headcount\"})"),
        succeeded
    );
    assert!(sum("sum(celery_task_queue_wait_time_count{job=\"headcount\"})") > succeeded / 2);
    assert_eq!(sum("sum(flower_worker_prefetched_tasks{job=\"headcount\"})"), 0);
}

/// One of ten of one task failed, all of another, and none of the others.
fn failures_are_seen(prometheus: &Prometheus) {
    let failing = prometheus.query(FAIL_RATE);
    let names: BTreeSet<&str> = failing.iter().map(|sample| sample.label("name")).collect();
    assert_eq!(names, BTreeSet::from(["fail", "mixed"]), "{failing:?}");
    let mut mixed = failing.iter().filter(|sample| sample.label("name") == "mixed");
    let rate = mixed.next().map(|sample| sample.value);
    assert!(
        rate.is_some_and(|rate| (7.0..13.0).contains(&rate)) && mixed.next().is_none(),
        "{failing:?}"
    );
    // Once nothing fails any more.
    let soon = FAIL_RATE.replace("[10m]", "[5s]");
    prometheus.wait("the end of failures", PATIENCE, || {
        prometheus.query(&soon).is_empty().then_some(())
    });
    let none = FAIL_RATE.replace("> 5", "> 50");
    assert!(
        prometheus
            .query(&none)
            .iter()
            .all(|sample| sample.label("name") == "fail")
    );
}

fn gauges_are_right(prometheus: &Prometheus) {
    // What workers say of their queues, and in their next heartbeats: nobody runs anything any more.
    for (query, expected) in [
        (
            "celery_active_process_count{job=\"headcount\", queue_name=\"sms\"}",
            4.0,
        ),
        ("celery_active_worker_count{job=\"headcount\", queue_name=\"sms\"}", 2.0),
        ("sum(celery_worker_up{job=\"headcount\"})", 3.0),
        ("sum(flower_worker_online{job=\"headcount\"})", 3.0),
        ("sum(celery_worker_tasks_active{job=\"headcount\"})", 0.0),
        ("sum(headcount_metrics_series_folded_total{job=\"headcount\"})", 0.0),
    ] {
        prometheus.wait(&format!("{expected} of {query}"), PATIENCE, || {
            let shown = prometheus.query(query).first().map(|sample| sample.value);
            (shown == Some(expected)).then_some(())
        });
    }
}

fn hostnames(prometheus: &Prometheus, query: &str) -> BTreeSet<String> {
    prometheus
        .query(query)
        .iter()
        .map(|sample| sample.label("hostname").to_owned())
        .collect()
}

// ---------------------------------------------------------------- series end

/// Who is down keeps its series, until it is no longer expected; those of a fleet end with the fleet.
#[test]
fn series_end_with_what_is_no_longer_expected_or_configured() {
    let broker = Broker::redis();
    let config = broker.config(&["sms", "tracker"]) + "[fleet.detect]\nforget_after = \"1m\"\n";
    let headcount = Headcount::start(HEADCOUNT, &config);
    let names = ["sms@h1", "tracker@h1"];
    let workers = Worker::start_all(&broker.url(), &names, &WorkerOptions::default());
    for name in names {
        headcount.wait_worker(name, "up", PATIENCE);
        // Who has never answered is judged by its beats alone.
        wait_until("an answer to a ping", PATIENCE, || {
            let answered = headcount.worker(name)?["signals"]["answer"]["ok"].as_bool();
            (answered == Some(true)).then_some(())
        });
    }
    send_tasks(
        &broker.url(),
        &[("sms", "add", json!([1, 2])), ("tracker", "add", json!([3, 4]))],
    );
    let of = |name: &str, label: &str| headcount.metric(name, label);
    let done = |worker: &str| of("celery_task_succeeded_total", &format!("hostname=\"{worker}\""));
    wait_until("both tasks to be done", PATIENCE, || {
        (names.map(done) == [Some(1.0); 2]).then_some(())
    });
    for (worker, name) in workers.iter().zip(names) {
        worker.sigkill();
        headcount.wait_worker(name, "down", PATIENCE);
    }
    assert_eq!(names.map(done), [Some(1.0); 2], "who is down keeps its series");
    wait_until("the series of a worker that is forgotten to end", PATIENCE * 3, || {
        let text = headcount.get_text("/metrics");
        (!text.contains("tracker@h1")).then_some(())
    });
    assert_eq!(done("sms@h1"), Some(1.0), "who is down keeps its series");
    assert_eq!(of("celery_worker_up", "hostname=\"sms@h1\""), Some(0.0));
    assert_eq!(of("flower_worker_online", "worker=\"sms@h1\""), Some(0.0));

    assert!(of("headcount_probe_failures_total", "fleet=\"tracker\"").is_some());
    headcount.reconfigure(&broker.config(&["sms"]));
    wait_until("the series of a fleet that is gone to end", PATIENCE, || {
        let (status, text) = headcount.try_get("/metrics")?;
        let probed = text.contains("headcount_probe_failures_total{fleet=\"sms\"}");
        (status == 200 && probed && !text.contains("tracker")).then_some(())
    });
}

// ---------------------------------------------------------------- what is served is documented

pub(crate) fn read(path: &str) -> String {
    let path = repository().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The metric that a series is of.
fn family(series: &str) -> &str {
    let ends = ["_total", "_bucket", "_sum"];
    ends.iter().find_map(|end| series.strip_suffix(end)).unwrap_or(series)
}

/// The metrics in the table of `docs/metrics.md`, without `_total`.
fn documented() -> BTreeSet<String> {
    let text = read("docs/metrics.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split(['`', '{']).next())
        .map(|name| family(name).to_owned())
        .collect()
}

/// Metrics of what this test does not have: jobs, nodes, pipelines, a collector.
fn of_more(name: &str) -> bool {
    [
        "headcount_jobs_",
        "headcount_node_",
        "headcount_otlp_",
        "headcount_stats_",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
}

fn what_is_served_is_documented(text: &str) {
    let scraped: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(|name| family(name).to_owned())
        .collect();
    let documented = documented();
    let missing: Vec<_> = scraped.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:?}");
    let gone: Vec<_> = documented.difference(&scraped).filter(|name| !of_more(name)).collect();
    assert!(gone.is_empty(), "in docs/metrics.md, and not served: {gone:?}");
}

// ---------------------------------------------------------------- the rules

pub(crate) fn alerts(rules: &str) -> BTreeSet<&str> {
    rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect()
}

#[test]
fn the_rules_fire_where_they_should_and_nowhere_else() {
    let directory = repository().join("config/prometheus");
    let check = |arguments: &[&str]| promtool(&directory, arguments, "").unwrap_or_else(|said| panic!("{said}"));
    check(&["check", "config", "prometheus.yml"]);
    check(&["test", "rules", "headcount.rules.test.yml"]);
    // Each is expected to fire, and to stay quiet.
    let rules = read("config/prometheus/headcount.rules.yml");
    let tests = read("config/prometheus/headcount.rules.test.yml");
    let lines: Vec<&str> = tests.lines().collect();
    for alert in alerts(&rules) {
        let after = |place: usize| lines.get(place + 1).is_some_and(|line| line.trim() == "exp_alerts:");
        let wanted = format!("alertname: {alert}");
        let expected: Vec<bool> = (0..lines.len())
            .filter(|place| lines[*place].trim() == wanted)
            .map(after)
            .collect();
        assert!(expected.contains(&true), "{alert}: nothing shows that it fires");
        assert!(expected.contains(&false), "{alert}: nothing shows that it stays quiet");
    }
}

#[test]
fn a_rule_that_does_not_hold_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let copy = |name: &str, change: &dyn Fn(String) -> String| {
        let text = change(read(&format!("config/prometheus/{name}")));
        std::fs::write(Path::new(directory.path()).join(name), text).unwrap();
    };
    copy("headcount.rules.test.yml", &|text| text);
    copy("headcount.rules.yml", &|text| {
        text.replace("celery_worker_up == 0", "celery_worker_up == 2")
    });
    let tested = promtool(directory.path(), &["test", "rules", "headcount.rules.test.yml"], "");
    assert!(tested.unwrap_err().contains("CeleryWorkerDown"));
}
