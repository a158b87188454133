//! Whatever the dashboard and the rules ask a Prometheus that has scraped a live Headcount, is answered: their series exist, have
//! the labels that are asked for, and every query gives something, but for the few of faults that this Headcount does not have.

use std::collections::BTreeSet;
use std::time::Duration;

use headcount_testkit::{
    Broker, ElasticStandIn, Headcount, MongoDb, OtlpStandIn, Prometheus, SlackStandIn, Worker, WorkerOptions,
    finish_script, start_script,
};
use serde_json::Value;

use crate::pipelines::{Pipeline, Source};
use crate::prometheus::{alerts, read};

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const PATIENCE: Duration = Duration::from_secs(120);
/// How long tasks are sent, in seconds.
const LOAD: &str = "5";
/// The one fault that a busy machine is for Headcount: a broker that does not take a question within its second.
const PROBE_FAILURES: &str = "headcount_probe_failures_total";

/// What is rightly empty, by a part of the query, and why.
const EMPTY: [(&str, &str); 16] = [
    ("headcount_actor_restarts_total", "no actor has panicked"),
    (PROBE_FAILURES, "all probes could be made"),
    ("headcount_task_counts_lost_total", "the store works"),
    ("headcount_metrics_series_folded_total", "there are few labels"),
    ("headcount_events_lost_total[15m]", "none was lost"),
    (
        "headcount_fleet_state{state=\"down\"} == 1",
        "each fleet has its minimum",
    ),
    ("headcount_store_failing", "the store works"),
    ("headcount_broker_up == 0", "the broker is heard"),
    ("absent(headcount_build_info)", "it is there"),
    ("up{job=\"headcount\"} == 0", "it answers"),
    ("headcount_otlp_dropped_total[15m]", "the collector takes all"),
    ("headcount_sentry_dropped_total{", "there is no Sentry"),
    ("headcount_notifications_total{outcome=\"refused\"}", "Slack takes all"),
    ("celery_queue_length) > 100", "no queue is long"),
    ("headcount_stats_lag_seconds > 600", "the pipeline keeps up"),
    ("headcount_jobs_slots_missed_total", "no slot was missed"),
];

/// Labels that not Headcount gives a series, and who does.
const OF_OTHERS: [(&str, &str); 4] = [
    ("job", "the scraper"),
    ("instance", "the scraper"),
    (
        "exported_job",
        "the scraper, of a label `job` that a series has of itself",
    ),
    ("namespace", "Kubernetes' service discovery"),
];

#[test]
fn every_query_is_answered() {
    let (broker, slack) = (Broker::rabbitmq(), SlackStandIn::start());
    let (mongo, elastic) = (MongoDb::start(), ElasticStandIn::start());
    let pipeline = Pipeline::new(&mongo, &elastic.sink("clicks-1m"));
    let source = Source::of(&mongo);
    source.insert_past(500, 1, 600);
    // Seldom enough that no slot is missed while the machine stalls.
    let own = "[[node]]\nbroker = \"main\"\nqueue = \"own\"\n\n\
               [[job]]\nname = \"pinging\"\nevery = \"10s\"\nbroker = \"main\"\nqueue = \"own\"\ntask = \"headcount.ping\"\n\n";
    let collector = OtlpStandIn::start();
    let otlp = format!("[otlp]\nendpoint = \"{}\"\n\n", collector.endpoint());
    let config = broker.config(&["sms", "tracker"]) + &otlp + &slack.webhook_config() + own + &pipeline.config();
    let headcount = Headcount::start(HEADCOUNT, &config);
    let prometheus = Prometheus::start(headcount.url().trim_start_matches("http://"), &["headcount"]);
    let names = ["sms@h1", "sms@h2", "tracker@h1"];
    let workers = Worker::start_all(&broker.url(), &names, &WorkerOptions::default());
    for name in names {
        headcount.wait_worker(name, "up", PATIENCE);
    }
    let load = start_script(&broker.url(), "load.py", &[LOAD, "4"]);
    load.wait_exit(PATIENCE);
    finish_script(&load);
    workers[1].sigkill();
    headcount.wait_worker("sms@h2", "down", PATIENCE);

    for query in dashboard_queries().into_iter().chain(rule_queries()) {
        selectors_are_there(&prometheus, &query);
        let why_empty = EMPTY.iter().find(|(part, _)| query.text.contains(part));
        match why_empty {
            Some((part, why)) => {
                let happened = || {
                    *part == PROBE_FAILURES && headcount.metric(PROBE_FAILURES, "").is_some_and(|failed| failed > 0.0)
                };
                // A scrape that came late is such a fault for a moment; what has happened is in an increase for minutes.
                let what = format!("end of an answer to {query:?}: {part} is empty, as {why}");
                prometheus.wait(&what, PATIENCE, || {
                    (prometheus.query(&query.text).is_empty() || happened()).then_some(())
                });
            }
            None => prometheus.wait(&format!("an answer to {query:?}"), PATIENCE, || {
                let answer = prometheus.query(&query.text);
                let labelled = |label: &String| answer.iter().any(|sample| !sample.label(label).is_empty());
                (!answer.is_empty() && query.shown.iter().all(labelled)).then_some(())
            }),
        }
    }
}

