//! How Headcount itself is observed: where what it traces goes. One subscriber for the life of the program, made of layers; each
//! that needs the configuration is there from the start, and lets nothing through until it has been opened with it.

mod logs;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Installs the subscriber; `level` is how much is logged where `RUST_LOG` says nothing.
pub fn install(level: &str) {
    tracing_subscriber::registry().with(logs::layer(level)).init();
}
