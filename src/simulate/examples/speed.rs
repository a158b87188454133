//! How fast the detector is, and what it says: `cargo run --release -p headcount-simulate --example speed -- DAYS [SCENARIO|quiet|all] [all] [THREADS]`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "an example reads its arguments and a clock, and prints"
)]

use std::time::{Duration, Instant};

use headcount_simulate::run::{Detector, Plan, run};
use headcount_simulate::scenarios;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let days = args.first().and_then(|days| days.parse().ok()).unwrap_or(0.1);
    let scenarios: Vec<_> = match args.get(1).map(String::as_str) {
        Some("quiet") => scenarios::CATALOGUE.iter().filter(|one| one.quiet).collect(),
        Some("all") | None => scenarios::CATALOGUE.iter().collect(),
        Some(name) => scenarios::find(name).into_iter().collect(),
    };
    let detectors = if args.get(2).is_some_and(|who| who == "all") {
        Detector::ALL.to_vec()
    } else {
        vec![Detector::Headcount]
    };
    let plan = Plan {
        scenarios,
        detectors,
        workers: 100,
        days,
        fault_days: days,
        seed: 1,
        threads: args.get(3).and_then(|threads| threads.parse().ok()).unwrap_or(1),
    };
    let began = Instant::now();
    let results = run(&plan, &|_| {});
    let took = began.elapsed();
    for measured in &results.measured {
        println!("{} {}", measured.detector.name(), measured.threshold);
        for (scenario, tally) in plan.scenarios.iter().zip(&measured.scenarios) {
            let mut detect = tally.detect.clone();
            detect.sort_unstable();
            let at = |q: f64| {
                detect
                    .get(((detect.len() as f64 - 1.0) * q) as usize)
                    .map_or(0.0, |t| *t as f64 / 1e6)
            };
            println!(
                "{:>2} {:20} false {:>5} failures {:>5} missed {:>4} incidents {:>4} messages {:>4} right {:>4}/{:<4} detect {:.1} {:.1} {:.1}",
                scenario.number,
                scenario.name,
                tally.false_alarms,
                tally.failures,
                tally.missed,
                tally.incidents,
                tally.messages,
                tally.diagnosis_right,
                tally.diagnosed,
                at(0.5),
                at(0.99),
                at(1.0)
            );
            for example in tally.examples.iter().take(4) {
                println!("     {example}");
            }
        }
    }
    let each = |took: Duration| took.as_nanos() as f64 / results.beats.max(1) as f64;
    println!(
        "{} beats in {:.2} s: {:.0} ns each",
        results.beats,
        took.as_secs_f64(),
        each(took)
    );
    if let Some(worked) = processor_time() {
        println!(
            "processor time: {:.2} s, {:.0} ns each",
            worked.as_secs_f64(),
            each(worked)
        );
    }
}

/// What all threads have worked so far, which other programs beside it change little; known on Linux.
fn processor_time() -> Option<Duration> {
    /// Linux counts it in hundredths of a second for all programs, whatever it does inside (`man 5 proc_pid_stat`).
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name, in brackets; `utime` and `stime` are the 14th and the 15th.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks = ticks.map(|ticks| ticks.parse::<u32>().ok()).sum::<Option<u32>>()?;
    Some(TICK * ticks)
}
