//! Broker URLs, as Celery and kombu read them, with what kombu leaves to other settings.
//!
//! Source: kombu 5.7, `utils/url.py`, `connection.py`, `transport/redis.py`, `transport/pyamqp.py`. A table of kombu's own
//! readings is in `tests/data/broker_urls.json`. Where Headcount differs, on purpose:
//!
//! - kombu refuses query options that it does not know, and so does this, by name. `master_name`,
//!   `sentinel_username`, `sentinel_password`, `socket_timeout` and `socket_connect_timeout`, which Celery takes from
//!   `broker_transport_options`, are known here, since an address is all that Headcount gets.
//! - `ssl_…` options work for `amqps` too, where Celery has `broker_use_ssl`.
//! - Without `ssl_check_hostname=false` the name in the certificate is checked on RabbitMQ as well.
//! - A URL without a scheme is refused: kombu takes it for a host name.
//! - An `@` that is not percent-encoded behind the host is refused: it is the end of a password that holds a `/` or a
//!   `?`, and what looks like a virtual host would be a secret.

mod error;
mod parts;
mod query;
mod show;

use std::fmt;
use std::time::Duration;

pub use error::UrlError;
use parts::Parts;
use query::Query;

/// Where a broker is and how to get in.
#[derive(Clone, Debug, PartialEq)]
pub enum BrokerUrl {
    /// `amqp`, `amqps`; also `pyamqp` and `librabbitmq`, kombu's names for its clients.
    Amqp(Amqp),
    /// `redis`, `rediss`, `redis+socket`.
    Redis(Redis),
    /// `sentinel`, with the URLs of several sentinels separated by `;`.
    Sentinel(Sentinel),
}

/// A RabbitMQ.
#[derive(Clone, Debug, PartialEq)]
pub struct Amqp {
    /// Host name or address, without brackets.
    pub host: String,
    /// 5672, or 5671 with TLS, if the URL says nothing.
    pub port: u16,
    /// `guest` if the URL says nothing.
    pub user: String,
    /// `guest` if the URL says nothing.
    pub password: Password,
    /// `/` if the URL says nothing.
    pub vhost: String,
    /// How to encrypt; none is plain text.
    pub tls: Option<Tls>,
    /// The SASL mechanism: `PLAIN` if the URL says nothing; `AMQPLAIN`, `EXTERNAL`.
    pub login_method: String,
    /// The heartbeat that the URL asks for.
    pub heartbeat: Option<Duration>,
    /// How long connecting may take.
    pub connect_timeout: Option<Duration>,
}

/// A Redis.
#[derive(Clone, Debug, PartialEq)]
pub struct Redis {
    /// Where.
    pub at: RedisAddress,
    /// The login.
    pub login: Login,
    /// The number of the database, which is also in the names of the channels.
    pub db: u32,
    /// How to encrypt; none is plain text.
    pub tls: Option<Tls>,
    /// How long things may take.
    pub timeouts: Timeouts,
}

/// Where a Redis listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisAddress {
    /// On the network.
    Tcp {
        /// Host name or address, without brackets; `127.0.0.1` if the URL says nothing.
        host: String,
        /// 6379 if the URL says nothing.
        port: u16,
    },
    /// At a Unix socket.
    Unix {
        /// The socket's absolute path.
        path: String,
    },
}

/// A Redis that sentinels know the place of.
#[derive(Clone, Debug, PartialEq)]
pub struct Sentinel {
    /// The sentinels: host and port (26379 if the URL says nothing). At least one.
    pub hosts: Vec<(String, u16)>,
    /// The name that the sentinels know the master by.
    pub master_name: String,
    /// The login at the Redis itself.
    pub login: Login,
    /// The login at the sentinels.
    pub sentinel_login: Login,
    /// The number of the database.
    pub db: u32,
    /// How to encrypt towards the Redis; none is plain text.
    pub tls: Option<Tls>,
    /// How long things may take.
    pub timeouts: Timeouts,
}

/// A user and a password, either of which may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// The user (Redis ACL).
    pub user: Option<String>,
    /// The password.
    pub password: Option<Password>,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Connecting.
    pub connect: Option<Duration>,
    /// Reading or writing.
    pub socket: Option<Duration>,
}

/// How to encrypt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// What of the certificate is checked.
    pub verify: Verify,
    /// Path of the authorities to trust, PEM; the usual ones if none.
    pub ca_certs: Option<String>,
    /// Path of the client's certificate, PEM.
    pub certfile: Option<String>,
    /// Path of the client's key, PEM.
    pub keyfile: Option<String>,
}

/// What of a server's certificate is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Nothing (`rediss` without options, as in kombu; `ssl_cert_reqs=none`).
    Nothing,
    /// That a trusted authority issued it, for whatever name (`ssl_check_hostname=false`).
    Chain,
    /// That a trusted authority issued it for this host.
    #[default]
    ChainAndName,
}

/// A password, which neither `Debug` nor `Display` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The password itself, for the one who logs in.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Password {
    fn from(password: &str) -> Self {
        Self(password.to_owned())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("**")
    }
}

/// kombu's own default for a login at RabbitMQ.
const GUEST: &str = "guest";

