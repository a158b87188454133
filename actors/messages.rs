//! Every message that one actor sends another. One struct a message; all are sent with `try_send`, which respects the
//! receiver's bound, and every sender keeps what was not taken and offers it again.

use std::time::Duration;

use actix::Message;
use compact_str::CompactString;
use headcount_core::alert::Incident;
use headcount_core::detect::{FleetReport, Sighting};
use headcount_core::schedule::News;
use headcount_core::stats::task::TaskRollup;
use headcount_core::status::BrokerStatus;
use headcount_core::trace::incident::Fall;

/// Broker listener → fleet prober: these workers have been heard of.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Sighted(pub Vec<Sighting>);

/// Broker listener → fleet prober: these workers of the fleet answered a question to all, so fast.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Found(pub Vec<(CompactString, Duration)>);

/// Broker listener → health aggregator: how the broker stands.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct BrokerReported {
    /// How it stands.
    pub status: BrokerStatus,
    /// Whether it has been lost for so long that people should know.
    pub down: bool,
}

/// Broker listener → stats processor: these task events were counted.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct TasksCounted(pub Vec<TaskRollup>);

/// Broker listener → job scheduler: what was heard of tasks that may be runs of jobs.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct TasksHeard(pub Vec<News>);

/// Fleet prober → health aggregator: how the fleet stands.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct FleetReported {
    /// How.
    pub report: FleetReport,
    /// How those of its workers that are down came to be; empty while nobody wants to be told.
    pub falls: Vec<Fall>,
}

/// Health aggregator → debouncer: an incident was opened, has changed or was resolved, and is in the store.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct IncidentChanged {
    /// The incident as it stands.
    pub incident: Incident,
    /// More may be found within moments.
    pub unsettled: bool,
}

/// Debouncer → notifiers: there is something in the outbox.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct OutboxGrew;

/// The program → notifiers, before it ends: begin nothing more, and answer once what was begun is noted in the store, so
/// that nothing is told again after the next start.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Finish;

/// The program → a Celery node, before it ends: give back what waits, say goodbye, and answer once it is done.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct LeaveBroker;

/// Test → any actor: panic, so that it can be seen that only this one restarts.
#[cfg(feature = "fault-points")]
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Provoke;
