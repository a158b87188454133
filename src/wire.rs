//! The composition root: the one place that names both actors and edge.

use std::process::ExitCode;

use crate::config::{Origin, Settings};

/// Runs the daemon until it is told to stop. `origin` is where the settings came from, for SIGHUP.
///
/// # Errors
/// Why it could not start, or could not go on, in words for a person.
pub async fn run(settings: Settings, origin: Origin) -> Result<ExitCode, String> {
    let _ = (settings, origin);
    Err("the daemon's actors are not part of this build".to_owned())
}
