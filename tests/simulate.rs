//! `headcount simulate` as a script sees it.

use std::process::{Command, Output};

use serde_json::Value;

fn simulate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headcount"))
        .arg("simulate")
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("headcount cannot be run: {error}"))
}

#[test]
fn json_has_the_shape_that_the_contract_promises_and_the_plot_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let plot = dir.path().join("figures.svg");
    let args = [
        "--scenario",
        "sigkill",
        "--scenario",
        "clean",
        "--days",
        "0.05",
        "--workers",
        "20",
        "--seed",
        "7",
    ];
    let output = simulate(&[&args[..], &["--json", "--plot", plot.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "no bar where nobody watches: {output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["seed"], 7);
    let detectors = report["detectors"].as_array().unwrap();
    for name in ["headcount", "celery", "timeout", "phi", "ping"] {
        assert!(detectors.iter().any(|one| one["name"] == name), "{name}");
    }
    for detector in detectors {
        assert!(detector["threshold"].is_number());
        let scenarios = detector["scenarios"].as_array().unwrap();
        let names: Vec<&Value> = scenarios.iter().map(|one| &one["name"]).collect();
        assert_eq!(names, ["clean", "sigkill"], "in the order of the catalogue");
        for figures in scenarios.iter().chain([&detector["total"]]) {
            assert!(figures["truth"].is_string());
            let numbers = [
                "worker_days",
                "false_alarms",
                "failures",
                "missed",
                "incidents",
                "messages",
                "diagnosis_right",
            ];
            for number in numbers {
                assert!(figures[number].is_number(), "{number}: {figures}");
            }
            for times in ["detect_s", "clear_s"] {
                for quantile in ["p50", "p99", "max"] {
                    assert!(figures[times].get(quantile).is_some(), "{times}.{quantile}: {figures}");
                }
            }
        }
    }
    let own = &detectors[0]["total"];
    assert!(own["failures"].as_u64() > Some(0));
    assert_eq!(
        (own["false_alarms"].as_u64(), own["missed"].as_u64()),
        (Some(0), Some(0))
    );

    let svg = std::fs::read_to_string(plot).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert!(svg.contains("Celery's alive rule"));
}

#[test]
fn wrong_names_are_wrong_use_and_the_right_ones_are_told() {
    let output = simulate(&["--scenario", "sigkil"]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("sigkill") && told.contains("rolling-deploy"), "{told}");
    for wrong in [
        ["--detector", "magic"],
        ["--days", "0"],
        ["--days", "0.001"],
        ["--workers", "1"],
    ] {
        assert_eq!(simulate(&wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn people_read_the_claim_first_in_a_terminal_of_120_columns() {
    let output = simulate(&["--days", "0.05", "--workers", "10"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("Headcount: no false alarm in "), "{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 120, "{line}");
    }
}
