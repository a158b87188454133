//! `BrokerListener`: one for each broker. It keeps a listening session open, and says whether the broker is heard.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Recipient, Supervised, WrapFuture};
use headcount_core::detect::broker::BrokerDetector;
use headcount_core::detect::ledger::ConnectionLedger;
use headcount_core::detect::periods::{LOOK_EVERY, TICK};
use headcount_core::detect::roster::Roster;
use headcount_core::detect::session;
use headcount_core::detect::strangers::Telling;
use headcount_core::detect::table::WorkerTable;
use headcount_core::detect::{BrokerState, Sight};
use headcount_core::span::Span;
use headcount_core::status::BrokerStatus;
use headcount_core::time::{Mono, Now, Wall};
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::discovery::{self, DISCOVER_EVERY};
use crate::fleets::FleetDirectory;
use crate::lane::{EventLane, LaneParts};
use crate::messages::{BrokerReported, TasksCounted, TasksHeard};
use crate::meters::Meters;
use crate::ports::{BrokerError, SessionEnd, SharedBroker, SharedFailureBook};
use crate::session::{Hearing, SharedSession};
use crate::strangers::SharedStrangers;

/// When all workers are asked for the first time: those that beat are known by then.
const FIRST_DISCOVERY: Duration = Duration::from_secs(5);
/// How often it reports even if nothing has changed, so that an aggregator that was restarted knows soon.
const REPORT_EVERY: Duration = Duration::from_secs(2);

/// What a listener is connected to.
#[derive(Clone)]
pub struct Listening {
    /// The broker.
    pub broker: SharedBroker,
    /// Its fleets.
    pub roster: Roster,
    /// Where sightings go.
    pub directory: FleetDirectory,
    /// What the probers read: whether Headcount sees.
    pub sight: Arc<watch::Sender<Sight>>,
    /// Shared with the probers.
    pub ledger: Arc<Mutex<ConnectionLedger>>,
    /// Where counts of tasks go.
    pub stats: Recipient<TasksCounted>,
    /// Where news of the runs of jobs go, if there are jobs.
    pub jobs: Option<Recipient<TasksHeard>>,
    /// Who wants to know of tasks that fail, if anybody does.
    pub failures: Option<SharedFailureBook>,
    /// Whom it reports to.
    pub aggregator: Recipient<BrokerReported>,
    /// The program's metrics.
    pub meters: Meters,
    /// Whether an incident of the broker was open when Headcount started.
    pub was_down: bool,
}

/// The actor.
pub struct BrokerListener {
    with: Listening,
    session: SharedSession,
    strangers: SharedStrangers,
    /// When people are told of those.
    telling: Telling,
    detector: BrokerDetector,
    /// The session in which it was last heard.
    heard_in: Option<u64>,
    last: Option<(BrokerStatus, bool)>,
    since: Wall,
    next_look: Mono,
    next_report: Mono,
    looking: bool,
    next_discovery: Mono,
    discovering: bool,
    /// Whether the broker did not show connections when that was looked at last.
    hidden: bool,
}

impl BrokerListener {
    /// A listener that has not tried its broker yet.
    pub fn new(with: Listening) -> Self {
        let now = Clock.now();
        Self {
            session: SharedSession::default(),
            strangers: SharedStrangers::default(),
            telling: Telling::default(),
            detector: BrokerDetector::new(now, with.was_down),
            heard_in: None,
            last: None,
            since: now.wall,
            next_look: now.mono,
            next_report: now.mono,
            looking: false,
            next_discovery: now.mono + FIRST_DISCOVERY,
            discovering: false,
            hidden: with.broker.hides_presence().is_some(),
            with,
        }
    }

