//! The crews of `[[stats]]` pipelines: for the daemon, and for `headcount stats run` and `backfill`.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use actix::Recipient;
use actix_rt::Arbiter;
use compact_str::{CompactString, format_compact};
use headcount_actors::messages::Finish;
use headcount_actors::meters::Meters;
use headcount_actors::ports::stats::{StatsError, StatsPipeline};
use headcount_actors::stats_pipeline::{Pipelining, StatsPublisher, StatsReader};
use headcount_actors::supervise::{Post, Supervision};
use headcount_actors::vitals::Vitals;
use headcount_edge::stats::{self, Config};
use tokio::sync::{Notify, mpsc, watch};

use super::faults::Faults;
use super::house::late;
use super::plan::MAILBOX;

/// All that works on pipelines: readers on a thread of their own each, because they compute, and each pipeline's publisher.
pub(crate) struct Crew {
    pub(crate) arbiters: Vec<Arbiter>,
    /// Each with the name of its pipeline.
    workers: Vec<(CompactString, Recipient<Finish>)>,
    stop: watch::Sender<bool>,
}

/// A pipeline, opened for each of its processors and for its publisher.
pub(crate) struct Opened {
    name: CompactString,
    readers: Vec<Arc<dyn StatsPipeline>>,
    publisher: Arc<dyn StatsPipeline>,
}

/// Opens the pipelines; nothing is reached yet.
///
/// # Errors
/// What is wrong, and with which.
pub(crate) fn open(pipelines: &[Config]) -> Result<Vec<Opened>, (String, StatsError)> {
    let one = |config: &Config| {
        let again = || stats::open(config).map_err(|why| (config.name.clone(), why));
        Ok(Opened {
            name: config.name.as_str().into(),
            readers: (0..config.processors).map(|_| again()).collect::<Result<_, _>>()?,
            publisher: again()?,
        })
    };
    pipelines.iter().map(one).collect()
}

impl Crew {
    /// Starts work on pipelines.
    pub(super) fn start(pipelines: Vec<Opened>, supervision: &Supervision, meters: &Meters, faults: &Faults) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (mut arbiters, mut workers) = (Vec::new(), Vec::new());
        for Opened {
            name,
            readers,
            publisher,
        } in pipelines
        {
            let changed = Arc::new(Notify::new());
            let with = |pipeline| Pipelining {
                pipeline,
                meters: meters.clone(),
                changed: changed.clone(),
                stop: stopped.clone(),
            };
            let only = readers.len() == 1;
            for (place, reader) in readers.into_iter().enumerate() {
                let of = if only {
                    name.clone()
                } else {
                    format_compact!("{name} {place}")
                };
                let post = post("StatsReader", of);
                let (with, arbiter) = (with(reader), Arbiter::new());
                let reader = faults.start(supervision, &arbiter.handle(), post, move || StatsReader::new(with));
                workers.push((name.clone(), reader.recipient()));
                arbiters.push(arbiter);
            }
            let post = post("StatsPublisher", name.clone());
            let (with, arbiter) = (with(publisher), Arbiter::new());
            let publisher = faults.start(supervision, &arbiter.handle(), post, move || StatsPublisher::new(with));
            workers.push((name, publisher.recipient()));
            arbiters.push(arbiter);
        }
        Self {
            arbiters,
            workers,
            stop,
        }
    }

    /// Tells everybody to end after what is just being done, and waits until they have, for `patience` at most. Which pipelines
    /// have not.
    pub(super) async fn finish(&self, patience: Duration) -> BTreeSet<CompactString> {
        self.stop.send_replace(true);
        let ending = self
            .workers
            .iter()
            .map(|(name, worker)| (name.clone(), worker.send(Finish)));
        late(ending, patience).await.into_iter().collect()
    }
}

/// Pipelines that are worked on without a daemon.
pub(crate) struct Shift {
    crew: Crew,
    given_up: std::sync::Mutex<mpsc::UnboundedReceiver<CompactString>>,
}

impl Shift {
    /// Begins.
    ///
    /// # Errors
    /// What is wrong, and with which pipeline.
    pub(crate) fn start(pipelines: &[Config]) -> Result<Self, (String, StatsError)> {
        let opened = open(pipelines)?;
        let meters = Meters::default();
        let (supervision, given_up) = Supervision::new(Vitals::default(), meters.clone());
        Ok(Self {
            crew: Crew::start(opened, &supervision, &meters, &Faults::default()),
            given_up: given_up.into(),
        })
    }

    /// An actor that has failed too often.
    pub(crate) fn given_up(&self) -> Option<CompactString> {
        self.given_up
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_recv()
            .ok()
    }

    /// Ends after what is just being done.
    pub(crate) async fn end(self) {
        // However long that takes: whoever calls has asked for the work, and waits for it.
        drop(self.crew.finish(Duration::MAX).await);
        super::house::end(self.crew.arbiters).await;
    }
}

fn post(kind: &'static str, of: CompactString) -> Post {
    Post {
        kind,
        of: Some(of),
        mailbox: MAILBOX,
    }
}
