//! `headcount stats run`, `backfill` and `status`: pipelines without a daemon. They share the work with whatever daemon is at it.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use headcount_actors::ports::stats::{SharedPipeline, Standing, StatsError};
use headcount_actors::stats_pipeline::{CatchUp, LOOK_FOR_END_EVERY, shown};
use headcount_core::span::Span;
use headcount_core::stats::bucket::Rfc3339;
use headcount_core::time::Wall;
use headcount_edge::stats::{self, Config};
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{StatsBackfill, StatsOf, StatsStatus};
use crate::config::Origin;
use crate::wire::stats::Shift;

use super::super::table::{Cell, Columns, Tone};
use super::super::{CommandError, FAILED, Outcome, json as as_json, refuse, to_stderr, to_stdout};

/// How often a line is written where there is no terminal for a bar.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// So long may what is under way take to end; another signal ends it at once.
const END_WITHIN: Duration = Duration::from_secs(10);
/// What is said where it has not ended.
const LEFT: &str =
    "headcount: what was under way has not ended; what of it is not committed is done again by the next run";
/// What is said while what is to be counted anew has not begun.
const WAITS: &str = "waiting until what was read is old enough (settle)";
/// More time left is shown as this, in seconds: ten years.
const MAX_LEFT: f64 = 3e8;

/// The pipelines that are meant; the exit code where there are none to be had.
fn pipelines(config: PathBuf, names: &[String]) -> Result<Result<Vec<Config>, ExitCode>, CommandError> {
    let origin = Origin {
        config: Some(config),
        brokers: Vec::new(),
    };
    let settings = match origin.load() {
        Ok(settings) => settings,
        Err(problems) => return Ok(Err(refuse(&problems))),
    };
    let all: Vec<&str> = settings.stats.iter().map(|pipeline| pipeline.name.as_str()).collect();
    if all.is_empty() {
        return Err(CommandError::Use("the configuration has no [[stats]]".to_owned()));
    }
    if let Some(unknown) = names.iter().find(|name| !all.contains(&name.as_str())) {
        let why = format!("there is no pipeline named {unknown:?}; there are: {}", all.join(", "));
        return Err(CommandError::Use(why));
    }
    let wanted = |pipeline: &Config| names.is_empty() || names.contains(&pipeline.name);
    Ok(Ok(settings.stats.into_iter().filter(wanted).collect()))
}

fn open(pipelines: &[Config]) -> Result<Vec<SharedPipeline>, CommandError> {
    let one = |config: &Config| stats::open(config).map_err(|why| failed(&config.name, &why));
    pipelines.iter().map(one).collect()
}

fn failed(pipeline: &str, why: &StatsError) -> CommandError {
    CommandError::Failed(format!("{pipeline}: {why}"))
}

/// Reads and publishes what is there, and ends.
///
/// # Errors
/// What it could not do.
pub(super) async fn work(args: StatsOf) -> Outcome {
    let pipelines = match pipelines(args.config, &args.pipelines)? {
        Ok(pipelines) => pipelines,
        Err(code) => return Ok(code),
    };
    let eyes = open(&pipelines)?;
    for pipeline in &eyes {
        // What cannot work is told now, instead of being tried for ever.
        pipeline.prepare().await.map_err(|why| failed(pipeline.name(), &why))?;
    }
    finish(&pipelines, &eyes).await
}

/// Counts a stretch of time anew, and ends.
///
/// # Errors
/// What it could not do.
pub(super) async fn backfill(args: StatsBackfill) -> Outcome {
    let now = jiff::Timestamp::now();
    let (from, to) = (moment("--from", &args.from, now)?, moment("--to", &args.to, now)?);
    if from >= to {
        return Err(CommandError::Use("--from must be before --to".to_owned()));
    }
    let pipelines = match pipelines(args.of.config, &args.of.pipelines)? {
        Ok(pipelines) => pipelines,
        Err(code) => return Ok(code),
    };
    let eyes = open(&pipelines)?;
    for pipeline in &eyes {
        pipeline.prepare().await.map_err(|why| failed(pipeline.name(), &why))?;
        let (from, to) = pipeline
            .rebuild(from, to)
            .await
            .map_err(|why| failed(pipeline.name(), &why))?;
        to_stderr(&format_args!(
            "headcount: {}: counting the buckets from {} to {} anew",
            pipeline.name(),
            Rfc3339(from),
            Rfc3339(to)
        ));
    }
    finish(&pipelines, &eyes).await
}

