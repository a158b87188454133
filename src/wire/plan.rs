//! How each actor is made, and what it is told of the others.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use actix::{Addr, Recipient, Supervised};
use actix_rt::ArbiterHandle;
use compact_str::CompactString;
use headcount_actors::broker_listener::{BrokerListener, Listening};
use headcount_actors::debouncer::{Addressee, Debouncer, Debouncing};
use headcount_actors::fleet_prober::{FleetProber, Probing};
use headcount_actors::fleets::{Discovered, FleetDirectory, StartProber};
use headcount_actors::health_aggregator::{Aggregating, HealthAggregator};
use headcount_actors::messages::{BrokerReported, Finish, FleetReported, TasksCounted, TasksHeard};
use headcount_actors::meters::Meters;
use headcount_actors::ports::traces::SharedTracer;
use headcount_actors::ports::{Remembered, SharedFailureBook, SharedNotifier, SharedStore, StatusView};
use headcount_actors::slack_notifier::{Notifying, SlackNotifier};
use headcount_actors::stats_processor::StatsProcessor;
use headcount_actors::supervise::{Post, Supervision};
use headcount_core::detect::{Expected, FleetHistory, FleetMemory, FleetSpec, Minimum, WorkerMemory};
use headcount_core::status::Status;
use headcount_edge::http;
use headcount_edge::otlp::{Exporting, Metrics};
use headcount_edge::secrets::Secrets;
use tokio::sync::watch;

use super::error::RunError;
use super::faults::{Faults, Provoked};
use super::house::about;
use super::jobs;
use super::sites::{BrokerSite, addresses};
use super::terms::{roster, rules, spec};
use crate::config::Settings;
use crate::resume;
use crate::telemetry::Telemetry;

/// Messages that may wait for an actor whose senders offer again what was not taken.
pub(super) const MAILBOX: usize = 1_024;

/// What the rooms share while the house is built.
pub(super) struct Plan<'a> {
    pub(super) settings: &'a Settings,
    pub(super) listens: SocketAddr,
    pub(super) supervision: Supervision,
    pub(super) meters: Meters,
    pub(super) store: SharedStore,
    pub(super) faults: Faults,
    pub(super) tracer: SharedTracer,
}

/// Who hears of tasks.
pub(super) struct TaskEars {
    pub(super) stats: Recipient<TasksCounted>,
    pub(super) jobs: Option<Recipient<TasksHeard>>,
    pub(super) failures: Option<SharedFailureBook>,
}

