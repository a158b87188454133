//! One look at a collector, for `headcount check --connect`.

use futures_util::future::join_all;
use headcount_actors::meters::otlp::Signal;
use tracing::level_filters::LevelFilter;

use super::config::Config;
use super::post::{Posted, Poster, client, pack};

/// What a collector said to a request about nothing, of one signal.
pub struct Look {
    /// `traces`, `metrics` or `logs`.
    pub signal: &'static str,
    /// Whether it takes it, or why not; both say where.
    pub said: Result<String, String>,
}

/// Sends a request with nothing in it for each signal that is to be sent, at once; each has ten seconds.
pub async fn look(config: &Config) -> Vec<Look> {
    let place = config.endpoint.origin().ascii_serialization();
    let wanted = Signal::ALL.into_iter().filter(|signal| match signal {
        Signal::Traces => config.traces_sample_rate > 0.0,
        Signal::Metrics => config.metrics_every.is_some(),
        Signal::Logs => config.logs != LevelFilter::OFF,
    });
    let looks = wanted.map(async |signal| {
        let posted = match client(config) {
            Ok(client) => Poster::new(client, config, signal).post(pack(&[])).await,
            Err(why) => Posted::Denied(why),
        };
        let said = match posted {
            Posted::Taken { .. } => Ok(format!("{place}: takes a request without content")),
            Posted::Later { why, .. } | Posted::Refused(why) | Posted::Denied(why) => Err(format!("{place}: {why}")),
        };
        Look {
            signal: signal.as_str(),
            said,
        }
    });
    join_all(looks).await
}
