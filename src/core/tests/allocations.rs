//! Ordinary events cost no allocation from bytes to a worker's row and a roll-up, on either broker. (A binary of its own, since it counts with an allocator of its
//! own.)
#![allow(clippy::unwrap_used)]
#![allow(
    clippy::disallowed_methods,
    reason = "a test may read its data; the core itself reads nothing"
)]

use std::io::{BufRead, BufReader};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use headcount_core::celery::{Decoder, Event, RawMessage};
use headcount_core::detect::roster::Roster;
use headcount_core::detect::table::WorkerTable;
use headcount_core::stats::tally::Tally;
use headcount_core::time::{Mono, Wall};
use serde_json::Value;

fn bodies(capture: &str, is_event: impl Fn(&Value) -> bool) -> Vec<Vec<u8>> {
    let path = format!(
        "{}/../../tests/data/celery-wire/{capture}.jsonl.gz",
        env!("CARGO_MANIFEST_DIR")
    );
    let lines = BufReader::new(GzDecoder::new(std::fs::File::open(path).unwrap())).lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    lines
        .filter(is_event)
        .map(|line| STANDARD.decode(line["body_b64"].as_str().unwrap()).unwrap())
        .collect()
}

#[test]
fn ordinary_events_allocate_nothing() {
    let rabbitmq = bodies("rabbitmq-5x", |line| line["exchange"] == "celeryev");
    let redis = bodies("redis-5x", |line| {
        line["channel"].as_str().unwrap().starts_with("/0.celeryev/")
    });
    let amqp = |body| RawMessage::Amqp {
        content_type: "application/json",
        content_encoding: "utf-8",
        compression: "",
        body,
    };
    let messages: Vec<RawMessage<'_>> = rabbitmq
        .iter()
        .map(|body| amqp(body))
        .chain(redis.iter().map(|payload| RawMessage::Redis { payload }))
        .collect();
    assert_eq!(messages.len(), 448 + 479);
    // Where nobody has a fleet they cost nothing either.
    for roster in [Roster::discovering(), Roster::of([])] {
        nothing_is_allocated(&messages, roster);
    }
}

fn nothing_is_allocated(messages: &[RawMessage<'_>], roster: Roster) {
    let mut decoder = Decoder::new();
    let (mut table, at) = (WorkerTable::new(roster), Mono::from_micros(1));
    let mut tally = Tally::default();
    let mut all = || {
        let mut fold = |event: Event<'_>| match event {
            Event::Worker(event) => {
                let seat = table.worker(at, &event);
                tally.worker(seat, &event);
            }
            Event::Task(event) => tally.count(Wall::from_micros(1), table.task(at, &event), &event),
            Event::Other => {}
        };
        messages
            .iter()
            .map(|raw| decoder.decode(*raw, &mut fold).events)
            .sum::<usize>()
    };
    // The first rounds size the scratch, make the rows, and fill the tally's list of tasks up to the length at which it is tidied.
    let warm: usize = (0..50).map(|_| all()).sum();
    let mut events = 0;
    let counted = allocation_counter::measure(|| events = all());
    assert_eq!((counted.count_total, events, warm), (0, 512 + 526, 50 * events));
}
