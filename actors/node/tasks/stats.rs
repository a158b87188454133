//! `headcount.stats.run(pipelines=None)` and `headcount.stats.status(pipelines=None)`: the `[[stats]]` pipelines, for callers.

use async_trait::async_trait;
use headcount_core::celery::result::Failure;
use headcount_core::node::{Outcome, TaskSpec};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::meters::Meters;
use crate::meters::stats::PipelineLabel;
use crate::ports::node::{Call, Task};
use crate::ports::stats::{SharedPipeline, Standing, StatsError};
use crate::stats_pipeline::{CatchUp, LOOK_FOR_END_EVERY, shown};

/// The pipelines of this Headcount, to look at; its actors work on them.
#[derive(Clone)]
pub struct Pipelines {
    /// All of them.
    pub all: Vec<SharedPipeline>,
    /// Where its actors count what they have done.
    pub meters: Meters,
}

/// Waits until all that is there has been counted and published, as `headcount stats run` does, and returns how much that was;
/// once its soft time limit is over, how much it was until then. Called again after a crash: it changes nothing by itself.
#[derive(Clone)]
pub struct StatsRun(pub Pipelines);

/// Returns how pipelines stand, as `headcount stats status --json` does.
#[derive(Clone)]
pub struct StatsStatus(pub Pipelines);

#[async_trait]
impl Task for StatsRun {
    fn spec(&self) -> TaskSpec {
        TaskSpec {
            acks_late: true,
            ..TaskSpec::new("headcount.stats.run")
        }
    }

    fn heeds_hurry(&self) -> bool {
        true
    }

    async fn run(&self, call: Call) -> Outcome {
        let mut hurry = call.hurry.clone();
        let pipelines = match self.0.asked(call, "headcount.stats.run") {
            Ok(pipelines) => pipelines,
            Err(wrong) => return Outcome::Failure(wrong),
        };
        let begun = tokio::select! {
            begun = self.0.begin(&pipelines) => begun,
            // Nothing is known yet that could be told.
            () = is_over(&mut hurry) => return Outcome::Failure(Failure::soft_time_limit()),
        };
        match begun {
            Ok(waited) => self.0.finish(waited, &mut hurry).await,
            Err(trouble) => trouble,
        }
    }
}

#[async_trait]
impl Task for StatsStatus {
    fn spec(&self) -> TaskSpec {
        TaskSpec::new("headcount.stats.status")
    }

    async fn run(&self, call: Call) -> Outcome {
        let pipelines = match self.0.asked(call, "headcount.stats.status") {
            Ok(pipelines) => pipelines,
            Err(wrong) => return Outcome::Failure(wrong),
        };
        let mut found = Vec::new();
        for pipeline in &pipelines {
            match pipeline.standing().await {
                Ok(standing) => found.push(shown(pipeline.as_ref(), &standing)),
                Err(error) => return trouble(pipeline, &error),
            }
        }
        Outcome::Success(found.into())
    }
}

/// A pipeline that is waited for.
struct Waited<'a> {
    pipeline: &'a SharedPipeline,
    before: Standing,
    rollups_before: u64,
    now: Standing,
    wait: CatchUp,
}

impl Pipelines {
    /// The pipelines that a call names: one, a list of them, or all.
    fn asked(&self, call: Call, task: &str) -> Result<Vec<SharedPipeline>, Failure> {
        let [given] = call.arguments.bind(task, ["pipelines"])?;
        let names = match given {
            None | Some(Value::Null) => return Ok(self.all.clone()),
            Some(Value::Array(names)) => names,
            Some(one) => vec![one],
        };
        let named = |name: &Value| {
            let name = name
                .as_str()
                .ok_or_else(|| Failure::arguments("pipelines must be names"))?;
            let found = self.all.iter().find(|pipeline| pipeline.name() == name);
            found.cloned().ok_or_else(|| {
                let known: Vec<&str> = self.all.iter().map(|pipeline| pipeline.name()).collect();
                let text = format!("there is no pipeline named {name}; there are: {}", known.join(", "));
                Failure::builtin("LookupError", text)
            })
        };
        names.iter().map(named).collect()
    }

