//! The composition root: the one place that names both actors and edge.

mod jobs;
mod nodes;
pub(crate) mod recording;
pub(crate) mod stats;
mod stop;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::{Addr, Recipient};
use actix_rt::{Arbiter, ArbiterHandle};
use compact_str::{CompactString, format_compact};
use headcount_actors::broker_listener::{BrokerListener, Listening};
use headcount_actors::clock::Clock;
use headcount_actors::debouncer::{Addressee, Debouncer, Debouncing};
use headcount_actors::fleet_prober::{FleetProber, Probing};
use headcount_actors::fleets::{Discovered, FleetDirectory, StartProber};
use headcount_actors::health_aggregator::{Aggregating, HealthAggregator};
use headcount_actors::messages::{BrokerReported, Finish, FleetReported, LeaveBroker, TasksCounted, TasksHeard};
use headcount_actors::meters::{Meters, SharedSeries};
use headcount_actors::ports::stats::StatsError;
use headcount_actors::ports::traces::SharedTracer;
use headcount_actors::ports::{
    Remembered, SharedBroker, SharedFailureBook, SharedNotifier, SharedStore, StatusView, StoreError,
};
use headcount_actors::probe_watch::ProbeWatch;
use headcount_actors::slack_notifier::{Notifying, SlackNotifier};
use headcount_actors::stats_processor::StatsProcessor;
use headcount_actors::store_watch::StoreWatch;
use headcount_actors::supervise::{Post, Supervision};
use headcount_actors::vitals::Vitals;
use headcount_core::alert::Kind;
use headcount_core::detect::ledger::ConnectionLedger;
use headcount_core::detect::roster::Roster;
use headcount_core::detect::{
    BrokerState, Expected, FleetHistory, FleetMemory, FleetSpec, Minimum, Rules, Sight, WorkerMemory,
};
use headcount_core::status::{BrokerStatus, Status};
use headcount_edge::http::{self, About, BindError, Http};
use headcount_edge::otlp::{Exporting, Metrics};
use headcount_edge::secrets::Secrets;
use headcount_edge::{brokers, notifiers, store};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use self::stop::Stop;
use crate::config::{Detect, Fleet, Origin, Problems, Settings};
use crate::telemetry::Telemetry;
use crate::telemetry::logs::Logs;
use crate::{greeting, resume};

/// Messages that may wait for an actor whose senders offer again what was not taken.
const MAILBOX: usize = 1_024;
/// How long each step of stopping may take; there are four of these, one for nodes and pipelines, one for the notifiers, and
/// a second for HTTP (`SHUTDOWN_WITHIN_S`): the whole program has ten.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// How long nodes may take to give back their tasks and say goodbye: they themselves stop waiting before this is over.
const LEAVE_WITHIN: Duration = Duration::from_millis(1_800);

/// How long notifiers may take for the message that they are just sending, before the threads are told to end.
const FINISH_WITHIN: Duration = Duration::from_secs(3);

/// How long the whole of stopping takes at most, a little under what the contract gives it: what is sent elsewhere gets what is
/// left of it.
const WHOLE_STOP: Duration = Duration::from_millis(9_800);

