//! `headcount run`.

use crate::cli::Run;
use crate::config::Origin;
use crate::telemetry::Telemetry;
use crate::wire;

use super::{CommandError, Outcome, refuse};

/// Reads the settings and runs the daemon.
///
/// # Errors
/// What the daemon could not do.
pub async fn run(args: Run, telemetry: Telemetry) -> Outcome {
    let origin = Origin {
        config: args.config,
        brokers: args.brokers,
    };
    let settings = match origin.load() {
        Ok(settings) => settings,
        Err(problems) => return Ok(refuse(&problems)),
    };
    wire::run(settings, origin, telemetry)
        .await
        .map_err(|why| CommandError::Failed(why.to_string()))
}
