//! `headcount stats`: one file for each of its commands.

mod pipelines;
mod tasks;

use crate::cli::Stats;

use super::Outcome;

/// Runs one of them.
///
/// # Errors
/// Those of the command.
pub async fn run(args: Stats) -> Outcome {
    match args {
        Stats::Tasks(args) => tasks::run(args).await,
        Stats::Run(args) => pipelines::work(args).await,
        Stats::Backfill(args) => pipelines::backfill(args).await,
        Stats::Status(args) => pipelines::status(args).await,
    }
}
