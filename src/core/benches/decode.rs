//! How many events a core decodes in a second: `cargo bench -p headcount-core`.
//!
//! The messages are real ones, from the captures in `tests/data/`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a bench reads its data and the clock, and prints; the core itself does nothing of that"
)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::hint::black_box;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{amqp, best, body, capture};
use headcount_core::celery::{Decoder, RawMessage};
use serde_json::{Value, json};

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
    let best = best(1_000, || {
        once();
    });
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
