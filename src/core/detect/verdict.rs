//! What the detector says of one fleet.

use super::state::{Signal, WorkerState};
use crate::alert::{Evidence, Missing};
use crate::status::{FleetStatus, WorkerStatus};

/// One fleet, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetVerdict {
    /// The fleet as the API shows it.
    pub fleet: FleetStatus,
    /// Who is missing, the longest silent first.
    pub missing: Vec<Missing>,
    /// What each missing worker's verdict rests on.
    pub evidence: Vec<Evidence>,
    /// More workers of this fleet may be found missing within moments, so what is told may wait for them.
    pub unsettled: bool,
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
            why.clone_into(&mut worker.signals.presence.detail);
        }
        let of_presence = |evidence: &&mut Evidence| evidence.signal == Some(Signal::Presence);
        for evidence in self.verdict.evidence.iter_mut().filter(of_presence) {
            why.clone_into(&mut evidence.says);
        }
    }
}
