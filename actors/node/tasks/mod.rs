//! Headcount's own tasks. Another one is one file here, and one word where the node is started.

mod echo;
mod ping;
mod probe;
mod sleep;
mod stats;
mod status;

pub use echo::Echo;
pub use ping::Ping;
pub use probe::Probe;
pub use sleep::Sleep;
pub use stats::{Pipelines, StatsRun, StatsStatus};
pub use status::StatusOf;

/// The names of those that it always has.
pub const NAMES: [&str; 5] = [
    "headcount.echo",
    "headcount.ping",
    "headcount.probe",
    "headcount.sleep",
    "headcount.status",
];

/// The names of those that it has where there is a `[[stats]]`.
pub const STATS_NAMES: [&str; 2] = ["headcount.stats.run", "headcount.stats.status"];