/// Why the daemon could not start, or go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// The HTTP address could not be taken.
    #[error("{0}")]
    Bind(#[from] BindError),
    /// The store could not be opened or read.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A broker's table is of no use.
    #[error("broker {name}: {why}")]
    Broker {
        /// Which.
        name: String,
        /// What is wrong.
        why: brokers::OpenError,
    },
    /// A notifier's table is of no use.
    #[error("notifier {name}: {why}")]
    Notifier {
        /// Which.
        name: String,
        /// What is wrong.
        why: notifiers::OpenError,
    },
    /// A node's table is of no use.
    #[error("node {name}: {why}")]
    Node {
        /// Which.
        name: String,
        /// What is wrong.
        why: brokers::OpenError,
    },
    /// A pipeline's table is of no use.
    #[error("stats {name}: {why}")]
    Stats {
        /// Which.
        name: String,
        /// What is wrong.
        why: StatsError,
    },
    /// Nothing can be sent by OTLP.
    #[error("[otlp]: {0}")]
    Otlp(String),
    /// The system refused something.
    #[error("{0}")]
    System(#[from] io::Error),
    /// An actor panicked again and again.
    #[error("the actor {0} failed too often, so the program ends: start it again, and report what the log says of {0}")]
    GivenUp(CompactString),
}

/// Runs the daemon until it is told to stop. `origin` is where the settings came from, for SIGHUP.
///
/// # Errors
/// Why it could not start, or could not go on.
pub async fn run(settings: Settings, origin: Origin, telemetry: &Telemetry) -> Result<ExitCode, RunError> {
    let mut stopping = None;
    let ended = keep_running(settings, origin, telemetry, &mut stopping).await;
    match &ended {
        // Whoever gave it up has said so.
        Err(RunError::GivenUp(_)) | Ok(_) => {}
        Err(error) => telemetry.sentry().fatal(&error.to_string()),
    }
    let left = stopping.map_or(WHOLE_STOP, |began: Instant| WHOLE_STOP.saturating_sub(began.elapsed()));
    telemetry.close(left).await;
    ended
}

/// `stopping` is when it began to stop: with the signal, whatever was under way then.
async fn keep_running(
    mut settings: Settings,
    origin: Origin,
    telemetry: &Telemetry,
    stopping: &mut Option<Instant>,
) -> Result<ExitCode, RunError> {
    let mut stop = Stop::listen()?;
    let mut reload = signal(SignalKind::hangup())?;
    telemetry.configure(&settings).await;
    actix_rt::spawn(telemetry.logs.clone().keep());
    // What ran before, until what replaces it runs.
    let mut before: Option<Settings> = None;
    loop {
        // Whoever asked for an end meanwhile would wait for two of them: that of a house which nobody wants any more, too.
        let Some(built) = stop.unless(House::build(&settings, telemetry)).await else {
            break;
        };
        let mut house = match (built, before.take()) {
            (Ok(house), _) => house,
            (Err(error), Some(old)) => {
                tracing::error!(%error, "the new configuration cannot be started; the old one stays: mend it, and reload again");
                settings = old;
                telemetry.configure(&settings).await;
                continue;
            }
            (Err(error), None) => return Err(error),
        };
        greeting::spawn(house.view.clone(), house.listens);
        // Read beside the signals: a file that never answers must not keep Headcount from stopping.
        let mut reading: Option<Reading> = None;
        let new = loop {
            tokio::select! {
                () = stop.asked() => break None,
                Some(actor) = house.given_up.recv() => {
                    *stopping = Some(Instant::now());
                    house.stop().await;
                    return Err(RunError::GivenUp(actor));
                }
                _ = reload.recv() => {
                    let origin = origin.clone();
                    reading = Some(actix_rt::task::spawn_blocking(move || origin.load()));
                }
                read = finished(&mut reading) => match read {
                    Ok(Ok(new)) => break Some(new),
                    Ok(Err(problems)) => {
                        tracing::error!("the configuration was read again and is refused; the old one stays: mend it, and reload again\n{problems}");
                    }
                    Err(error) => tracing::error!(%error, "reading the configuration failed, which is a mistake in Headcount: the old one stays; reload again, and please report it"),
                },
            }
        };
        house.stop().await;
        let Some(new) = new.filter(|_| stop.since().is_none()) else {
            break;
        };
        tracing::info!("the configuration was read again; starting with the new one");
        before = Some(std::mem::replace(&mut settings, new));
        telemetry.configure(&settings).await;
    }
    *stopping = stop.since();
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// A configuration that is being read again.
type Reading = tokio::task::JoinHandle<Result<Settings, Problems>>;

/// The end of a reading; never comes while nothing is being read.
async fn finished(reading: &mut Option<Reading>) -> Result<Result<Settings, Problems>, tokio::task::JoinError> {
    match reading {
        Some(handle) => {
            let read = handle.await;
            *reading = None;
            read
        }
        None => std::future::pending().await,
    }
}

/// Everything that runs for one configuration.
struct House {
    view: StatusView,
    /// Where HTTP is served: with port 0 it is the one that the system gave.
    listens: SocketAddr,
    given_up: mpsc::UnboundedReceiver<CompactString>,
    server: http::ServerHandle,
    brokers: Vec<SharedBroker>,
    /// Who must not be stopped in the middle of something, and what it is called in the log.
    finishing: Vec<(CompactString, Recipient<Finish>)>,
    scheduling: Option<Arbiter>,
    nodes: Vec<nodes::RunningNode>,
    judging: Arbiter,
    asking: Arbiter,
    lanes: Vec<Arbiter>,
    crew: stats::Crew,
    /// Sends what the program tells of itself; stopped last.
    exporting: Option<Exporting>,
    /// What it has held back is told before nobody sends it any more.
    logs: Logs,
}

/// What the rooms share while the house is built.
struct Plan<'a> {
    settings: &'a Settings,
    listens: SocketAddr,
    supervision: Supervision,
    meters: Meters,
    store: SharedStore,
    faults: Faults,
    tracer: SharedTracer,
}

/// Where a broker's actors meet.
#[derive(Clone)]
struct BrokerSite {
    broker: SharedBroker,
    sight: Arc<watch::Sender<Sight>>,
    ledger: Arc<Mutex<ConnectionLedger>>,
    probes: Arc<ProbeWatch>,
}

/// Who hears of tasks.
struct TaskEars {
    stats: Recipient<TasksCounted>,
    jobs: Option<Recipient<TasksHeard>>,
    failures: Option<SharedFailureBook>,
}

impl House {
    async fn build(settings: &Settings, telemetry: &Telemetry) -> Result<Self, RunError> {
        // Whatever can be refused is tried before anything runs.
        let listener = http::bind(settings.server.listen)?;
        let listens = listener.local_addr()?;
        // On a thread of its own: where another has the file it waits for seconds, and a signal is heard meanwhile.
        let config = settings.store.clone();
        let opened = actix_rt::task::spawn_blocking(move || store::open_all(&config));
        let opened = opened.await.map_err(io::Error::other)??;
        let store = opened.store;
        let remembered = store.load().await?;
        let sites = open_brokers(settings)?;
        let addresses = addresses(&sites);
        let orphans = resume::orphans(settings, &addresses, &remembered, Clock.now().wall);
        store.save_incidents(orphans).await?;
        let channels = open_notifiers(settings)?;
        let pipelines = stats::open(&settings.stats).map_err(|(name, why)| RunError::Stats { name, why })?;
        let configured = channels.iter().map(|channel| channel.name().into()).collect();
        let dropped = store.disown(configured).await?;
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "messages were owed to notifiers that are not configured any more; notifiers that are new get them"
            );
        }

        // What fails from now on is tried again.
        let watch = StoreWatch::new(opened.address);
        let (store, job_store) = (watch.store(store), watch.jobs(opened.jobs));
        let vitals = Vitals::default();
        let meters = Meters {
            log_suppressed: telemetry.logs.suppressed(),
            sentry: telemetry.sentry().meters(),
            series: if settings.metrics.tasks {
                SharedSeries::new(settings.metrics.limits)
            } else {
                SharedSeries::off()
            },
            ..Meters::default()
        };
        let (supervision, given_up) = Supervision::new(vitals.clone(), meters.clone());
        let plan = Plan {
            settings,
            listens,
            supervision,
            meters,
            store,
            faults: Faults::default(),
            tracer: Arc::new(telemetry.otlp.clone()),
        };
        let (view_in, view) = watch::channel(Arc::new(first_status(&sites)));
        let brokers: BTreeMap<CompactString, SharedBroker> = sites
            .iter()
            .map(|(name, site)| (name.clone(), site.broker.clone()))
            .collect();
        let nodes = plan.prepare_nodes(&brokers, &view)?;

        // Before anybody begins, so that nothing is missed.
        let exporting = plan.exporting(telemetry, &view)?;

        // Judging has a thread, asking has one, and each broker's event lane has one.
        let judging = Arbiter::new();
        let asking = Arbiter::new();
        let (addressees, notifiers) = channels
            .into_iter()
            .map(|channel| {
                let (addressee, finish) = plan.notifier(&judging.handle(), channel);
                let actor = format_compact!("SlackNotifier {}", addressee.name);
                (addressee, (actor, finish))
            })
            .unzip();
        let debouncer = plan.debouncer(&judging.handle(), addressees);
        let aggregator = plan.aggregator(&judging.handle(), &debouncer, view_in);
        let stats = plan.stats(&judging.handle());
        let (jobs_in, jobs_view) = watch::channel(Arc::default());
        let first = brokers.keys().next().cloned().unwrap_or_default();
        let own_tasks = plan.own_tasks(&brokers, first, &view)?;
        let scheduler = plan.jobs(&job_store, &own_tasks, jobs_in)?;
        let mut finishing: Vec<(CompactString, Recipient<Finish>)> = notifiers;
        finishing.extend(
            scheduler
                .as_ref()
                .map(|one| ("JobScheduler".into(), one.finish.clone())),
        );
        let directory = plan.directory(&asking.handle(), &sites, &remembered, aggregator.clone().recipient());
        let mut lanes = Vec::new();
        for site in sites.values() {
            let lane = Arbiter::new();
            let was_down = remembered.incidents.iter().any(|incident| {
                incident.kind == Kind::Broker && incident.is_open() && incident.subject == site.broker.name()
            });
            plan.listener(
                &lane.handle(),
                site,
                directory.clone(),
                TaskEars {
                    stats: stats.clone().recipient(),
                    jobs: scheduler.as_ref().map(|scheduler| scheduler.heard.clone()),
                    failures: telemetry.sentry().failures(settings.sentry.as_ref()),
                },
                aggregator.clone().recipient(),
                was_down,
            );
            lanes.push(lane);
        }

        let nodes = nodes.into_iter().map(|node| plan.node(node)).collect();
        let crew = stats::Crew::start(pipelines, &plan.supervision, &plan.meters, &plan.faults);

        let http = Http {
            view: view.clone(),
            vitals,
            store: plan.store.clone(),
            jobs: http::Jobs {
                view: jobs_view,
                store: job_store,
            },
            meters: plan.meters.clone(),
            log: Arc::new(telemetry.logs.clone()),
            labels: settings.metrics.labels.clone(),
            token: settings.server.token.clone(),
            about: about(telemetry),
            #[cfg(feature = "fault-points")]
            provoke: plan.faults.provoker(),
        };
        let server = http::serve(http, listener)?;
        let handle = server.handle();
        actix_rt::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the HTTP server has failed: watching and telling go on without it; restart Headcount");
            }
        });
        Ok(Self {
            view,
            listens,
            given_up,
            server: handle,
            brokers: sites.into_values().map(|site| site.broker).collect(),
            finishing,
            scheduling: scheduler.map(|scheduler| scheduler.thread),
            nodes,
            judging,
            asking,
            lanes,
            crew,
            exporting,
            logs: telemetry.logs.clone(),
        })
    }

    /// Stops everything. What must not be forgotten is in the store already.
    async fn stop(self) {
        self.server.stop(true).await;
        // From the outside in, so that nobody takes the end of another for news.
        let leaving = self
            .nodes
            .iter()
            .map(|node| ((&node.broker, &node.node), node.leave.send(LeaveBroker)));
        // A step that is under way is committed, and its part given back; otherwise others wait until its lease has run out.
        let (there, working) = tokio::join!(late(leaving, LEAVE_WITHIN), self.crew.finish(LEAVE_WITHIN));
        for (broker, node) in there {
            tracing::warn!(
                broker,
                node,
                "a node has not left its broker in time: what it had taken comes again"
            );
        }
        for pipeline in working {
            tracing::warn!(%pipeline, "a pipeline could not be left in time; its parts are free when their leases have run out");
        }
        let nodes = self.nodes.into_iter().map(|node| node.thread);
        end(self.crew.arbiters.into_iter().chain(nodes).chain(self.lanes).collect()).await;
        // On the thread whose connections they are: what Headcount keeps at a broker is removed.
        let mut closed = Vec::new();
        for broker in self.brokers {
            let (done, is_closed) = tokio::sync::oneshot::channel();
            closed.push((broker.name().to_owned(), is_closed));
            self.asking.spawn(async move {
                broker.close().await;
                // Nobody waits any more only where it took too long.
                let _ = done.send(());
            });
        }
        for broker in late(closed, STOP_WITHIN).await {
            tracing::warn!(
                broker,
                "a broker could not be left in time: its own queues there end by themselves"
            );
        }
        end(vec![self.asking]).await;
        // A message that is just being sent would otherwise be sent once more after the next start.
        let finishing = self.finishing.iter().map(|(actor, one)| (actor, one.send(Finish)));
        for actor in late(finishing, FINISH_WITHIN).await {
            tracing::warn!(
                %actor,
                "a message or a task was being sent and not answered: it may be sent again after the next start; look there \
                 whether it came twice"
            );
        }
        // Nobody begins anything any more: what there is to tell of it is there.
        let told = async {
            if let Some(exporting) = self.exporting {
                self.logs.finish();
                exporting.close().await;
            }
        };
        tokio::join!(end(self.scheduling.into_iter().chain([self.judging]).collect()), told);
    }
}

