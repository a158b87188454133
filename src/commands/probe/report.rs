//! What a look comes to, for Nagios, for people and for programs.

use headcount_actors::ports::Queue;
use serde_json::{Value, json};

use super::{Seen, Worker};
use crate::commands::table::{Cell, Columns, Tone, clean};

/// The four words of a Nagios plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Ok,
    Warning,
    Critical,
    Unknown,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "OK",
            Verdict::Warning => "WARNING",
            Verdict::Critical => "CRITICAL",
            Verdict::Unknown => "UNKNOWN",
        }
    }
}

/// One look, judged.
pub(super) struct Report {
    pub(super) verdict: Verdict,
    /// None where it was called wrongly.
    address: Option<String>,
    /// The first line without its word and figures.
    says: String,
    expected: Option<u32>,
    seen: Seen,
}

impl Report {
    /// Nobody answers: critical. Fewer than expected: a warning, for work still gets done.
    pub(super) fn new(address: String, seen: Seen, expected: Option<u32>) -> Self {
        let answer = seen.workers.len();
        let workers = if answer == 1 {
            "1 worker answers".to_owned()
        } else {
            format!("{answer} workers answer")
        };
        let (verdict, says) = match (answer, expected) {
            (0, None) => (Verdict::Critical, "no worker answers".to_owned()),
            (0, Some(expected)) => (Verdict::Critical, format!("no worker answers, {expected} expected")),
            (n, Some(expected)) if n < expected as usize => (
                Verdict::Warning,
                format!("{n} of {expected} workers answer ({})", names(&seen.workers)),
            ),
            _ => (Verdict::Ok, format!("{workers} ({})", names(&seen.workers))),
        };
        Self {
            verdict,
            address: Some(address),
            says,
            expected,
            seen,
        }
    }

    /// The broker could not be asked: nobody can tell how the workers are.
    pub(super) fn blind(address: String, why: String) -> Self {
        let report = Self::misused(&format!("{address}: {why}"));
        Self {
            address: Some(address),
            ..report
        }
    }

    /// A plugin that is called wrongly knows nothing of what it should look at.
    pub(super) fn misused(why: &str) -> Self {
        Self {
            verdict: Verdict::Unknown,
            address: None,
            says: in_line(why),
            expected: None,
            seen: Seen::default(),
        }
    }

    /// The line that Nagios shows, then tables for people.
    pub(super) fn to_text(&self, colours: bool) -> String {
        let mut text = format!("{} - {}", self.verdict.word(), self.says);
        if self.verdict != Verdict::Unknown {
            text.push_str(&format!(" | {}", self.figures()));
        }
        text.push('\n');
        if !self.seen.workers.is_empty() {
            text.push('\n');
            text.push_str(&self.workers().render(colours));
        }
        if !self.seen.queues.is_empty() {
            text.push('\n');
            text.push_str(&self.queues().render(colours));
        }
        text
    }

    /// Nagios' performance data: `label=value[unit];warning;critical;minimum`. The thresholds are ranges that are
    /// well, so `3:` means fewer than 3 are not.
    fn figures(&self) -> String {
        let warning = self.expected.map(|expected| format!("{expected}:")).unwrap_or_default();
        let mut figures = vec![format!("workers={};{warning};1:;0", self.seen.workers.len())];
        if let Some(slowest) = self.seen.workers.iter().map(|worker| worker.latency).max() {
            figures.push(format!("slowest={:.6}s;;;0", slowest.as_secs_f64()));
        }
        for queue in &self.seen.queues {
            figures.push(format!("{}={};;;0", label(&queue.name), queue.length));
        }
        figures.join(" ")
    }

    fn workers(&self) -> Columns {
        let mut columns = Columns::new(&["WORKER", "ANSWERS IN", "POOL", "QUEUES", "PROCESSED"]);
        for worker in &self.seen.workers {
            let twice = worker.answers > 1;
            let latency = match twice {
                false => format!("{:.1} ms", worker.latency.as_secs_f64() * 1e3),
                true => format!(
                    "{:.1} ms, {} times: two workers with one name",
                    worker.latency.as_secs_f64() * 1e3,
                    worker.answers
                ),
            };
            let pool = match (&worker.pool, worker.concurrency) {
                (Some(pool), Some(n)) => format!("{pool} × {n}"),
                (Some(pool), None) => pool.clone(),
                (None, _) => "?".to_owned(),
            };
            let queues = match &worker.queues {
                None => Cell::new("?", Tone::Warning),
                Some(queues) if queues.is_empty() => Cell::new("none: it consumes nothing", Tone::Bad),
                Some(queues) => queues.join(", ").into(),
            };
            columns.row(vec![
                (&worker.hostname).into(),
                Cell::new(latency, if twice { Tone::Warning } else { Tone::Good }),
                pool.into(),
                queues,
                worker
                    .processed
                    .map_or_else(|| "?".to_owned(), |n| n.to_string())
                    .into(),
            ]);
        }
        columns
    }

