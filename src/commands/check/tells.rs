//! Whether those are there whom Headcount tells something. None of them is told anything.

use futures_util::future::join_all;
use headcount_edge::{otlp, reach};
use tokio::time::timeout;
use url::Url;

use crate::config::Settings;

use super::super::CommandError;
use super::{CONNECT_WITHIN, late, say};

/// Tries notifiers, Sentry and the OTLP collector, and says what it found; false where one cannot be used.
///
/// # Errors
/// The result cannot be written.
pub(super) async fn try_all(settings: &Settings) -> Result<bool, CommandError> {
    let notifiers = settings.notifiers.iter().map(async |notifier| match notifier.server() {
        Some(server) => {
            http(
                &server,
                "nothing was posted; `headcount notify test --config FILE` does",
            )
            .await
        }
        None => Ok("nowhere to connect to".to_owned()),
    });
    let sentry = async {
        let server = settings.sentry.as_ref()?.server();
        Some(match server {
            Some(server) => http(&server, "nothing was sent, because that would be an event").await,
            None => Err("its DSN names no server".to_owned()),
        })
    };
    let collector = async {
        match &settings.otlp {
            Some(config) => timeout(CONNECT_WITHIN, otlp::look(config))
                .await
                .map_err(|_| format!("{}: {}", config.endpoint.origin().ascii_serialization(), late())),
            None => Ok(Vec::new()),
        }
    };
    let (notified, sentry, looks) = tokio::join!(join_all(notifiers), sentry, collector);
    let mut all = true;
    for (notifier, said) in settings.notifiers.iter().zip(notified) {
        all &= say("notify", notifier.name(), said)?;
    }
    if let (Some(config), Some(said)) = (&settings.sentry, sentry) {
        all &= say("sentry", &config.environment, said)?;
    }
    match looks {
        Ok(looks) => {
            for look in looks {
                all &= say("otlp", look.signal, look.said)?;
            }
        }
        Err(why) => all &= say("otlp", "collector", Err(why))?,
    }
    Ok(all)
}

async fn http(server: &Url, and: &str) -> Result<String, String> {
    let found = timeout(CONNECT_WITHIN, reach::http(server)).await;
    let found = found.unwrap_or_else(|_| Err(format!("{}: {}", server.origin().ascii_serialization(), late())));
    found.map(|found| format!("{found}; {and}"))
}
