//! `make matrix`: every fault against real Celery, ten times each on both brokers, with what Headcount told of it and when.
//!
//! The daemon as its users start it, with default settings; real Redis, RabbitMQ and Celery workers; the stand-in for
//! Slack. Each run is a fleet of its own, ten of them side by side on one broker; a broker's outage is ten rounds. The
//! same scenario is played on both brokers at the same time, and nothing else then.
//!
//! `HEADCOUNT_MATRIX` names the scenarios, with commas between them, or is `all`: without it nothing is played, so that
//! `cargo test` does not wait for it. `HEADCOUNT_MATRIX_RUNS` is how often each is played, if not ten times; what is
//! played less often is not put into the document. Exit code 1: something was not as it should be.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod outage;
mod outcome;
mod scenarios;
mod stage;
mod table;

use std::process::ExitCode;
use std::time::Instant;

use headcount_testkit::Broker;
use scenarios::{SCENARIOS, Scenario};
use stage::{Crew, Shape};
use table::{HEAD, Row};

const RUNS: usize = 10;
/// Brokers that take turns in being killed; a RabbitMQ takes both cores for ten seconds to start.
const REDISES: usize = 5;
const RABBITMQS: usize = 2;
const BROKERS: [fn() -> Broker; 2] = [Broker::redis, Broker::rabbitmq];

fn main() -> ExitCode {
    let Ok(chosen) = std::env::var("HEADCOUNT_MATRIX") else {
        println!("nothing played: make matrix");
        return ExitCode::SUCCESS;
    };
    let runs = std::env::var("HEADCOUNT_MATRIX_RUNS").map_or(RUNS, |runs| runs.parse().expect("a number of runs"));
    let chosen: Vec<&str> = chosen.split(',').map(str::trim).collect();
    let names: Vec<&str> = SCENARIOS
        .iter()
        .map(|scenario| scenario.name)
        .chain([outage::NAME])
        .collect();
    let whole = chosen == ["all"];
    if let Some(unknown) = chosen.iter().find(|name| !whole && !names.contains(name)) {
        eprintln!("no scenario {unknown}; there are {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    let is_chosen = |name: &str| whole || chosen.contains(&name);

    let began = Instant::now();
    let mut rows = Vec::new();
    for shape in [Shape::Pairs, Shape::Singles, Shape::Solos, Shape::Twins] {
        let of_shape = |scenario: &&Scenario| scenario.shape == shape && is_chosen(scenario.name);
        let scenarios: Vec<&Scenario> = SCENARIOS.iter().filter(of_shape).collect();
        if !scenarios.is_empty() {
            rows.extend(play(shape, &scenarios, runs, began));
        }
    }
    if is_chosen(outage::NAME) {
        rows.extend(both(
            &mut [(BROKERS[0], REDISES), (BROKERS[1], RABBITMQS)],
            |(start, brokers)| report(outage::play(*start, (*brokers).min(runs), runs), began),
        ));
    }

    let lines: Vec<String> = rows.iter().map(Row::line).collect();
    let table = format!("{HEAD}\n{}", lines.join("\n"));
    println!("\n{table}\n");
    for complaint in rows.iter().flat_map(Row::complaints) {
        println!("{complaint}");
    }
    if runs >= RUNS {
        let titles = SCENARIOS.iter().map(|scenario| scenario.title).chain([outage::TITLE]);
        let keys: Vec<String> = titles
            .flat_map(|title| ["Redis", "RabbitMQ"].map(|kind| table::key(title, kind)))
            .collect();
        table::publish(&lines, &keys);
    }
    if rows.iter().all(Row::is_right) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Plays scenarios of one shape one after the other with the same workers, on both brokers side by side.
fn play(shape: Shape, scenarios: &[&Scenario], runs: usize, began: Instant) -> Vec<Row> {
    let mut starts = BROKERS;
    let mut crews = both(&mut starts, |start| Crew::start(start(), shape, runs));
    let mut rows = Vec::new();
    for scenario in scenarios {
        let played = both(&mut crews, |crew| {
            scenario
                .is_for(&crew.broker)
                .then(|| report(scenario.play(crew), began))
        });
        rows.extend(played.into_iter().flatten());
    }
    rows
}

/// Does the same for all at the same time, and returns when all are done.
fn both<T: Send, R: Send>(items: &mut [T], act: impl Fn(&mut T) -> R + Sync) -> Vec<R> {
    std::thread::scope(|scope| {
        let act = &act;
        let threads: Vec<_> = items.iter_mut().map(|item| scope.spawn(move || act(item))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it was played"))
            .collect()
    })
}

fn report(row: Row, began: Instant) -> Row {
    println!("{:4.0} s {}", began.elapsed().as_secs_f64(), row.line());
    row
}
