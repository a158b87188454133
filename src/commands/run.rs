//! `headcount run`.

use std::process::ExitCode;

use crate::cli::Run;
use crate::config::Origin;
use crate::telemetry::Telemetry;
use crate::wire;

use super::{CommandError, FAILED, Outcome, refuse};

/// Reads the settings and runs the daemon.
///
/// # Errors
/// What the daemon could not do.
pub async fn run(args: Run, telemetry: &Telemetry) -> Outcome {
    let origin = Origin {
        config: args.config,
        brokers: args.brokers,
    };
    let settings = match origin.load() {
        Ok(settings) => settings,
        Err(problems) => return Ok(refuse(&problems)),
    };
    match wire::run(settings, origin, telemetry).await {
        Ok(code) => Ok(code),
        Err(why) if telemetry.logs.is_for_people() => Err(CommandError::Failed(why.to_string())),
        // Who reads the log by a program finds the last word in it as well.
        Err(why) => {
            tracing::error!(%why, "Headcount cannot go on, and ends: mend what it says, and start it again");
            Ok(ExitCode::from(FAILED))
        }
    }
}
