//! `HealthAggregator`: the owner of the one status model. Reports come in; incidents and the status go out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, Supervised, WrapFuture};
use compact_str::CompactString;
use headcount_core::alert::{Change, Correlator, Incident, IncidentBook, Kind, Notice, Turn};
use headcount_core::detect::periods::JUDGE_EVERY;
use headcount_core::detect::{BrokerState, FleetReport, FleetVerdict};
use headcount_core::status::{BrokerStatus, Status};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::messages::{BrokerReported, FleetReported, IncidentChanged};
use crate::meters::SharedSeries;
use crate::ports::SharedStore;
use crate::ports::traces::SharedTracer;
use crate::story::Story;

/// What the aggregator is connected to.
#[derive(Clone)]
pub struct Aggregating {
    /// Where incidents are kept.
    pub store: SharedStore,
    /// Who decides what people are told.
    pub debouncer: Recipient<IncidentChanged>,
    /// Where everybody reads the status.
    pub view: Arc<watch::Sender<Arc<Status>>>,
    /// The brokers, in the order of the configuration.
    pub brokers: Vec<CompactString>,
    /// Who is told how an incident came about.
    pub tracer: SharedTracer,
    /// The series of tasks, which end with their worker.
    pub series: SharedSeries,
}

/// The actor.
pub struct HealthAggregator {
    with: Aggregating,
    /// None until the open incidents have been read.
    book: Option<IncidentBook>,
    correlator: Correlator,
    brokers: BTreeMap<CompactString, (BrokerStatus, bool)>,
    fleets: BTreeMap<CompactString, FleetReport>,
    story: Story,
    /// Fleets of which more may be found within moments.
    unsettled: BTreeSet<CompactString>,
    /// Incidents that have changed and are not in the store yet, in the order of the changes.
    changed: Vec<IncidentChanged>,
    /// Those that are in the store, and that the debouncer has not taken yet.
    unheard: Vec<IncidentChanged>,
    saving: bool,
    stale: bool,
}

impl HealthAggregator {
    /// An aggregator that knows nothing yet.
    pub fn new(with: Aggregating) -> Self {
        Self {
            story: Story::new(with.tracer.clone()),
            with,
            book: None,
            correlator: Correlator::default(),
            brokers: BTreeMap::new(),
            fleets: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            changed: Vec::new(),
            unheard: Vec::new(),
            saving: false,
            stale: false,
        }
    }

    fn recall(&mut self, context: &mut Context<Self>) {
        let store = self.with.store.clone();
        let reading = async move { store.load_incidents().await };
        context.spawn(reading.into_actor(self).map(|loaded, actor, context| match loaded {
            Ok(incidents) => {
                actor.story.resume(&incidents);
                // One that was written down just before a panic may not have been passed on, and more may be found.
                for incident in &incidents {
                    let change = IncidentChanged {
                        incident: incident.clone(),
                        unsettled: true,
                    };
                    note(&mut actor.unheard, change);
                }
                actor.book = Some(IncidentBook::resume(incidents));
            }
            Err(_) => drop(context.run_later(RETRY, Self::recall)),
        }));
    }

    fn tick(&mut self, context: &mut Context<Self>) {
        self.judge();
        self.settle();
        self.save(context);
        self.pass_on();
        if self.stale && self.book.is_some() {
            self.stale = false;
            self.publish();
        }
    }

    /// Takes every report to the book: what has not changed changes nothing there.
    fn judge(&mut self) {
        let Some(book) = &mut self.book else { return };
        let now = Clock.now();
        for (broker, down) in self.brokers.values() {
            let of_it = self
                .fleets
                .values()
                .filter(|fleet| fleet.verdict.fleet.broker == broker.name);
            let fleets: Vec<_> = of_it.map(|fleet| fleet.verdict.fleet.name.clone()).collect();
            if let Some(incident) = book.broker(now.wall, broker, *down, &fleets) {
                log(&incident);
                self.story.changed(&incident, &self.fleets);
                let unsettled = false;
                note(&mut self.changed, IncidentChanged { incident, unsettled });
                self.stale = true;
            }
        }
        // What a fleet reported before its broker was lost is no longer known; its own report will say so soon.
        let heard = self
            .brokers
            .values()
            .filter(|(broker, _)| broker.state == BrokerState::Heard);
        for (broker, _) in heard {
            let fleets: Vec<&FleetVerdict> = self
                .fleets
                .values()
                .map(|report| &report.verdict)
                .filter(|verdict| verdict.fleet.broker == broker.name)
                .collect();
            for Change { incident, unsettled } in self.correlator.judge(now, book, &broker.name, &fleets) {
                log(&incident);
                self.story.changed(&incident, &self.fleets);
                note(&mut self.changed, IncidentChanged { incident, unsettled });
                self.stale = true;
            }
        }
    }

    /// Tells the debouncer that nothing more is expected, where it was told that more might be.
    fn settle(&mut self) {
        let Some(book) = &self.book else { return };
        for report in self.fleets.values() {
            let fleet = &report.verdict.fleet.name;
            if report.verdict.unsettled {
                self.unsettled.insert(fleet.clone());
            } else if self.unsettled.remove(fleet)
                && let Some(incident) = book.find(Kind::Fleet, fleet)
            {
                let (incident, unsettled) = (incident.clone(), false);
                note(&mut self.changed, IncidentChanged { incident, unsettled });
            }
        }
    }

