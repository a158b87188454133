//! `[server]`.

use std::net::SocketAddr;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::read::Spot;

/// Where HTTP is served, and to whom.
#[derive(Clone, Debug)]
pub struct Server {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// What a client must present; always there when `listen` is not a loopback address.
    pub token: Option<SecretString>,
    /// How people reach this daemon, without a slash at its end: messages then carry a link.
    pub public_url: Option<String>,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServerTable {
    listen: String,
    token: Option<String>,
    public_url: Option<String>,
}

impl Default for ServerTable {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8787".to_owned(), token: None, public_url: None }
    }
}

/// A token shorter than this is guessed in no time, at a few thousand tries a second.
const MIN_TOKEN: usize = 8;

/// What is used where the table is too wrong to go on with; nothing is started with it.
const FALLBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8787);

impl ServerTable {
    pub(super) fn check(self, spot: &mut Spot<'_>) -> Server {
        let listen = read_address(&self.listen).unwrap_or_else(|| {
            spot.expected("listen", "an IP address and a port, such as \"127.0.0.1:8787\" or \"[::]:8787\"", &self.listen);
            FALLBACK
        });
        if let Some(token) = &self.token {
            if token.len() < MIN_TOKEN {
                spot.say("token", format!("a token has at least {MIN_TOKEN} characters"));
            } else if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                spot.say("token", "a token is made of printable ASCII characters without spaces, as HTTP wants it");
            }
        } else if !listen.ip().is_loopback() && !spot.has_mistake("token") {
            spot.say("listen", format!("{listen} can be reached from other machines: set `token`, or listen on 127.0.0.1"));
        }
        let public_url = self.public_url.and_then(|text| match url::Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => {
                Some(text.trim_end_matches('/').to_owned())
            }
            _ => {
                spot.expected("public_url", "an address such as \"https://headcount.example.org\"", &text);
                None
            }
        });
        let token = self.token.map(SecretString::from).filter(|token| !token.expose_secret().is_empty());
        Server { listen, token, public_url }
    }
}

fn read_address(text: &str) -> Option<SocketAddr> {
    let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().ok()
}
