//! How Headcount itself is observed: where what it traces goes. One subscriber for the life of the program, made of layers; each
//! that needs the configuration is there from the start, and lets nothing through until it has been opened with it.

pub mod logs;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::logs::Logs;
use crate::config::Settings;

/// What can be changed of it while the program runs.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// The log.
    pub logs: Logs,
}

/// Installs the subscriber; `level` is how much is logged where neither `RUST_LOG` nor the configuration says it.
pub fn install(level: &str) -> Telemetry {
    let (layer, logs) = logs::layer(level);
    tracing_subscriber::registry().with(layer).init();
    logs.tell_wrong_environment();
    Telemetry { logs }
}

impl Telemetry {
    /// Takes what the configuration says, at the start and whenever it is read again.
    pub fn configure(&self, settings: &Settings) {
        self.logs.configure(&settings.log.level, settings.log.format);
    }
}