    /// Writes changed incidents down, and only then passes them on.
    fn save(&mut self, context: &mut Context<Self>) {
        if self.saving || self.changed.is_empty() {
            return;
        }
        self.saving = true;
        let changed = std::mem::take(&mut self.changed);
        let store = self.with.store.clone();
        let saving = async move {
            let incidents = changed.iter().map(|change| change.incident.clone()).collect();
            (store.save_incidents(incidents).await, changed)
        };
        context.spawn(
            saving
                .into_actor(self)
                .map(|(saved, changed), actor, context| match saved {
                    Ok(()) => {
                        actor.saving = false;
                        actor.story.stored(changed.iter().map(|change| &change.incident));
                        changed.into_iter().for_each(|change| note(&mut actor.unheard, change));
                        actor.pass_on();
                    }
                    Err(_) => {
                        let newer = std::mem::replace(&mut actor.changed, changed);
                        newer.into_iter().for_each(|change| note(&mut actor.changed, change));
                        context.run_later(RETRY, |actor, _| actor.saving = false);
                    }
                }),
        );
    }

    /// Offers the debouncer what it has not taken yet; what it does not take now is offered again at the next tick.
    fn pass_on(&mut self) {
        let mut refused = Vec::new();
        for change in self.unheard.drain(..) {
            if let Err(error) = self.with.debouncer.try_send(change) {
                refused.push(error.into_inner());
            }
        }
        self.unheard = refused;
    }

    fn publish(&self) {
        let by_config = |broker: &BrokerStatus| self.with.brokers.iter().position(|name| *name == broker.name);
        let mut brokers: Vec<_> = self.brokers.values().map(|(broker, _)| broker.clone()).collect();
        brokers.sort_by_key(by_config);
        let status = Status {
            at: Clock.now().wall,
            brokers,
            fleets: self
                .fleets
                .values()
                .map(|report| report.verdict.fleet.clone())
                .collect(),
            workers: self
                .fleets
                .values()
                .flat_map(|report| report.workers.iter().cloned())
                .collect(),
            incidents: self.book.as_ref().map(IncidentBook::open).unwrap_or_default(),
        };
        self.with.view.send_replace(Arc::new(status));
    }
}

/// How often series of workers that are gone are looked for: they take memory also where nobody scrapes.
const RETIRE_EVERY: Duration = Duration::from_secs(10);

/// How long after a failure of the store it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Keeps the newest state of each incident: however long nobody takes them, there are not more than incidents.
fn note(changes: &mut Vec<IncidentChanged>, change: IncidentChanged) {
    let known = changes.iter_mut().find(|known| known.incident.id == change.incident.id);
    match known {
        Some(known) => *known = change,
        None => changes.push(change),
    }
}

/// Says how an incident stands, in the words that people are told.
fn log(incident: &Incident) {
    let (id, subject) = (&incident.id, &incident.subject);
    let headline = incident.severity.headline();
    let in_words = |turn| {
        let notice = Notice {
            turn,
            at: incident.changed_at,
            incident: incident.clone(),
            link: None,
        };
        notice.text()
    };
    match incident.resolved_at {
        Some(_) => tracing::info!(incident = %id, %subject, "{}", in_words(Turn::Recovered)),
        None => {
            let (up, expected) = (incident.scene.up, incident.scene.expected);
            tracing::warn!(incident = %id, %subject, headline, up, expected, "{}", in_words(Turn::Opened));
        }
    }
}

impl Actor for HealthAggregator {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.recall(context);
        context.run_interval(JUDGE_EVERY, Self::tick);
        context.run_interval(RETIRE_EVERY, |actor, _| {
            let status = actor.with.view.borrow().clone();
            actor.with.series.know(&status);
        });
    }
}

impl Supervised for HealthAggregator {
    fn restarting(&mut self, _: &mut Context<Self>) {
        // Incidents come back from the store; the reports come again within two seconds, and what everybody sees
        // meanwhile is the last whole status.
        let last = self.with.view.borrow().clone();
        *self = Self::new(self.with.clone());
        tracing::info!(fleets = last.fleets.len(), "waiting for the fleets to report again");
    }
}

impl Handler<FleetReported> for HealthAggregator {
    type Result = ();

    fn handle(&mut self, message: FleetReported, _: &mut Context<Self>) {
        let FleetReported { report, falls } = message;
        let fleet = &report.verdict.fleet;
        self.story.heard(&fleet.broker, &fleet.name, falls);
        self.fleets.insert(report.verdict.fleet.name.clone(), report);
        self.stale = true;
    }
}

impl Handler<BrokerReported> for HealthAggregator {
    type Result = ();

    fn handle(&mut self, message: BrokerReported, _: &mut Context<Self>) {
        self.brokers
            .insert(message.status.name.clone(), (message.status, message.down));
        self.stale = true;
    }
}