    fn tick(&mut self, context: &mut Context<Self>) {
        let now = Clock.now();
        let hearing = self.session.hearing(now.mono);
        let before = self.detector.state();
        let overdue = self.session.overdue(now.mono);
        match &hearing {
            Hearing::Heard => {
                if let Some(outage) = self.detector.heard(now) {
                    self.heard_again(outage);
                }
            }
            Hearing::Deaf { why, .. } => {
                if before == BrokerState::Heard {
                    tracing::warn!(
                        broker = self.with.broker.name(),
                        why,
                        "the broker is not heard any more: its fleets are unknown until it is, and reconnecting goes on"
                    );
                    self.with.sight.send_replace(Sight::Blind);
                }
                self.detector.lost(now, overdue);
            }
        }
        if before != self.detector.state() {
            self.since = match self.detector.state() {
                BrokerState::Lost => now.wall - overdue,
                BrokerState::Heard | BrokerState::Connecting => now.wall,
            };
        }
        let unmatched = self.look_at_strangers();
        self.report(now, &hearing, unmatched);
        if hearing == Hearing::Heard && now.mono >= self.next_look && !self.looking {
            self.next_look = now.mono + LOOK_EVERY;
            self.look(context);
        }
        if hearing == Hearing::Heard
            && now.mono >= self.next_discovery
            && !self.discovering
            && self.with.broker.may_ask_all()
        {
            self.next_discovery = now.mono + DISCOVER_EVERY;
            self.discover(context);
        }
    }

    /// Tells the fleets in which way the broker is heard again.
    fn heard_again(&mut self, outage: Duration) {
        match self.heard_in {
            None => tracing::info!(broker = self.with.broker.name(), "listening to events"),
            Some(_) => tracing::info!(broker = self.with.broker.name(), ?outage, "listening to events again"),
        }
        let session = self.session.number();
        let sight = session::heard_again(self.heard_in, session, outage);
        self.heard_in = Some(session);
        if matches!(sight, Sight::ClearAfterOutage(_)) {
            self.ledger(ConnectionLedger::reset);
        }
        self.with.sight.send_replace(sight);
    }

    /// How many workers belong to no fleet; says so in the log when it is time.
    fn look_at_strangers(&mut self) -> u64 {
        let strangers = self.strangers.counted();
        if self.telling.is_due(&strangers) {
            tracing::info!(
                broker = self.with.broker.name(),
                unmatched = strangers.count,
                names = strangers.in_words(),
                "workers match no [[fleet]] of their broker and are left alone: if one of them should be watched, mend \
                 `hostnames`; `headcount check FILE --connect` says who matches what"
            );
        }
        strangers.count as u64
    }

    fn report(&mut self, now: Now, hearing: &Hearing, unmatched: u64) {
        let (error, retry_at) = match hearing {
            Hearing::Heard => (None, None),
            Hearing::Deaf { why, retry_at } => (Some(why.clone()), retry_at.map(|at| now.wall_at(at))),
        };
        let status = BrokerStatus {
            name: self.with.broker.name().into(),
            address: self.with.broker.address(),
            state: self.detector.state(),
            blocked: self.session.is_blocked(),
            refused: self.session.is_refused(),
            since: self.since,
            error,
            retry_at,
            unmatched,
        };
        let report = (status, self.detector.is_down());
        let same = self.last.as_ref().is_some_and(|(status, down)| {
            status.state == report.0.state && status.error == report.0.error && *down == report.1
        });
        if same && now.mono < self.next_report {
            return;
        }
        self.next_report = now.mono + REPORT_EVERY;
        let message = BrokerReported {
            status: report.0.clone(),
            down: report.1,
        };
        // What the aggregator does not take now is offered again at the next tick.
        self.last = self.with.aggregator.try_send(message).is_ok().then_some(report);
    }

    /// Asks all who they are, for those that never speak by themselves.
    fn discover(&mut self, context: &mut Context<Self>) {
        self.discovering = true;
        let asked = discovery::ask_all(self.with.broker.clone());
        context.spawn(asked.into_actor(self).map(|replies, actor, _| {
            actor.discovering = false;
            let with = &actor.with;
            match replies {
                Ok(replies) => {
                    tracing::debug!(
                        broker = with.broker.name(),
                        answered = replies.len(),
                        "all workers were asked whether they live"
                    );
                    let strangers = discovery::pass_on(replies, with.broker.name(), &with.roster, &with.directory);
                    actor.strangers.answered(strangers);
                }
                Err(error) => tracing::debug!(broker = with.broker.name(), %error, "its workers cannot all be asked"),
            }
        }));
    }

