//! The brokers: each file or folder implements [`Broker`] for one kind.
//!
//! | file | subject |
//! |---|---|
//! | `amqp/` | RabbitMQ |
//! | `flower/` | a Flower, where the broker itself cannot be reached |
//! | `redis/` | Redis, also behind Sentinels, by TLS or a Unix socket |
//! | `canary.rs` | a session's messages to itself |
//! | `waiting.rs`, `round.rs`, `collect.rs` | replies: to whom they go, and what they make of a probe or an inspect command |
//! | `routes.rs` | `[[broker.routes]]` |
//! | `shared.rs` | one connection for many calls |
//! | `tls.rs` | certificates |
//!
//! Another kind of broker is one more file here, and a line in [`open`].

mod amqp;
mod canary;
mod collect;
pub mod flower;
mod redis;
mod round;
mod routes;
mod shared;
mod tls;
mod waiting;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use headcount_actors::ports::Broker;
use headcount_actors::ports::jobs::SharedSender;
use headcount_actors::ports::node::{SharedNodeBroker, SharedResultStore};
use headcount_core::celery::broker_url::{BrokerUrl, UrlError};
use headcount_core::celery::task::Routes;
use headcount_core::celery::wire_names::{FanoutPrefix, WireSettings};
use serde::Deserialize;
use thiserror::Error;
use uuid::Uuid;

pub use routes::RouteConfig;

/// The longest name of a queue or an exchange, in bytes: AMQP's short string. Redis has no such bound, yet a name that
/// is longer is a mistake there too.
pub const MAX_WIRE_NAME: usize = 255;

/// What tells this process' own queues from those of others, as `oid` does in Celery: operators give permissions by the
/// prefix.
fn own_oid() -> String {
    format!("headcount-{}", Uuid::new_v4().simple())
}

/// What a `[[broker]]` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A broker of Celery's: which, its URL says.
    #[default]
    Celery,
    /// A Flower that watches one.
    Flower,
}

/// The words that the key `kind` of a `[[broker]]` may be. A broker of Celery's has none.
pub const KINDS: &[&str] = &["flower"];

/// One `[[broker]]` of the configuration.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What it is. A Flower's table is decoded by [`flower::Config`], which knows none of the keys below `url`.
    #[serde(skip)]
    pub kind: Kind,
    /// Its name, which fleets refer to.
    pub name: String,
    /// Where it is, as Celery's `broker_url`, or as a Flower's address.
    pub url: String,
    // The fields of `WireSettings`, one by one: flattened, an unknown key would pass unnoticed.
    /// Celery's `event_exchange`.
    pub event_exchange: Option<String>,
    /// Celery's `event_queue_prefix`.
    pub event_queue_prefix: Option<String>,
    /// Celery's `control_exchange`.
    pub control_exchange: Option<String>,
    /// The transport option `global_keyprefix` (Redis).
    pub global_keyprefix: Option<String>,
    /// The transport option `fanout_prefix` (Redis).
    pub fanout_prefix: Option<FanoutPrefix>,
    /// The transport option `fanout_patterns` (Redis).
    pub fanout_patterns: Option<bool>,
    /// The transport option `priority_steps` (Redis).
    pub priority_steps: Option<Vec<u8>>,
    /// The transport option `sep` (Redis).
    pub sep: Option<String>,
    /// Where tasks go that are sent through it.
    #[serde(default)]
    pub routes: Vec<RouteConfig>,
}

