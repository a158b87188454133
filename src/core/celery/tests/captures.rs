//! Every line of the captures, against an independent reading.

use std::collections::BTreeMap;

use serde_json::Value;

use super::flat::{Flat, ours, theirs};
use super::support::{Line, capture};
use crate::celery::Decoder;

fn is_event(line: &Line) -> bool {
    line.text("exchange") == "celeryev" || line.text("channel").starts_with("/0.celeryev/")
}

/// Decodes all events of a capture, each compared; how many of each type.
fn counts(name: &str) -> BTreeMap<String, usize> {
    let mut decoder = Decoder::new();
    let mut counts = BTreeMap::new();
    for line in capture(name).iter().filter(|line| is_event(line)) {
        let mut found = Vec::new();
        let decoded = decoder.decode(line.raw(), |event| found.push(ours(event)));
        let expected: Vec<Flat> = match line.inner() {
            Value::Array(events) => events.iter().map(theirs).collect(),
            event => vec![theirs(&event)],
        };
        assert_eq!(found, expected);
        assert_eq!(
            (decoded.events, decoded.malformed, decoded.why),
            (expected.len(), 0, None)
        );
        for event in expected {
            *counts.entry(event["type"].clone()).or_default() += 1;
        }
    }
    counts
}

fn expect(name: &str, expected: [(&str, usize); 13]) {
    assert_eq!(
        counts(name),
        BTreeMap::from(expected.map(|(kind, count)| (kind.to_owned(), count)))
    );
}

#[test]
fn every_event_on_rabbitmq() {
    expect(
        "rabbitmq-5x",
        [
            ("task-cancelled", 1),
            ("task-failed", 8),
            ("task-progress", 2),
            ("task-received", 80),
            ("task-rejected", 2),
            ("task-retried", 4),
            ("task-revoked", 5),
            ("task-sent", 81),
            ("task-started", 78),
            ("task-succeeded", 63),
            ("worker-heartbeat", 143),
            ("worker-offline", 21),
            ("worker-online", 24),
        ],
    );
}

#[test]
fn every_event_on_redis() {
    expect(
        "redis-5x",
        [
            ("task-cancelled", 1),
            ("task-failed", 8),
            ("task-progress", 2),
            ("task-received", 80),
            ("task-rejected", 2),
            ("task-retried", 4),
            ("task-revoked", 5),
            ("task-sent", 83),
            ("task-started", 78),
            ("task-succeeded", 64),
            ("worker-heartbeat", 146),
            ("worker-offline", 26),
            ("worker-online", 27),
        ],
    );
}
