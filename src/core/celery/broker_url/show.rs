//! Broker URLs for people.

use std::fmt;

use super::{BrokerUrl, RedisAddress};

impl BrokerUrl {
    /// For people: where the broker is, with the user and without the password.
    pub fn redacted(&self) -> String {
        self.show(true)
    }

    /// For people: where the broker is, without user and password.
    pub fn address(&self) -> String {
        self.show(false)
    }

    fn show(&self, with_user: bool) -> String {
        let login = |user: Option<&str>, password: bool| match (with_user, user, password) {
            (false, ..) | (true, None, false) => String::new(),
            (true, user, true) => format!("{}:**@", user.map(encode).unwrap_or_default()),
            (true, Some(user), false) => format!("{}@", encode(user)),
        };
        match self {
            BrokerUrl::Amqp(amqp) => {
                let scheme = if amqp.tls.is_some() { "amqps" } else { "amqp" };
                let vhost = if amqp.vhost == "/" {
                    "/".to_owned()
                } else {
                    encode(&amqp.vhost)
                };
                let at = host_port(&amqp.host, amqp.port);
                format!("{scheme}://{}{at}/{vhost}", login(Some(&amqp.user), true))
            }
            BrokerUrl::Redis(redis) => {
                let login = login(redis.login.user.as_deref(), redis.login.password.is_some());
                match &redis.at {
                    RedisAddress::Tcp { host, port } => {
                        let scheme = if redis.tls.is_some() { "rediss" } else { "redis" };
                        format!("{scheme}://{login}{}/{}", host_port(host, *port), redis.db)
                    }
                    RedisAddress::Unix { path } => format!("redis+socket://{login}{path}?virtual_host={}", redis.db),
                }
            }
            BrokerUrl::Sentinel(sentinel) => {
                let login = login(sentinel.login.user.as_deref(), sentinel.login.password.is_some());
                let hosts: Vec<_> = sentinel
                    .hosts
                    .iter()
                    .map(|(host, port)| host_port(host, *port))
                    .collect();
                let (hosts, db, master) = (hosts.join(";"), sentinel.db, encode(&sentinel.master_name));
                format!("sentinel://{login}{hosts}/{db}?master_name={master}")
            }
        }
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