    /// Looks at the broker's connections, where it has no mailboxes that show presence.
    fn look(&mut self, context: &mut Context<Self>) {
        self.looking = true;
        let broker = self.with.broker.clone();
        let looked = async move { broker.connections().await };
        context.spawn(looked.into_actor(self).map(|connections, actor, _| {
            actor.looking = false;
            if connections.is_ok() {
                actor.note_hidden();
            }
            match connections {
                Ok(Some(connections)) => {
                    let at = Clock.mono();
                    actor.ledger(|ledger| ledger.look(at, connections.iter().map(|connection| connection.id)));
                }
                // It has mailboxes, or does not permit the question: it is asked again, permissions may change.
                Ok(None) => actor.next_look = Clock.mono() + LOOK_EVERY * 60,
                Err(error) => {
                    tracing::debug!(broker = actor.with.broker.name(), %error, "its connections cannot be listed")
                }
            }
        }));
    }

    /// People want to know once that a signal is missing, and once that it is back.
    fn note_hidden(&mut self) {
        let (name, why) = (self.with.broker.name(), self.with.broker.hides_presence());
        match why {
            Some(why) if !self.hidden => tracing::warn!(
                broker = name,
                why,
                "the broker does not show which workers are connected: a crash is found by silence alone, which takes longer; see `why`"
            ),
            None if self.hidden => tracing::info!(broker = name, "whether workers are connected is known again"),
            _ => {}
        }
        self.hidden = why.is_some();
    }

    fn ledger(&self, change: impl FnOnce(&mut ConnectionLedger)) {
        change(&mut self.with.ledger.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn lane(&self) -> EventLane {
        EventLane::new(LaneParts {
            broker: self.with.broker.name().into(),
            table: WorkerTable::new(self.with.roster.clone()),
            session: self.session.clone(),
            strangers: self.strangers.clone(),
            ledger: self.with.ledger.clone(),
            directory: self.with.directory.clone(),
            stats: self.with.stats.clone(),
            jobs: self.with.jobs.clone(),
            failures: self.with.failures.clone(),
            meters: self.with.meters.clone(),
        })
    }
}

/// Opens one session after the other, for ever.
async fn listen(broker: SharedBroker, session: SharedSession, mut lane: EventLane) {
    let mut backoff = Backoff::for_brokers(broker.name());
    loop {
        let began = Clock.mono();
        tracing::debug!(
            broker = broker.name(),
            address = broker.address(),
            "opening a session of events"
        );
        let end = broker.listen(&mut lane).await;
        let stood = Clock.mono().since(began);
        let (rest, refused) = match &end {
            SessionEnd::NotOpened(BrokerError::Refused(_)) => (backoff.after_refusal(), true),
            SessionEnd::NotOpened(_) => (backoff.after_failure(), false),
            SessionEnd::Broke(_) => (backoff.after_session(stood), false),
        };
        let (SessionEnd::NotOpened(error) | SessionEnd::Broke(error)) = end;
        tracing::warn!(
            broker = broker.name(), address = broker.address(), %error, retry_in = %Span::about(rest),
            "the broker cannot be heard, trying again: does it run, can it be reached from here, is its user right?"
        );
        if refused {
            session.refused(error.to_string(), Clock.mono() + rest);
        } else {
            session.ended(error.to_string(), Clock.mono() + rest);
        }
        tokio::time::sleep(rest).await;
    }
}

impl Actor for BrokerListener {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        let listening = listen(self.with.broker.clone(), self.session.clone(), self.lane());
        context.spawn(listening.into_actor(self));
        context.run_interval(TICK, Self::tick);
    }
}

impl Supervised for BrokerListener {
    fn restarting(&mut self, _: &mut Context<Self>) {
        // The session dies with the panic, and a new one is opened. Whether people have been told that the broker is
        // down is the aggregator's to know.
        let was_down = self.detector.is_down();
        self.with.sight.send_replace(Sight::Blind);
        *self = Self::new(Listening {
            was_down,
            ..self.with.clone()
        });
    }
}
