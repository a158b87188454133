//! Everything that runs for one configuration: in which order it is built, and in which it ends.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use actix_rt::Arbiter;
use compact_str::{CompactString, format_compact};
use headcount_actors::clock::Clock;
use headcount_actors::messages::{Finish, LeaveBroker};
use headcount_actors::meters::{Meters, SharedSeries};
use headcount_actors::ports::{SharedBroker, SharedNotifier, StatusView};
use headcount_actors::store_watch::StoreWatch;
use headcount_actors::supervise::Supervision;
use headcount_actors::vitals::Vitals;
use headcount_core::alert::Kind;
use headcount_edge::http::{self, About, Http};
use headcount_edge::otlp::Exporting;
use headcount_edge::{notifiers, store};
use tokio::sync::{mpsc, watch};

use super::error::RunError;
use super::faults::Faults;
use super::plan::{Plan, TaskEars};
use super::sites::{addresses, first_status, open_brokers};
use super::{nodes, stats};
use crate::config::Settings;
use crate::resume;
use crate::telemetry::Telemetry;
use crate::telemetry::logs::Logs;

/// How long each step of stopping may take; there are four of these, one for nodes and pipelines, one for the notifiers, and
/// a second for HTTP (`SHUTDOWN_WITHIN_S`): the whole program has ten.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(1);

/// How long nodes may take to give back their tasks and say goodbye: they themselves stop waiting before this is over.
const LEAVE_WITHIN: Duration = Duration::from_millis(1_800);

/// How long notifiers may take for the message that they are just sending, before the threads are told to end.
const FINISH_WITHIN: Duration = Duration::from_secs(3);

/// Everything that runs for one configuration.
pub(super) struct House {
    pub(super) view: StatusView,
    /// Where HTTP is served: with port 0 it is the one that the system gave.
    pub(super) listens: SocketAddr,
    pub(super) given_up: mpsc::UnboundedReceiver<CompactString>,
    pub(super) server: http::ServerHandle,
    pub(super) brokers: Vec<SharedBroker>,
    /// Who must not be stopped in the middle of something, and what it is called in the log.
    pub(super) finishing: Vec<(CompactString, Recipient<Finish>)>,
    pub(super) scheduling: Option<Arbiter>,
    pub(super) nodes: Vec<nodes::RunningNode>,
    pub(super) judging: Arbiter,
    pub(super) asking: Arbiter,
    pub(super) lanes: Vec<Arbiter>,
    pub(super) crew: stats::Crew,
    /// Sends what the program tells of itself; stopped last.
    pub(super) exporting: Option<Exporting>,
    /// What it has held back is told before nobody sends it any more.
    pub(super) logs: Logs,
}

impl House {
    pub(super) async fn build(settings: &Settings, telemetry: &Telemetry) -> Result<Self, RunError> {
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
        // What fails from now on is tried again.
        let store_watch = StoreWatch::new(opened.address, meters.store.clone());
        let (store, job_store) = (store_watch.store(store), store_watch.jobs(opened.jobs));
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
            store_view: store_watch.view(),
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
    pub(super) async fn stop(self) {
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

fn open_notifiers(settings: &Settings) -> Result<Vec<SharedNotifier>, RunError> {
    let open = |table: &Arc<dyn notifiers::Table>| {
        table.open().map_err(|why| RunError::Notifier {
            name: table.name().to_owned(),
            why,
        })
    };
    settings.notifiers.iter().map(open).collect()
}

/// Waits for each, for `patience` at most: who was not done by then.
pub(super) async fn late<Who, Done: Future>(
    all: impl IntoIterator<Item = (Who, Done)>,
    patience: Duration,
) -> Vec<Who> {
    let each = all.into_iter().map(|(who, done)| async move {
        let done = tokio::time::timeout(patience, done).await;
        done.is_err().then_some(who)
    });
    let all = futures_util::future::join_all(each).await;
    all.into_iter().flatten().collect()
}

/// Ends threads, and waits for them for a while.
pub(super) async fn end(arbiters: Vec<Arbiter>) {
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
pub(super) fn about(telemetry: &Telemetry) -> About {
    About {
        version: env!("CARGO_PKG_VERSION"),
        started: telemetry.started,
    }
}
