//! Headcount's own tasks. Another one is one file here, and one word where the node is started.

mod echo;
mod ping;
mod probe;
mod sleep;
mod status;

pub use echo::Echo;
pub use ping::Ping;
pub use probe::Probe;
pub use sleep::Sleep;
pub use status::StatusOf;

/// The names of all of them.
pub const NAMES: [&str; 5] = [
    "headcount.echo",
    "headcount.ping",
    "headcount.probe",
    "headcount.sleep",
    "headcount.status",
];
