//! How Headcount itself is observed: where what it traces goes. One subscriber for the life of the program, made of layers; each
//! that needs the configuration is there from the start, and lets nothing through until it has been opened with it.

mod logs;

use headcount_edge::otlp::Otlp;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The layers that a configuration opens.
#[derive(Clone, Default)]
pub struct Telemetry {
    /// Traces and logs on their way to an OTLP collector.
    pub otlp: Otlp,
}

/// Installs the subscriber; `level` is how much is logged where `RUST_LOG` says nothing.
pub fn install(level: &str) -> Telemetry {
    let telemetry = Telemetry::default();
    tracing_subscriber::registry()
        .with(logs::layer(level))
        .with(telemetry.otlp.layer())
        .init();
    telemetry
}