impl BrokerUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`UrlError`], in words for the person who wrote it.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let (first, others) = match url.split_once(';') {
            Some((first, others)) => (first, Some(others)),
            None => (url, None),
        };
        let (scheme, rest) = first.split_once("://").ok_or(UrlError::Scheme)?;
        let scheme = scheme.trim_start().to_ascii_lowercase();
        let parts = Parts::read(rest)?;
        match (&*scheme, others) {
            ("sentinel", others) => sentinel(parts, others).map(BrokerUrl::Sentinel),
            (_, Some(_)) => Err(UrlError::Several),
            ("amqp" | "pyamqp" | "librabbitmq", None) => amqp(parts, false).map(BrokerUrl::Amqp),
            ("amqps", None) => amqp(parts, true).map(BrokerUrl::Amqp),
            ("redis", None) => redis(parts, false).map(BrokerUrl::Redis),
            ("rediss", None) => redis(parts, true).map(BrokerUrl::Redis),
            ("redis+socket", None) => redis_socket(parts).map(BrokerUrl::Redis),
            _ => Err(UrlError::Scheme),
        }
    }
}

fn amqp(parts: Parts, secure: bool) -> Result<Amqp, UrlError> {
    let mut query = Query::read(&parts.query);
    let tls = query.tls(secure.then(Tls::default))?;
    let amqp = Amqp {
        host: parts.host.unwrap_or_else(|| "localhost".into()),
        port: parts.port.unwrap_or(if tls.is_some() { 5671 } else { 5672 }),
        user: parts.user.unwrap_or_else(|| GUEST.into()),
        password: Password(parts.password.unwrap_or_else(|| GUEST.into())),
        vhost: parts.path.unwrap_or_else(|| "/".into()),
        tls,
        login_method: query.take("login_method").unwrap_or_else(|| "PLAIN".into()),
        heartbeat: query.seconds("heartbeat")?,
        connect_timeout: query.seconds("connect_timeout")?,
    };
    query.end("login_method, heartbeat, connect_timeout and the options that begin with ssl_")?;
    Ok(amqp)
}

fn redis(parts: Parts, secure: bool) -> Result<Redis, UrlError> {
    let mut query = Query::read(&parts.query);
    let tls = query.tls(secure.then(insecure))?;
    let redis = Redis {
        at: RedisAddress::Tcp {
            host: parts.host.unwrap_or_else(|| "127.0.0.1".into()),
            port: parts.port.unwrap_or(6379),
        },
        login: Login {
            user: parts.user,
            password: parts.password.map(Password),
        },
        db: db(parts.path.as_deref())?,
        tls,
        timeouts: timeouts(&mut query)?,
    };
    query.end("connect_timeout, socket_timeout, socket_connect_timeout and the options that begin with ssl_")?;
    Ok(redis)
}

fn redis_socket(parts: Parts) -> Result<Redis, UrlError> {
    let mut query = Query::read(&parts.query);
    let path = parts.path.ok_or(UrlError::SocketPath)?;
    let redis = Redis {
        at: RedisAddress::Unix {
            path: format!("/{path}"),
        },
        login: Login {
            user: parts.user,
            password: parts.password.map(Password),
        },
        db: db(query.take("virtual_host").as_deref())?,
        tls: None,
        timeouts: timeouts(&mut query)?,
    };
    query.end("virtual_host, connect_timeout, socket_timeout and socket_connect_timeout")?;
    Ok(redis)
}

fn sentinel(parts: Parts, others: Option<&str>) -> Result<Sentinel, UrlError> {
    const PORT: u16 = 26379;
    let mut query = Query::read(&parts.query);
    let mut hosts = vec![(
        parts.host.unwrap_or_else(|| "127.0.0.1".into()),
        parts.port.unwrap_or(PORT),
    )];
    // Everything but the place is taken from the first URL: kombu reads nothing else of the others. What follows the
    // last host is a frequent mistake there (`…;sentinel://b/0`), and is refused rather than dropped in silence.
    for other in others
        .into_iter()
        .flat_map(|others| others.split(';'))
        .filter(|other| !other.is_empty())
    {
        let rest = other.strip_prefix("sentinel://").ok_or(UrlError::Scheme)?;
        let parts = Parts::read(rest)?;
        hosts.push((parts.host.ok_or(UrlError::Host)?, parts.port.unwrap_or(PORT)));
    }
    let sentinel = Sentinel {
        hosts,
        master_name: query.take("master_name").ok_or(UrlError::MasterName)?,
        login: Login {
            user: parts.user,
            password: parts.password.map(Password),
        },
        sentinel_login: Login {
            user: query.take("sentinel_username"),
            password: query.take("sentinel_password").map(Password),
        },
        db: db(parts.path.as_deref())?,
        tls: query.tls(None)?,
        timeouts: timeouts(&mut query)?,
    };
    query.end(
        "master_name, sentinel_username, sentinel_password, connect_timeout, socket_timeout, socket_connect_timeout and \
         the options that begin with ssl_",
    )?;
    Ok(sentinel)
}

/// kombu's reading of `rediss` without a word on certificates.
fn insecure() -> Tls {
    Tls {
        verify: Verify::Nothing,
        ..Tls::default()
    }
}

fn timeouts(query: &mut Query) -> Result<Timeouts, UrlError> {
    let connect = query.seconds("connect_timeout")?;
    let socket_connect = query.seconds("socket_connect_timeout")?;
    Ok(Timeouts {
        connect: socket_connect.or(connect),
        socket: query.seconds("socket_timeout")?,
    })
}

fn db(path: Option<&str>) -> Result<u32, UrlError> {
    match path {
        None | Some("" | "/") => Ok(0),
        Some(path) => path
            .strip_prefix('/')
            .unwrap_or(path)
            .parse()
            .map_err(|_| UrlError::Database),
    }
}
