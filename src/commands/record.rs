//! `headcount record`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use headcount_edge::brokers;

use crate::cli::Record;
use crate::config::Origin;
use crate::record::{TraceFile, WriteError};
use crate::wire::recording;

use super::{CommandError, Outcome, count, refuse, to_stderr};

/// Records until it is told to stop.
///
/// # Errors
/// What it could not do.
pub async fn run(args: Record) -> Outcome {
    if args.out == Path::new("-") {
        // What is durable within a second needs a file, and a pipe would be full of a trace in binary.
        return Err(CommandError::Use(
            "--out: a trace goes into a file, not to standard output; for a file of that name write ./-".to_owned(),
        ));
    }
    let origin = Origin {
        config: None,
        brokers: vec![args.broker],
    };
    let settings = match origin.load_offline() {
        Ok(settings) => settings,
        Err(problems) => return Ok(refuse(&problems)),
    };
    let Some(config) = settings.brokers.first() else {
        return Err(CommandError::Use("--broker: expected a URL".to_owned()));
    };
    let broker =
        brokers::open(config.config.clone()).map_err(|error| CommandError::Use(format!("--broker: {error}")))?;
    let file = TraceFile::create(&args.out, args.force).map_err(|error| match error {
        WriteError::Exists(_) => CommandError::Use(error.to_string()),
        other => CommandError::Failed(other.to_string()),
    })?;
    to_stderr(&format_args!(
        "headcount: recording {} to {}: the events of its workers, and what they and the broker answer to Headcount's \
         questions; no task arguments, no results. Ctrl-C ends it.",
        broker.address(),
        args.out.display()
    ));
    let began = Instant::now();
    let recorded = recording::run(&settings, broker, file)
        .await
        .map_err(|why| CommandError::Failed(why.to_string()))?;
    to_stderr(&format_args!(
        "headcount: recorded {} and {} in {} s: {} bytes in {}",
        count(recorded.events, "event"),
        count(recorded.answers, "answer"),
        began.elapsed().as_secs(),
        recorded.bytes,
        args.out.display()
    ));
    Ok(ExitCode::SUCCESS)
}
