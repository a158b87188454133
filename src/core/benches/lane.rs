//! How many events a core takes from bytes to a worker's row in a second: `cargo bench -p headcount-core --bench lane`.
//!
//! The events are real ones, from the capture in `tests/data/`, again and again.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a bench reads its data and the clock, and prints; the core itself does nothing of that"
)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{amqp, best, body, capture};
use headcount_core::celery::{Decoder, Event};
use headcount_core::detect::roster::Roster;
use headcount_core::detect::table::WorkerTable;
use headcount_core::stats::series::{Book, Limits};
use headcount_core::stats::tally::Tally;
use headcount_core::time::{Mono, Wall};

fn bodies(kind: impl Fn(&str) -> bool) -> Vec<Vec<u8>> {
    capture("rabbitmq-5x")
        .filter(|line| line["exchange"] == "celeryev" && kind(line["routing_key"].as_str().unwrap()))
        .map(|line| body(&line))
        .collect()
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
    let mut book = Book::new(Limits::default());
    let mut at = 0_u64;
    let mut rounds = 0_u32;
    let mut once = || {
        let mut events = 0;
        for body in bodies {
            at += 1_000;
            let now = Mono::from_micros(at);
            let decoded = decoder.decode(amqp(body), |event| match event {
                Event::Worker(event) if to != To::Nowhere => {
                    let seat = table.worker(now, &event);
                    tally.worker(seat, &event);
                }
                Event::Task(event) if to != To::Nowhere => {
                    let seat = table.task(now, &event);
                    if to == To::RowsAndRollups {
                        tally.count(Wall::from_micros(1), seat, &event);
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
            tally.hand_over(Mono::from_micros(at), "main", &mut book);
        }
        events
    };
    let mut events = once();
    events = events.max(once());
    let best = best(10, || {
        once();
    });
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
