//! From signals to verdicts: workers, fleets and brokers.

pub mod memory;
pub mod state;

pub use memory::WorkerMemory;
pub use state::{BrokerState, Diagnosis, FleetState, Signal, WorkerState};
