//! `config/headcount.toml` is true: it can be read, it names every key, and the defaults that it states are the defaults.

use std::collections::BTreeSet;

use headcount_core::celery::{FanoutPrefix, WireSettings};
use headcount_core::detect::Expected;
use headcount_edge::{brokers, notifiers, sentry, stats, store};

use super::super::{Detect, Metrics, fleet, jobs, keys, read};
use super::{Settings, read_with, variables};

const EXAMPLE: &str = include_str!("../../../config/headcount.toml");

fn as_it_is() -> Settings {
    read_with(EXAMPLE, &variables(&[])).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The example with everything in it that is commented out: lines such as `#key = …` and `#[[table]]`.
fn in_full() -> String {
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => rest.to_owned(),
        _ => line.to_owned(),
    };
    EXAMPLE.lines().map(uncomment).collect::<Vec<_>>().join("\n")
}

fn full_settings() -> Settings {
    let secrets = variables(&[
        ("HEADCOUNT_TOKEN", "correct-horse"),
        ("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T0/B0/x"),
        ("SLACK_BOT_TOKEN", "xoxb-1-2-3"),
        ("SENTRY_DSN", "https://0123456789abcdef@o1.ingest.sentry.io/7"),
        ("NEW_RELIC_LICENSE_KEY", "NRAK-1"),
    ]);
    read_with(&in_full(), &secrets).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_example_is_valid_with_and_without_what_is_commented_out() {
    assert_eq!(as_it_is().fleets.len(), 1);
    assert_eq!(full_settings().fleets.len(), 2);
    let kinds: Vec<_> = full_settings()
        .brokers
        .iter()
        .map(|broker| broker.config.kind)
        .collect();
    assert_eq!(kinds, [brokers::Kind::Celery, brokers::Kind::Flower]);
}

#[test]
fn every_key_is_in_the_example() {
    let full: toml::Table = in_full().parse().unwrap();
    let table = |key: &str| -> BTreeSet<String> {
        let tables = match full.get(key) {
            Some(toml::Value::Table(table)) => vec![table],
            Some(toml::Value::Array(tables)) => tables.iter().filter_map(toml::Value::as_table).collect(),
            _ => panic!("the table {key} is missing"),
        };
        tables.into_iter().flat_map(|table| table.keys().cloned()).collect()
    };
    let check = |table_name: &str, shown: &BTreeSet<String>, keys: &[&str]| {
        assert!(!keys.is_empty(), "the keys of {table_name} are not known");
        let keys: BTreeSet<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        assert_eq!(*shown, keys, "in {table_name}");
    };
    for (name, keys) in read::plain_tables() {
        check(name, &table(name), keys);
    }
    for (kind, keys) in [
        (None, keys::keys_of::<brokers::Config>()),
        (Some("flower"), keys::keys_of::<brokers::flower::Config>()),
    ] {
        let tables = full["broker"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(toml::Value::as_table);
        let of_kind = tables.filter(|table| table.get("kind").and_then(toml::Value::as_str) == kind);
        check(
            "broker",
            &of_kind.flat_map(|table| table.keys().cloned()).collect(),
            keys,
        );
    }
    let routes = full["broker"][0]["routes"][0].as_table().unwrap().keys().cloned();
    check(
        "broker.routes",
        &routes.collect(),
        keys::keys_of::<brokers::RouteConfig>(),
    );
    check("stats", &table("stats"), keys::keys_of::<stats::Config>());
    check("fleet", &table("fleet"), keys::keys_of::<fleet::FleetTable>());
    check("job", &table("job"), keys::keys_of::<jobs::JobTable>());
    check("node", &table("node"), keys::keys_of::<super::super::node::NodeTable>());
    let detect: BTreeSet<String> = full["fleet"][0]["detect"].as_table().unwrap().keys().cloned().collect();
    check(
        "fleet.detect",
        &detect,
        keys::keys_of::<super::super::detect::DetectTable>(),
    );
    for kind in notifiers::KINDS {
        let of_kind = full["notify"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|table| table["kind"].as_str() == Some(*kind));
        let shown = of_kind
            .flat_map(|table| table.as_table().unwrap().keys().cloned())
            .collect();
        check(kind, &shown, keys::keys_of_notifier(kind));
    }
    assert_eq!(
        full.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        read::TABLES.iter().copied().collect()
    );
}

fn full_pipeline() -> toml::Table {
    let full: toml::Table = in_full().parse().unwrap();
    full["stats"][0].as_table().unwrap().clone()
}

#[test]
fn the_defaults_that_it_states_are_the_defaults() {
    let (bare, full) = (as_it_is(), full_settings());
    assert_eq!(bare.server.listen, full.server.listen);
    assert_eq!(store::Config::default(), full.store);
    assert_eq!(bare.metrics, Metrics::default());
    assert_eq!(full.metrics.limits, Metrics::default().limits);
    assert_eq!(full.metrics.labels, [("env".to_owned(), "production".to_owned())]);
    assert_eq!(bare.sentry, None);
    let sentry = full.sentry.as_ref().unwrap();
    assert_eq!(
        (&*sentry.environment, sentry.traces_sample_rate, sentry.error_window),
        ("production", 0.0, sentry::DEFAULT_WINDOW)
    );
    assert_eq!(sentry.release, sentry::DEFAULT_RELEASE);
    assert_eq!(
        (full.detect, full.fleets[0].detect),
        (Detect::default(), Detect::default())
    );

    let pipeline = &full.stats[0];
    let mut bare_pipeline = full_pipeline();
    for key in ["cursor", "future", "settle", "lease", "processors", "step"] {
        bare_pipeline.remove(key).unwrap();
    }
    let text = toml::to_string(&bare_pipeline).unwrap();
    let usual_pipeline: stats::Config = toml::from_str(&text).unwrap();
    assert_eq!(usual_pipeline, *pipeline);

    let usual = WireSettings::default();
    let broker = &full.brokers[0].config;
    assert_eq!(broker.event_exchange.as_ref(), Some(&usual.event_exchange));
    assert_eq!(broker.event_queue_prefix.as_ref(), Some(&usual.event_queue_prefix));
    assert_eq!(broker.control_exchange.as_ref(), Some(&usual.control_exchange));
    assert_eq!(broker.global_keyprefix.as_ref(), Some(&usual.global_keyprefix));
    assert_eq!(broker.fanout_prefix, Some(FanoutPrefix::Enabled(true)));
    assert_eq!(usual.fanout_prefix, FanoutPrefix::Enabled(true));
    assert_eq!(broker.fanout_patterns, Some(usual.fanout_patterns));
    assert_eq!(broker.priority_steps.as_ref(), Some(&usual.priority_steps));
    assert_eq!(broker.sep.as_ref(), Some(&usual.sep));

    assert!(bare.otlp.is_none(), "without the table nothing is sent");
    let usual = super::valid::otlp("");
    let stated = full.otlp.as_ref().unwrap();
    assert_eq!(
        (
            usual.traces_sample_rate,
            usual.metrics_every,
            usual.metrics_temporality,
            usual.logs,
            &usual.service_name
        ),
        (
            stated.traces_sample_rate,
            stated.metrics_every,
            stated.metrics_temporality,
            stated.logs,
            &stated.service_name
        )
    );

    assert!(bare.nodes.is_empty(), "without the table there is no node");
    let stated = &full.nodes[0];
    let usual = super::valid::node("");
    assert_eq!(
        format!(
            "{:?}",
            super::super::Node {
                max_priority: None,
                ..stated.clone()
            }
        ),
        format!("{usual:?}")
    );

    let (bare, full) = (&bare.fleets[0], &full.fleets[0]);
    assert_eq!((&bare.hostnames, &bare.expected), (&full.hostnames, &full.expected));
    assert_eq!(full.expected, Expected::Auto);
    assert_eq!(full.minimum, Some(1), "what the detector takes where nothing is given");
}
