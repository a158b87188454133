//! The catalogue of faults: 24 scenarios, each with its truth.

mod brokers;
mod deaths;
mod monitor;
mod quiet;
mod rollouts;
mod work;

use crate::stage::Stage;

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its number in the catalogue.
    pub number: u8,
    /// Its name on the command line.
    pub name: &'static str,
    /// What is true of it, in a few words.
    pub truth: &'static str,
    /// What happens in it.
    pub about: &'static str,
    /// Whether any alarm in it is false.
    pub quiet: bool,
    build: fn(&mut Stage),
}

impl Scenario {
    /// Puts it together.
    pub fn build(&self, stage: &mut Stage) {
        (self.build)(stage);
        stage.script.sort_by_key(|(at, _)| *at);
    }
}

const fn scenario(
    number: u8,
    name: &'static str,
    truth: &'static str,
    about: &'static str,
    build: fn(&mut Stage),
) -> Scenario {
    // "quiet" and "offline" are the two truths in which nothing is to be told.
    let quiet = matches!(truth.as_bytes(), b"quiet" | b"offline");
    Scenario {
        number,
        name,
        truth,
        about,
        quiet,
        build,
    }
}

/// All of them, in the order of the catalogue.
pub const CATALOGUE: [Scenario; 24] = [
    scenario(1, "clean", "quiet", "nothing happens", quiet::clean),
    scenario(2, "loss", "quiet", "0.1 to 1 % of all messages are lost", quiet::loss),
    scenario(
        3,
        "bursts",
        "quiet",
        "2 to 4 beats in a row are lost, ten times a day",
        quiet::bursts,
    ),
    scenario(
        4,
        "jitter",
        "quiet",
        "messages are late, up to 1.5 s for 99 % of them",
        quiet::jitter,
    ),
    scenario(
        5,
        "pauses",
        "quiet",
        "each worker pauses twice a day, for up to 10 s",
        quiet::pauses,
    ),
    scenario(
        6,
        "sigkill",
        "down",
        "SIGKILL; started again after 30 to 120 s; now and then just after another's goodbye",
        deaths::sigkill,
    ),
    scenario(
        7,
        "power-loss",
        "down",
        "the machine vanishes, and no FIN is sent",
        deaths::power_loss,
    ),
    scenario(
        8,
        "sigstop",
        "down",
        "SIGSTOP for 20 s, for minutes, or for good",
        deaths::sigstop,
    ),
    scenario(
        9,
        "partition",
        "down",
        "the network holds all packets for 20 to 300 s",
        deaths::partition,
    ),
    scenario(
        10,
        "reset",
        "quiet",
        "the connection is reset, and back in 1 to 4 s",
        quiet::reset,
    ),
    scenario(
        11,
        "broker-out",
        "broker",
        "the broker is out for 5, 60 or 600 s, or blocks publishers for 120 s",
        brokers::out,
    ),
    scenario(
        12,
        "failover",
        "broker",
        "8 s without the broker for half of the workers",
        brokers::failover,
    ),
    scenario(
        13,
        "monitor-pause",
        "quiet",
        "the monitor is paused for 3 to 120 s",
        monitor::paused,
    ),
    scenario(
        14,
        "monitor-pause-crash",
        "down",
        "the same, and meanwhile a worker is killed",
        monitor::paused_with_a_crash,
    ),
    scenario(
        15,
        "warm-shutdown",
        "offline",
        "SIGTERM, and tasks for 10 min",
        rollouts::warm_shutdown,
    ),
    scenario(
        16,
        "rolling-deploy",
        "quiet",
        "all are replaced under new names",
        rollouts::rolling_deploy,
    ),
    scenario(
        17,
        "autoscale",
        "by count",
        "half of the workers come and go; spot machines are killed one by one, or most at once",
        rollouts::autoscale,
    ),
    scenario(
        18,
        "solo-busy",
        "quiet",
        "solo pools run tasks of 5 to 600 s",
        work::solo_busy,
    ),
    scenario(
        19,
        "solo-killed",
        "down",
        "solo workers are killed while busy",
        work::solo_killed,
    ),
    scenario(
        20,
        "stalled",
        "stalled",
        "alive after a reconnect, and consuming nothing",
        work::stalled,
    ),
    scenario(
        21,
        "clocks",
        "quiet",
        "wall clocks 1 h off, steps of 30 s, drift",
        quiet::clocks,
    ),
    scenario(
        22,
        "flapping",
        "down",
        "one worker dies every 40 s, for 10 min",
        deaths::flapping,
    ),
    scenario(
        23,
        "all-crash",
        "down",
        "all workers die at once, the broker stands",
        deaths::all_crash,
    ),
    scenario(
        24,
        "idle",
        "quiet",
        "idle by right: empty queue, ETA, rate limit",
        work::idle,
    ),
];

/// A scenario by its name, or by its number.
pub fn find(name: &str) -> Option<&'static Scenario> {
    CATALOGUE
        .iter()
        .find(|scenario| scenario.name == name || name.parse() == Ok(scenario.number))
}
