//! `headcount log-level`: what a running daemon logs, and changing that.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::{Value, json};

use super::status::Client;
use super::{Outcome, to_stdout};
use crate::cli::LogLevel;

const PAGE: &str = "/api/v1/log-level";

/// From `/api/v1/log-level`.
#[derive(Debug, Deserialize)]
struct Shown {
    filter: String,
    until: Option<String>,
    then: Option<String>,
    at_start: String,
    at_start_from: String,
    /// Missing from a daemon that is older.
    #[serde(default)]
    never_finer: String,
}

/// Shows what a daemon logs, or changes it and shows that.
///
/// # Errors
/// The daemon cannot be reached, does not take the token, or says what is wrong with the filter.
pub async fn run(args: LogLevel) -> Outcome {
    let client = Client::new(&args.daemon)?;
    let shown: Value = match &args.filter {
        Some(filter) => {
            let lasts = args.lasts.map(|lasts| lasts.to_string());
            client.put(PAGE, &json!({"filter": filter, "for": lasts})).await?
        }
        None if args.reset => client.delete(PAGE).await?,
        None => client.get(PAGE).await?,
    };
    let text = if args.json {
        super::json(&shown)
    } else {
        let shown = Shown::deserialize(&shown).map_err(|error| client.not_an_answer(PAGE, &error))?;
        words(&shown)
    };
    to_stdout(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// `info,headcount_actors=debug until 2026-01-31T12:10:00.000Z, then info`.
fn words(shown: &Shown) -> String {
    let mut text = shown.filter.clone();
    if let (Some(until), Some(then)) = (&shown.until, &shown.then) {
        text.push_str(&format!(" until {until}, then {then}"));
    } else if shown.filter != shown.at_start {
        let (at_start, from) = (&shown.at_start, &shown.at_start_from);
        text.push_str(&format!(" until the next reload, then {at_start} ({from})"));
    } else {
        text.push_str(&format!(" ({})", shown.at_start_from));
    }
    text.push('\n');
    if shown.filter.contains("trace") && !shown.never_finer.is_empty() {
        text.push_str(&format!(
            "never finer, for what it would print: {}\n",
            shown.never_finer
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_says_for_how_long_and_what_then() {
        let shown = |filter: &str, until: Option<&str>| Shown {
            filter: filter.to_owned(),
            until: until.map(str::to_owned),
            then: until.map(|_| "warn".to_owned()),
            at_start: "info".to_owned(),
            at_start_from: "[log] level".to_owned(),
            never_finer: "lapin=debug".to_owned(),
        };
        assert_eq!(words(&shown("info", None)), "info ([log] level)\n");
        assert_eq!(
            words(&shown("debug", None)),
            "debug until the next reload, then info ([log] level)\n"
        );
        assert_eq!(words(&shown("debug", Some("noon"))), "debug until noon, then warn\n");
        assert_eq!(
            words(&shown("trace", Some("noon"))),
            "trace until noon, then warn\nnever finer, for what it would print: lapin=debug\n"
        );
    }
}