/// A time, or so long before now.
fn moment(argument: &str, text: &str, now: jiff::Timestamp) -> Result<Wall, CommandError> {
    let now = Wall::from_micros(now.as_microsecond());
    if let Ok(span) = text.parse::<Span>() {
        return Ok(now - span.duration());
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => Ok(Wall::from_micros(at.as_microsecond())),
        Err(_) => {
            let expected = "expected a time such as 2026-01-31T12:00:00Z, or a duration before now such as 2d";
            Err(CommandError::Use(format!("{argument}: {expected}, found {text:?}")))
        }
    }
}

/// Works until there is nothing to do.
async fn finish(pipelines: &[Config], eyes: &[SharedPipeline]) -> Outcome {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut progress = Progress::new(all(look(eyes).await).as_deref());
    let shift = Shift::start(pipelines).map_err(|(name, why)| failed(&name, &why))?;
    let (began, mut waits) = (Instant::now(), vec![CatchUp::default(); eyes.len()]);
    let done = loop {
        tokio::select! {
            _ = interrupt.recv() => break false,
            _ = terminate.recv() => break false,
            () = tokio::time::sleep(LOOK_FOR_END_EVERY) => {}
        }
        if let Some(actor) = shift.given_up() {
            // What hangs is no reason to hang.
            let _ = tokio::time::timeout(END_WITHIN, shift.end()).await;
            return Err(CommandError::Failed(format!(
                "the actor {actor} failed too often: what was done is kept, run this again; if it persists, report what is above"
            )));
        }
        let (waited, mut done) = (began.elapsed(), true);
        let standings = look(eyes).await;
        for (wait, standing) in waits.iter_mut().zip(&standings) {
            // Where one cannot be asked just now, its actors say why.
            done &= wait.look(standing.as_ref(), waited);
        }
        if let Some(standings) = all(standings) {
            progress.show(&standings);
        }
        if done {
            break true;
        }
    };
    tokio::select! {
        _ = interrupt.recv() => to_stderr(&LEFT),
        _ = terminate.recv() => to_stderr(&LEFT),
        ended = tokio::time::timeout(END_WITHIN, shift.end()) => if ended.is_err() {
            to_stderr(&LEFT);
        },
    }
    progress.end();
    if done {
        return Ok(ExitCode::SUCCESS);
    }
    to_stderr(&"headcount: stopped; what is left goes on with the next run, or with the daemon");
    Ok(ExitCode::from(FAILED))
}

async fn look(eyes: &[SharedPipeline]) -> Vec<Option<Standing>> {
    let standings = futures_util::future::join_all(eyes.iter().map(|pipeline| pipeline.standing())).await;
    standings.into_iter().map(Result::ok).collect()
}

/// A sum is of all of them or of none.
fn all(standings: Vec<Option<Standing>>) -> Option<Vec<Standing>> {
    standings.into_iter().collect()
}

/// A bar on a terminal, or a line now and then: documents, rate, time left.
struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    /// When reading began, from which the rate is reckoned: what is to be counted anew waits at first.
    reads_since: Instant,
    /// How many documents had been read before this run, by whomever.
    first: Option<u64>,
    last_line: Instant,
    last: Option<(u64, u64)>,
}

