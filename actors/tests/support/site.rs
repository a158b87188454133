//! The watching half of the program: one broker's listener with its lane, and the probers of its fleets.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};

use actix::{Addr, Arbiter};
use headcount_core::detect::ledger::ConnectionLedger;
use headcount_core::detect::roster::Roster;
use headcount_core::detect::rules::Rules;
use headcount_core::detect::{BrokerState, Expected, FleetReport, FleetSpec, FleetState, Sight, WorkerState};
use headcount_core::status::BrokerStatus;
use tokio::sync::watch;

use super::World;
use super::broker::FakeBroker;
use super::house::Watch;
use super::recorder::{Recorder, Tape};
use super::store::FakeStore;
use crate::broker_listener::{BrokerListener, Listening};
use crate::fleet_prober::{FleetProber, Probing};
use crate::fleets::{FleetDirectory, StartProber};
use crate::messages::{BrokerReported, FleetReported, TasksCounted};
use crate::meters::BrokerLabel;
use crate::ports::traces::NoTracer;
use crate::probe_watch::ProbeWatch;
use crate::store_watch::StoreWatch;
use crate::supervise::Post;

pub(in crate::tests) struct Site {
    pub(in crate::tests) watch: Watch,
    pub(in crate::tests) store: Arc<FakeStore>,
    pub(in crate::tests) store_watch: Arc<StoreWatch>,
    pub(in crate::tests) sight: watch::Receiver<Sight>,
    pub(in crate::tests) brokers: Tape<BrokerReported>,
    pub(in crate::tests) directory: FleetDirectory,
    fleets: Tape<FleetReported>,
    newest: RefCell<Option<FleetReported>>,
    reports: RefCell<Vec<FleetState>>,
    _listener: Addr<BrokerListener>,
}

impl Site {
    pub(in crate::tests) fn new(broker: &Arc<FakeBroker>) -> Self {
        Self::with(broker, FakeStore::new(&Arc::new(World::default())), 64)
    }

    /// With a store of its own, and a prober in whose mailbox so many messages can wait.
    pub(in crate::tests) fn with(broker: &Arc<FakeBroker>, store: Arc<FakeStore>, mailbox: usize) -> Self {
        Self::start(broker, Roster::discovering(), store, mailbox)
    }

    /// With these fleets.
    pub(in crate::tests) fn of(broker: &Arc<FakeBroker>, roster: Roster) -> Self {
        Self::start(broker, roster, FakeStore::new(&Arc::new(World::default())), 64)
    }

    fn start(broker: &Arc<FakeBroker>, roster: Roster, store: Arc<FakeStore>, mailbox: usize) -> Self {
        let watch = Watch::new();
        let store_watch = StoreWatch::new("a test", watch.meters.store.clone());
        let (to_fleets, fleets) = Recorder::start();
        let (to_brokers, brokers) = Recorder::start();
        let (to_stats, _) = Recorder::<TasksCounted>::start();
        let (sight, seen) = watch::channel(Sight::Blind);
        let sight = Arc::new(sight);
        let ledger = Arc::new(Mutex::new(ConnectionLedger::default()));
        let start: StartProber = {
            let (supervision, sight) = (watch.supervision.clone(), sight.clone());
            let probing = Probing {
                spec: spec("x".into()),
                broker: broker.clone(),
                sight: seen.clone(),
                ledger: ledger.clone(),
                aggregator: to_fleets.recipient(),
                store: store_watch.store(store.clone()),
                meters: watch.meters.clone(),
                watch: ProbeWatch::new("main"),
                tracer: Arc::new(NoTracer),
            };
            Arc::new(move |spec| {
                let post = Post {
                    kind: "FleetProber",
                    of: None,
                    mailbox,
                };
                let probing = Probing {
                    spec,
                    sight: sight.subscribe(),
                    ..probing.clone()
                };
                supervision.start(&Arbiter::current(), post, move || FleetProber::new(probing, Vec::new()))
            })
        };
        let directory = FleetDirectory::new(Vec::new(), start, Arc::new(|_, name| spec(name)));
        let listening = Listening {
            broker: broker.clone(),
            roster,
            directory: directory.clone(),
            sight,
            ledger,
            stats: to_stats.recipient(),
            jobs: None,
            failures: None,
            aggregator: to_brokers.recipient(),
            meters: watch.meters.clone(),
            was_down: false,
        };
        let listener = watch.start("BrokerListener", move || BrokerListener::new(listening));
        Self {
            watch,
            store,
            store_watch,
            sight: seen,
            brokers,
            directory,
            fleets,
            newest: RefCell::default(),
            reports: RefCell::default(),
            _listener: listener,
        }
    }

    fn read(&self) {
        for report in self.fleets.take() {
            self.reports.borrow_mut().push(report.report.verdict.fleet.state);
            self.newest.replace(Some(report));
        }
    }

    /// The state of the fleet in each of its reports so far.
    pub(in crate::tests) fn states(&self) -> Vec<FleetState> {
        self.read();
        self.reports.borrow().clone()
    }

    pub(in crate::tests) fn state(&self) -> Option<FleetState> {
        self.states().last().copied()
    }

    /// The newest report of the fleet.
    pub(in crate::tests) fn report(&self) -> FleetReport {
        self.read();
        let newest = self.newest.borrow();
        newest.as_ref().map(|report| report.report.clone()).unwrap()
    }

    /// How many workers are in a state.
    pub(in crate::tests) fn count(&self, state: WorkerState) -> usize {
        self.read();
        let newest = self.newest.borrow();
        let workers = newest.iter().flat_map(|report| &report.report.workers);
        workers.filter(|worker| worker.state == state).count()
    }

    /// What the listener last reported, of what it has reported since this was last asked.
    pub(in crate::tests) fn reported(&self) -> Option<(BrokerStatus, bool)> {
        let newest = self.brokers.take().pop()?;
        Some((newest.status, newest.down))
    }

    pub(in crate::tests) fn broker_is(&self, state: BrokerState) -> bool {
        self.reported().is_some_and(|(status, _)| status.state == state)
    }

    pub(in crate::tests) fn malformed(&self) -> u64 {
        let broker = "main".to_owned();
        self.watch
            .meters
            .events_malformed
            .get_or_create(&BrokerLabel { broker })
            .get()
    }

    pub(in crate::tests) fn received(&self) -> u64 {
        let broker = "main".to_owned();
        self.watch
            .meters
            .events_received
            .get_or_create(&BrokerLabel { broker })
            .get()
    }
}

fn spec(name: compact_str::CompactString) -> FleetSpec {
    FleetSpec {
        name,
        broker: "main".into(),
        expected: Expected::Auto,
        minimum: headcount_core::detect::Minimum::OneWhileExpected,
        queues: Vec::new(),
        rules: Rules::default(),
    }
}
