//! What the benches share: whether one is in earnest, the time that a core has worked, and the captures.
#![allow(dead_code, reason = "no bench needs all of it")]

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use headcount_core::celery::RawMessage;
use serde_json::Value;

/// How long one round goes on; the best of [`ROUNDS`] counts, which a busy machine disturbs least.
const ROUND: Duration = Duration::from_millis(300);
const ROUNDS: usize = 7;

/// `cargo bench` says so; `cargo test --all-targets` does not, and only wants to know whether it works.
pub(crate) fn in_earnest() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Time that this thread has been on a core, where Linux tells; the time of day elsewhere. What other programs do on a
/// shared machine then matters less.
pub(crate) fn on_core(since: Instant) -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    match stat.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()) {
        Some(nanoseconds) => Duration::from_nanos(nanoseconds),
        None => since.elapsed(),
    }
}

/// How many seconds one call of `once` takes, at its best; called so many times between two looks at the clock.
pub(crate) fn best(calls: u32, mut once: impl FnMut()) -> f64 {
    let started = Instant::now();
    let mut best = f64::MAX;
    for _ in 0..if in_earnest() { ROUNDS } else { 1 } {
        let start = on_core(started);
        let mut called = 0_u32;
        while called == 0 || (in_earnest() && on_core(started) - start < ROUND) {
            (0..calls).for_each(|_| once());
            called += calls;
        }
        best = best.min((on_core(started) - start).as_secs_f64() / f64::from(called));
    }
    best
}

/// The lines of a capture in `tests/data/`.
pub(crate) fn capture(name: &str) -> impl Iterator<Item = Value> {
    let path = format!(
        "{}/../../tests/data/celery-wire/{name}.jsonl.gz",
        env!("CARGO_MANIFEST_DIR")
    );
    let lines = BufReader::new(GzDecoder::new(std::fs::File::open(path).unwrap())).lines();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap())
}

/// The message of such a line.
pub(crate) fn body(line: &Value) -> Vec<u8> {
    STANDARD.decode(line["body_b64"].as_str().unwrap()).unwrap()
}

/// The same message as RabbitMQ hands it over.
pub(crate) fn amqp(body: &[u8]) -> RawMessage<'_> {
    RawMessage::Amqp {
        content_type: "application/json",
        content_encoding: "utf-8",
        compression: "",
        body,
    }
}
