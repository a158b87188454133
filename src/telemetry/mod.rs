//! How Headcount itself is observed: where what it traces goes. One subscriber for the life of the program, made of layers; each
//! that needs the configuration is there from the start, and lets nothing through until it has been opened with it.

pub mod logs;

use std::time::{Duration, SystemTime};

use headcount_edge::otlp::Otlp;
use headcount_edge::sentry::Sentry;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::logs::Logs;
use crate::config::Settings;

/// How long what has not been sent yet may take when it is closed, or changed.
const FLUSH_WITHIN: Duration = Duration::from_millis(900);

/// What can be changed of it while the program runs.
pub struct Telemetry {
    /// When the program was started: it is the first thing that it does.
    pub started: SystemTime,
    /// The log.
    pub logs: Logs,
    /// Traces and logs on their way to an OTLP collector.
    pub otlp: Otlp,
    sentry: Sentry,
}

/// Installs the subscriber; `level` is how much is logged where neither `RUST_LOG` nor the configuration says it.
pub fn install(level: &str) -> Telemetry {
    let started = SystemTime::now();
    let otlp = Otlp::default();
    let (layer, logs) = logs::layer(level, &otlp);
    let sentry = Sentry::new();
    sentry.install();
    // After the log, by whose judgement of a storm its lines go.
    tracing_subscriber::registry()
        .with(layer)
        .with(sentry.layer())
        .with(otlp.layer(Some(logs.limit())))
        .init();
    logs.tell_wrong_environment();
    Telemetry {
        started,
        logs,
        otlp,
        sentry,
    }
}

impl Telemetry {
    /// Takes what the settings say, at the start and whenever they are read again: opens what they ask for, changes what is
    /// open to that, and closes the rest.
    pub async fn configure(&self, settings: &Settings) {
        self.logs.configure(&settings.log.level, settings.log.format);
        let sentry = settings.sentry.clone();
        match (
            self.sentry.open(sentry, &settings.secrets, FLUSH_WITHIN).await,
            &settings.sentry,
        ) {
            (Ok(()), Some(sentry)) => tracing::info!(
                host = sentry.host(),
                environment = sentry.environment,
                "errors are told to Sentry"
            ),
            (Ok(()), None) => {}
            (Err(error), _) => tracing::warn!(%error, "errors cannot be sent to Sentry, and are only logged"),
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