/// Waits for each, for `patience` at most: who was not done by then.
async fn late<Who, Done: Future>(all: impl IntoIterator<Item = (Who, Done)>, patience: Duration) -> Vec<Who> {
    let each = all.into_iter().map(|(who, done)| async move {
        let done = tokio::time::timeout(patience, done).await;
        done.is_err().then_some(who)
    });
    let all = futures_util::future::join_all(each).await;
    all.into_iter().flatten().collect()
}

/// Ends threads, and waits for them for a while.
async fn end(arbiters: Vec<Arbiter>) {
    for arbiter in &arbiters {
        arbiter.stop();
    }
    let joined = actix_rt::task::spawn_blocking(move || {
        for arbiter in arbiters {
            if arbiter.join().is_err() {
                tracing::error!(
                    panic = true,
                    "an actor's thread ended by a panic, which is a mistake in Headcount: please report it"
                );
            }
        }
    });
    if tokio::time::timeout(STOP_WITHIN, joined).await.is_err() {
        tracing::warn!("not every thread has ended in time: the program goes on without them");
    }
}

/// What series tell of the program itself.
fn about(telemetry: &Telemetry) -> About {
    About {
        version: env!("CARGO_PKG_VERSION"),
        started: telemetry.started,
    }
}

impl Plan<'_> {
    /// Begins to send what the program tells of itself, if it is to.
    fn exporting(&self, telemetry: &Telemetry, view: &StatusView) -> Result<Option<Exporting>, RunError> {
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
        exporting.map(Some).map_err(RunError::Otlp)
    }

    fn notifier(&self, arbiter: &ArbiterHandle, channel: SharedNotifier) -> (Addressee, Recipient<Finish>) {
        let name = CompactString::from(channel.name());
        let has_threads = channel.has_threads();
        let notifying = Notifying {
            notifier: channel,
            store: self.store.clone(),
            meters: self.meters.clone(),
            tracer: self.tracer.clone(),
        };
        let post = Post {
            kind: "SlackNotifier",
            of: Some(name.clone()),
            mailbox: MAILBOX,
        };
        let addr = self
            .supervision
            .start(arbiter, post, move || SlackNotifier::new(notifying));
        self.faults.add("SlackNotifier", &addr);
        let addressee = Addressee {
            name,
            has_threads,
            wake: addr.clone().recipient(),
        };
        (addressee, addr.recipient())
    }

    fn debouncer(&self, arbiter: &ArbiterHandle, notifiers: Vec<Addressee>) -> Addr<Debouncer> {
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
        let post = Post {
            kind: "Debouncer",
            of: None,
            mailbox: MAILBOX,
        };
        let addr = self
            .supervision
            .start(arbiter, post, move || Debouncer::new(debouncing));
        self.faults.add("Debouncer", &addr);
        addr
    }

    fn aggregator(
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
        let post = Post {
            kind: "HealthAggregator",
            of: None,
            mailbox: MAILBOX,
        };
        let addr = self
            .supervision
            .start(arbiter, post, move || HealthAggregator::new(aggregating));
        self.faults.add("HealthAggregator", &addr);
        addr
    }

    fn stats(&self, arbiter: &ArbiterHandle) -> Addr<StatsProcessor> {
        let (store, meters) = (self.store.clone(), self.meters.clone());
        let post = Post {
            kind: "StatsProcessor",
            of: None,
            mailbox: MAILBOX,
        };
        let addr = self
            .supervision
            .start(arbiter, post, move || StatsProcessor::new(store, meters));
        self.faults.add("StatsProcessor", &addr);
        addr
    }

    /// The directory of fleets: it starts the prober of each configured fleet now, and of others as they are heard of.
    fn directory(
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
            let addr = supervision.start(&arbiter, post, move || {
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
            });
            faults.add("FleetProber", &addr);
            addr
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

    fn listener(
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
        let post = Post {
            kind: "BrokerListener",
            of: Some(name),
            mailbox: MAILBOX,
        };
        let addr = self
            .supervision
            .start(arbiter, post, move || BrokerListener::new(listening));
        self.faults.add("BrokerListener", &addr);
    }
}

