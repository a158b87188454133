//! The Celery baseline against the real `celery.events.state` over the very same events, with its clock patched.

#![allow(clippy::disallowed_methods, reason = "it runs the real Celery")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use headcount_core::celery::WorkerKind;
use headcount_simulate::baselines::Baseline;
use headcount_simulate::baselines::silence::Silence;
use headcount_simulate::rng::Rng;
use headcount_simulate::scenarios;
use headcount_simulate::stage::Stage;
use headcount_simulate::world::{EPOCH, HOUR, Moment, Said, Slot, Watcher, World};
use headcount_testkit::python;

/// How often both are asked; odd, so that no beat falls on such a moment.
const ASKED_EVERY: Moment = 701_003;
const WORKERS: u32 = 12;

/// Notes all events, and what our baseline makes of them, as questions to Celery.
struct Scribe {
    ours: Silence,
    windows: Vec<f64>,
    hostnames: Vec<String>,
    next: Moment,
    trace: String,
    answers: String,
}

fn seconds(at: Moment) -> f64 {
    (EPOCH as f64 * 1e6 + at as f64) / 1e6
}

impl Watcher for Scribe {
    fn connected(&mut self, _: Moment, _: bool) {}
    fn blocked(&mut self, _: Moment, _: bool) {}
    fn canary(&mut self, _: Moment) {}

    fn said(&mut self, now: Moment, hostname: &str, said: &Said) {
        let kind = match said.kind {
            WorkerKind::Online => "worker-online",
            WorkerKind::Heartbeat => "worker-heartbeat",
            WorkerKind::Offline => "worker-offline",
        };
        let event = serde_json::json!(["event", {
            "type": kind, "hostname": hostname, "timestamp": said.timestamp, "local_received": seconds(now),
            "clock": said.clock, "pid": said.pid, "freq": 2.0, "active": said.active, "processed": said.processed,
        }]);
        self.trace += &format!("{event}\n");
        self.ours.said(now, hostname, said);
    }

    fn due(&self) -> Moment {
        self.next
    }

    fn tick(&mut self, now: Moment) {
        self.next = now + ASKED_EVERY;
        let question = serde_json::json!(["ask", seconds(now), self.windows, self.hostnames]);
        self.trace += &format!("{question}\n");
        let windows = (0..self.windows.len()).map(|window| {
            let alive = |slot: Slot| {
                if self.ours.is_alive(slot, window, now) {
                    '1'
                } else {
                    '0'
                }
            };
            (0..WORKERS).map(alive).collect::<String>()
        });
        self.answers += &windows.collect::<Vec<_>>().join(" ");
        self.answers.push('\n');
    }
}

#[test]
fn our_reading_of_celerys_rule_is_celerys() {
    for name in [
        "loss",
        "sigkill",
        "sigstop",
        "reset",
        "warm-shutdown",
        "clocks",
        "monitor-pause",
    ] {
        let scenario = scenarios::find(name).unwrap();
        let mut stage = Stage::new(Rng::for_part(5, &[u64::from(scenario.number)]), WORKERS, HOUR);
        scenario.build(&mut stage);
        let hostnames = stage.workers.iter().map(|worker| worker.hostname.to_string());
        let mut scribe = Scribe {
            ours: Silence::celery(),
            windows: Silence::celery().thresholds(),
            hostnames: hostnames.collect(),
            next: ASKED_EVERY,
            trace: String::new(),
            answers: String::new(),
        };
        World::new(&mut stage).run(HOUR, &mut [&mut scribe]);

        let mut celery = Command::new(python())
            .args(["-c", include_str!("celery_alive.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = celery.stdin.take().unwrap();
        let trace = std::mem::take(&mut scribe.trace);
        let feeder = std::thread::spawn(move || stdin.write_all(trace.as_bytes()));
        let output = celery.wait_with_output().unwrap();
        feeder.join().unwrap().unwrap();
        assert!(output.status.success(), "{name}");
        let theirs = String::from_utf8(output.stdout).unwrap();
        assert_eq!(theirs.lines().count(), scribe.answers.lines().count(), "{name}");
        for (moment, (theirs, ours)) in theirs.lines().zip(scribe.answers.lines()).enumerate() {
            assert_eq!(theirs, ours, "{name}: at question {moment}");
        }
        let (alive, dead) = (theirs.matches('1').count(), theirs.matches('0').count());
        assert!(alive > 100_000, "{name}: {alive}");
        assert!(dead > 100 || name == "clocks", "{name}: {dead}");
    }
}
