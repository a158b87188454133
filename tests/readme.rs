//! What README shows is true: its configuration is right, and its commands exist.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::process::Command;

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const README: &str = include_str!("../README.md");

/// The blocks between ```` ```KIND ```` and ```` ``` ````.
fn blocks(kind: &str) -> Vec<&str> {
    let opening = format!("```{kind}\n");
    README
        .split(opening.as_str())
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect()
}

#[test]
fn its_configuration_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let configurations = blocks("toml");
    assert!(!configurations.is_empty());
    for configuration in configurations {
        let file = dir.path().join("headcount.toml");
        std::fs::write(&file, configuration).unwrap();
        let checked = Command::new(HEADCOUNT)
            .arg("check")
            .arg(&file)
            .env("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T/B/x")
            .output()
            .unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}

#[test]
fn its_commands_exist() {
    let commands: Vec<Vec<&str>> = README
        .lines()
        .filter_map(|line| line.strip_prefix("| `headcount "))
        .map(|rest| rest.split(['`', '[']).next().unwrap().split_whitespace())
        .map(|words| {
            words
                .take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
                .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
                .collect()
        })
        .collect();
    assert!(commands.len() >= 5, "{commands:?}");
    for command in commands {
        let help = Command::new(HEADCOUNT).args(&command).arg("--help").output().unwrap();
        assert!(help.status.success(), "{command:?}");
    }
}
