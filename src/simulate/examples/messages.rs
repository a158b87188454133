//! What people would have been told in one episode: `cargo run --release -p headcount-simulate --example messages -- SCENARIO HOURS [SEED]`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "an example reads its arguments and prints"
)]

use headcount_core::detect::Rules;
use headcount_simulate::headcount::Headcount;
use headcount_simulate::rng::Rng;
use headcount_simulate::scenarios;
use headcount_simulate::stage::Stage;
use headcount_simulate::world::{HOUR, World};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(scenario) = args.first().and_then(|name| scenarios::find(name)) else {
        eprintln!("which scenario?");
        std::process::exit(2);
    };
    let hours: f64 = args.get(1).and_then(|hours| hours.parse().ok()).unwrap_or(1.0);
    let seed = args.get(2).and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let span = (hours * HOUR as f64) as u64;
    let rng = Rng::for_part(seed, &[u64::from(scenario.number), 0]);
    let mut stage = Stage::new(rng, 100, span);
    scenario.build(&mut stage);
    let mut world = World::new(&mut stage);
    let mut headcount = Headcount::new(Rules::default());
    world.run(span, &mut [&mut headcount]);
    for failure in &stage.failures {
        let who = failure.who.first().map_or("the broker", |(_, name)| name.as_str());
        let (from, to) = (failure.from as f64 / 1e6, failure.to as f64 / 1e6);
        println!(
            "{from:>10.2} to {to:>10.2}  {who} and {} more",
            failure.who.len().saturating_sub(1)
        );
    }
    for message in &headcount.told {
        println!("{:>10.2} {:?} {}", message.at as f64 / 1e6, message.turn, message.text);
    }
}