impl Config {
    /// What the URL alone says, with Celery's default settings: a Flower where it begins with `http://` or `https://`.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        let url = url.into();
        Self {
            kind: if is_http(&url) { Kind::Flower } else { Kind::Celery },
            name: name.into(),
            url,
            event_exchange: None,
            event_queue_prefix: None,
            control_exchange: None,
            global_keyprefix: None,
            fanout_prefix: None,
            fanout_patterns: None,
            priority_steps: None,
            sep: None,
            routes: Vec::new(),
        }
    }

    /// What is wrong with its URL, in words that do not quote it.
    pub fn check_url(&self) -> Option<String> {
        match self.kind {
            Kind::Celery if is_http(&self.url) => Some(format!(
                "{}; where this is a Flower, add kind = \"flower\"",
                UrlError::Scheme
            )),
            Kind::Celery => BrokerUrl::parse(&self.url).err().map(|error| error.to_string()),
            Kind::Flower => flower::Address::parse(&self.url).err().map(str::to_owned),
        }
    }

    /// Where the other is one and the same, in the words of both: its address, without any secret. What differs in the
    /// names on the wire is another's.
    pub fn same_as(&self, other: &Self) -> Option<String> {
        let (own, theirs) = (self.address()?, other.address()?);
        (own == theirs && self.wire() == other.wire()).then_some(own)
    }

    /// None where the URL cannot be read.
    fn address(&self) -> Option<String> {
        match self.kind {
            Kind::Celery => BrokerUrl::parse(&self.url).map(|url| url.address()).ok(),
            Kind::Flower => flower::Address::parse(&self.url).map(|address| address.shown).ok(),
        }
    }

    /// What is wrong with its names, each with its key: an empty one, and one that RabbitMQ would have no room for.
    pub fn check_names(&self) -> Vec<(&'static str, String)> {
        let wire = self.wire();
        let oid = own_oid();
        // With the longest name that is made of each.
        let names = [
            ("event_exchange", &wire.event_exchange, wire.event_exchange.clone()),
            ("event_queue_prefix", &wire.event_queue_prefix, wire.event_queue(&oid)),
            ("control_exchange", &wire.control_exchange, wire.reply_queue(&oid)),
        ];
        let mut mistakes = Vec::new();
        for (key, name, longest) in names {
            let room = MAX_WIRE_NAME - (longest.len() - name.len());
            if !(1..=room).contains(&name.len()) {
                mistakes.push((key, format!("expected 1 to {room} bytes, found {}", name.len())));
            }
        }
        if let Ok(BrokerUrl::Amqp(url)) = BrokerUrl::parse(&self.url)
            && url.vhost.len() > MAX_WIRE_NAME
        {
            let found = url.vhost.len();
            mistakes.push((
                "url",
                format!("expected a virtual host of at most {MAX_WIRE_NAME} bytes, found {found}"),
            ));
        }
        mistakes
    }

    /// Where tasks go that are sent through it.
    pub fn routes(&self) -> Routes {
        routes::routes(&self.routes)
    }

    fn wire(&self) -> WireSettings {
        let usual = WireSettings::default();
        WireSettings {
            event_exchange: self.event_exchange.clone().unwrap_or(usual.event_exchange),
            event_queue_prefix: self.event_queue_prefix.clone().unwrap_or(usual.event_queue_prefix),
            control_exchange: self.control_exchange.clone().unwrap_or(usual.control_exchange),
            global_keyprefix: self.global_keyprefix.clone().unwrap_or(usual.global_keyprefix),
            fanout_prefix: self.fanout_prefix.clone().unwrap_or(usual.fanout_prefix),
            fanout_patterns: self.fanout_patterns.unwrap_or(usual.fanout_patterns),
            priority_steps: self.priority_steps.clone().unwrap_or(usual.priority_steps),
            sep: self.sep.clone().unwrap_or(usual.sep),
        }
    }
}

fn is_http(url: &str) -> bool {
    let begins = |scheme: &str| {
        let begin = url.as_bytes().get(..scheme.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(scheme.as_bytes()))
    };
    begins("http://") || begins("https://")
}

