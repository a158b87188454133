//! How many events a core takes from bytes to a worker's row in a second: `cargo bench -p headcount-core --bench lane`.
//!
//! The events are real ones, from the capture in `tests/data/`, again and again.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a bench reads its data and the clock, and prints; the core itself does nothing of that"
)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use headcount_core::celery::{Decoder, Event, RawMessage};
use headcount_core::detect::roster::Roster;
use headcount_core::detect::table::WorkerTable;
use headcount_core::stats::tally::Tally;
use headcount_core::time::{Mono, Wall};
use serde_json::Value;

const ROUND: Duration = Duration::from_millis(300);
const ROUNDS: usize = 7;

/// `cargo bench` says so; `cargo test --all-targets` does not, and only wants to know whether it works.
fn in_earnest() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

fn bodies(kind: impl Fn(&str) -> bool) -> Vec<Vec<u8>> {
    let path = format!(
        "{}/../../tests/data/celery-wire/rabbitmq-5x.jsonl.gz",
        env!("CARGO_MANIFEST_DIR")
    );
    let lines = BufReader::new(GzDecoder::new(std::fs::File::open(path).unwrap())).lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    lines
        .filter(|line| line["exchange"] == "celeryev" && kind(line["routing_key"].as_str().unwrap()))
        .map(|line| STANDARD.decode(line["body_b64"].as_str().unwrap()).unwrap())
        .collect()
}

/// Time that this thread has been on a core, where Linux tells; the time of day elsewhere.
fn on_core(since: Instant) -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    match stat.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()) {
        Some(nanoseconds) => Duration::from_nanos(nanoseconds),
        None => since.elapsed(),
    }
}

/// How far an event goes.
#[derive(Clone, Copy, PartialEq)]
enum To {
    Nowhere,
    Rows,
    RowsAndRollups,
}

fn measure(name: &str, bodies: &[Vec<u8>], to: To) {
    let mut decoder = Decoder::new();
    let mut table = WorkerTable::new(Roster::discovering());
    let mut tally = Tally::default();
    let mut at = 0_u64;
    let mut rounds = 0_u32;
    let mut once = || {
        let mut events = 0;
        for body in bodies {
            at += 1_000;
            let now = Mono::from_micros(at);
            let raw = RawMessage::Amqp {
                content_type: "application/json",
                content_encoding: "utf-8",
                compression: "",
                body,
            };
            let decoded = decoder.decode(raw, |event| match event {
                Event::Worker(event) if to != To::Nowhere => table.worker(now, &event),
                Event::Task(event) if to != To::Nowhere => {
                    let fleet = table.task(now, &event);
                    if to == To::RowsAndRollups {
                        tally.count(Wall::from_micros(1), fleet, &event);
                    }
                }
                event => drop(std::hint::black_box(event)),
            });
            events += decoded.events;
        }
        // As the lane does each second, which is after some hundred thousand events at this speed.
        rounds += 1;
        if rounds.is_multiple_of(1_000) {
            drop(std::hint::black_box(tally.drain(|_| "sms".into())));
        }
        events
    };
    let mut events = once();
    events = events.max(once());
    let started = Instant::now();
    let mut best = f64::MAX;
    for _ in 0..if in_earnest() { ROUNDS } else { 1 } {
        let start = on_core(started);
        let mut times = 0_u32;
        while times == 0 || (in_earnest() && on_core(started) - start < ROUND) {
            for _ in 0..10 {
                once();
            }
            times += 10;
        }
        best = best.min((on_core(started) - start).as_secs_f64() / f64::from(times));
    }
    println!(
        "{name:<32} {:>10.0} events/s {:>8.1} ns/event",
        events as f64 / best,
        best * 1e9 / events as f64
    );
}

fn main() {
    for (name, kind) in [("workers' events", "worker."), ("tasks' events", "task.")] {
        let bodies = bodies(|key| key.starts_with(kind));
        measure(&format!("{name}, decoded"), &bodies, To::Nowhere);
        measure(&format!("{name}, into rows"), &bodies, To::Rows);
        measure(&format!("{name}, and roll-ups"), &bodies, To::RowsAndRollups);
    }
}
