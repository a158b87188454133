//! `[otlp]`.

use std::collections::BTreeMap;
use std::time::Duration;

use headcount_core::span::Span;
use headcount_edge::otlp::{self, Config, Temporality};
use secrecy::SecretString;
use serde::Deserialize;
use tracing::level_filters::LevelFilter;

use super::spot::Spot;

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OtlpTable {
    endpoint: Option<String>,
    headers: BTreeMap<String, SecretString>,
    traces_sample_rate: f64,
    metrics_every: Span,
    metrics_temporality: Temporality,
    logs: String,
    service_name: String,
    resource: BTreeMap<String, String>,
}

impl Default for OtlpTable {
    fn default() -> Self {
        Self {
            endpoint: None,
            headers: BTreeMap::new(),
            traces_sample_rate: 1.0,
            metrics_every: Span::from_secs(60),
            metrics_temporality: Temporality::default(),
            logs: "info".to_owned(),
            service_name: "headcount".to_owned(),
            resource: BTreeMap::new(),
        }
    }
}

/// Oftener than this, each collection costs more than what it says is worth.
const MIN_EVERY: Span = Span::from_secs(1);
/// Headers of one request, and attributes of the resource.
const MAX_ENTRIES: usize = 50;
/// The longest name of a service, or of an attribute, in bytes.
const MAX_NAME: usize = 255;

impl OtlpTable {
    /// None where the table is not there, or is too wrong to go on with.
    pub(super) fn check(self, present: bool, spot: &mut Spot<'_>) -> Option<Config> {
        if !present {
            return None;
        }
        for (name, value) in &self.headers {
            if let Err(why) = otlp::header(name, value) {
                spot.say(&format!("headers.{name}"), why);
            }
        }
        for (key, entries) in [("headers", self.headers.len()), ("resource", self.resource.len())] {
            if entries > MAX_ENTRIES {
                spot.say(key, format!("expected at most {MAX_ENTRIES} entries, found {entries}"));
            }
        }
        if !(0.0..=1.0).contains(&self.traces_sample_rate) {
            let found = self.traces_sample_rate;
            spot.say(
                "traces_sample_rate",
                format!("expected 0.0 (no traces) to 1.0 (all of them), found {found}"),
            );
        }
        if self.metrics_every < MIN_EVERY && !self.metrics_every.is_zero() {
            let found = self.metrics_every;
            spot.say(
                "metrics_every",
                format!("expected at least {MIN_EVERY}, or 0s for no metrics, found {found}"),
            );
        }
        let logs = self.logs.parse::<LevelFilter>().ok().filter(|_| {
            // It would take numbers as well.
            self.logs.chars().all(|c| c.is_ascii_alphabetic())
        });
        if logs.is_none() && !spot.has_mistake("logs") {
            spot.expected(
                "logs",
                "\"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
                &self.logs,
            );
        }
        let names = self.resource.keys().map(|name| (format!("resource.{name}"), name));
        for (key, name) in names.chain([("service_name".to_owned(), &self.service_name)]) {
            if !(1..=MAX_NAME).contains(&name.len()) || name.chars().any(char::is_control) {
                spot.say(
                    &key,
                    format!("expected 1 to {MAX_NAME} bytes without control characters"),
                );
            }
        }
        let Some(endpoint) = self.endpoint else {
            if !spot.has_mistake("endpoint") {
                spot.say("endpoint", "this key is required");
            }
            return None;
        };
        let endpoint = match otlp::endpoint(&endpoint, !self.headers.is_empty()) {
            Ok(endpoint) => endpoint,
            Err(why) => {
                spot.say("endpoint", why);
                return None;
            }
        };
        Some(Config {
            endpoint,
            headers: self.headers,
            traces_sample_rate: self.traces_sample_rate,
            metrics_every: (!self.metrics_every.is_zero()).then(|| Duration::from(self.metrics_every)),
            metrics_temporality: self.metrics_temporality,
            logs: logs.unwrap_or(LevelFilter::OFF),
            service_name: self.service_name,
            resource: self.resource,
        })
    }
}
