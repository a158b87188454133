//! `[metrics]`.

use std::collections::BTreeMap;

use headcount_core::stats::series::Limits;
use headcount_edge::http::LABELS;
use serde::Deserialize;

use super::spot::Spot;

/// The most labels that all series are given.
const MAX_LABELS: usize = 16;
/// The longest value of such a label, in bytes: each line of a scrape bears it.
const MAX_VALUE: usize = 200;
/// The most workers, and combinations, that may be asked for: a scrape of so many is half a gigabyte.
const MAX_SERIES: usize = 100_000;
/// The most tasks, queues and exceptions that may be asked for; the event lanes keep no more names than these apart.
const MAX_NAMES: usize = headcount_core::stats::tally::MAX_NAMES;

/// What `/metrics` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Labels that every series is given.
    pub labels: Vec<(String, String)>,
    /// Whether tasks have series.
    pub tasks: bool,
    /// The most values that the labels of tasks' series take.
    pub limits: Limits,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            labels: Vec::new(),
            tasks: true,
            limits: Limits::default(),
        }
    }
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MetricsTable {
    labels: BTreeMap<String, String>,
    tasks: bool,
    max_workers: usize,
    max_tasks: usize,
    max_queues: usize,
    max_exceptions: usize,
    max_series: usize,
}

impl Default for MetricsTable {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            labels: BTreeMap::new(),
            tasks: true,
            max_workers: limits.workers,
            max_tasks: limits.tasks,
            max_queues: limits.queues,
            max_exceptions: limits.exceptions,
            max_series: limits.series,
        }
    }
}

impl MetricsTable {
    pub(super) fn check(self, spot: &mut Spot<'_>) -> Metrics {
        for (name, value) in &self.labels {
            let key = format!("labels.{name}");
            if !is_label(name) {
                spot.say(
                    &key,
                    "a label's name is made of letters, digits and `_`, does not begin with a digit, nor with `__`",
                );
            } else if LABELS.contains(&name.as_str()) {
                spot.say(&key, "series of Headcount's have a label of that name already");
            } else if value.is_empty() || value.len() > MAX_VALUE {
                let found = value.len();
                spot.say(&key, format!("expected 1 to {MAX_VALUE} bytes, found {found}"));
            }
        }
        if self.labels.len() > MAX_LABELS {
            let found = self.labels.len();
            spot.say("labels", format!("expected at most {MAX_LABELS} labels, found {found}"));
        }
        for (key, found, most) in [
            ("max_workers", self.max_workers, MAX_SERIES),
            ("max_tasks", self.max_tasks, MAX_NAMES),
            ("max_queues", self.max_queues, MAX_NAMES),
            ("max_exceptions", self.max_exceptions, MAX_NAMES),
            ("max_series", self.max_series, MAX_SERIES),
        ] {
            if !(1..=most).contains(&found) {
                spot.say(key, format!("expected 1 to {most}, found {found}"));
            }
        }
        Metrics {
            labels: self.labels.into_iter().collect(),
            tasks: self.tasks,
            limits: Limits {
                workers: self.max_workers,
                tasks: self.max_tasks,
                queues: self.max_queues,
                exceptions: self.max_exceptions,
                series: self.max_series,
            },
        }
    }
}

fn is_label(name: &str) -> bool {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins && !name.starts_with("__") && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
