//! Finding the master that a group of Sentinels watches.

use std::time::Duration;

use headcount_actors::ports::BrokerError;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo};
use tokio::time::timeout;

use super::connect::{Address, Place, Stream, connect};

/// How long one Sentinel may take before the next is asked: the dead one of a group must not cost the whole of a
/// connection's time.
const SENTINEL_TIMEOUT: Duration = Duration::from_secs(2);

/// Which Sentinels, and what they call the master.
#[derive(Debug)]
pub(super) struct Sentinels {
    pub(super) places: Vec<Place>,
    pub(super) master: String,
    /// User and password of the Sentinels themselves, where they have any.
    pub(super) login: RedisConnectionInfo,
}

/// A connection to the master, as the first Sentinel that knows it tells.
pub(super) async fn master(address: &Address, sentinels: &Sentinels) -> Result<Stream, BrokerError> {
    let mut last = BrokerError::Connect("no Sentinel is named".into());
    for place in &sentinels.places {
        match timeout(SENTINEL_TIMEOUT, ask(address, sentinels, place)).await {
            Ok(Ok(master)) => match connect(&master, address.tls.as_ref()).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            },
            Ok(Err(error)) => last = error,
            Err(_) => last = BrokerError::Timeout(SENTINEL_TIMEOUT),
        }
    }
    Err(match last {
        BrokerError::Connect(why) => {
            BrokerError::Connect(format!("of {} Sentinels the last: {why}", sentinels.places.len()))
        }
        other => other,
    })
}

async fn ask(address: &Address, sentinels: &Sentinels, place: &Place) -> Result<Place, BrokerError> {
    let stream = connect(place, address.tls.as_ref()).await?;
    let config = AsyncConnectionConfig::new();
    let (mut connection, driver) = MultiplexedConnection::new_with_config(&sentinels.login, stream, config)
        .await
        .map_err(|error| address.what(&error))?;
    let mut get = redis::cmd("SENTINEL");
    get.arg("get-master-addr-by-name").arg(&sentinels.master);
    tokio::pin!(driver);
    let answer: Option<(String, u16)> = tokio::select! {
        answer = get.query_async(&mut connection) => answer.map_err(|error| address.what(&error))?,
        () = &mut driver => return Err(BrokerError::Connect("a Sentinel closed the connection".into())),
    };
    match answer {
        Some((host, port)) => Ok(Place::Tcp { host, port }),
        None => Err(BrokerError::Connect(format!(
            "the Sentinels know no master named {}",
            sentinels.master
        ))),
    }
}