impl Plan<'_> {
    /// Starts an actor under supervision; `of` is which one of its kind.
    pub(super) fn start<A: Provoked + Supervised>(
        &self,
        arbiter: &ArbiterHandle,
        kind: &'static str,
        of: Option<CompactString>,
        make: impl FnOnce() -> A + Send + 'static,
    ) -> Addr<A> {
        let post = Post {
            kind,
            of,
            mailbox: MAILBOX,
        };
        self.faults.start(&self.supervision, arbiter, post, make)
    }

    /// Begins to send what the program tells of itself, if it is to.
    pub(super) fn exporting(&self, telemetry: &Telemetry, view: &StatusView) -> Result<Option<Exporting>, RunError> {
        let Some(config) = &self.settings.otlp else {
            return Ok(None);
        };
        let about = about(telemetry);
        let shown = &self.settings.metrics;
        let metrics = Metrics {
            scrape: Box::new(http::exposition(&self.meters, view, &shown.labels, about)),
            combinations: shown.limits.series,
            lasting: &Meters::LASTING,
        };
        let who = (about.version, jobs::OWNER.clone());
        let secrets = Secrets::new(&self.settings.secrets);
        let exporting = telemetry.otlp.open(config, who, &self.meters.otlp, metrics, secrets);
        let exporting = exporting.map_err(RunError::Otlp)?;
        tracing::info!(host = config.host(), "Headcount tells the OTLP collector of itself");
        Ok(Some(exporting))
    }

    pub(super) fn notifier(&self, arbiter: &ArbiterHandle, channel: SharedNotifier) -> (Addressee, Recipient<Finish>) {
        let name = CompactString::from(channel.name());
        let has_threads = channel.has_threads();
        let notifying = Notifying {
            notifier: channel,
            store: self.store.clone(),
            meters: self.meters.clone(),
            tracer: self.tracer.clone(),
        };
        let addr = self.start(arbiter, "SlackNotifier", Some(name.clone()), move || {
            SlackNotifier::new(notifying)
        });
        let addressee = Addressee {
            name,
            has_threads,
            wake: addr.clone().recipient(),
        };
        (addressee, addr.recipient())
    }

    pub(super) fn debouncer(&self, arbiter: &ArbiterHandle, notifiers: Vec<Addressee>) -> Addr<Debouncer> {
        let server = &self.settings.server;
        let public_url = match &server.public_url {
            Some(url) => Some(url.trim_end_matches('/').to_owned()),
            // Where it listens on every address, which of them leads here is not known.
            None => (!self.listens.ip().is_unspecified()).then(|| format!("http://{}", self.listens)),
        };
        let debouncing = Debouncing {
            store: self.store.clone(),
            notifiers,
            public_url,
            tracer: self.tracer.clone(),
        };
        self.start(arbiter, "Debouncer", None, move || Debouncer::new(debouncing))
    }

    pub(super) fn aggregator(
        &self,
        arbiter: &ArbiterHandle,
        debouncer: &Addr<Debouncer>,
        view: watch::Sender<Arc<Status>>,
    ) -> Addr<HealthAggregator> {
        let aggregating = Aggregating {
            store: self.store.clone(),
            debouncer: debouncer.clone().recipient(),
            view: Arc::new(view),
            brokers: self
                .settings
                .brokers
                .iter()
                .map(|broker| broker.config.name.as_str().into())
                .collect(),
            tracer: self.tracer.clone(),
            series: self.meters.series.clone(),
        };
        self.start(arbiter, "HealthAggregator", None, move || {
            HealthAggregator::new(aggregating)
        })
    }

    pub(super) fn stats(&self, arbiter: &ArbiterHandle) -> Addr<StatsProcessor> {
        let (store, meters) = (self.store.clone(), self.meters.clone());
        self.start(arbiter, "StatsProcessor", None, move || {
            StatsProcessor::new(store, meters)
        })
    }

    /// The directory of fleets: it starts the prober of each configured fleet now, and of others as they are heard of.
    pub(super) fn directory(
        &self,
        arbiter: &ArbiterHandle,
        sites: &BTreeMap<CompactString, BrokerSite>,
        remembered: &Remembered,
        aggregator: Recipient<FleetReported>,
    ) -> FleetDirectory {
        let (supervision, meters, store) = (self.supervision.clone(), self.meters.clone(), self.store.clone());
        let known = sites;
        let (arbiter, sites, faults) = (arbiter.clone(), sites.clone(), self.faults.clone());
        let tracer = self.tracer.clone();
        let memories: BTreeMap<CompactString, Vec<WorkerMemory>> = remembered.workers.iter().cloned().collect();
        let histories: BTreeMap<CompactString, FleetHistory> = remembered.histories.iter().cloned().collect();
        let start: StartProber = Arc::new(move |spec: FleetSpec| {
            let mut remembered = FleetMemory {
                workers: memories.get(&spec.name).cloned().unwrap_or_default(),
                history: histories.get(&spec.name).cloned().unwrap_or_default(),
            };
            let site = sites.get(&spec.broker).cloned();
            let post = Post {
                kind: "FleetProber",
                of: Some(spec.name.clone()),
                mailbox: MAILBOX,
            };
            let (aggregator, meters, store) = (aggregator.clone(), meters.clone(), store.clone());
            let tracer = tracer.clone();
            // The configuration was checked: a fleet's broker is one of those that were opened.
            let site = site.unwrap_or_else(|| unreachable!("a fleet on a broker that is not configured"));
            // Workers of another broker, which had this fleet before, are not missed on this one.
            let address = site.broker.address();
            remembered.workers.retain(|worker| worker.address == address);
            if remembered.workers.is_empty() {
                remembered = FleetMemory::default();
            }
            faults.start(&supervision, &arbiter, post, move || {
                let probing = Probing {
                    spec,
                    broker: site.broker,
                    sight: site.sight.subscribe(),
                    ledger: site.ledger,
                    aggregator,
                    store,
                    meters,
                    watch: site.probes,
                    tracer,
                };
                FleetProber::new(probing, remembered)
            })
        });
        let detect = self.settings.detect;
        let discovered: Discovered = Arc::new(move |broker: &str, name: CompactString| FleetSpec {
            name,
            broker: broker.into(),
            expected: Expected::Auto,
            minimum: Minimum::OneWhileExpected,
            queues: Vec::new(),
            rules: rules(&detect),
        });
        let configured = self.settings.fleets.iter().map(spec).collect();
        let directory = FleetDirectory::new(configured, start, discovered);
        for (broker, fleet) in resume::discovered(self.settings, &addresses(known), remembered) {
            directory.resume(&broker, &fleet);
        }
        directory
    }

    pub(super) fn listener(
        &self,
        arbiter: &ArbiterHandle,
        site: &BrokerSite,
        directory: FleetDirectory,
        tasks: TaskEars,
        aggregator: Recipient<BrokerReported>,
        was_down: bool,
    ) {
        let name = CompactString::from(site.broker.name());
        let listening = Listening {
            broker: site.broker.clone(),
            roster: roster(self.settings, &name),
            directory,
            sight: site.sight.clone(),
            ledger: site.ledger.clone(),
            stats: tasks.stats,
            jobs: tasks.jobs,
            failures: tasks.failures,
            aggregator,
            meters: self.meters.clone(),
            was_down,
        };
        self.start(arbiter, "BrokerListener", Some(name), move || {
            BrokerListener::new(listening)
        });
    }
}
