//! What `headcount record` is made of: the daemon's own listener and probers, which ask what the daemon would ask, on a
//! broker that writes down what comes from it. There is no store to keep, nobody to tell, and no HTTP.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Context, Handler};
use actix_rt::Arbiter;
use compact_str::CompactString;
use headcount_actors::messages::{BrokerReported, FleetReported, TasksCounted};
use headcount_actors::meters::Meters;
use headcount_actors::ports::traces::NoTracer;
use headcount_actors::ports::{Remembered, SharedBroker, StoreError};
use headcount_actors::probe_watch::ProbeWatch;
use headcount_actors::supervise::Supervision;
use headcount_actors::vitals::Vitals;
use headcount_core::detect::Sight;
use headcount_core::detect::ledger::ConnectionLedger;
use headcount_edge::{brokers, store};
use headcount_simulate::trace::{Record, Source};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::faults::Faults;
use super::house::{STOP_WITHIN, end};
use super::plan::{Plan, TaskEars};
use super::sites::BrokerSite;
use crate::config::Settings;
use crate::record::{RecordingBroker, Tape, TraceFile, WriteError, Writing};

/// How often the recorder notes that it runs, like the ticks of the daemon's actors: well under the second that counts as
/// a pause.
const TICK: Duration = Duration::from_millis(250);

/// Sent to who writes a file beyond its limit (`ulimit -f`), on Linux and macOS. It ends the process where nobody listens
/// for it; where somebody does, the write fails, and that is told.
const SIGXFSZ: SignalKind = SignalKind::from_raw(25);

/// Why a recording could not begin, or go on.
#[derive(Debug, Error)]
pub(crate) enum RecordError {
    /// The broker's URL is of no use.
    #[error("--broker: {0}")]
    Broker(#[from] brokers::OpenError),
    /// The file cannot be written.
    #[error("{0}")]
    Write(#[from] WriteError),
    /// The store in memory could not be opened.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The system refused something.
    #[error("{0}")]
    System(#[from] io::Error),
    /// An actor panicked again and again.
    #[error("the actor {0} failed too often; the recording ends here")]
    GivenUp(CompactString),
}

/// What a recording came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    /// Events, of workers and of tasks.
    pub(crate) events: u64,
    /// Answers of workers.
    pub(crate) answers: u64,
    /// Length of the file, in bytes.
    pub(crate) bytes: u64,
}

/// Records the one broker of `settings` until it is told to stop.
pub(crate) async fn run(settings: &Settings, broker: SharedBroker, file: TraceFile) -> Result<Recorded, RecordError> {
    let mut stop = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let _told_by_the_write = signal(SIGXFSZ)?;
    let tape = Tape::default();
    tape.write(&Record::Source(Source {
        broker: broker.name().into(),
        address: broker.address().into(),
        version: env!("CARGO_PKG_VERSION").into(),
        hides_presence: broker.hides_presence().is_some(),
    }));
    let mut writing = Writing::start(tape.clone(), file)?;
    let (supervision, mut given_up) = Supervision::new(Vitals::default(), Meters::default());
    let house = House::build(settings, broker, &tape, supervision)?;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let why = loop {
        tokio::select! {
            _ = stop.recv() => break None,
            _ = interrupt.recv() => break None,
            Some(actor) = given_up.recv() => break Some(RecordError::GivenUp(actor)),
            // How, `finish` says.
            _ = &mut writing.failed => break None,
            _ = ticks.tick() => tape.write(&Record::Tick),
        }
    };
    house.stop().await;
    if why.is_none() {
        tape.write(&Record::End);
    }
    let bytes = writing.finish()?;
    let counts = tape.counts();
    if counts.left_out > 0 {
        tracing::warn!(
            left_out = counts.left_out,
            "answers that were too large for a trace were left out"
        );
    }
    why.map_or(
        Ok(Recorded {
            events: counts.events,
            answers: counts.answers,
            bytes,
        }),
        Err,
    )
}

/// The threads, and what is to be closed on them.
struct House {
    broker: SharedBroker,
    lane: Arbiter,
    asking: Arbiter,
}

impl House {
    fn build(
        settings: &Settings,
        broker: SharedBroker,
        tape: &Tape,
        supervision: Supervision,
    ) -> Result<Self, RecordError> {
        let in_memory = store::Config {
            url: "sqlite::memory:".to_owned(),
        };
        let plan = Plan {
            settings,
            listens: settings.server.listen,
            supervision,
            meters: Meters::default(),
            store: store::open(&in_memory)?,
            faults: Faults::default(),
            tracer: Arc::new(NoTracer),
        };
        let site = BrokerSite {
            broker: Arc::new(RecordingBroker::new(broker.clone(), tape.clone())),
            sight: Arc::new(watch::channel(Sight::Blind).0),
            ledger: Arc::new(Mutex::new(ConnectionLedger::default())),
            probes: ProbeWatch::new(broker.name()),
        };
        let (lane, asking) = (Arbiter::new(), Arbiter::new());
        let nobody = Nobody::start_in_arbiter(&asking.handle(), |_| Nobody);
        let sites = [(CompactString::from(broker.name()), site.clone())].into();
        let directory = plan.directory(
            &asking.handle(),
            &sites,
            &Remembered::default(),
            nobody.clone().recipient(),
        );
        plan.listener(
            &lane.handle(),
            &site,
            directory,
            TaskEars {
                stats: nobody.clone().recipient(),
                jobs: None,
                failures: None,
            },
            nobody.recipient(),
            false,
        );
        Ok(Self { broker, lane, asking })
    }

    /// From the outside in, and nothing stays behind at the broker.
    async fn stop(self) {
        end(vec![self.lane]).await;
        let (closed, all) = tokio::sync::oneshot::channel();
        let broker = self.broker;
        self.asking.spawn(async move {
            broker.close().await;
            // Nobody waits any more only where it took too long.
            let _ = closed.send(());
        });
        if tokio::time::timeout(STOP_WITHIN, all).await.is_err() {
            tracing::warn!("the broker could not be left in time: Headcount's own queues there end by themselves");
        }
        end(vec![self.asking]).await;
    }
}

/// Who takes the reports, and makes nothing of them: that is left to whoever replays.
struct Nobody;

impl Actor for Nobody {
    type Context = Context<Self>;
}

impl Handler<FleetReported> for Nobody {
    type Result = ();

    fn handle(&mut self, _: FleetReported, _: &mut Context<Self>) {}
}

impl Handler<BrokerReported> for Nobody {
    type Result = ();

    fn handle(&mut self, _: BrokerReported, _: &mut Context<Self>) {}
}

impl Handler<TasksCounted> for Nobody {
    type Result = ();

    fn handle(&mut self, _: TasksCounted, _: &mut Context<Self>) {}
}
