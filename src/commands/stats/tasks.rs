//! `headcount stats tasks`: what a running daemon has counted of tasks.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::Value;

use crate::cli::StatsTasks;
use crate::commands::status::Client;
use crate::commands::table::{Cell, Columns, Tone, colours};
use crate::commands::{CommandError, Outcome, json, to_stdout};

/// Reads the daemon and shows it.
///
/// # Errors
/// The daemon cannot be reached or read, or refuses what is asked.
pub(super) async fn run(args: StatsTasks) -> Outcome {
    let client = Client::new(&args.daemon)?;
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("from", &args.since);
    for (name, value) in [("fleet", &args.fleet), ("task", &args.task), ("step", &args.step)] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let page = format!("/api/v1/stats/tasks?{}", query.finish());
    let answer: Value = client.get(&page).await?;
    if args.json {
        to_stdout(&json(&answer))?;
    } else {
        let stats = Stats::deserialize(&answer).map_err(|error| {
            CommandError::Failed(format!(
                "{page}: not what a daemon answers ({error}); does --url lead to a headcount of this version?"
            ))
        })?;
        to_stdout(&render(&stats, colours()))?;
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Deserialize)]
struct Stats {
    from: String,
    to: String,
    rollups: Vec<Rollup>,
}

#[derive(Deserialize)]
struct Rollup {
    #[serde(default)]
    bucket: Option<String>,
    fleet: String,
    task: String,
    queue: String,
    outcome: String,
    count: u64,
    runtime_s: Option<Spans>,
    wait_s: Option<Spans>,
    queued_s: Option<Spans>,
}

#[derive(Deserialize)]
struct Spans {
    count: u64,
    p50: f64,
    p99: f64,
}

/// What one line shows: of one bucket, fleet, task and queue.
#[derive(Default)]
struct Line<'a> {
    counts: BTreeMap<&'a str, u64>,
    /// Of the outcome with the most runs: quantiles of several cannot be added up, and it says which.
    most: Option<&'a Rollup>,
}

fn render(stats: &Stats, colours: bool) -> String {
    let mut lines: BTreeMap<[&str; 4], Line<'_>> = BTreeMap::new();
    for rollup in &stats.rollups {
        let bucket = rollup.bucket.as_deref().unwrap_or_default();
        let line = lines
            .entry([bucket, &rollup.fleet, &rollup.task, &rollup.queue])
            .or_default();
        *line.counts.entry(&rollup.outcome).or_default() += rollup.count;
        let runs = |rollup: &Rollup| rollup.runtime_s.as_ref().map_or(0, |spans| spans.count);
        if runs(rollup) > line.most.map_or(0, runs) {
            line.most = Some(rollup);
        }
    }
    let mut text = format!("{} to {}\n", stats.from, stats.to);
    if lines.is_empty() {
        text.push_str("no task events were counted; workers send them with `celery worker -E`\n");
        return text;
    }
    let stepped = stats.rollups.iter().any(|rollup| rollup.bucket.is_some());
    let mut head = vec![
        "FLEET",
        "TASK",
        "QUEUE",
        "RECEIVED",
        "SUCCEEDED",
        "FAILED",
        "RETRIED",
        "OTHER",
        "RUN",
        "WAIT",
        "QUEUED",
    ];
    if stepped {
        head.insert(0, "FROM");
    }
    let mut columns = Columns::new(&head);
    for ([bucket, fleet, task, queue], line) in &lines {
        let mut cells: Vec<Cell> = Vec::new();
        if stepped {
            cells.push(bucket.into());
        }
        cells.extend([fleet, task, queue].map(|name| if name.is_empty() { "-".into() } else { Cell::from(name) }));
        let count = |outcome: &str| line.counts.get(outcome).copied().unwrap_or(0);
        let failed = count("failed");
        cells.push(count("received").into());
        cells.push(count("succeeded").into());
        cells.push(Cell::new(failed, if failed > 0 { Tone::Bad } else { Tone::Plain }));
        cells.push(count("retried").into());
        cells.push(
            ["revoked", "rejected", "cancelled"]
                .map(count)
                .iter()
                .sum::<u64>()
                .into(),
        );
        let most = |spans: fn(&Rollup) -> Option<&Spans>| line.most.and_then(spans).map_or("-".to_owned(), shown);
        cells.push(most(|rollup| rollup.runtime_s.as_ref()).into());
        cells.push(most(|rollup| rollup.wait_s.as_ref()).into());
        cells.push(most(|rollup| rollup.queued_s.as_ref()).into());
        columns.row(cells);
    }
    let _ = write!(text, "{}", columns.render(colours));
    text
}

/// Half of all / 99 in a hundred.
fn shown(spans: &Spans) -> String {
    format!("{} / {}", seconds(spans.p50), seconds(spans.p99))
}

/// With as many digits as mean something.
fn seconds(seconds: f64) -> String {
    match seconds {
        0.0 => "0".to_owned(),
        _ if seconds < 0.000_999_5 => format!("{:.0} us", seconds * 1e6),
        _ if seconds < 0.099_95 => format!("{:.1} ms", seconds * 1e3),
        _ if seconds < 0.999_5 => format!("{:.0} ms", seconds * 1e3),
        _ if seconds < 99.95 => format!("{seconds:.1} s"),
        _ if seconds < 6_000.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_line_for_each_fleet_task_and_queue() {
        let spans = json!({"count": 9, "mean": 0.2, "p50": 0.15, "p90": 0.2, "p95": 0.3, "p99": 1.5, "max": 1.6});
        let rollup = |task: &str, outcome: &str, count: u64, runtime: &Value| {
            json!({"fleet": "sms", "task": task, "queue": "", "outcome": outcome, "count": count,
                   "runtime_s": runtime, "wait_s": null, "queued_s": null})
        };
        let stats = json!({"from": "2026-01-31T11:00:00Z", "to": "2026-01-31T12:00:00Z", "rollups": [
            rollup("sms.send", "received", 12, &Value::Null),
            rollup("sms.send", "succeeded", 9, &spans),
            rollup("sms.send", "failed", 2, &Value::Null),
            rollup("sms.send", "revoked", 1, &Value::Null),
            rollup("", "succeeded", 3, &Value::Null),
        ]});
        let text = render(&Stats::deserialize(&stats).unwrap(), false);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| {
                line.split("  ")
                    .map(str::trim)
                    .filter(|cell| !cell.is_empty())
                    .collect()
            })
            .collect();
        assert_eq!(lines[0], ["2026-01-31T11:00:00Z to 2026-01-31T12:00:00Z"]);
        assert_eq!(lines[2], ["sms", "-", "-", "0", "3", "0", "0", "0", "-", "-", "-"]);
        assert_eq!(
            lines[3],
            [
                "sms",
                "sms.send",
                "-",
                "12",
                "9",
                "2",
                "0",
                "1",
                "150 ms / 1.5 s",
                "-",
                "-"
            ]
        );
        let nothing = json!({"from": "a", "to": "b", "rollups": []});
        assert!(render(&Stats::deserialize(&nothing).unwrap(), false).contains("no task events"));
    }

    #[test]
    fn seconds_have_digits_that_mean_something() {
        let table = [
            (0.0, "0"),
            (0.000_12, "120 us"),
            (0.0042, "4.2 ms"),
            (0.25, "250 ms"),
            (0.9999, "1.0 s"),
            (12.34, "12.3 s"),
            (120.0, "2 min"),
            (7_200.0, "2.0 h"),
        ];
        for (number, text) in table {
            assert_eq!(seconds(number), text);
        }
    }
}
