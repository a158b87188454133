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
