//! How many events a core decodes in a second: `cargo bench -p headcount-core`.
//!
//! The messages are real ones, from the captures in `tests/data/`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a bench reads its data and the clock, and prints; the core itself does nothing of that"
)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use headcount_core::celery::{Decoder, RawMessage};
use serde_json::{Value, json};

/// How long one round goes on; the best of [`ROUNDS`] counts, which a busy machine disturbs least.
const ROUND: Duration = Duration::from_millis(300);
const ROUNDS: usize = 5;

/// `cargo bench` says so; `cargo test --all-targets` does not, and only wants to know whether it works.
fn in_earnest() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

fn capture(name: &str) -> impl Iterator<Item = Value> {
    let path = format!(
        "{}/../../tests/data/celery-wire/{name}.jsonl.gz",
        env!("CARGO_MANIFEST_DIR")
    );
    let lines = BufReader::new(GzDecoder::new(std::fs::File::open(path).unwrap())).lines();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap())
}

fn body(line: &Value) -> Vec<u8> {
    STANDARD.decode(line["body_b64"].as_str().unwrap()).unwrap()
}

fn amqp(body: &[u8]) -> RawMessage<'_> {
    RawMessage::Amqp {
        content_type: "application/json",
        content_encoding: "utf-8",
        compression: "",
        body,
    }
}

/// Time that this thread has been on a core, where Linux tells; the time of day elsewhere. What other programs do on a
/// shared machine then matters less.
fn on_core(since: Instant) -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    match stat.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()) {
        Some(nanoseconds) => Duration::from_nanos(nanoseconds),
        None => since.elapsed(),
    }
}

fn measure(name: &str, raw: RawMessage<'_>, bytes: usize) {
    let mut decoder = Decoder::new();
    let mut once = || {
        black_box(decoder.decode(black_box(raw), |event| {
            let _ = black_box(event);
        }))
        .events
    };
    let events = once();
    let allocations = allocation_counter::measure(|| {
        once();
    });
    let started = Instant::now();
    let mut best = f64::MAX;
    for _ in 0..if in_earnest() { ROUNDS } else { 1 } {
        let start = on_core(started);
        let mut messages = 0_u32;
        while messages == 0 || (in_earnest() && on_core(started) - start < ROUND) {
            for _ in 0..1_000 {
                once();
            }
            messages += 1_000;
        }
        best = best.min((on_core(started) - start).as_secs_f64() / f64::from(messages));
    }
    println!(
        "{name:<28} {:>10.0} events/s {:>8.1} ns/event {:>6.2} allocations/event ({events} events in {bytes} bytes)",
        events as f64 / best,
        best * 1e9 / events as f64,
        allocations.count_total as f64 / events as f64,
    );
}

fn main() {
    let heartbeat = capture("rabbitmq-5x")
        .find(|line| line["routing_key"] == "worker.heartbeat")
        .unwrap();
    let heartbeat = body(&heartbeat);
    measure("heartbeat, RabbitMQ", amqp(&heartbeat), heartbeat.len());

    let enveloped = capture("redis-5x")
        .find(|line| line["channel"] == "/0.celeryev/worker.heartbeat")
        .unwrap();
    let enveloped = body(&enveloped);
    measure(
        "heartbeat, Redis",
        RawMessage::Redis { payload: &enveloped },
        enveloped.len(),
    );

    // A full batch, as Celery sends it at most: 24 entries, put together from real ones.
    let entries: Vec<Value> = capture("rabbitmq-5x")
        .filter(|line| line["routing_key"] == "task.multi")
        .flat_map(|line| serde_json::from_slice::<Vec<Value>>(&body(&line)).unwrap())
        .take(24)
        .collect();
    let multi = Value::from(entries).to_string();
    measure("task.multi of 24, RabbitMQ", amqp(multi.as_bytes()), multi.len());

    let envelope = json!({
        "body": STANDARD.encode(&multi),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"hostname": "sms@h1"},
        "properties": {
            "delivery_mode": 1,
            "delivery_info": {"exchange": "celeryev", "routing_key": "task.multi"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": "ab67796e-b991-41d7-bf5e-0c3de6284cf6",
        },
    })
    .to_string();
    measure(
        "task.multi of 24, Redis",
        RawMessage::Redis {
            payload: envelope.as_bytes(),
        },
        envelope.len(),
    );
}