/// Which of a broker's workers belong to which fleet.
pub(crate) fn roster(settings: &Settings, broker: &str) -> Roster {
    let discovers = settings.brokers.iter().any(|b| b.config.name == broker && b.discover);
    let own = settings.fleets.iter().filter(|fleet| fleet.broker == broker);
    let roster = if discovers {
        Roster::discovering()
    } else {
        Roster::of(own.map(|fleet| (fleet.name.clone(), fleet.hostnames.clone())))
    };
    roster.without(nodes::own_names(settings, broker))
}

/// Where each broker is.
fn addresses(sites: &BTreeMap<CompactString, BrokerSite>) -> resume::Addresses {
    sites
        .iter()
        .map(|(name, site)| (name.clone(), site.broker.address()))
        .collect()
}

/// What is known before anything has been tried: the brokers, and that each is being reached.
fn first_status(sites: &BTreeMap<CompactString, BrokerSite>) -> Status {
    let now = Clock.now().wall;
    let connecting = |site: &BrokerSite| BrokerStatus {
        name: site.broker.name().into(),
        address: site.broker.address(),
        state: BrokerState::Connecting,
        blocked: false,
        since: now,
        error: Some("connecting".to_owned()),
        retry_at: None,
    };
    Status {
        at: now,
        brokers: sites.values().map(connecting).collect(),
        ..Status::default()
    }
}

