//! The actors of a `[[stats]]` pipeline: readers, one for each processor, and a publisher. They decide when something is done
//! and what a failure means; what is done is behind the port.

mod catch_up;
mod publisher;
mod reader;
mod shown;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub use catch_up::{CatchUp, LOOK_FOR_END_EVERY};
pub use publisher::StatsPublisher;
pub use reader::StatsReader;
pub use shown::shown;

use crate::backoff::Backoff;
use crate::meters::Meters;
use crate::meters::stats::PipelineLabel;
use crate::ports::stats::{StatsError, StatsPipeline};

/// So many states may wait to be published; then the readers wait, too. Raising it lets a sink that is slow for a while hold up
/// less, and makes the roll-ups older that it gets.
pub const MAX_UNPUBLISHED: u64 = 20_000;
/// How many wait is counted so often: it takes the server a while where they are many. What is read meanwhile comes on top.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// What has come is looked for so often, where nothing else calls for it.
pub const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the actors of one pipeline share.
#[derive(Clone)]
pub struct Pipelining {
    /// The pipeline, as this actor alone uses it.
    pub pipeline: Arc<dyn StatsPipeline>,
    /// The program's metrics.
    pub meters: Meters,
    /// Readers tell the publisher that there is something.
    pub changed: Arc<Notify>,
    /// Becomes true when the program ends.
    pub stop: watch::Receiver<bool>,
}

impl Pipelining {
    fn label(&self) -> PipelineLabel {
        PipelineLabel::of(self.pipeline.name())
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits for so long, or until the program ends.
    async fn rest(&mut self, time: Duration) {
        let stopped = self.stop.wait_for(|stop| *stop);
        // An error is that the one who would say it is gone, which is the end as well.
        let _ = tokio::time::timeout(time, stopped).await;
    }
}

/// What to do about failures: wait, longer each time, and say once what is wrong.
struct Trouble {
    backoff: Backoff,
    told: Option<String>,
    /// Since when it has gone well.
    well_since: Option<Instant>,
}

impl Trouble {
    fn new(pipeline: &str) -> Self {
        Self {
            backoff: Backoff::for_brokers(pipeline),
            told: None,
            well_since: None,
        }
    }

    /// It went well.
    fn over(&mut self, pipeline: &str) {
        self.well_since.get_or_insert_with(Instant::now);
        if self.told.take().is_some() {
            tracing::info!(pipeline, "the pipeline goes on");
        }
    }

    /// It did not. Returns how long to wait.
    fn wait(&mut self, with: &Pipelining, error: &StatsError) -> Duration {
        let (pipeline, label) = (with.pipeline.name(), with.label());
        let wait = self.pause(error);
        if *error == StatsError::Fenced {
            with.meters.stats.fenced.get_or_create(&label).inc();
            tracing::warn!(pipeline, "another Headcount works on the pipeline's part now: {error}");
            return wait;
        }
        with.meters.stats.failures.get_or_create(&label).inc();
        let words = error.to_string();
        if self.told.as_ref() != Some(&words) {
            if matches!(error, StatsError::Refused { .. }) {
                tracing::error!(
                    pipeline,
                    "the pipeline cannot work until this is mended, trying again: {words}"
                );
            } else {
                tracing::warn!(pipeline, "the pipeline waits and tries again, nothing is lost: {words}");
            }
            self.told = Some(words);
        }
        wait
    }

    /// How long to wait after an error. What goes well now and then has not recovered.
    fn pause(&mut self, error: &StatsError) -> Duration {
        let stood = self.well_since.take().map(|since| since.elapsed());
        self.backoff.stood(stood.unwrap_or_default());
        match error {
            // Whoever has the lease now is at it; and where nobody is, the next try must not follow the last at once.
            StatsError::Fenced => self.backoff.after_failure(),
            StatsError::Later { after, .. } => self.backoff.after_failure().max(after.unwrap_or_default()),
            StatsError::Refused { .. } => self.backoff.after_refusal(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn whoever_is_fenced_off_again_and_again_waits_longer_and_longer() {
        tokio::time::pause();
        let mut trouble = Trouble::new("clicks");
        let first = trouble.pause(&StatsError::Fenced);
        assert!(first > Duration::ZERO);
        // A round that goes well in between changes nothing.
        trouble.over("clicks");
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = trouble.pause(&StatsError::Fenced);
        assert!(second > first.mul_f64(1.5), "{first:?}, {second:?}");
        trouble.over("clicks");
        tokio::time::advance(Duration::from_secs(3_600)).await;
        trouble.over("clicks");
        assert!(trouble.pause(&StatsError::Fenced) < second);
    }
}
