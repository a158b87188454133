//! Where a Redis is, and opening a stream to it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headcount_actors::ports::BrokerError;
use headcount_core::celery::broker_url::{self, Login, RedisAddress, Timeouts, Tls};
use redis::RedisConnectionInfo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::sentinel::{self, Sentinels};
use crate::brokers::{OpenError, tls};

/// How long opening a connection may take, finding the master, TLS and authentication included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long any command may take. Redis answers in microseconds; this long it is busy with somebody's script.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// What Redis is spoken over.
pub(super) type Stream = Box<dyn Duplex>;

/// Both directions of a connection.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// One server's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// One server, or the Sentinels that know it.
#[derive(Debug)]
pub(super) enum Server {
    At(Place),
    Behind(Sentinels),
}

/// Everything that is needed to connect.
#[derive(Debug)]
pub(in crate::brokers) struct Address {
    /// For people.
    pub(super) shown: String,
    pub(super) server: Server,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) login: RedisConnectionInfo,
    pub(super) db: u32,
    pub(super) connect_timeout: Duration,
    pub(super) command_timeout: Duration,
}

impl Address {
    /// One server.
    pub(in crate::brokers) fn of_one(shown: String, url: broker_url::Redis) -> Result<Self, OpenError> {
        let place = match url.at {
            RedisAddress::Tcp { host, port } => Place::Tcp { host, port },
            RedisAddress::Unix { path } => Place::Unix(path.into()),
        };
        Self::new(
            shown,
            Server::At(place),
            &url.login,
            url.db,
            url.tls.as_ref(),
            url.timeouts,
        )
    }

    /// A master that Sentinels know.
    pub(in crate::brokers) fn behind_sentinels(shown: String, url: broker_url::Sentinel) -> Result<Self, OpenError> {
        let server = Server::Behind(Sentinels {
            places: url
                .hosts
                .into_iter()
                .map(|(host, port)| Place::Tcp { host, port })
                .collect(),
            master: url.master_name,
            login: login(&url.sentinel_login),
        });
        Self::new(shown, server, &url.login, url.db, url.tls.as_ref(), url.timeouts)
    }

    fn new(
        shown: String,
        server: Server,
        user: &Login,
        db: u32,
        tls: Option<&Tls>,
        timeouts: Timeouts,
    ) -> Result<Self, OpenError> {
        Ok(Self {
            shown,
            server,
            tls: tls.map(tls::client).transpose().map_err(OpenError::Tls)?,
            login: login(user).set_db(db.into()),
            db,
            connect_timeout: timeouts.connect.unwrap_or(CONNECT_TIMEOUT),
            command_timeout: timeouts.socket.unwrap_or(COMMAND_TIMEOUT),
        })
    }

    /// A connection to the server that workers use now.
    pub(super) async fn stream(&self) -> Result<Stream, BrokerError> {
        match &self.server {
            Server::At(place) => connect(place, self.tls.as_ref()).await,
            Server::Behind(sentinels) => sentinel::master(self, sentinels).await,
        }
    }

    /// What Redis said, in words that can be shown: a server that does not know AUTH repeats its arguments.
    pub(super) fn without_secrets(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let of_sentinels = match &self.server {
            Server::Behind(sentinels) => sentinels.login.password(),
            Server::At(_) => None,
        };
        for password in self
            .login
            .password()
            .into_iter()
            .chain(of_sentinels)
            .filter(|password| !password.is_empty())
        {
            text = text.replace(password, "***");
        }
        text
    }
}

/// RESP2, which every server speaks; without CLIENT SETINFO, which old ones and proxies refuse.
fn login(login: &Login) -> RedisConnectionInfo {
    let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(user) = &login.user {
        info = info.set_username(user);
    }
    if let Some(password) = &login.password {
        info = info.set_password(password.expose());
    }
    info
}

/// Connects to one place. A dead peer is noticed by the canary and by time limits on commands, not by TCP.
pub(super) async fn connect(place: &Place, tls: Option<&Arc<ClientConfig>>) -> Result<Stream, BrokerError> {
    let failed = |error: std::io::Error| BrokerError::Connect(error.to_string());
    match place {
        Place::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(failed)?)),
        Place::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            match tls {
                None => Ok(Box::new(stream)),
                Some(tls) => {
                    let name = ServerName::try_from(host.clone())
                        .map_err(|_| BrokerError::Connect(format!("{host} is no name that a certificate can bear")))?;
                    Ok(Box::new(
                        TlsConnector::from(Arc::clone(tls))
                            .connect(name, stream)
                            .await
                            .map_err(failed)?,
                    ))
                }
            }
        }
    }
}
