//! What the detector says of one fleet.

use super::state::{Signal, WorkerState};
use crate::alert::{Evidence, Missing, Severity, Shared};
use crate::status::{FleetStatus, WorkerStatus};

/// What people are to be told of a fleet. It differs from the fleet's state where a worker flaps, which is told once and
/// not at each turn, and it tells apart who is missing and who is there and does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing can be said.
    Unknown,
    /// All is well.
    Well,
    /// Something is wrong.
    Trouble {
        /// How bad it is.
        severity: Severity,
        /// Workers that are up for good: those that flap are left out.
        up: u32,
    },
}

/// One fleet, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetVerdict {
    /// The fleet as the API shows it.
    pub fleet: FleetStatus,
    /// What people are to be told of it.
    pub finding: Finding,
    /// Who is missing, the longest silent first; then who is there and does nothing, then who flaps.
    pub missing: Vec<Missing>,
    /// What those who are lost share, and nobody else has.
    pub shared: Option<Shared>,
    /// What the verdict rests on: that of the fleet, then that of each missing worker.
    pub evidence: Vec<Evidence>,
    /// More workers of this fleet may be found missing within moments, so what is told may wait for them.
    pub unsettled: bool,
    /// A worker has fallen silent a moment ago: what has happened to others may have happened to it.
    pub may_follow: bool,
}

/// One fleet and its workers, for the status model.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetReport {
    /// The verdict.
    pub verdict: FleetVerdict,
    /// Its workers.
    pub workers: Vec<WorkerStatus>,
}

impl FleetReport {
    /// Says why no worker's connection is shown, wherever the report speaks of connections: in the workers' signals, and in
    /// the evidence of a verdict. For fleets that are watched through something that does not show any.
    pub fn explain_presence(&mut self, why: &str) {
        // Of those two, another reason is given already for knowing nothing.
        let seen = |worker: &&mut WorkerStatus| !matches!(worker.state, WorkerState::Unknown | WorkerState::Offline);
        for worker in self.workers.iter_mut().filter(seen) {
            worker.signals.presence.ok = None;
            why.clone_into(&mut worker.signals.presence.detail);
        }
        let of_presence = |evidence: &&mut Evidence| evidence.signal == Some(Signal::Presence);
        for evidence in self.verdict.evidence.iter_mut().filter(of_presence) {
            why.clone_into(&mut evidence.says);
        }
    }
}
