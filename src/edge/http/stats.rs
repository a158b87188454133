//! `/api/v1/stats/tasks`: the roll-ups of task events, added up over a step or over the whole time that is asked for.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use compact_str::CompactString;
use headcount_actors::ports::RollupQuery;
use headcount_core::celery::TaskKind;
use headcount_core::glob::Glob;
use headcount_core::span::Span;
use headcount_core::stats::bucket::{Rfc3339, Width};
use headcount_core::stats::measure::Quantile;
use headcount_core::stats::task::{Spans, TaskKey, TaskRollup, Times};
use headcount_core::time::Wall;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::api::{now, read_moment};
use super::problem::Problem;

/// How far back a client looks that does not say how far.
const DEFAULT_SPAN: Span = Span::from_secs(3_600);
/// How many roll-ups one answer may hold: some 4 MB.
const MAX_ROLLUPS: usize = 10_000;
/// How many the store is asked for at once: some 10 ms of its time, in which nothing else is written.
const PAGE: usize = 2_000;
/// How many pages are read at most for one answer: two million roll-ups, more than the store keeps of ordinary ones.
const MAX_PAGES: usize = 1_000;

/// Which roll-ups.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    from: Option<String>,
    to: Option<String>,
    fleet: Option<CompactString>,
    task: Option<String>,
    step: Option<String>,
}

pub(super) async fn tasks(shared: web::Data<Shared>, params: web::Query<Params>) -> Result<HttpResponse, Problem> {
    let asked = Asked::read(&params)?;
    let mut sums = Sums::default();
    let mut after = None;
    for _ in 0..MAX_PAGES {
        let query = RollupQuery {
            from: asked.from,
            to: asked.to,
            fleet: params.fleet.clone(),
            after: after.take(),
            limit: PAGE,
        };
        let page = shared.store.task_rollups(query).await;
        let page = page.map_err(|error| Problem::store(&error))?;
        let is_last = page.len() < PAGE;
        after = page.last().map(|last| last.key.clone());
        for rollup in page {
            sums.add(&asked, rollup)?;
        }
        if is_last {
            return Ok(HttpResponse::Ok().json(sums.view(&asked)));
        }
    }
    Err(too_much(
        "the time that is asked for holds more roll-ups than one answer can be made of",
    ))
}

fn too_much(what: impl std::fmt::Display) -> Problem {
    Problem::bad_request(format_args!(
        "{what}: ask for a shorter time, a longer step, one fleet or one task"
    ))
}

/// What a client wants to know.
struct Asked {
    from: Wall,
    to: Wall,
    step: Option<Width>,
    task: Option<Glob>,
}

impl Asked {
    fn read(params: &Params) -> Result<Self, Problem> {
        let moment =
            |name: &str, text: &Option<String>| text.as_deref().map(|text| read_moment(name, text)).transpose();
        let to = moment("to", &params.to)?.unwrap_or_else(now);
        let from = moment("from", &params.from)?.unwrap_or(to - DEFAULT_SPAN.duration());
        if from >= to {
            let (from, to) = (Rfc3339(from), Rfc3339(to));
            return Err(Problem::bad_request(format_args!("from: {from} is not before {to}")));
        }
        let step = params.step.as_deref().map(str::parse::<Width>).transpose();
        let task = params.task.as_deref().map(Glob::of_any).transpose();
        Ok(Self {
            // Whole minutes: the minute in which it begins counts.
            from: Width::MINUTE.start(from),
            to,
            step: step.map_err(|error| Problem::bad_request(format_args!("step: {error}")))?,
            task: task.map_err(|error| Problem::bad_request(format_args!("task: {error}")))?,
        })
    }
}

/// What is added up: roll-ups that differ in nothing that is shown.
#[derive(Default)]
struct Sums(BTreeMap<SumKey, (u64, Times)>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct SumKey {
    /// The start of a step, and how long it is: an hour, where nothing finer is kept.
    bucket: Option<(Wall, Width)>,
    fleet: CompactString,
    task: CompactString,
    queue: CompactString,
    outcome: TaskKind,
}

impl Sums {
    fn add(&mut self, asked: &Asked, rollup: TaskRollup) -> Result<(), Problem> {
        let TaskRollup { key, count, times } = rollup;
        let TaskKey {
            width,
            start,
            fleet,
            task,
            queue,
            outcome,
        } = key;
        if asked.task.as_ref().is_some_and(|glob| !glob.matches(&task)) {
            return Ok(());
        }
        let bucket = asked.step.map(|step| {
            let step = step.max(width);
            (step.start(start), step)
        });
        let key = SumKey {
            bucket,
            fleet,
            task,
            queue,
            outcome,
        };
        let (sum, all) = self.0.entry(key).or_default();
        *sum = sum.saturating_add(count);
        all.merge(&times);
        if self.0.len() > MAX_ROLLUPS {
            return Err(too_much(format_args!("more than {MAX_ROLLUPS} roll-ups")));
        }
        Ok(())
    }

    fn view(self, asked: &Asked) -> Stats {
        let rollups = self.0.into_iter();
        let rollups = rollups.map(|(key, (count, times))| RollupView {
            bucket: key.bucket.map(|(start, _)| Rfc3339(start).to_string()),
            width: key.bucket.map(|(_, width)| width.to_string()),
            fleet: key.fleet,
            task: key.task,
            queue: key.queue,
            outcome: key.outcome.word(),
            count,
            runtime_s: SpansView::of(&times.runtime),
            wait_s: SpansView::of(&times.wait),
            queued_s: SpansView::of(&times.queued),
        });
        Stats {
            from: Rfc3339(asked.from).to_string(),
            to: Rfc3339(asked.to).to_string(),
            rollups: rollups.collect(),
        }
    }
}

#[derive(Serialize)]
struct Stats {
    from: String,
    to: String,
    rollups: Vec<RollupView>,
}

#[derive(Serialize)]
struct RollupView {
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<String>,
    fleet: CompactString,
    task: CompactString,
    queue: CompactString,
    outcome: &'static str,
    count: u64,
    runtime_s: Option<SpansView>,
    wait_s: Option<SpansView>,
    queued_s: Option<SpansView>,
}

/// Lengths of time, in seconds.
#[derive(Serialize)]
struct SpansView {
    count: u64,
    mean: f64,
    p50: f64,
    p90: f64,
    p95: f64,
    p99: f64,
    max: f64,
}

impl SpansView {
    fn of(spans: &Spans) -> Option<Self> {
        let max = spans.longest()?.as_secs_f64();
        // What is within 1 % of a value may lie beyond the greatest.
        let quantile = |quantile| spans.quantile(quantile).map(|value| value.min(max));
        Some(Self {
            count: spans.count(),
            mean: spans.mean()?.as_secs_f64(),
            p50: quantile(Quantile::P50)?,
            p90: quantile(Quantile::P90)?,
            p95: quantile(Quantile::P95)?,
            p99: quantile(Quantile::P99)?,
            max,
        })
    }
}

#[cfg(test)]
mod tests;
