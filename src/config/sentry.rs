//! `[sentry]`.

use compact_str::CompactString;
use headcount_core::glob::Glob;
use headcount_core::span::Span;
use headcount_edge::host::host_name;
use headcount_edge::sentry::{self, Config, DEFAULT_RELEASE, DEFAULT_WINDOW};
use serde::Deserialize;

use super::fleet::Fleet;
use super::spot::Spot;

/// The table as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SentryTable {
    dsn: Option<String>,
    environment: Option<String>,
    release: Option<String>,
    server_name: Option<String>,
    traces_sample_rate: Option<f32>,
    error_window: Option<Span>,
    task_failures: Vec<String>,
}

/// In less, an error that comes every second is no longer told once.
const MIN_WINDOW: Span = Span::from_secs(10);
/// In more, nobody learns on the same day that it goes on.
const MAX_WINDOW: Span = Span::from_secs(86_400);
/// The longest name that Sentry takes for an environment, which is the shortest of its bounds, in bytes.
const MAX_NAME: usize = 64;

impl SentryTable {
    /// None where no address is given: an empty one turns it off.
    pub(super) fn check(self, discovers: bool, fleets: &[Fleet], spot: &mut Spot<'_>) -> Option<Config> {
        let dsn = match self.dsn.as_deref().map(str::trim) {
            None => {
                if !spot.table.0.is_empty() && spot.table.get("dsn").is_none() {
                    spot.say(
                        "dsn",
                        "this key is required: the project's DSN, from its settings in Sentry",
                    );
                }
                None
            }
            Some("") => None,
            Some(text) => match sentry::dsn(text) {
                Ok(dsn) => Some(dsn),
                Err(why) => {
                    // It says what is lacking, and nothing of what there is.
                    let message = format!("expected a DSN such as \"https://KEY@o1.ingest.sentry.io/7\": {why}");
                    spot.say("dsn", message);
                    None
                }
            },
        };
        for (key, name) in [
            ("environment", &self.environment),
            ("release", &self.release),
            ("server_name", &self.server_name),
        ] {
            if let Some(name) = name
                && (name.is_empty() || name.len() > MAX_NAME || name.contains(|c: char| c.is_control() || c == '/'))
            {
                spot.expected(key, &format!("1 to {MAX_NAME} bytes without `/`"), name);
            }
        }
        let rate = self.traces_sample_rate.unwrap_or_default();
        if !(0.0..=1.0).contains(&rate) {
            spot.expected("traces_sample_rate", "a number from 0 to 1", &rate);
        }
        let window = self.error_window.unwrap_or(DEFAULT_WINDOW);
        if !(MIN_WINDOW..=MAX_WINDOW).contains(&window) {
            let bounds = format!("a duration from {MIN_WINDOW} to {MAX_WINDOW}");
            spot.expected("error_window", &bounds, &window);
        }
        let task_failures = self.task_failures.iter().enumerate();
        let task_failures = task_failures
            .filter_map(|(place, text)| {
                let key = format!("task_failures.[{place}]");
                let glob = match Glob::of_any(text) {
                    Ok(glob) => glob,
                    Err(why) => {
                        spot.say(&key, why.to_string());
                        return None;
                    }
                };
                // Where fleets are discovered, one that is not known yet may still come.
                let known = |fleet: &CompactString| glob.matches(fleet);
                if !discovers && !fleets.iter().any(|fleet| known(&fleet.name)) {
                    spot.say_plainly(
                        &key,
                        &format!("there is no fleet named {text:?}"),
                        "there is no fleet of this name",
                    );
                }
                Some(glob)
            })
            .collect();
        Some(Config {
            dsn: dsn?,
            environment: self.environment.unwrap_or_else(|| "production".to_owned()),
            release: self.release.unwrap_or_else(|| DEFAULT_RELEASE.to_owned()),
            server_name: self.server_name.unwrap_or_else(host_name),
            traces_sample_rate: rate,
            error_window: window,
            task_failures,
        })
    }
}
