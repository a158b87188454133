//! Opening connections to RabbitMQ, and what its errors mean.

use std::time::Duration;

use headcount_actors::ports::BrokerError;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, ErrorKind};

/// How long opening a connection may take, all handshakes included. RabbitMQ delays its refusal of a wrong password,
/// so this must be well over a second.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Seconds between AMQP heartbeats that we ask for: a connection that is silent for twice as long is given up. The
/// canary notices earlier; this is for the control connection.
const HEARTBEAT: u16 = 10;

/// The frame size that we ask for, in bytes. The client keeps two buffers of 32 frames for each connection; RabbitMQ's
/// default of 128 KiB would make that 8 MiB, and Celery's events are smaller than one such frame anyway.
const FRAME_MAX: u32 = 16 << 10;

/// Opens one connection that shows itself to the broker's operator as `name`.
pub(super) async fn connect(address: &super::Address, name: &str) -> Result<Connection, BrokerError> {
    let mut uri = AMQPUri::clone(&address.uri);
    uri.query.heartbeat = uri.query.heartbeat.filter(|seconds| *seconds > 0).or(Some(HEARTBEAT));
    uri.query.frame_max = Some(FRAME_MAX);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = lapin::runtime::default_runtime().map_err(connecting)?;
    let opening = Connection::connect_uri_with_config(uri, properties, address.tls.config(), runtime);
    match tokio::time::timeout(CONNECT_TIMEOUT, opening).await {
        Ok(opened) => opened.map_err(connecting),
        Err(_) => Err(BrokerError::Timeout(CONNECT_TIMEOUT)),
    }
}

/// What an error means while a connection is being opened.
pub(super) fn connecting(error: lapin::Error) -> BrokerError {
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
    /// From here on the broker means the connection, below it (in 4xx) one channel's request. 320 is its own stop.
    const CONNECTION_FORCED: u16 = 320;
    match error.kind() {
        ErrorKind::ProtocolError(amqp) => match amqp.get_id() {
            ACCESS_REFUSED | NOT_ALLOWED => BrokerError::Refused(amqp.get_message().to_string()),
            CONNECTION_FORCED => BrokerError::Lost(amqp.get_message().to_string()),
            _ => BrokerError::Protocol(amqp.get_message().to_string()),
        },
        _ => BrokerError::Lost(error.to_string()),
    }
}
