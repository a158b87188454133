//! What a step of the detector costs where nothing happens: `cargo bench -p headcount-core --bench detect`.
//!
//! A fleet of 100 workers that beat every 2 s, stepped every 250 ms with what arrived and a tick, as the daemon and the
//! simulator do it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a bench reads the clock, and prints; the core itself does nothing of that"
)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::time::{Duration, Instant};

use common::{in_earnest, on_core};
use compact_str::format_compact;
use headcount_core::celery::inspect::Pool;
use headcount_core::detect::{
    Expected, FleetDetector, FleetSpec, Input, Learned, Minimum, Output, Probed, Rules, Sight, Sighting, Word,
};
use headcount_core::time::{Mono, Now, Wall};

const WORKERS: usize = 100;
const STEP: u64 = 250;
const BEAT: u64 = 2_000;

fn now(ms: u64) -> Now {
    Now {
        mono: Mono::from_micros(ms * 1_000),
        wall: Wall::from_micros(1_790_000_000_000_000 + ms as i64 * 1_000),
    }
}

/// The fleet, and what it is told in each step of one beat's time.
struct Bench {
    fleet: FleetDetector,
    beats: Vec<Vec<Sighting>>,
    ms: u64,
    outputs: Vec<Output>,
    probed: u64,
}

impl Bench {
    fn new() -> Self {
        let spec = FleetSpec {
            name: "sms".into(),
            broker: "main".into(),
            expected: Expected::Auto,
            minimum: Minimum::OneOnceSeen,
            queues: vec!["sms".into()],
            rules: Rules::default(),
        };
        let slots = (BEAT / STEP) as usize;
        let beat = |n: usize| Sighting {
            hostname: format_compact!("sms@host{n}"),
            pid: Some(n as u32),
            anew: false,
            beats: 1,
            interval: Some(Duration::from_millis(BEAT)),
            active: Some(0),
            processed: Some(7),
            word: Word::Nothing,
            tasks: 0,
            last: Mono::default(),
            age: Duration::ZERO,
            longest_gap: None,
            software: None,
            unfinished: None,
            shared: false,
        };
        let of_slot = |slot: usize| (0..WORKERS).filter(|n| n % slots == slot).map(beat).collect();
        let mut fleet = FleetDetector::new(spec, Vec::new(), now(0));
        fleet.step(now(0), Input::Sight(Sight::Clear), &mut Vec::new());
        Self {
            fleet,
            beats: (0..slots).map(of_slot).collect(),
            ms: 0,
            outputs: Vec::new(),
            probed: 0,
        }
    }

    /// One step; what is asked is answered. Returns how long the detector took for the beats, and for the tick.
    fn step(&mut self) -> (Duration, Duration) {
        self.ms += STEP;
        let now = now(self.ms);
        let slot = (self.ms / STEP) as usize % self.beats.len();
        for beat in &mut self.beats[slot] {
            beat.last = now.mono;
            beat.word = Word::Nothing;
        }
        let begin = Instant::now();
        self.fleet
            .step(now, Input::Sighted(&self.beats[slot]), &mut self.outputs);
        let middle = Instant::now();
        self.fleet.step(now, Input::Tick, &mut self.outputs);
        let end = Instant::now();
        for output in std::mem::take(&mut self.outputs) {
            match output {
                Output::Probe(targets) => {
                    self.probed += 1;
                    let answer = Probed {
                        answer: Some(Duration::from_millis(2)),
                        present: Some(true),
                    };
                    let answers: Vec<_> = targets.into_iter().map(|target| (target.hostname, answer)).collect();
                    self.fleet.step(now, Input::Probed(&answers), &mut self.outputs);
                }
                Output::Learn(names) => {
                    let told = Learned {
                        pool: Some(Pool::Prefork),
                        queues: Some(vec!["sms".into()]),
                    };
                    let told: Vec<_> = names.into_iter().map(|name| (name, told.clone())).collect();
                    self.fleet.step(now, Input::Learned(&told), &mut self.outputs);
                }
                _ => {}
            }
        }
        (middle - begin, end - middle)
    }
}

fn main() {
    let mut bench = Bench::new();
    // A minute to get to know each other.
    for _ in 0..240 {
        bench.step();
    }
    let steps = if in_earnest() { 400_000_u32 } else { 400 };
    let (mut beats, mut ticks) = (Duration::ZERO, Duration::ZERO);
    let started = Instant::now();
    let before = on_core(started);
    for _ in 0..steps {
        let (beat, tick) = bench.step();
        beats += beat;
        ticks += tick;
    }
    let all = on_core(started) - before;
    let heard = f64::from(steps) * WORKERS as f64 * STEP as f64 / BEAT as f64;
    println!(
        "a tick of {WORKERS} healthy workers {:>8.0} ns; a beat {:>6.0} ns; in all {:>6.1} million beats a minute, {} rounds of probes",
        ticks.as_secs_f64() * 1e9 / f64::from(steps),
        beats.as_secs_f64() * 1e9 / heard,
        heard / all.as_secs_f64() * 60.0 / 1e6,
        bench.probed,
    );
}
