//! What folding a document into a roll-up costs, and merging two states: `cargo bench -p headcount-core --bench rollup`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a bench reads the clock and prints; the core itself does nothing of that"
)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use headcount_core::stats::measure::{Field, Measure};
use headcount_core::stats::plan::Plan;
use headcount_core::stats::rollup::Rollup;
use headcount_core::stats::value::Value;
use headcount_core::stats::window::Open;
use headcount_core::time::Wall;

const ROUND: Duration = Duration::from_millis(300);
const ROUNDS: usize = 7;
/// Groups in each bucket, and buckets.
const GROUPS: u64 = 200;
const BUCKETS: u64 = 60;
const DOCUMENTS: usize = 200_000;

/// `cargo bench` says so; `cargo test --all-targets` does not, and only wants to know whether it works.
fn in_earnest() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// The best of some rounds, in nanoseconds for each of `count`.
fn measure(name: &str, count: usize, mut once: impl FnMut()) {
    once();
    let mut best = f64::MAX;
    for _ in 0..if in_earnest() { ROUNDS } else { 1 } {
        let start = Instant::now();
        let mut times = 0_u32;
        while times == 0 || (in_earnest() && start.elapsed() < ROUND) {
            once();
            times += 1;
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(times));
    }
    println!("{name:<52} {:>8.1} ns", best * 1e9 / count as f64);
}

/// The same numbers every time (splitmix64).
fn random(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn plan(measures: &[(&str, &str)]) -> Plan {
    let fields: [Field; 2] = ["campaign".parse().unwrap(), "country".parse().unwrap()];
    let measures: Vec<(&str, Measure)> = measures
        .iter()
        .map(|(name, text)| (*name, text.parse().unwrap()))
        .collect();
    Plan::new(&fields, measures.iter().map(|(name, measure)| (*name, measure))).unwrap()
}

fn main() {
    let names: Vec<String> = (0..GROUPS).map(|n| format!("campaign-{n}")).collect();
    let documents = if in_earnest() { DOCUMENTS } else { 1_000 };
    let documents: Vec<(Wall, usize, f64, f64, i64)> = (0..documents as u64)
        .map(|n| {
            let bucket = Wall::from_micros((random(n) % BUCKETS * 60_000_000).cast_signed());
            let group = (random(n + 1_000_000) % GROUPS) as usize;
            let price = (random(n + 2_000_000) % 10_000) as f64 / 100.0;
            let ms = 10.0 * (random(n + 3_000_000) as f64 / u64::MAX as f64 * 6.0).exp();
            (
                bucket,
                group,
                price,
                ms,
                (random(n + 4_000_000) % 1_000_000).cast_signed(),
            )
        })
        .collect();
    for (name, measures) in [
        ("count", &[("n", "count")][..]),
        ("count, sum", &[("n", "count"), ("paid", "sum(price)")]),
        (
            "count, sum, p95",
            &[("n", "count"), ("paid", "sum(price)"), ("slow", "p95(ms)")],
        ),
        (
            "count, sum, p95, distinct",
            &[
                ("n", "count"),
                ("paid", "sum(price)"),
                ("slow", "p95(ms)"),
                ("people", "distinct(user)"),
            ],
        ),
    ] {
        let plan = plan(measures);
        let mut open = Open::default();
        measure(&format!("a document: {name}"), documents.len(), || {
            for (bucket, group, price, ms, user) in &documents {
                let group = [Value::text(&names[*group]), Value::text("de")];
                let all = [Value::Float(*price), Value::Float(*ms), Value::Int(*user)];
                let values = &all[..plan.fields().len()];
                open.fold(&plan, *bucket, &group, values).unwrap().unwrap();
            }
        });
        let states: Vec<Rollup> = open
            .close(Wall::from_micros(i64::MAX))
            .into_iter()
            .map(|(placed, _)| placed.rollup)
            .collect();
        measure(&format!("merging a state: {name}"), states.len(), || {
            let mut sum = Rollup::new(&plan);
            states.iter().for_each(|state| sum.merge(state));
            black_box(sum);
        });
        let bytes: Vec<Vec<u8>> = states.iter().map(|state| state.to_bytes(&plan)).collect();
        measure(&format!("reading a state's bytes: {name}"), states.len(), || {
            bytes
                .iter()
                .for_each(|bytes| drop(black_box(Rollup::from_bytes(&plan, bytes).unwrap())));
        });
        let size = bytes.iter().map(Vec::len).sum::<usize>() / bytes.len();
        println!("{:<52} {size:>8} bytes", format!("a state: {name}"));
    }
}
