//! What the API shows: the shapes of the contract, and `seen` of a fleet and `unmatched` of a broker beside.

use headcount_actors::ports::StoreTrouble;
use headcount_actors::vitals::ActorVital;
use headcount_core::alert::{Evidence, Incident, Notification};
use headcount_core::status::{BrokerStatus, FleetStatus, SignalStatus, Signals, WorkerStatus};
use headcount_core::time::Wall;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// A moment as RFC 3339 in UTC, to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Wall);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let micros = self.0.as_micros();
        let nearest = if micros < 0 { Timestamp::MIN } else { Timestamp::MAX };
        write!(f, "{:.3}", Timestamp::from_microsecond(micros).unwrap_or(nearest))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One fleet.
#[derive(Debug, Serialize)]
pub struct FleetView<'a> {
    name: &'a str,
    broker: &'a str,
    state: &'static str,
    seen: bool,
    expected: u32,
    minimum: u32,
    up: u32,
    suspect: u32,
    down: u32,
    stalled: u32,
    since: Time,
    queues: Vec<QueueView<'a>>,
}

/// One queue of a fleet.
#[derive(Debug, Serialize)]
pub struct QueueView<'a> {
    name: &'a str,
    length: u64,
    consumers: Option<u32>,
}

impl<'a> From<&'a FleetStatus> for FleetView<'a> {
    fn from(fleet: &'a FleetStatus) -> Self {
        let queues = fleet.queues.iter();
        Self {
            name: &fleet.name,
            broker: &fleet.broker,
            state: fleet.state.as_str(),
            seen: fleet.seen,
            expected: fleet.expected,
            minimum: fleet.minimum,
            up: fleet.up,
            suspect: fleet.suspect,
            down: fleet.down,
            stalled: fleet.stalled,
            since: Time(fleet.since),
            queues: queues
                .map(|q| QueueView {
                    name: &q.name,
                    length: q.length,
                    consumers: q.consumers,
                })
                .collect(),
        }
    }
}

/// One worker.
#[derive(Debug, Serialize)]
pub struct WorkerView<'a> {
    hostname: &'a str,
    fleet: &'a str,
    state: &'static str,
    diagnosis: Option<&'static str>,
    since: Time,
    signals: SignalsView<'a>,
    active: Option<u64>,
    processed: Option<u64>,
    software: Option<&'a str>,
}

/// The four kinds of evidence about a worker.
#[derive(Debug, Serialize)]
pub struct SignalsView<'a> {
    presence: SignalView<'a>,
    heartbeat: SignalView<'a>,
    answer: SignalView<'a>,
    work: SignalView<'a>,
}

/// What one kind of evidence says.
#[derive(Debug, Serialize)]
pub struct SignalView<'a> {
    ok: Option<bool>,
    last: Option<Time>,
    detail: &'a str,
}

impl<'a> From<&'a WorkerStatus> for WorkerView<'a> {
    fn from(worker: &'a WorkerStatus) -> Self {
        Self {
            hostname: &worker.hostname,
            fleet: &worker.fleet,
            state: worker.state.as_str(),
            diagnosis: worker.diagnosis.map(|d| d.as_str()),
            since: Time(worker.since),
            signals: SignalsView::from(&worker.signals),
            active: worker.active,
            processed: worker.processed,
            software: worker.software.as_deref(),
        }
    }
}

impl<'a> From<&'a Signals> for SignalsView<'a> {
    fn from(signals: &'a Signals) -> Self {
        let view = |s: &'a SignalStatus| SignalView {
            ok: s.ok,
            last: s.last.map(Time),
            detail: &s.detail,
        };
        Self {
            presence: view(&signals.presence),
            heartbeat: view(&signals.heartbeat),
            answer: view(&signals.answer),
            work: view(&signals.work),
        }
    }
}

/// One incident.
#[derive(Debug, Serialize)]
pub struct IncidentView<'a> {
    id: &'a str,
    kind: &'static str,
    subject: &'a str,
    state: &'static str,
    diagnosis: Option<&'static str>,
    opened_at: Time,
    resolved_at: Option<Time>,
    evidence: Vec<EvidenceView<'a>>,
    notifications: Vec<NotificationView<'a>>,
}

