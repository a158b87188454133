//! One question to Flower, and what its answers mean.

use std::error::Error;
use std::time::Duration;

use headcount_actors::ports::BrokerError;
use reqwest::{Client, Response, StatusCode, redirect};
use secrecy::ExposeSecret;

use super::address::Address;
use crate::brokers::OpenError;
use crate::notifiers::http::{is_loopback, tls};

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(3);

/// The longest answer that is read, in bytes. A worker is about 0.4 KB in the list of counts, and 2 KB (more with many
/// registered tasks) in that of replies; Flower keeps 5,000 of them by default. Raising it costs that much memory for a
/// Flower that is not one.
const MAX_ANSWER: usize = 32 << 20;

/// The way to one Flower.
#[derive(Debug)]
pub(super) struct Http {
    pub(super) address: Address,
    client: Client,
}

impl Http {
    pub(super) fn new(address: Address) -> Result<Self, OpenError> {
        let failed = |why: &dyn Error| OpenError::Tls(format!("cannot make an HTTP client: {why}"));
        let mut client = Client::builder()
            .user_agent(concat!("headcount/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls().map_err(|error| failed(&error))?)
            // What is asked, password included, is meant for this address alone.
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT);
        if is_loopback(&address.base) {
            client = client.no_proxy();
        }
        let client = client.build().map_err(|error| failed(&error))?;
        Ok(Self { address, client })
    }

    /// The body of `GET path`, which must be there.
    pub(super) async fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
        within: Duration,
    ) -> Result<Vec<u8>, BrokerError> {
        match self.find(path, query, within).await? {
            Some(body) => Ok(body),
            None => Err(BrokerError::Protocol(format!(
                "there is no /{path} (HTTP 404): is this a Flower 2, and is its url_prefix part of the address?"
            ))),
        }
    }

    /// The body of `GET path`; none where there is no such thing (404).
    pub(super) async fn find(
        &self,
        path: &str,
        query: &[(&str, &str)],
        within: Duration,
    ) -> Result<Option<Vec<u8>>, BrokerError> {
        tokio::time::timeout(within, self.ask(path, query))
            .await
            .unwrap_or(Err(BrokerError::Timeout(within)))
    }

    async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Result<Option<Vec<u8>>, BrokerError> {
        let mut url = self.address.base.clone();
        url.set_path(&format!("{}{path}", self.address.base.path()));
        url.query_pairs_mut().extend_pairs(query);
        let mut request = self.client.get(url);
        if let Some(login) = &self.address.login {
            request = request.basic_auth(&login.user, Some(login.password.expose_secret()));
        }
        let answer = request.send().await.map_err(explain)?;
        match answer.status() {
            StatusCode::OK => body(answer).await.map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(self.meaning(path, status)),
        }
    }

    fn meaning(&self, path: &str, status: StatusCode) -> BrokerError {
        let code = status.as_u16();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if self.address.login.is_some() => BrokerError::Refused(
                format!("Flower does not take this user name and password (HTTP {code})"),
            ),
            // Without authentication its pages are open, and its API is not.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if path.starts_with("api/") => {
                BrokerError::Refused(format!(
                    "Flower keeps its API to itself (HTTP {code}): start it with --basic-auth=USER:PASSWORD, or with \
                 FLOWER_UNAUTHENTICATED_API=true in its environment"
                ))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => BrokerError::Refused(format!(
                "Flower wants a user name and a password (HTTP {code}): http://USER:PASSWORD@HOST:5555"
            )),
            _ if status.is_redirection() => BrokerError::Refused(format!(
                "it sends us elsewhere (HTTP {code}), and we do not follow: give the address that it ends at; where that \
                 is a login for browsers, Flower needs --basic-auth"
            )),
            _ if status.is_server_error() => BrokerError::Lost(format!("Flower has trouble of its own (HTTP {code})")),
            _ => BrokerError::Protocol(format!("HTTP {code}, which Flower does not answer")),
        }
    }
}

async fn body(mut answer: Response) -> Result<Vec<u8>, BrokerError> {
    let too_large = || BrokerError::Protocol(format!("an answer of more than {} MiB", MAX_ANSWER >> 20));
    if answer.content_length().is_some_and(|length| length > MAX_ANSWER as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(explain)? {
        if body.len() + part.len() > MAX_ANSWER {
            return Err(too_large());
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

/// What went wrong below HTTP, by the deepest reason, without the URL.
fn explain(error: reqwest::Error) -> BrokerError {
    let error = error.without_url();
    if error.is_timeout() {
        return BrokerError::Timeout(CONNECT);
    }
    let mut deepest: &dyn Error = &error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    if error.is_connect() {
        BrokerError::Connect(deepest.to_string())
    } else {
        BrokerError::Lost(deepest.to_string())
    }
}

/// The body cannot be read: it is none of Flower's.
pub(super) fn not_flowers(what: &str, body: &[u8]) -> BrokerError {
    let begins = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let hint = match begins {
        Some(b'<') => ": it is a web page; is this a Flower, and does it want a login?",
        _ => "",
    };
    BrokerError::Protocol(format!("not Flower's {what}{hint}"))
}
