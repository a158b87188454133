//! Opening connections to RabbitMQ, and what its errors mean.

use std::sync::Arc;
use std::time::Duration;

use headcount_actors::ports::BrokerError;
use headcount_core::celery::broker_url;
use lapin::protocol::AMQPErrorKind;
use lapin::tcp::{AMQPUriTcpExt, RustlsConnector};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism};
use lapin::{Connection, ConnectionProperties, ErrorKind};
use rustls::ClientConfig;

use crate::brokers::{OpenError, tls};

/// How long opening a connection may take, all handshakes included. RabbitMQ delays its refusal of a wrong password,
/// so this must be well over a second.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Seconds between AMQP heartbeats that we ask for: a connection that is silent for twice as long is given up. The
/// canary notices earlier; this is for the control connection.
const HEARTBEAT: u16 = 10;

/// The frame size that we ask for, in bytes. The client keeps two buffers of 32 frames for each connection; RabbitMQ's
/// default of 128 KiB would make that 8 MiB, and Celery's events are smaller than one such frame anyway.
const FRAME_MAX: u32 = 16 << 10;

/// Everything that is needed to connect.
pub(super) struct Address {
    /// For people.
    pub(super) shown: String,
    uri: AMQPUri,
    tls: Option<Arc<ClientConfig>>,
    pub(super) timeout: Duration,
    /// Seconds.
    pub(super) heartbeat: u16,
}

impl Address {
    pub(super) fn new(shown: String, url: broker_url::Amqp) -> Result<Self, OpenError> {
        let heartbeat = url.heartbeat.map_or(HEARTBEAT, |asked| {
            u16::try_from(asked.as_secs().max(1)).unwrap_or(u16::MAX)
        });
        let mechanism = match url.login_method.as_str() {
            "PLAIN" => SASLMechanism::Plain,
            "AMQPLAIN" => SASLMechanism::AMQPlain,
            "EXTERNAL" => SASLMechanism::External,
            _ => return Err(OpenError::LoginMethod),
        };
        let uri = AMQPUri {
            // The stream below is encrypted by us, if at all: with the client's own TLS nothing could be left unchecked.
            scheme: AMQPScheme::AMQP,
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: url.user,
                    password: url.password.expose().to_owned(),
                },
                host: url.host,
                port: url.port,
            },
            vhost: url.vhost,
            query: AMQPQueryString {
                frame_max: Some(FRAME_MAX),
                heartbeat: Some(heartbeat),
                auth_mechanism: Some(mechanism),
                ..AMQPQueryString::default()
            },
        };
        let tls = url.tls.as_ref().map(tls::client).transpose().map_err(OpenError::Tls)?;
        Ok(Self {
            shown,
            uri,
            tls,
            timeout: url.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            heartbeat,
        })
    }

    /// Opens one connection that shows itself to the broker's operator as `name`.
    pub(super) async fn connect(&self, name: &str) -> Result<Connection, BrokerError> {
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let runtime = lapin::runtime::default_runtime().map_err(connecting)?;
        let tls = self.tls.clone().map(RustlsConnector::from);
        let stream = async move |uri: AMQPUri, runtime| {
            let stream = AMQPUriTcpExt::connect_async(&uri, &runtime).await?;
            Ok(match &tls {
                Some(tls) => stream.into_rustls(tls, &uri.authority.host).await?,
                None => stream,
            })
        };
        let opening = Connection::connector(self.uri.clone(), runtime, stream, properties);
        match tokio::time::timeout(self.timeout, opening).await {
            Ok(opened) => opened.map_err(connecting),
            Err(_) => Err(BrokerError::Timeout(self.timeout)),
        }
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Address").field(&self.shown).finish()
    }
}

/// What an error means while a connection is being opened.
fn connecting(error: lapin::Error) -> BrokerError {
    match error.kind() {
        ErrorKind::ProtocolError(_) => broken(error),
        ErrorKind::IOError(io) => BrokerError::Connect(io.to_string()),
        _ => BrokerError::Connect(error.to_string()),
    }
}

/// What an error means once a connection stands.
pub(super) fn broken(error: lapin::Error) -> BrokerError {
    /// `ACCESS_REFUSED`: user, password or permission.
    const ACCESS_REFUSED: u16 = 403;
    /// `NOT_ALLOWED`: the virtual host does not exist, or is closed to this user.
    const NOT_ALLOWED: u16 = 530;
    /// `CONNECTION_FORCED`: the broker stops, or its operator closed the connection.
    const CONNECTION_FORCED: u16 = 320;
    match error.kind() {
        ErrorKind::ProtocolError(amqp) => match amqp.get_id() {
            ACCESS_REFUSED | NOT_ALLOWED => BrokerError::Refused(amqp.get_message().to_string()),
            CONNECTION_FORCED => BrokerError::Lost(amqp.get_message().to_string()),
            _ => BrokerError::Protocol(amqp.get_message().to_string()),
        },
        ErrorKind::IOError(io) => BrokerError::Lost(io.to_string()),
        _ => BrokerError::Lost(error.to_string()),
    }
}

/// What an error means on a channel that serves one message or one queue: where the broker closed only that, it refuses what was
/// asked there (no such exchange, another queue or exchange of that name), and the connection stands.
pub(super) fn refused(error: lapin::Error) -> BrokerError {
    match error.kind() {
        ErrorKind::ProtocolError(amqp) if matches!(amqp.kind(), AMQPErrorKind::Soft(_)) => {
            match broken(error.clone()) {
                BrokerError::Protocol(why) => BrokerError::Refused(why),
                other => other,
            }
        }
        _ => broken(error),
    }
}
