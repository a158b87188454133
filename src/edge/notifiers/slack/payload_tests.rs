//! The payloads before an independent reader: the models of Slack's own Python SDK, and its published limits.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::blocks::message;
use crate::notifiers::samples;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn python() -> PathBuf {
    std::env::var_os("HEADCOUNT_TEST_PYTHON").map_or_else(|| root().join(".cache/venv/bin/python"), PathBuf::from)
}

/// Lets the reader read `{name: payload}`.
fn read(payloads: &Value) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("payloads.json");
    std::fs::write(&file, payloads.to_string()).unwrap();
    let python = python();
    Command::new(&python)
        .arg(root().join("tests/slack/check.py"))
        .arg(&file)
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "{}: {error}; run `make` once, or set HEADCOUNT_TEST_PYTHON to a Python with slack_sdk",
                python.display()
            )
        })
}

#[test]
fn every_payload_is_as_slack_wants_it() {
    let payloads: serde_json::Map<_, _> = samples::all()
        .into_iter()
        .map(|(name, notice)| (name, message(&notice)))
        .collect();
    let count = payloads.len();
    let output = read(&payloads.into());
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}{err}");
    assert_eq!(out.trim(), format!("{count} payloads are good"));
}

#[test]
fn the_reader_finds_what_is_wrong() {
    let good = message(&samples::opened());
    let table = [
        (
            "long_header",
            "/blocks/0/text/text",
            Value::from("x".repeat(151)),
            "150",
        ),
        ("long_section", "/blocks/1/text/text", "x".repeat(3_001).into(), "3000"),
        ("mention", "/blocks/2/text/text", "a <!channel> b".into(), "<!channel>"),
        ("unescaped", "/blocks/1/text/text", "a <b".into(), "unescaped"),
        ("not_verbatim", "/blocks/2/text/verbatim", false.into(), "verbatim"),
        ("no_such_block", "/blocks/0/type", "heading".into(), "heading"),
        (
            "many_blocks",
            "/blocks",
            vec![good["blocks"][1].clone(); 51].into(),
            "50",
        ),
        ("no_text", "/text", "".into(), "text of 0"),
        ("long_text", "/text", "x".repeat(4_001).into(), "4000"),
    ];
    let bad = |at: &str, value: &Value| {
        let mut bad = good.clone();
        *bad.pointer_mut(at).unwrap() = value.clone();
        bad
    };
    let payloads: serde_json::Map<_, _> = table
        .iter()
        .map(|(name, at, value, _)| ((*name).to_owned(), bad(at, value)))
        .collect();
    let output = read(&payloads.into());
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let out = String::from_utf8(output.stdout).unwrap();
    for (name, .., complaint) in table {
        let found = out
            .lines()
            .any(|line| line.starts_with(&format!("{name}: ")) && line.contains(complaint));
        assert!(found, "{name}: {out}");
    }
}