/// One query, and the labels that its answer is shown by.
#[derive(Debug)]
struct Query {
    text: String,
    shown: Vec<String>,
}

/// Whether each series that the query is made of is there, with the labels that it is summed by.
fn selectors_are_there(prometheus: &Prometheus, query: &Query) {
    let selectors = selectors(&query.text);
    assert!(!selectors.is_empty(), "{query:?}");
    for selector in &selectors {
        prometheus.wait(&format!("{selector}, for {query:?}"), PATIENCE, || {
            (!prometheus.query(selector).is_empty()).then_some(())
        });
    }
    let of_others = |label: &&str| OF_OTHERS.iter().any(|(other, _)| other == label);
    for label in grouped_by(&query.text).into_iter().filter(|label| !of_others(label)) {
        let has = |selector: &String| {
            prometheus
                .query(selector)
                .iter()
                .any(|sample| !sample.label(label).is_empty())
        };
        // Between a scrape that came late and the next there is no series at all.
        let what = format!("a series that has the label {label}: {query:?}");
        prometheus.wait(&what, PATIENCE, || selectors.iter().any(has).then_some(()));
    }
}

/// The series that a query names, with what is asked of their labels.
fn selectors(query: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    let mut rest = query;
    while let Some(start) = rest.find(is_part) {
        rest = &rest[start..];
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let begins = ["celery_", "flower_", "headcount_", "process_"];
        let labels = match after.strip_prefix('{') {
            Some(labels) => &after[..labels.find('}').expect("a brace that ends") + 2],
            None => "",
        };
        if begins.iter().any(|begin| word.starts_with(begin)) {
            found.insert(format!("{word}{labels}"));
        }
        rest = &after[labels.len()..];
    }
    found
}

/// The labels in all `by (…)`, but for a histogram's bounds.
fn grouped_by(query: &str) -> BTreeSet<&str> {
    let groups = query.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
    groups
        .flat_map(|labels| labels.split(','))
        .map(str::trim)
        .filter(|label| *label != "le")
        .collect()
}

/// Every query of the dashboard, with what Grafana puts into it.
fn dashboard_queries() -> Vec<Query> {
    let dashboard: Value = serde_json::from_str(&read("config/grafana/headcount.json")).unwrap();
    let mut queries = Vec::new();
    collect(&dashboard, &mut queries);
    assert!(queries.len() >= 20, "{queries:?}");
    queries
}

/// All texts under the key `expr`, and the queries of variables.
fn collect(value: &Value, queries: &mut Vec<Query>) {
    match value {
        Value::Object(object) => {
            if let Some(query) = object.get("expr").and_then(Value::as_str) {
                let legend = object.get("legendFormat").and_then(Value::as_str).unwrap_or_default();
                let labels = legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
                queries.push(Query {
                    text: fill_in(query),
                    shown: labels.map(|label| label.trim().to_owned()).collect(),
                });
            }
            if let Some(query) = object.get("definition").and_then(Value::as_str) {
                let inside = query
                    .strip_prefix("label_values(")
                    .and_then(|rest| rest.strip_suffix(')'))
                    .and_then(|inside| inside.rsplit_once(", "));
                let (metric, label) = inside.expect("label_values(metric, label)");
                queries.push(Query {
                    text: fill_in(metric),
                    shown: vec![label.to_owned()],
                });
            }
            object.values().for_each(|inner| collect(inner, queries));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, queries)),
        _ => {}
    }
}

fn fill_in(query: &str) -> String {
    let variables = [
        ("$__rate_interval", "5m"),
        ("$__range", "5m"),
        ("$job", "headcount"),
        ("$fleet", ".+"),
        ("$queue", ".+"),
        ("$task", ".+"),
        ("$worker", ".+"),
    ];
    let filled = variables.iter().fold(query.to_owned(), |query, (variable, value)| {
        query.replace(variable, value)
    });
    assert!(
        !filled.contains('$'),
        "a variable that this test does not know: {filled}"
    );
    filled
}

/// Every expression of the rules.
fn rule_queries() -> Vec<Query> {
    let rules = read("config/prometheus/headcount.rules.yml");
    let mut queries = Vec::new();
    let mut lines = rules.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(expression) = line.trim().strip_prefix("expr:") else {
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let mut text = expression.trim().trim_start_matches('|').to_owned();
        while let Some(more) = lines.next_if(|more| more.len() - more.trim_start().len() > indent) {
            text += "\n";
            text += more;
        }
        queries.push(Query {
            text,
            shown: Vec::new(),
        });
    }
    assert_eq!(queries.len(), alerts(&rules).len());
    queries
}