fn open_brokers(settings: &Settings) -> Result<BTreeMap<CompactString, BrokerSite>, RunError> {
    let open = |broker: &crate::config::Broker| {
        let name = broker.config.name.clone();
        let opened = brokers::open(broker.config.clone());
        let opened = opened.map_err(|why| RunError::Broker {
            name: name.clone(),
            why,
        })?;
        let site = BrokerSite {
            broker: opened,
            sight: Arc::new(watch::channel(Sight::Blind).0),
            ledger: Arc::new(Mutex::new(ConnectionLedger::default())),
            probes: ProbeWatch::new(name.clone()),
        };
        Ok((name.as_str().into(), site))
    };
    settings.brokers.iter().map(open).collect()
}

fn open_notifiers(settings: &Settings) -> Result<Vec<SharedNotifier>, RunError> {
    let open = |table: &Arc<dyn notifiers::Table>| {
        table.open().map_err(|why| RunError::Notifier {
            name: table.name().to_owned(),
            why,
        })
    };
    settings.notifiers.iter().map(open).collect()
}

/// What the detector is told of a configured fleet.
pub(crate) fn spec(fleet: &Fleet) -> FleetSpec {
    FleetSpec {
        name: fleet.name.clone(),
        broker: fleet.broker.clone(),
        expected: fleet.expected.clone(),
        minimum: fleet.minimum.map_or(Minimum::OneOnceSeen, Minimum::Given),
        queues: fleet.queues.clone(),
        rules: rules(&fleet.detect),
    }
}

