//! `FleetProber`: one for each fleet. It owns the fleet's detector, asks what the detector wants asked, and reports.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, Supervised, WrapFuture};
use compact_str::CompactString;
use headcount_core::detect::fleet::MAX_WORKERS;
use headcount_core::detect::ledger::ConnectionLedger;
use headcount_core::detect::periods::{MAX_PROBES, REPORT_EVERY, TICK};
use headcount_core::detect::rules::PROBE_TIMEOUT;
use headcount_core::detect::{
    FleetDetector, FleetHistory, FleetMemory, FleetSpec, Input, Output, Probed, Sight, Target, WorkerMemory,
};
use headcount_core::status::QueueStatus;
use headcount_core::time::{Mono, Now};
use headcount_core::trace::incident::Check;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::falls::Falls;
use crate::inspection;
use crate::messages::{FleetReported, Found, Sighted};
use crate::meters::{FleetLabel, Meters};
use crate::ports::traces::SharedTracer;
use crate::ports::{BrokerError, Presence, Probe, SharedBroker, SharedStore};
use crate::probe_watch::ProbeWatch;

/// How often what it knows of its workers is written down, if that has changed.
const REMEMBER_EVERY: Duration = Duration::from_secs(2);

/// How much longer than it should take a question to the broker may take, before it is given up. Brokers bound their own
/// waits; this is for one that hangs, which would otherwise be the last that is asked.
const HANGS_AFTER: Duration = Duration::from_secs(10);

/// What a prober is connected to.
#[derive(Clone)]
pub struct Probing {
    /// The fleet.
    pub spec: FleetSpec,
    /// Its broker.
    pub broker: SharedBroker,
    /// Whether Headcount sees.
    pub sight: watch::Receiver<Sight>,
    /// The broker's connections, where presence is read from them.
    pub ledger: Arc<Mutex<ConnectionLedger>>,
    /// Whom it reports to.
    pub aggregator: Recipient<FleetReported>,
    /// Where it remembers its workers.
    pub store: SharedStore,
    /// The program's metrics.
    pub meters: Meters,
    /// Who tells what became of probes, for all fleets of the broker.
    pub watch: Arc<ProbeWatch>,
    /// Whether it is to be told how workers went down.
    pub tracer: SharedTracer,
}

/// The actor.
pub struct FleetProber {
    with: Probing,
    /// None until what is remembered has been read.
    detector: Option<FleetDetector>,
    remembered: Option<FleetMemory>,
    kept: Vec<WorkerMemory>,
    kept_history: FleetHistory,
    saving: bool,
    probes: usize,
    falls: Falls,
    learning: bool,
    looking_at_work: bool,
    asking_queues: bool,
    report_due: bool,
    next_report: Mono,
    next_save: Mono,
}

impl FleetProber {
    /// A prober with what is remembered of its fleet from before a restart of the program.
    pub fn new(with: Probing, remembered: impl Into<FleetMemory>) -> Self {
        Self {
            remembered: Some(remembered.into()),
            ..Self::forgetful(with)
        }
    }

    /// One that has to ask the store first.
    fn forgetful(with: Probing) -> Self {
        let now = Clock.mono();
        Self {
            with,
            detector: None,
            remembered: None,
            kept: Vec::new(),
            kept_history: FleetHistory::default(),
            saving: false,
            probes: 0,
            falls: Falls::default(),
            learning: false,
            looking_at_work: false,
            asking_queues: false,
            report_due: true,
            next_report: now,
            next_save: now,
        }
    }

    fn begin(&mut self, remembered: FleetMemory) {
        // A counter that is there from the start, at zero, can be watched for its first failure.
        drop(self.with.meters.probe_failures.get_or_create(&self.label()));
        self.kept.clone_from(&remembered.workers);
        self.kept_history.clone_from(&remembered.history);
        self.detector = Some(FleetDetector::new(self.with.spec.clone(), remembered, Clock.now()));
        self.with.sight.mark_changed();
    }