impl Progress {
    /// Begins with what there was before.
    fn new(before: Option<&[Standing]>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            // The bar has what the words leave of the line: on 80 columns a bar of its own width would cut them off.
            let style = ProgressStyle::with_template("{msg} {wide_bar}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let now = Instant::now();
        Self {
            bar,
            began: now,
            reads_since: now,
            first: before.map(|standings| standings.iter().map(|one| one.documents).sum()),
            last_line: now,
            last: None,
        }
    }

    fn show(&mut self, standings: &[Standing]) {
        let sum = |of: fn(&Standing) -> u64| standings.iter().map(of).sum::<u64>();
        let (read, left) = (sum(|one| one.documents), sum(|one| one.lag_documents));
        let unpublished = sum(|one| one.unpublished);
        let read = read - *self.first.get_or_insert(read);
        self.last = Some((read, left));
        let text = if standings.iter().any(|one| one.rebuilds) {
            self.reads_since = Instant::now();
            WAITS.to_owned()
        } else {
            said(read, left, unpublished, self.reads_since.elapsed())
        };
        match &self.bar {
            Some(bar) => {
                bar.set_length(read + left);
                bar.set_position(read);
                bar.set_message(text);
            }
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                to_stderr(&format_args!("headcount: {text}"));
            }
            None => {}
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let (read, left) = self.last.unwrap_or_default();
        let took = self.began.elapsed().as_secs_f64();
        to_stderr(&format_args!(
            "headcount: {} documents in {took:.1} s ({}/s); {} left",
            HumanCount(read),
            HumanCount((read as f64 / took) as u64),
            HumanCount(left)
        ));
    }
}

/// How far it is, in a line that fits a terminal beside a bar.
fn said(read: u64, left: u64, unpublished: u64, took: Duration) -> String {
    let rate = read as f64 / took.as_secs_f64().max(f64::EPSILON);
    let time_left = if rate > 0.0 {
        // A guess; a fraction of a second would claim more.
        format!(
            "{:#}",
            HumanDuration(Duration::from_secs_f64((left as f64 / rate).min(MAX_LEFT).ceil()))
        )
    } else {
        "?".to_owned()
    };
    format!(
        "{} of {} documents, {}/s, {time_left} left, {} to publish",
        HumanCount(read),
        HumanCount(read + left),
        HumanCount(rate as u64),
        HumanCount(unpublished)
    )
}

/// How the pipelines stand, from where their state is kept.
///
/// # Errors
/// What it could not do.
pub(super) async fn status(args: StatsStatus) -> Outcome {
    let pipelines = match pipelines(args.of.config, &args.of.pipelines)? {
        Ok(pipelines) => pipelines,
        Err(code) => return Ok(code),
    };
    let mut found = Vec::new();
    for pipeline in open(&pipelines)? {
        let standing = pipeline.standing().await.map_err(|why| failed(pipeline.name(), &why))?;
        found.push((pipeline, standing));
    }
    let text = if args.json {
        as_json(
            &found
                .iter()
                .map(|(pipeline, standing)| shown(pipeline.as_ref(), standing))
                .collect(),
        )
    } else {
        table(&found)
    };
    to_stdout(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn table(found: &[(SharedPipeline, Standing)]) -> String {
    let head = [
        "PIPELINE",
        "DOCUMENTS",
        "BACKLOG",
        "HELD",
        "LAG",
        "BEHIND",
        "UNPUBLISHED",
        "DEAD LETTERS",
    ];
    let mut columns = Columns::new(&head);
    for (pipeline, standing) in found {
        let behind = standing
            .lag
            .map_or_else(|| "-".to_owned(), |lag| format!("{:.0} s", lag.as_secs_f64()));
        let (backlog, lag, behind) = if standing.is_begun() {
            let done = format!("{} of {} parts done", standing.parts_done, standing.parts);
            (done, Cell::from(standing.lag_documents), behind)
        } else {
            ("not begun".to_owned(), Cell::from("-"), "-".to_owned())
        };
        let dead = if standing.dead_letters > 0 {
            Tone::Warning
        } else {
            Tone::Plain
        };
        columns.row(vec![
            pipeline.name().into(),
            standing.documents.into(),
            backlog.into(),
            standing.parts_held.into(),
            lag,
            behind.into(),
            standing.unpublished.into(),
            Cell::new(standing.dead_letters, dead),
        ]);
    }
    columns.render(std::io::stdout().is_terminal())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is_fits_one_line() {
        let text = said(1_500_000, 3_000_000, 2_000, Duration::from_secs(100));
        assert_eq!(
            text,
            "1,500,000 of 4,500,000 documents, 15,000/s, 3m left, 2,000 to publish"
        );
        assert_eq!(
            said(0, 7, 0, Duration::from_secs(1)),
            "0 of 7 documents, 0/s, ? left, 0 to publish"
        );
        assert!(said(1, u64::MAX - 1, 0, Duration::MAX).contains(" left"));
    }
}
