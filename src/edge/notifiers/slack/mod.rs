//! Tells in Slack: by an incoming webhook, or by a bot token with a thread and a first message that is kept true.

mod api;
mod blocks;
mod verdict;
mod webhook;
mod words;

use std::sync::Arc;

use headcount_actors::ports::Notifier;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::IgnoredAny;
use url::Url;

use super::http::{self, address};
use super::{OpenError, Table, check_name};

/// Where Slack's Web API is.
const API: &str = "https://slack.com/api";

/// The table `[[notify]]` with `kind = "slack"`: either `webhook_url`, or `token` and `channel`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Read before, to find this struct.
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    /// Its name; `slack` where it is not given.
    name: Option<String>,
    /// An incoming webhook's address. Who has it can post, so it is a secret.
    webhook_url: Option<SecretString>,
    /// An app's bot token (`xoxb-…`) with the scope `chat:write`.
    token: Option<SecretString>,
    /// The channel for the token: its name, such as `#ops`, or better its id, which a renaming does not change.
    channel: Option<String>,
    /// Stands in for Slack's own API address, for tests and proxies.
    api_url: Option<String>,
}

/// Which of the two ways a table names.
enum Way {
    Webhook(Url),
    Api {
        url: Url,
        token: SecretString,
        channel: String,
    },
}

impl Config {
    fn way(&self) -> Result<Way, OpenError> {
        check_name(self.name())?;
        match (&self.webhook_url, &self.token) {
            (Some(_), Some(_)) => Err(OpenError::at(
                "token",
                "give either webhook_url, or token and channel, not both",
            )),
            (None, None) => Err(OpenError {
                key: None,
                why: "give either webhook_url, or token and channel".into(),
            }),
            (Some(url), None) => {
                if self.channel.is_some() {
                    return Err(OpenError::at(
                        "channel",
                        "goes with token; a webhook has a channel of its own",
                    ));
                }
                if self.api_url.is_some() {
                    return Err(OpenError::at(
                        "api_url",
                        "goes with token; a webhook is its own address",
                    ));
                }
                Ok(Way::Webhook(address("webhook_url", url.expose_secret().trim())?))
            }
            (None, Some(token)) => {
                // A file that holds a secret mostly ends in a newline.
                let token = token.expose_secret().trim();
                if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
                    return Err(OpenError::at("token", "expected a bot token, such as xoxb-…"));
                }
                let channel = self.channel.as_deref().unwrap_or_default().trim();
                if channel.is_empty() {
                    return Err(OpenError::at(
                        "channel",
                        "a token needs a channel to post to, such as \"#ops\"",
                    ));
                }
                let url = address("api_url", self.api_url.as_deref().unwrap_or(API))?;
                Ok(Way::Api {
                    url,
                    token: token.into(),
                    channel: channel.to_owned(),
                })
            }
        }
    }
}

impl Table for Config {
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("slack")
    }

    fn check(&self) -> Result<(), OpenError> {
        self.way().map(drop)
    }

    fn server(&self) -> Option<Url> {
        Some(match self.way().ok()? {
            Way::Webhook(url) | Way::Api { url, .. } => url,
        })
    }

    fn open(&self) -> Result<Arc<dyn Notifier>, OpenError> {
        let name = self.name().to_owned();
        Ok(match self.way()? {
            Way::Webhook(url) => Arc::new(webhook::Webhook {
                name,
                client: http::client(&url)?,
                url,
            }),
            Way::Api { url, token, channel } => Arc::new(api::Api {
                name,
                client: http::client(&url)?,
                url,
                token,
                channel,
            }),
        })
    }
}

#[cfg(test)]
mod payload_tests;
#[cfg(test)]
mod tests;
