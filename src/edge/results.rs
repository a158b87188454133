//! Where results of tasks are kept: Celery's result backend `redis`. (The other, `rpc`, is a message, which the node's own
//! session sends.)

use std::time::Duration;

use headcount_actors::ports::node::SharedResultStore;
use headcount_core::celery::broker_url::BrokerUrl;

use crate::brokers::{OpenError, redis_results, try_redis};

/// How long results are kept: Celery's `result_expires`, by default.
pub const EXPIRES: Duration = Duration::from_secs(86_400);

/// Looks whether a store is there, and lets one in. Both answers say where, without a secret.
///
/// # Errors
/// Why it cannot be used.
pub async fn look(url: &str) -> Result<String, String> {
    let url = BrokerUrl::parse(url).map_err(|error| error.to_string())?;
    let place = url.address();
    match try_redis(url).await {
        Ok(()) => Ok(format!("{place}: reached")),
        Err(why) => Err(format!("{place}: {why}")),
    }
}

/// Opens the store at a URL, as Celery's `result_backend`. Connects to nothing yet.
///
/// # Errors
/// If it is no Redis, or of no use.
pub fn open(url: &str, expires: Duration) -> Result<SharedResultStore, OpenError> {
    redis_results(BrokerUrl::parse(url)?, expires)
}
