//! From signals to verdicts: workers, fleets and brokers.
//!
//! [`FleetDetector::step`] is the whole of it: an input and the time go in, what is to be done comes out.

mod account;
pub mod broker;
mod count;
pub mod fleet;
pub mod ledger;
pub mod look;
pub mod memory;
pub mod observed;
mod rhythm;
pub mod roster;
pub mod rules;
pub mod sighting;
pub mod state;
pub mod table;
#[cfg(test)]
mod tests;
pub mod verdict;
mod worker;

pub use fleet::{Expected, FleetDetector, FleetSpec, Input, Minimum, Output, Sight};
pub use memory::WorkerMemory;
pub use rules::Rules;
pub use sighting::{Sighting, Word};
pub use state::{BrokerState, Diagnosis, FleetState, Signal, WorkerState};
pub use verdict::{FleetReport, FleetVerdict};
pub use worker::{Learned, Probed, Target, Worker};
