//! Ordinary commands to Redis, on a connection that concurrent calls share.

use std::sync::Arc;
use std::time::Duration;

use headcount_actors::ports::BrokerError;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisError, ServerErrorKind};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::connect::Address;
use crate::brokers::shared::Stands;

/// One connection for commands; closed when it is dropped.
#[derive(Debug)]
pub(super) struct Commands {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
    address: Arc<Address>,
}

impl Commands {
    /// Connects, authenticates and selects the database. A command fails after `patience`.
    pub(super) async fn open(address: &Arc<Address>, patience: Duration) -> Result<Self, BrokerError> {
        let opening = async {
            let stream = address.stream().await?;
            let config = AsyncConnectionConfig::new().set_response_timeout(Some(patience));
            let opened = MultiplexedConnection::new_with_config(&address.login, stream, config).await;
            let (connection, driver) = opened.map_err(|error| match address.what(&error) {
                BrokerError::Lost(why) => BrokerError::Connect(why),
                other => other,
            })?;
            Ok(Self {
                connection,
                driver: tokio::spawn(driver),
                address: Arc::clone(address),
            })
        };
        let patience = address.connect_timeout;
        timeout(patience, opening)
            .await
            .unwrap_or(Err(BrokerError::Timeout(patience)))
    }

    /// A handle to it.
    pub(super) fn handle(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// What an error of it means.
    pub(super) fn what(&self, error: &RedisError) -> BrokerError {
        self.address.what(error)
    }
}

impl Stands for Commands {
    fn stands(&self) -> bool {
        !self.driver.is_finished()
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Address {
    /// Connects, signs in and selects the database, and leaves.
    pub(in crate::brokers) async fn try_out(self) -> Result<(), BrokerError> {
        let patience = self.command_timeout;
        Commands::open(&Arc::new(self), patience).await.map(drop)
    }

    /// What an error of the redis crate means.
    pub(super) fn what(&self, error: &RedisError) -> BrokerError {
        let text = self.without_secrets(&error.to_string());
        if error.is_timeout() {
            return BrokerError::Timeout(self.command_timeout);
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm) => BrokerError::Refused(text),
            ErrorKind::Io => BrokerError::Lost(text),
            _ => self.said(&text),
        }
    }

    /// What an error that Redis said means.
    pub(super) fn said(&self, text: &str) -> BrokerError {
        /// The words that Redis begins an error with when it is about who we are.
        const ABOUT_US: [&str; 5] = ["WRONGPASS", "NOAUTH", "NOPERM", "ERR AUTH", "ERR invalid password"];
        let text = self.without_secrets(text);
        if ABOUT_US.iter().any(|word| text.contains(word)) {
            BrokerError::Refused(text)
        } else if text.contains("LOADING") || text.contains("MASTERDOWN") {
            BrokerError::Connect(text)
        } else {
            BrokerError::Protocol(text)
        }
    }
}