/// One observation that a verdict rests on.
#[derive(Debug, Serialize)]
pub struct EvidenceView<'a> {
    at: Time,
    subject: &'a str,
    signal: Option<&'static str>,
    says: &'a str,
}

/// One message about an incident.
#[derive(Debug, Serialize)]
pub struct NotificationView<'a> {
    notifier: &'a str,
    text: &'a str,
    queued_at: Time,
    delivered_at: Option<Time>,
    error: Option<&'a str>,
}

impl<'a> IncidentView<'a> {
    /// An incident with its messages.
    pub fn new(incident: &'a Incident, notifications: &'a [Notification]) -> Self {
        Self {
            id: &incident.id.0,
            kind: incident.kind.as_str(),
            subject: &incident.subject,
            state: if incident.is_open() { "open" } else { "resolved" },
            diagnosis: incident.diagnosis.map(|d| d.as_str()),
            opened_at: Time(incident.opened_at),
            resolved_at: incident.resolved_at.map(Time),
            evidence: incident.evidence.iter().map(EvidenceView::from).collect(),
            notifications: notifications.iter().map(NotificationView::from).collect(),
        }
    }
}

impl<'a> From<&'a Evidence> for EvidenceView<'a> {
    fn from(seen: &'a Evidence) -> Self {
        Self {
            at: Time(seen.at),
            subject: &seen.subject,
            signal: seen.signal.map(|s| s.as_str()),
            says: &seen.says,
        }
    }
}

impl<'a> From<&'a Notification> for NotificationView<'a> {
    fn from(message: &'a Notification) -> Self {
        Self {
            notifier: &message.notifier,
            text: &message.text,
            queued_at: Time(message.queued_at),
            delivered_at: message.delivered_at.map(Time),
            error: message.error.as_deref(),
        }
    }
}

/// `GET /healthz`.
#[derive(Debug, Serialize)]
pub struct HealthView<'a> {
    /// `ok` or `failing`.
    pub status: &'static str,
    /// What that means, where it is not `ok`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'static str>,
    /// The store.
    pub store: StoreStateView<'a>,
    /// Every actor.
    pub actors: Vec<ActorView<'a>>,
}

/// How the store stands.
#[derive(Debug, Serialize)]
pub struct StoreStateView<'a> {
    state: &'static str,
    since: Option<Time>,
    error: Option<&'a str>,
    meanwhile: &'a [&'static str],
    alerts_wait: bool,
}

impl<'a> From<Option<&'a StoreTrouble>> for StoreStateView<'a> {
    fn from(trouble: Option<&'a StoreTrouble>) -> Self {
        Self {
            state: if trouble.is_some() { "failing" } else { "ok" },
            since: trouble.map(|trouble| Time(trouble.since)),
            error: trouble.map(|trouble| trouble.error.as_str()),
            meanwhile: trouble.map_or(&[], |trouble| &trouble.meanwhile),
            alerts_wait: trouble.is_some_and(|trouble| trouble.alerts_wait),
        }
    }
}

/// One actor.
#[derive(Debug, Serialize)]
pub struct ActorView<'a> {
    actor: &'a str,
    state: &'static str,
    restarts: u64,
}

impl<'a> From<&'a ActorVital> for ActorView<'a> {
    fn from(vital: &'a ActorVital) -> Self {
        Self {
            actor: &vital.actor,
            state: vital.vital.as_str(),
            restarts: vital.restarts,
        }
    }
}

/// `GET /readyz`.
#[derive(Debug, Serialize)]
pub struct ReadyView<'a> {
    /// `ready` or `not ready`.
    pub status: &'static str,
    /// Every broker.
    pub brokers: Vec<BrokerView<'a>>,
}

/// One broker.
#[derive(Debug, Serialize)]
pub struct BrokerView<'a> {
    name: &'a str,
    address: &'a str,
    state: &'static str,
    since: Time,
    error: Option<&'a str>,
    retry_at: Option<Time>,
    unmatched: u64,
}

impl<'a> From<&'a BrokerStatus> for BrokerView<'a> {
    fn from(broker: &'a BrokerStatus) -> Self {
        Self {
            name: &broker.name,
            address: &broker.address,
            state: broker.state.as_str(),
            since: Time(broker.since),
            error: broker.error.as_deref(),
            retry_at: broker.retry_at.map(Time),
            unmatched: broker.unmatched,
        }
    }
}
