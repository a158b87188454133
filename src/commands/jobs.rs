//! `headcount jobs`: when scheduled jobs run next, and what became of their last runs.

pub(crate) mod import;
mod python;

use std::io::Read;
use std::process::ExitCode;

use headcount_core::celery::plain_json;
use headcount_core::schedule::RunState;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::status::Client;
use super::table::{Cell, Columns, Tone};
use super::{CommandError, FAILED, Outcome, to_stderr, to_stdout};
use crate::cli::{ImportJobs, Jobs, JobsCommand};

/// The largest beat schedule that is read, in bytes; thousands of entries fit.
const MAX_IMPORT: u64 = 16 * 1024 * 1024;

/// Shows the jobs of a daemon, or imports others.
///
/// # Errors
/// The daemon cannot be reached or read, or the file cannot.
pub async fn run(args: Jobs) -> Outcome {
    match args.command {
        Some(JobsCommand::Import(import)) => run_import(&import),
        None => show(&args).await,
    }
}

/// From `/api/v1/jobs`.
#[derive(Debug, Deserialize)]
struct Job {
    name: String,
    schedule: String,
    timezone: Option<String>,
    next: Option<Timestamp>,
    last: Option<Run>,
    ended: Option<Run>,
}

/// One run.
#[derive(Debug, Deserialize)]
struct Run {
    slot: Timestamp,
    state: String,
    worker: Option<String>,
    runtime: Option<f64>,
    why: Option<String>,
}

async fn show(args: &Jobs) -> Outcome {
    let client = Client::new(&args.daemon)?;
    if args.json {
        let jobs: Value = client.get("/api/v1/jobs").await?;
        to_stdout(&super::json(&jobs))?;
        return Ok(ExitCode::SUCCESS);
    }
    let jobs: Vec<Job> = client.get("/api/v1/jobs").await?;
    if jobs.is_empty() {
        to_stdout("This daemon has no jobs: there is no [[job]] in its configuration.\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    to_stdout(&table(&jobs).render(super::table::colours()))?;
    Ok(ExitCode::SUCCESS)
}

fn table(jobs: &[Job]) -> Columns {
    let mut columns = Columns::new(&[
        "JOB", "SCHEDULE", "NEXT", "NOW", "LAST", "OUTCOME", "RUNTIME", "WORKER", "WHY",
    ]);
    for job in jobs {
        let schedule = match &job.timezone {
            Some(zone) if zone != "UTC" => format!("{} {zone}", job.schedule),
            _ => job.schedule.clone(),
        };
        let moment = |at: Timestamp| format!("{at:.0}");
        let ended = job.ended.as_ref();
        let now = job.last.as_ref().filter(|run| is_open(&run.state));
        let text = |text: Option<&String>| text.map_or_else(String::new, Clone::clone);
        columns.row(vec![
            (&job.name).into(),
            schedule.into(),
            job.next.map_or_else(|| "never".to_owned(), moment).into(),
            now.map_or("-", |run| run.state.as_str()).into(),
            ended.map_or_else(|| "-".to_owned(), |run| moment(run.slot)).into(),
            ended.map_or_else(|| "".into(), |run| Cell::new(&run.state, tone(&run.state))),
            ended
                .and_then(|run| run.runtime)
                .map_or_else(String::new, |runtime| format!("{runtime:.3} s"))
                .into(),
            text(ended.and_then(|run| run.worker.as_ref())).into(),
            text(ended.and_then(|run| run.why.as_ref())).into(),
        ]);
    }
    columns
}

fn is_open(state: &str) -> bool {
    RunState::of_word(state).is_some_and(RunState::is_open)
}

fn tone(state: &str) -> Tone {
    match state {
        "succeeded" => Tone::Good,
        "failed" | "rejected" | "expired" | "lost" => Tone::Bad,
        "skipped" | "superseded" | "revoked" | "retrying" => Tone::Warning,
        _ => Tone::Plain,
    }
}

/// Python's `json.dumps` also writes `NaN` and `Infinity`: they become null, and cost the one entry that they are in.
fn read_json(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text).or_else(|strict| match plain_json(text.as_bytes()) {
        Ok(plain) => serde_json::from_str(&plain),
        Err(_) => Err(strict),
    })
}

fn run_import(args: &ImportJobs) -> Outcome {
    let shown = args.file.display();
    let mut text = String::new();
    let read = if args.file.as_os_str() == "-" {
        std::io::stdin().take(MAX_IMPORT + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(&args.file).and_then(|file| file.take(MAX_IMPORT + 1).read_to_string(&mut text))
    };
    read.map_err(|error| CommandError::Failed(format!("{shown}: {error}")))?;
    if text.len() as u64 > MAX_IMPORT {
        return Err(CommandError::Failed(format!("{shown}: larger than {MAX_IMPORT} bytes")));
    }
    let json = read_json(&text).map_err(|error| CommandError::Failed(format!("{shown}: not JSON: {error}")))?;
    let wishes = import::Wishes {
        timezone: args.timezone.clone(),
        broker: args.broker.clone(),
    };
    let imported = import::import(&json, &wishes).map_err(|why| CommandError::Failed(format!("{shown}: {why}")))?;
    to_stdout(&imported.toml)?;
    for remark in &imported.remarks {
        to_stderr(&format_args!("{shown}: {remark}"));
    }
    to_stderr(&format_args!(
        "headcount: {} of {} entries became jobs{}",
        imported.jobs,
        imported.entries,
        if imported.whole {
            ""
        } else {
            "; what could not be expressed is said above"
        }
    ));
    Ok(if imported.whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_writes_for_no_number_costs_the_entry_and_not_the_file() {
        let text = r#"{"bad": {"task": "t", "schedule": 10, "args": [NaN]}, "good": {"task": "t", "schedule": 10}}"#;
        let imported = import::import(&read_json(text).unwrap(), &import::Wishes::default()).unwrap();
        assert_eq!(imported.jobs, 1, "{imported:?}");
        assert!(imported.toml.contains("\"good\"") && !imported.whole, "{imported:?}");
        assert!(imported.remarks[0].contains("bad: left out: args: "), "{imported:?}");
        assert!(read_json("{\"a\": }").is_err());
    }
}