    /// Reads what is remembered, after a restart of this actor alone.
    fn recall(&mut self, context: &mut Context<Self>) {
        let store = self.with.store.clone();
        let reading = async move { store.load().await };
        context.spawn(reading.into_actor(self).map(|loaded, actor, context| match loaded {
            Ok(all) => {
                let fleet = &actor.with.spec.name;
                let workers = all.workers.into_iter().find(|(name, _)| name == fleet);
                let history = all.histories.into_iter().find(|(name, _)| name == fleet);
                let remembered = FleetMemory {
                    workers: workers.map(|(_, workers)| workers).unwrap_or_default(),
                    history: history.map(|(_, history)| history).unwrap_or_default(),
                };
                actor.begin(remembered);
            }
            // Not judged until the store says it.
            Err(_) => drop(context.run_later(REMEMBER_EVERY, Self::recall)),
        }));
    }

    fn step(&mut self, input: Input<'_>, context: &mut Context<Self>) {
        let Some(detector) = &mut self.detector else { return };
        let mut outputs = Vec::new();
        detector.step(Clock.now(), input, &mut outputs);
        for output in outputs {
            match output {
                Output::Probe(targets) => self.probe(targets, context),
                Output::Learn(hostnames) => self.learn(hostnames, context),
                Output::LookAtWork(hostnames) => self.look_at_work(hostnames, context),
                Output::AskQueues(names) => self.ask_queues(names, context),
                Output::Changed => self.report_due = true,
            }
        }
        if self.report_due {
            self.report();
        }
    }

    fn tick(&mut self, context: &mut Context<Self>) {
        if self.detector.is_some() && self.with.sight.has_changed().unwrap_or(false) {
            let sight = *self.with.sight.borrow_and_update();
            self.step(Input::Sight(sight), context);
        }
        self.step(Input::Tick, context);
        self.with.watch.tell();
        let now = Clock.mono();
        if now >= self.next_report {
            self.report();
        }
        if now >= self.next_save {
            self.next_save = now + REMEMBER_EVERY;
            self.warn_if_full();
            self.remember(context);
        }
    }

    fn warn_if_full(&mut self) {
        let refused = self.detector.as_mut().map_or(0, FleetDetector::take_refused);
        if refused > 0 {
            tracing::error!(
                fleet = %self.with.spec.name, refused, most = MAX_WORKERS,
                "the fleet has more workers than one may have, and the rest is not watched: divide it into several [[fleet]]"
            );
        }
    }

    fn report(&mut self) {
        let Some(detector) = &self.detector else { return };
        let now = Clock.now();
        self.next_report = now.mono + REPORT_EVERY;
        let mut report = detector.report(now);
        if let Some(why) = self.with.broker.hides_presence() {
            report.explain_presence(why);
        }
        let falls = if self.with.tracer.is_open() {
            self.falls.note(&report)
        } else {
            Vec::new()
        };
        // What the aggregator does not take now is due again at the next tick.
        self.report_due = self.with.aggregator.try_send(FleetReported { report, falls }).is_err();
    }

    // ------------------------------------------------------------ asking

    fn probe(&mut self, targets: Vec<Target>, context: &mut Context<Self>) {
        if self.probes >= MAX_PROBES {
            return;
        }
        self.probes += 1;
        let broker = self.with.broker.clone();
        let began = Clock.now();
        let probing = async move {
            let hostnames: Vec<CompactString> = targets.iter().map(|target| target.hostname.clone()).collect();
            (
                within(PROBE_TIMEOUT, broker.probe(&hostnames, PROBE_TIMEOUT)).await,
                targets,
            )
        };
        context.spawn(probing.into_actor(self).map(move |(probed, targets), actor, context| {
            actor.probes -= 1;
            match probed {
                // Nobody was asked, so nothing was shown to work either.
                Ok(probes) if probes.is_empty() => {}
                Ok(probes) => {
                    actor.with.watch.worked(&actor.with.spec.name);
                    actor.probed(&targets, &probes, began, context);
                }
                Err(error) => {
                    actor.probing_failed(&error);
                    actor.step(Input::Unprobed, context);
                }
            }
        }));
    }

    /// Our own way to the broker failed: that says nothing of any worker, and people want to know that nothing is said.
    fn probing_failed(&mut self, error: &BrokerError) {
        self.with.meters.probe_failures.get_or_create(&self.label()).inc();
        self.with.watch.failed(&self.with.spec.name, error);
    }

    fn label(&self) -> FleetLabel {
        FleetLabel {
            fleet: self.with.spec.name.to_string(),
        }
    }