impl From<flower::Config> for Config {
    fn from(config: flower::Config) -> Self {
        Self {
            kind: Kind::Flower,
            ..Self::new(config.name, config.url)
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL holds a password, and a wrong one cannot even be told where.
        let url = match self.kind {
            Kind::Celery => BrokerUrl::parse(&self.url).map(|url| url.redacted()).ok(),
            Kind::Flower => flower::Address::parse(&self.url).map(|address| address.shown).ok(),
        };
        let url = url.unwrap_or_else(|| "**".to_owned());
        f.debug_struct("Config")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("url", &url)
            .field("wire", &self.wire())
            .finish()
    }
}

/// What is wrong with a broker's configuration; found without any connection.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The URL cannot be read.
    #[error("url: {0}")]
    Url(#[from] UrlError),
    /// It is no address of a Flower.
    #[error("url: {0}")]
    Address(&'static str),
    /// A file with certificates or a key, named in the URL, is of no use.
    #[error("url: {0}")]
    Tls(String),
    /// The URL asks for a way to log in that is not supported.
    #[error("url: the option login_method must be PLAIN, AMQPLAIN or EXTERNAL")]
    LoginMethod,
    /// Results are kept in a Redis, or are messages.
    #[error("result_backend: expected \"rpc\", \"none\", or the URL of a Redis")]
    NoResults,
    /// See [`Config::check_names`].
    #[error("{key}: {why}")]
    Name {
        /// The key that is wrong.
        key: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// Makes the broker that the configuration means. Connects to nothing yet; must be called within a tokio runtime.
///
/// # Errors
/// [`OpenError`], in words for the person who wrote the configuration.
pub fn open(config: Config) -> Result<Arc<dyn Broker>, OpenError> {
    if config.kind == Kind::Flower {
        let address = flower::Address::parse(&config.url).map_err(OpenError::Address)?;
        return Ok(Arc::new(flower::Flower::new(config.name, address)?));
    }
    let wire = config.wire();
    let url = BrokerUrl::parse(&config.url)?;
    if let Some((key, why)) = config.check_names().into_iter().next() {
        return Err(OpenError::Name { key, why });
    }
    let shown = url.address();
    Ok(match url {
        BrokerUrl::Amqp(url) => Arc::new(amqp::Amqp::new(config.name, shown, url, wire)?),
        BrokerUrl::Redis(url) => Arc::new(redis::Redis::new(
            config.name,
            redis::Address::of_one(shown, url)?,
            wire,
        )),
        BrokerUrl::Sentinel(url) => Arc::new(redis::Redis::new(
            config.name,
            redis::Address::behind_sentinels(shown, url)?,
            wire,
        )),
    })
}

/// Makes what sends tasks through the broker that the configuration means; none where that is a Flower. It has a
/// connection of its own, which is opened when the first task is sent; must be called within a tokio runtime.
///
/// # Errors
/// Those of [`open`].
pub fn sender(config: Config) -> Result<Option<SharedSender>, OpenError> {
    if config.kind == Kind::Flower {
        return Ok(None);
    }
    let wire = config.wire();
    let url = BrokerUrl::parse(&config.url)?;
    let shown = url.address();
    Ok(Some(match url {
        BrokerUrl::Amqp(url) => Arc::new(amqp::Sender::new(config.name, shown, url)?),
        BrokerUrl::Redis(url) => Arc::new(redis::Sender::new(
            config.name,
            redis::Address::of_one(shown, url)?,
            wire,
        )),
        BrokerUrl::Sentinel(url) => Arc::new(redis::Sender::new(
            config.name,
            redis::Address::behind_sentinels(shown, url)?,
            wire,
        )),
    }))
}

/// Makes the broker that a node joins; see [`open`].
///
/// # Errors
/// As [`open`]; a Flower is no broker that can be joined.
pub fn open_node(config: &Config, visibility_timeout: Duration) -> Result<SharedNodeBroker, OpenError> {
    let wire = config.wire();
    let url = BrokerUrl::parse(&config.url)?;
    let shown = url.address();
    let name = config.name.clone();
    Ok(match url {
        BrokerUrl::Amqp(url) => Arc::new(amqp::node::AmqpNode::new(name, shown, url, wire)?),
        BrokerUrl::Redis(url) => {
            let address = redis::Address::of_one(shown, url)?;
            Arc::new(redis::node::RedisNode::new(name, address, wire, visibility_timeout))
        }
        BrokerUrl::Sentinel(url) => {
            let address = redis::Address::behind_sentinels(shown, url)?;
            Arc::new(redis::node::RedisNode::new(name, address, wire, visibility_timeout))
        }
    })
}

/// Makes the store of results that is a Redis.
pub(crate) fn redis_results(url: BrokerUrl, expires: Duration) -> Result<SharedResultStore, OpenError> {
    let address = redis_address(url)?;
    Ok(Arc::new(redis::results::Results::new(address, expires)))
}

/// Connects to it and signs in, and does nothing there.
pub(crate) async fn try_redis(url: BrokerUrl) -> Result<(), String> {
    let address = redis_address(url).map_err(|error| error.to_string())?;
    address.try_out().await.map_err(|error| error.to_string())
}

fn redis_address(url: BrokerUrl) -> Result<redis::Address, OpenError> {
    let shown = url.address();
    match url {
        BrokerUrl::Amqp(_) => Err(OpenError::NoResults),
        BrokerUrl::Redis(url) => redis::Address::of_one(shown, url),
        BrokerUrl::Sentinel(url) => redis::Address::behind_sentinels(shown, url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(url: &str) -> Result<String, OpenError> {
        open(Config::new("main", url)).map(|broker| broker.address())
    }

    #[test]
    fn the_scheme_decides_and_no_address_shows_a_secret() {
        for (url, shown) in [
            ("amqp://me:secret@rabbit:5673/prod", "amqp://rabbit:5673/prod"),
            ("redis://:secret@cache/3", "redis://cache:6379/3"),
            (
                "rediss://me:secret@cache:6380/0?ssl_cert_reqs=none",
                "rediss://cache:6380/0",
            ),
            (
                "redis+socket:///run/redis.sock?virtual_host=2",
                "redis+socket:///run/redis.sock?virtual_host=2",
            ),
            (
                "sentinel://:secret@a:1/0?master_name=m;sentinel://b:2",
                "sentinel://a:1;b:2/0?master_name=m",
            ),
            ("HTTP://me:secret@flower:5555", "http://flower:5555"),
        ] {
            match opened(url) {
                Ok(address) => assert_eq!(address, shown),
                Err(error) => panic!("{url}: {error}"),
            }
        }
        let config = Config::new("main", "amqp://me:secret@rabbit//");
        assert!(!format!("{config:?}").contains("secret"));
        for flower in ["https://me:secret@flower/", "http://me:1/secret@flower/"] {
            assert!(!format!("{:?}", Config::new("far", flower)).contains("secret"));
        }
    }

    #[test]
    fn what_cannot_work_is_refused_at_once() {
        assert!(matches!(opened("ftp://x"), Err(OpenError::Url(UrlError::Scheme))));
        assert!(matches!(opened("http://x?y"), Err(OpenError::Address(_))));
        assert!(matches!(
            opened("amqp://x?login_method=magic"),
            Err(OpenError::LoginMethod)
        ));
        for url in [
            format!("amqp://x/{}", "v".repeat(256)),
            format!("amqp://x/{}", "%C3%A9".repeat(128)),
        ] {
            let too_long = opened(&url);
            assert!(
                matches!(&too_long, Err(OpenError::Name { key: "url", why }) if why.ends_with("found 256")),
                "{too_long:?}"
            );
        }
        opened(&format!("amqp://x/{}", "v".repeat(255))).unwrap();
        let missing = opened("rediss://x?ssl_cert_reqs=required&ssl_ca_certs=/does/not/exist.pem");
        assert!(
            matches!(&missing, Err(OpenError::Tls(why)) if why.contains("/does/not/exist.pem")),
            "{missing:?}"
        );
    }
}