    fn queues(&self) -> Columns {
        let mut columns = Columns::new(&["QUEUE", "LENGTH", "CONSUMERS"]);
        for Queue {
            name,
            length,
            consumers,
        } in &self.seen.queues
        {
            let consumers = match consumers {
                None => "this broker cannot tell".into(),
                Some(0) => Cell::new("0", Tone::Bad),
                Some(n) => n.into(),
            };
            columns.row(vec![name.into(), length.into(), consumers]);
        }
        columns
    }

    pub(super) fn to_json(&self) -> Value {
        let workers = self.seen.workers.iter().map(|worker| {
            json!({
                "hostname": worker.hostname,
                "latency_s": worker.latency.as_secs_f64(),
                "answers": worker.answers,
                "pool": worker.pool,
                "concurrency": worker.concurrency,
                "queues": worker.queues,
                "processed": worker.processed,
            })
        });
        let queues = self
            .seen
            .queues
            .iter()
            .map(|queue| json!({"name": queue.name, "length": queue.length, "consumers": queue.consumers}));
        json!({
            "status": self.verdict.word().to_lowercase(),
            "message": self.says,
            "broker": self.address,
            "expected": self.expected,
            "workers": workers.collect::<Vec<_>>(),
            "queues": queues.collect::<Vec<_>>(),
        })
    }
}

/// The first names, so that a pager shows who; the table has all.
fn names(workers: &[Worker]) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<String> = workers
        .iter()
        .take(SHOWN)
        .map(|worker| in_line(&worker.hostname))
        .collect();
    if workers.len() > SHOWN {
        names.push(format!("{} more", workers.len() - SHOWN));
    }
    names.join(", ")
}

/// A `|` would end the text that Nagios reads.
fn in_line(name: &str) -> String {
    clean(name).replace('|', "¦")
}

/// A label of performance data: in quotes, where quotes are doubled, and without `=`.
fn label(queue: &str) -> String {
    format!("'queue {}'", in_line(queue).replace('\'', "''").replace('=', "_"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn worker(hostname: &str) -> Worker {
        Worker {
            hostname: hostname.into(),
            latency: Duration::from_micros(2_400),
            answers: 1,
            pool: Some("prefork".into()),
            concurrency: Some(2),
            queues: Some(vec!["sms".into()]),
            processed: Some(40),
        }
    }

    fn seen(workers: Vec<Worker>) -> Seen {
        Seen {
            workers,
            queues: vec![Queue {
                name: "it's|odd=".into(),
                length: 7,
                consumers: None,
            }],
        }
    }

    #[test]
    fn the_verdict_is_a_plugins() {
        let two = || seen(vec![worker("sms@a"), worker("sms@b")]);
        let verdict = |seen, expected| Report::new("redis://h".into(), seen, expected).verdict;
        assert_eq!(verdict(two(), None), Verdict::Ok);
        assert_eq!(verdict(two(), Some(2)), Verdict::Ok);
        assert_eq!(verdict(two(), Some(1)), Verdict::Ok);
        assert_eq!(verdict(two(), Some(3)), Verdict::Warning);
        assert_eq!(verdict(Seen::default(), Some(3)), Verdict::Critical);
        assert_eq!(verdict(Seen::default(), None), Verdict::Critical);
        assert_eq!(
            Report::blind("redis://h".into(), "cannot connect: refused".into()).verdict,
            Verdict::Unknown
        );
    }

    #[test]
    fn the_first_line_is_what_nagios_reads() {
        let report = Report::new("redis://h".into(), seen(vec![worker("sms@a"), worker("b|@h")]), Some(3));
        let text = report.to_text(false);
        let first = text.lines().next().unwrap();
        assert_eq!(
            first,
            "WARNING - 2 of 3 workers answer (sms@a, b¦@h) | workers=2;3:;1:;0 slowest=0.002400s;;;0 'queue it''s¦odd_'=7;;;0"
        );
        let row = text.lines().find(|line| line.starts_with("sms@a")).unwrap();
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>(),
            ["sms@a", "2.4", "ms", "prefork", "×", "2", "sms", "40"]
        );

        let blind = Report::blind("redis://h".into(), "cannot connect: refused".into()).to_text(false);
        assert_eq!(blind, "UNKNOWN - redis://h: cannot connect: refused\n");
    }

    #[test]
    fn json_has_stable_fields() {
        let report = Report::new("redis://h".into(), seen(vec![worker("sms@a")]), None).to_json();
        assert_eq!(
            report,
            json!({"status": "ok", "message": "1 worker answers (sms@a)", "broker": "redis://h", "expected": null,
                "workers": [{"hostname": "sms@a", "latency_s": 0.0024, "answers": 1, "pool": "prefork",
                    "concurrency": 2, "queues": ["sms"], "processed": 40}],
                "queues": [{"name": "it's|odd=", "length": 7, "consumers": null}]})
        );
    }
}