    fn probed(&mut self, targets: &[Target], probes: &[Probe], began: Now, context: &mut Context<Self>) {
        let at = Clock.mono();
        let traced = self.with.tracer.is_open();
        let seconds = self.with.meters.probe_seconds.get_or_create(&self.label()).clone();
        let mut results: Vec<(CompactString, Probed)> = Vec::with_capacity(probes.len());
        let hidden = self.with.broker.hides_presence().is_some();
        {
            let mut ledger = self.with.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let mut asked = targets.iter();
            for probe in probes {
                // In the order of the targets, of which some may have been left out.
                let Some(target) = asked.find(|target| target.hostname == probe.hostname) else {
                    break;
                };
                if let Some(latency) = probe.answer {
                    seconds.observe(latency.as_secs_f64());
                }
                let present = match probe.presence {
                    Presence::Here => Some(true),
                    Presence::Gone => Some(false),
                    // An answer that somebody passed on shows no connection that could be missed later.
                    Presence::Unknown if hidden => None,
                    Presence::Unknown => ledger.presence(at, target, probe.answer.is_some()),
                };
                if traced {
                    match probe.answer {
                        Some(_) => self.falls.answered(&probe.hostname),
                        None => {
                            let check = Check {
                                began: began.wall,
                                ended: began.wall + at.since(began.mono),
                                present,
                            };
                            self.falls.unanswered(&probe.hostname, check);
                        }
                    }
                }
                results.push((
                    probe.hostname.clone(),
                    Probed {
                        answer: probe.answer,
                        present,
                    },
                ));
            }
        }
        self.log_round(targets.len(), &results, at.since(began.mono));
        self.step(Input::Probed(&results), context);
    }

    /// What a round of pings came to. Workers that beat on time are not pinged, so there are rounds only where it matters.
    fn log_round(&self, asked: usize, results: &[(CompactString, Probed)], took: Duration) {
        let count = |is: fn(&Probed) -> bool| results.iter().filter(|(_, probed)| is(probed)).count();
        tracing::debug!(
            fleet = %self.with.spec.name, asked, ?took,
            answered = count(|probed| probed.answer.is_some()),
            connected = count(|probed| probed.present == Some(true)),
            gone = count(|probed| probed.present == Some(false)),
            "a round of pings is over"
        );
    }

    fn learn(&mut self, hostnames: Vec<CompactString>, context: &mut Context<Self>) {
        if self.learning {
            return;
        }
        self.learning = true;
        let asked = hostnames.len();
        let broker = self.with.broker.clone();
        let asking = async move { within(inspection::TIMEOUT, inspection::learn(&broker, &hostnames)).await };
        context.spawn(asking.into_actor(self).map(move |learned, actor, context| {
            actor.learning = false;
            match learned {
                Ok((learned, means)) => {
                    tracing::debug!(
                        fleet = %actor.with.spec.name, asked, replies = learned.len(),
                        "workers were asked for their pools and queues"
                    );
                    actor.step(Input::Learned(&learned), context);
                    actor.step(Input::Means(&means), context);
                }
                Err(error) => tracing::debug!(fleet = %actor.with.spec.name, %error, "workers could not be asked"),
            }
        }));
    }

    fn look_at_work(&mut self, hostnames: Vec<CompactString>, context: &mut Context<Self>) {
        if self.looking_at_work {
            return;
        }
        self.looking_at_work = true;
        let asked = hostnames.len();
        let broker = self.with.broker.clone();
        let asking = async move { within(inspection::TIMEOUT, inspection::look_at_work(&broker, &hostnames)).await };
        context.spawn(asking.into_actor(self).map(move |looked, actor, context| {
            actor.looking_at_work = false;
            match looked {
                Ok(seen) => {
                    tracing::debug!(
                        fleet = %actor.with.spec.name, asked, replies = seen.looks.len(), takers = seen.takers,
                        "workers were asked about their work"
                    );
                    // What the looks are judged by comes before them.
                    actor.step(Input::Means(&seen.means), context);
                    actor.step(Input::Takers(seen.takers), context);
                    actor.step(Input::Worked(&seen.looks), context);
                }
                Err(error) => {
                    tracing::debug!(fleet = %actor.with.spec.name, %error, "workers could not be asked about their work");
                }
            }
        }));
    }

