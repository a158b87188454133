//! `headcount record`: a broker that writes down what comes from it, and the file that it goes to.

mod broker;
mod file;
mod tape;

pub(crate) use broker::RecordingBroker;
pub(crate) use file::{TraceFile, WriteError, Writing};
pub(crate) use tape::Tape;
