//! The whole catalogue, as far as an ordinary test has the time for it: 200 worker-days.

use headcount_simulate::report::{Quantiles, Report};
use headcount_simulate::run::{Detector, Measured, Plan, Results, run};
use headcount_simulate::scenarios::{self, CATALOGUE, Scenario};
use headcount_simulate::score::Tally;

fn plan(names: &[&str], detectors: &[Detector], days: f64, threads: usize) -> Plan {
    let scenarios: Vec<&'static Scenario> = match names {
        [] => CATALOGUE.iter().collect(),
        names => names.iter().filter_map(|name| scenarios::find(name)).collect(),
    };
    Plan {
        scenarios,
        detectors: detectors.to_vec(),
        workers: 100,
        days,
        fault_days: days,
        seed: 1,
        threads,
    }
}

fn go(plan: &Plan) -> Results {
    run(plan, &|_| {})
}

fn of(plan: &Plan, measured: &Measured, names: &[&str]) -> Tally {
    measured.total(plan, |scenario| names.contains(&scenario.name))
}

/// 24 scenarios of 100 workers for two hours: the goals of `docs/detection.md`, with Headcount alone.
#[test]
fn two_hundred_worker_days_without_a_false_alarm_and_with_nothing_missed() {
    let plan = plan(&[], &[Detector::Headcount], 1.0 / 12.0, 2);
    let results = go(&plan);
    let own = &results.measured[0];
    let total = own.total(&plan, |_| true);
    assert!((total.worker_days - 200.0).abs() < 0.1, "{}", total.worker_days);
    assert_eq!(total.false_alarms, 0, "{:#?}", total.examples);
    assert_eq!(total.missed, 0, "{:#?}", total.examples);
    assert!(total.failures > 100, "{}", total.failures);
    assert_eq!(total.diagnosis_right, total.diagnosed);

    let crash = Quantiles::of(&of(&plan, own, &["sigkill"]).detect);
    assert!(crash.p99 <= Some(6.5), "{crash:?}");
    let silent = Quantiles::of(&of(&plan, own, &["power-loss", "sigstop", "partition"]).detect);
    assert!(silent.p99 <= Some(16.0), "{silent:?}");
    let stalled = Quantiles::of(&of(&plan, own, &["stalled"]).detect);
    assert!(stalled.p99 <= Some(75.0), "{stalled:?}");
    let broker = Quantiles::of(&of(&plan, own, &["broker-out", "failover"]).detect);
    assert!(broker.max <= Some(5.0), "{broker:?}");
    let all = of(&plan, own, &["all-crash"]);
    assert_eq!((all.incidents, all.messages), (all.failures, all.failures));
}

/// The same seed gives the same bytes, whatever the number of threads and whoever else watches.
#[test]
fn a_seed_gives_the_same_bytes_on_any_number_of_threads() {
    let names = ["jitter", "sigkill", "broker-out", "monitor-pause", "solo-busy"];
    // An hour of each: five episodes.
    let days = 1.0 / 24.0;
    let bytes = |threads, detectors: &[Detector]| {
        let plan = plan(&names, detectors, days, threads);
        let mut report = Report::of(&plan, &go(&plan));
        report.detectors.retain(|one| one.name == "headcount");
        serde_json::to_string(&report).unwrap()
    };
    let one = bytes(1, &[Detector::Headcount]);
    assert_eq!(one, bytes(3, &[Detector::Headcount]));
    assert_eq!(one, bytes(2, &Detector::ALL));
    let other = Plan {
        seed: 2,
        ..plan(&names, &[Detector::Headcount], days, 2)
    };
    let other = serde_json::to_string(&Report::of(&other, &go(&other))).unwrap();
    assert_ne!(one, other);
}

/// The baselines are no straw men: what each is for it does, and where it fails it fails for the known reason.
#[test]
fn baselines_find_crashes_and_lower_thresholds_are_quicker_and_falser() {
    let plan = plan(&["clean", "pauses", "sigkill"], &Detector::ALL, 1.0 / 12.0, 2);
    let results = go(&plan);
    for detector in Detector::ALL {
        let of_it: Vec<&Measured> = results.measured.iter().filter(|one| one.detector == detector).collect();
        for measured in &of_it {
            let clean = of(&plan, measured, &["clean"]);
            assert_eq!(clean.false_alarms, 0, "{detector:?} {}", measured.threshold);
        }
        let most_eager = of(&plan, of_it[0], &["sigkill"]);
        assert_eq!(most_eager.missed, 0, "{detector:?}");
        for pair in of_it.windows(2) {
            let (eager, patient) = (of(&plan, pair[0], &["pauses"]), of(&plan, pair[1], &["pauses"]));
            assert!(eager.false_alarms >= patient.false_alarms, "{detector:?}");
            let (eager, patient) = (of(&plan, pair[0], &["sigkill"]), of(&plan, pair[1], &["sigkill"]));
            let p50 = |tally: &Tally| Quantiles::of(&tally.detect).p50;
            assert!(patient.missed > 0 || p50(&eager) <= p50(&patient), "{detector:?}");
        }
    }
    let celery = results
        .measured
        .iter()
        .find(|one| one.detector == Detector::Celery)
        .unwrap();
    assert!(
        of(&plan, celery, &["pauses"]).false_alarms > 0,
        "its own rule takes a pause of more than 4 s for a death"
    );
}

/// A figure that nothing moves proves nothing: each scenario does what it is called.
#[test]
fn what_is_done_to_the_workers_is_felt() {
    let names: Vec<&str> = CATALOGUE.iter().map(|one| one.name).collect();
    let plan = plan(&names, &[Detector::Celery], 1.0 / 12.0, 2);
    let results = go(&plan);
    let usual = &results.measured[0];
    for (scenario, tally) in plan.scenarios.iter().zip(&usual.scenarios) {
        let calm = matches!(
            scenario.name,
            "clean" | "clocks" | "idle" | "warm-shutdown" | "rolling-deploy"
        );
        // A rule that alarms after two beats feels everything but what reaches no beat.
        let felt = matches!(
            scenario.name,
            "loss"
                | "bursts"
                | "jitter"
                | "pauses"
                | "reset"
                | "sigkill"
                | "power-loss"
                | "sigstop"
                | "partition"
                | "broker-out"
                | "failover"
                | "solo-busy"
                | "solo-killed"
                | "autoscale"
                | "flapping"
                | "all-crash"
                | "monitor-pause-crash"
        );
        if calm {
            assert_eq!(tally.messages, 0, "{}", scenario.name);
        } else if felt {
            assert!(tally.messages > 0, "{}", scenario.name);
        }
    }
}
