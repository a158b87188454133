//! What the detector says of one fleet.

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
