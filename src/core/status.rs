//! The one status model, in the shapes that the HTTP API promises (CONTRACT, section HTTP).

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::alert::Incident;
use crate::detect::{BrokerState, Diagnosis, FleetState, WorkerState};
use crate::time::Wall;

/// Everything that Headcount knows at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// When this was put together.
    pub at: Wall,
    /// All brokers, in the order of the configuration.
    pub brokers: Vec<BrokerStatus>,
    /// All fleets, by name.
    pub fleets: Vec<FleetStatus>,
    /// All workers, by fleet and hostname.
    pub workers: Vec<WorkerStatus>,
    /// Incidents that are open, the oldest first.
    pub incidents: Vec<Incident>,
}

/// One broker.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerStatus {
    /// Its name in the configuration.
    pub name: CompactString,
    /// Where it is, without user and password.
    pub address: String,
    /// How it stands.
    pub state: BrokerState,
    /// Whether it is not heard because it blocks publishers: it is reachable all the same.
    pub blocked: bool,
    /// Whether it is not heard because it refuses Headcount's user, password or permissions: it is reachable all the same.
    pub refused: bool,
    /// Since when.
    pub since: Wall,
    /// Why it is not heard, in words for a person; none while it is.
    pub error: Option<String>,
    /// When it will be tried again; none while it is heard.
    pub retry_at: Option<Wall>,
    /// Workers on it that belong to no fleet, and are left alone.
    pub unmatched: u64,
}

/// One fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetStatus {
    /// Its name.
    pub name: CompactString,
    /// Its broker's name.
    pub broker: CompactString,
    /// How it stands.
    pub state: FleetState,
    /// Whether it has ever had a worker, as far as is remembered.
    pub seen: bool,
    /// How many workers should be up.
    pub expected: u32,
    /// Under so many it is down.
    pub minimum: u32,
    /// Workers that are up, those that are only suspected included.
    pub up: u32,
    /// Workers that are being looked at.
    pub suspect: u32,
    /// Workers that are down.
    pub down: u32,
    /// Workers that are alive and do not consume.
    pub stalled: u32,
    /// Since when it has been in this state.
    pub since: Wall,
    /// Its queues.
    pub queues: Vec<QueueStatus>,
}

/// One queue of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueStatus {
    /// Its name.
    pub name: CompactString,
    /// Messages that wait.
    pub length: u64,
    /// Consumers, where the broker can tell.
    pub consumers: Option<u32>,
}

/// One worker.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerStatus {
    /// The whole node name.
    pub hostname: CompactString,
    /// Its fleet.
    pub fleet: CompactString,
    /// How it stands.
    pub state: WorkerState,
    /// Why it is down.
    pub diagnosis: Option<Diagnosis>,
    /// Since when it has been in this state.
    pub since: Wall,
    /// What each kind of evidence says.
    pub signals: Signals,
    /// Tasks that it runs now.
    pub active: Option<u64>,
    /// Tasks that it has accepted since its start.
    pub processed: Option<u64>,
    /// Its software, such as `py-celery 5.7.0 (Linux)`.
    pub software: Option<CompactString>,
    /// The queues that it says it consumes now; none of them where it has not said.
    pub queues: Vec<CompactString>,
    /// How many tasks it can run at once, where it has said.
    pub slots: Option<u32>,
}

/// The four kinds of evidence about one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Its connection, as the broker sees it.
    pub presence: SignalStatus,
    /// Its events.
    pub heartbeat: SignalStatus,
    /// Its replies to inspect.
    pub answer: SignalStatus,
    /// Its consuming.
    pub work: SignalStatus,
}

/// What one kind of evidence says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalStatus {
    /// Whether it speaks for the worker; none where this worker or this broker does not have it.
    pub ok: Option<bool>,
    /// When it last spoke for it.
    pub last: Option<Wall>,
    /// In words for a person.
    pub detail: String,
}
