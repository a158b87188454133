//! A broker is killed and starts again after 5 s: told once, that it is back once, and of its fleets nothing. Several
//! brokers of a kind take turns, each for several rounds.

use std::time::{Duration, Instant};

use headcount_testkit::Broker;

use crate::outcome::{Outcome, Truth};
use crate::stage::{Crew, Shape, Watch};
use crate::table::Row;

/// What `ONLY` takes, and what the table says.
pub(crate) const NAME: &str = "broker";
pub(crate) const TITLE: &str = "broker killed, started again after 5 s";
/// The name of the broker in the kit's configuration.
const SUBJECT: &str = "main";
const TRUTH: Truth = Truth::Found {
    word: "BROKER DOWN",
    diagnoses: &["none"],
};
const OUT_FOR: Duration = Duration::from_secs(5);
const FLEETS: usize = 2;
/// Celery retries after 2, 4, 6 … s.
const UP_WITHIN: Duration = Duration::from_secs(120);
const AFTERWARDS: Duration = Duration::from_secs(20);
/// Between two brokers' rounds, so that one starts while the other is quiet: a start takes both cores.
const SPACING: Duration = Duration::from_secs(20);

/// Plays it `runs` times with `brokers` of one kind.
pub(crate) fn play(start: fn() -> Broker, brokers: usize, runs: usize) -> Row {
    let crews: Vec<Crew> = (0..brokers)
        .map(|_| Crew::start(start(), Shape::Singles, FLEETS))
        .collect();
    let kind = crews.first().map_or("", |crew| crew.broker.kind());
    let mut row = Row::new(NAME, TITLE, kind, TRUTH);
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0_u32..)
            .zip(crews)
            .map(|(lane, mut crew)| {
                let rounds = (lane as usize..runs).step_by(brokers);
                scope.spawn(move || {
                    std::thread::sleep(SPACING * lane);
                    rounds.map(|_| round(&mut crew)).collect::<Vec<_>>()
                })
            })
            .collect();
        for lane in lanes {
            match lane.join() {
                Ok(outcomes) => row.outcomes.extend(outcomes),
                Err(panic) => row.outcomes.push(Outcome::broken(panic.as_ref())),
            }
        }
    });
    row
}

/// A message about anything else than the broker is a wrong one of this run.
fn round(crew: &mut Crew) -> Outcome {
    let watch = Watch::begin(crew);
    let broker = std::cell::RefCell::new(&mut crew.broker);
    let kill = || broker.borrow().kill();
    let restart = || {
        broker.borrow_mut().restart();
        Instant::now()
    };
    let mut outcome = Outcome::of_fault(&watch, TRUTH, SUBJECT, OUT_FOR, kill, restart);
    for worker in crew.fleets.iter().flat_map(|fleet| &fleet.workers) {
        watch.headcount.wait_worker(worker.hostname(), "up", UP_WITHIN);
    }
    std::thread::sleep(AFTERWARDS);
    outcome.hear(
        TRUTH,
        watch.told().iter().map(|message| message.text().to_owned()).collect(),
    );
    outcome
}
