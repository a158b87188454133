//! From signals to verdicts: workers, fleets and brokers.
//!
//! [`FleetDetector::step`] is the whole of it: an input and the time go in, what is to be done comes out.

mod account;
mod age;
mod board;
pub mod broker;
mod count;
pub mod flapping;
pub mod fleet;
pub mod history;
pub mod input;
pub mod ledger;
pub mod look;
pub mod memory;
pub(crate) mod missing;
pub mod observed;
pub mod own_health;
pub mod periods;
mod report;
mod rhythm;
pub mod roster;
pub mod rules;
pub mod running;
pub mod session;
pub mod sighting;
mod slots;
pub mod spec;
pub mod state;
pub mod strangers;
pub mod table;
#[cfg(test)]
mod tests;
pub mod verdict;
mod work;
mod worker;
mod workers;

pub use fleet::{Expected, FleetDetector, FleetSpec, Input, Minimum, Output, Sight};
pub use memory::{FleetHistory, FleetMemory, WorkMemory, WorkerMemory};
pub use own_health::Doubt;
pub use rules::Rules;
pub use sighting::{Sighting, Unfinished, Word};
pub use state::{BrokerState, Diagnosis, FleetState, Signal, Trouble, WorkerState};
pub use verdict::{Finding, FleetReport, FleetVerdict};
pub use work::{Means, WorkLook};
pub use worker::{Learned, Probed, Target, Worker};