    /// How they stand before they are waited for.
    async fn begin<'a>(&self, pipelines: &'a [SharedPipeline]) -> Result<Vec<Waited<'a>>, Outcome> {
        let mut waited = Vec::new();
        for pipeline in pipelines {
            // What cannot work is told now, instead of being waited for without end.
            pipeline.prepare().await.map_err(|error| trouble(pipeline, &error))?;
            let before = pipeline.standing().await.map_err(|error| trouble(pipeline, &error))?;
            waited.push(Waited {
                pipeline,
                before,
                rollups_before: self.rollups(pipeline),
                now: before,
                wait: CatchUp::default(),
            });
        }
        Ok(waited)
    }

    /// Waits for them, or until the soft time limit is over. What had been counted by the last look is durable: a pipeline's
    /// documents are counted in the transaction that keeps what was made of them.
    async fn finish(&self, mut waited: Vec<Waited<'_>>, hurry: &mut watch::Receiver<bool>) -> Outcome {
        let began = Instant::now();
        let complete = tokio::select! {
            () = wait(&mut waited, began) => true,
            () = is_over(hurry) => false,
        };
        let counts: Vec<Value> = waited.iter().map(|one| self.came_to(one)).collect();
        let sum = |of: &str| counts.iter().filter_map(|one| one.get(of)?.as_u64()).sum::<u64>();
        Outcome::Success(json!({
            "complete": complete,
            "documents": sum("documents"),
            "rollups": sum("rollups"),
            "dead_letters": sum("dead_letters"),
            "seconds": began.elapsed().as_secs_f64(),
            "pipelines": counts,
        }))
    }

    /// What was done meanwhile: documents by whoever works on it, roll-ups by this Headcount.
    fn came_to(&self, one: &Waited<'_>) -> Value {
        json!({
            "name": one.pipeline.name(),
            "documents": one.now.documents.saturating_sub(one.before.documents),
            "rollups": self.rollups(one.pipeline).saturating_sub(one.rollups_before),
            "dead_letters": one.now.dead_letters.saturating_sub(one.before.dead_letters),
            "total": one.now.documents,
        })
    }

    /// How many this Headcount has published since it started.
    fn rollups(&self, pipeline: &SharedPipeline) -> u64 {
        let label = PipelineLabel::of(pipeline.name());
        self.meters.stats.rollups.get_or_create(&label).get()
    }
}

/// Looks how they stand, until none has anything left to do.
async fn wait(waited: &mut [Waited<'_>], began: Instant) {
    loop {
        let (so_long, mut left) = (began.elapsed(), 0);
        for one in &mut *waited {
            // Where it cannot be asked just now, its actors say why.
            let standing = one.pipeline.standing().await.ok();
            one.now = standing.unwrap_or(one.now);
            left += usize::from(!one.wait.look(standing.as_ref(), so_long));
        }
        if left == 0 {
            return;
        }
        sleep(LOOK_FOR_END_EVERY).await;
    }
}

/// Ends when the soft time limit is over; never, if nobody can say so any more.
async fn is_over(hurry: &mut watch::Receiver<bool>) {
    if hurry.wait_for(|hurry| *hurry).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn trouble(pipeline: &SharedPipeline, error: &StatsError) -> Outcome {
    let text = format!("{}: {error}", pipeline.name());
    match error {
        StatsError::Refused { .. } => Outcome::Failure(Failure::builtin("RuntimeError", text)),
        StatsError::Later { after, .. } => Outcome::Retry {
            failure: Failure::builtin("ConnectionError", text),
            after: *after,
        },
        StatsError::Fenced => Outcome::Retry {
            failure: Failure::builtin("RuntimeError", text),
            after: None,
        },
    }
}