    fn ask_queues(&mut self, names: Vec<CompactString>, context: &mut Context<Self>) {
        if self.asking_queues {
            return;
        }
        self.asking_queues = true;
        let broker = self.with.broker.clone();
        let asking = async move { within(Duration::ZERO, broker.queues(&names)).await };
        context.spawn(asking.into_actor(self).map(|queues, actor, context| {
            actor.asking_queues = false;
            match queues {
                Ok(queues) => {
                    let status = |queue: crate::ports::Queue| QueueStatus {
                        name: queue.name,
                        length: queue.length,
                        consumers: queue.consumers,
                    };
                    actor.step(Input::Queues(queues.into_iter().map(status).collect()), context);
                }
                Err(error) => tracing::debug!(fleet = %actor.with.spec.name, %error, "its queues could not be read"),
            }
        }));
    }

    // ------------------------------------------------------------ remembering

    fn remember(&mut self, context: &mut Context<Self>) {
        let Some(detector) = &self.detector else { return };
        if self.saving {
            return;
        }
        let memory = detector.memory(&self.with.broker.address());
        let alike =
            |a: &[WorkerMemory], b: &[WorkerMemory]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b));
        let workers = (!alike(&memory.workers, &self.kept)).then_some(memory.workers);
        let history = (memory.history != self.kept_history).then_some(memory.history);
        if workers.is_none() && history.is_none() {
            return;
        }
        self.saving = true;
        let (store, fleet) = (self.with.store.clone(), self.with.spec.name.clone());
        let saving = async move {
            // The workers first: a fleet's history hangs on there being any.
            let mut saved = Ok(());
            if let Some(workers) = &workers {
                saved = store.save_workers(&fleet, workers.clone()).await;
            }
            if let (Some(history), Ok(())) = (&history, &saved) {
                saved = store.save_history(&fleet, history.clone()).await;
            }
            (saved, workers, history)
        };
        context.spawn(saving.into_actor(self).map(|(saved, workers, history), actor, _| {
            actor.saving = false;
            // What the store did not take differs from what is kept, so it is tried again.
            if saved.is_ok() {
                actor.kept = workers.unwrap_or_else(|| std::mem::take(&mut actor.kept));
                actor.kept_history = history.unwrap_or_else(|| std::mem::take(&mut actor.kept_history));
            }
        }));
    }
}

/// Asks, and gives up what takes [`HANGS_AFTER`] longer than it should.
async fn within<T>(timeout: Duration, asking: impl Future<Output = Result<T, BrokerError>>) -> Result<T, BrokerError> {
    let patience = timeout + HANGS_AFTER;
    let asked = tokio::time::timeout(patience, asking).await;
    asked.unwrap_or(Err(BrokerError::Timeout(patience)))
}

/// Whether two memories differ in nothing but when the worker was last seen, or by less than [`LAST_SEEN_STEP`] in that.
fn same(a: &WorkerMemory, b: &WorkerMemory) -> bool {
    let close = match (a.last_seen, b.last_seen) {
        (Some(a), Some(b)) => a.since(b).max(b.since(a)) < LAST_SEEN_STEP,
        (a, b) => a == b,
    };
    close
        && *a
            == WorkerMemory {
                last_seen: a.last_seen,
                ..b.clone()
            }
}

/// How old the remembered last sign of life of a worker that is well may be. After a restart people read how long a worker
/// has been missing, and `forget_after` counts, from it: at worst so much too early. Of one that is suspected or lost it is
/// written down with that, so exactly. Lowering it writes the whole fleet more often.
const LAST_SEEN_STEP: Duration = Duration::from_secs(15);

impl Actor for FleetProber {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        match self.remembered.take() {
            Some(remembered) => self.begin(remembered),
            None => self.recall(context),
        }
        context.run_interval(TICK, Self::tick);
    }
}

impl Supervised for FleetProber {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::forgetful(self.with.clone());
    }
}

impl Handler<Sighted> for FleetProber {
    type Result = ();

    fn handle(&mut self, message: Sighted, context: &mut Context<Self>) {
        self.step(Input::Sighted(&message.0), context);
    }
}

impl Handler<Found> for FleetProber {
    type Result = ();

    fn handle(&mut self, message: Found, context: &mut Context<Self>) {
        self.step(Input::Found(&message.0), context);
    }
}