/// The deadlines that the configuration means.
pub(crate) fn rules(detect: &Detect) -> Rules {
    Rules {
        probe_every: detect.probe_every.duration(),
        down_after: detect.down_after.duration(),
        forget_after: detect.forget_after.duration(),
        stalled_after: detect.stalled_after.duration(),
        stuck_after: detect.stuck_after.duration(),
    }
}

/// Fault points: in an ordinary build this holds nothing and does nothing.
#[derive(Clone, Default)]
struct Faults {
    #[cfg(feature = "fault-points")]
    points: Arc<Mutex<BTreeMap<&'static str, Recipient<headcount_actors::messages::Provoke>>>>,
}

impl Faults {
    #[cfg(feature = "fault-points")]
    fn add<A>(&self, kind: &'static str, addr: &Addr<A>)
    where
        A: actix::Actor<Context = actix::Context<A>> + actix::Handler<headcount_actors::messages::Provoke>,
    {
        let mut points = self.points.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        points.insert(kind, addr.clone().recipient());
    }

    #[cfg(not(feature = "fault-points"))]
    fn add<A: actix::Actor>(&self, _kind: &'static str, _addr: &Addr<A>) {}

    /// Makes the named actor panic; false if there is none of that name.
    #[cfg(feature = "fault-points")]
    fn provoker(&self) -> http::Provoke {
        let points = self.points.clone();
        Arc::new(move |kind: &str| {
            let points = points.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            points
                .get(kind)
                .is_some_and(|point| point.try_send(headcount_actors::messages::Provoke).is_ok())
        })
    }
}
