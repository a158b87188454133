//! How Headcount itself is observed: where what it traces goes. One subscriber for the life of the program, made of layers; each
//! that needs the configuration is there from the start, and lets nothing through until it has been opened with it.

mod logs;

use std::time::Duration;

use headcount_edge::sentry::Sentry;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Settings;

/// How long what has not been sent yet may take when it is closed, or changed.
const FLUSH_WITHIN: Duration = Duration::from_millis(900);

/// The layers that need the configuration.
#[derive(Debug)]
pub struct Telemetry {
    sentry: Sentry,
}

/// Installs the subscriber; `level` is how much is logged where `RUST_LOG` says nothing.
pub fn install(level: &str) -> Telemetry {
    let sentry = Sentry::new();
    sentry.install();
    tracing_subscriber::registry()
        .with(logs::layer(level))
        .with(sentry.layer())
        .init();
    Telemetry { sentry }
}

impl Telemetry {
    /// Opens what the settings ask for, changes what is open to that, and closes the rest.
    pub async fn open(&self, settings: &Settings) {
        let sentry = settings.sentry.clone();
        if let Err(error) = self.sentry.open(sentry, &settings.secrets, FLUSH_WITHIN).await {
            tracing::warn!(%error, "errors cannot be sent to Sentry, and are only logged");
        }
    }

    /// What other rooms tell Sentry themselves.
    pub(crate) fn sentry(&self) -> &Sentry {
        &self.sentry
    }

    /// Sends what is left, for so long at most.
    pub async fn close(&self, within: Duration) {
        self.sentry.close(within.min(FLUSH_WITHIN)).await;
    }
}
