//! What every notifier that speaks HTTP needs: a client with trust and timeouts, bounded answers, `Retry-After`.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use headcount_actors::ports::NotifyError;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, RequestBuilder, StatusCode, redirect};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use super::OpenError;

/// How long a connection may take to stand. A host that is there answers within one; raising it delays every notice
/// behind a host that is not.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a whole request may take. Long enough for a slow answer, because a message whose answer was missed is sent
/// twice; raising it delays the retry.
const WHOLE: Duration = Duration::from_secs(15);

/// The longest answer that is read, in bytes. Slack repeats the message in its own; what is longer is cut.
const MAX_ANSWER: usize = 256 * 1024;

/// The longest that a channel may ask to be left alone. An alert must not wait for a day because a header says so.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(15 * 60);

/// The shortest. `Retry-After: 0`, or a moment that has passed by a clock that differs, would have what failed tried again hundreds
/// of times a second; raising it delays an alert behind a server that is back at once.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A client for one address. It follows no redirect: what it carries is meant for that address alone.
///
/// # Errors
/// Where TLS cannot be set up.
pub(super) fn client(to: &Url) -> Result<Client, OpenError> {
    client_with(to, |client| client)
}

/// The same, with something changed.
///
/// # Errors
/// Where TLS cannot be set up.
pub(crate) fn client_with(to: &Url, change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Result<Client, OpenError> {
    let failed = |error: &dyn Error| OpenError {
        key: None,
        why: format!("cannot make an HTTP client: {error}"),
    };
    let mut client = Client::builder()
        .user_agent(concat!("headcount/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls().map_err(|error| failed(&error))?)
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT)
        .timeout(WHOLE);
    if is_loopback(to) {
        // A proxy from the environment cannot reach what listens on this machine only.
        client = client.no_proxy();
    }
    change(client).build().map_err(|error| failed(&error))
}

/// Mozilla's roots, built in, so that a container without certificates works; and the system's own beside them, for a
/// company with an authority of its own. (By default reqwest asks the system alone, and fails where it has none.)
pub(crate) fn tls() -> Result<ClientConfig, rustls::Error> {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions()?;
    Ok(config
        .with_root_certificates(roots(rustls_native_certs::load_native_certs().certs))
        .with_no_client_auth())
}

fn roots(of_the_system: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    roots.add_parsable_certificates(of_the_system);
    roots
}

/// Whether an address is on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// An address that a secret may be sent to: encrypted, or on this machine.
pub(super) fn address(key: &'static str, text: &str) -> Result<Url, OpenError> {
    let url = Url::parse(text).map_err(|error| OpenError::at(key, format!("is not a URL ({error})")))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        _ => Err(OpenError::at(
            key,
            "must begin with https:// (http:// is for this machine only)",
        )),
    }
}

/// An answer that the channel itself must judge.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

/// Sends one request. What has the same meaning for every channel is judged here: no connection, no answer, 429, 5xx.
///
/// # Errors
/// [`NotifyError::Later`] for all of these, without the URL in it: that of a webhook is a secret.
pub(super) async fn send(request: RequestBuilder) -> Result<Answer, NotifyError> {
    let mut answer = request.send().await.map_err(|error| later(None, explain(error)))?;
    let status = answer.status();
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(later(
            retry_after(answer.headers()),
            "the channel asks to be left alone (HTTP 429)".to_owned(),
        ));
    }
    if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
        return Err(later(
            retry_after(answer.headers()),
            format!("the channel has trouble of its own (HTTP {})", status.as_u16()),
        ));
    }
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| later(None, explain(error)))? {
        let room = MAX_ANSWER - body.len();
        body.extend_from_slice(part.get(..room).unwrap_or(&part));
        if body.len() == MAX_ANSWER {
            break;
        }
    }
    Ok(Answer { status, body })
}

pub(super) fn later(after: Option<Duration>, why: String) -> NotifyError {
    NotifyError::Later { after, why }
}

/// What went wrong below HTTP, by the deepest reason.
pub(crate) fn explain(error: reqwest::Error) -> String {
    let error = error.without_url();
    if error.is_timeout() {
        return format!(
            "no answer within {} s",
            if error.is_connect() { CONNECT } else { WHOLE }.as_secs()
        );
    }
    let mut deepest: &dyn Error = &error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    if error.is_connect() {
        format!("cannot connect: {deepest}")
    } else {
        format!("the request failed: {deepest}")
    }
}

/// `Retry-After`: seconds, or a date; nothing where it cannot be read, never less than [`MIN_RETRY_AFTER`] nor
/// more than [`MAX_RETRY_AFTER`].
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let now = jiff::Timestamp::now();
    read_retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, now)
}

fn read_retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wanted = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // Too many digits for a number: more than any bound.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
        // A moment that has passed, by a clock that differs: as soon as may be.
        Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(wanted.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_in_all_its_forms() {
        let now = "2015-10-21T07:27:30Z".parse().unwrap();
        let secs = |s| Some(Duration::from_secs(s));
        let table = [
            ("30", secs(30)),
            (" 0 ", Some(MIN_RETRY_AFTER)),
            ("1", secs(1)),
            ("999999999", Some(MAX_RETRY_AFTER)),
            ("99999999999999999999999999", Some(MAX_RETRY_AFTER)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", secs(30)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(MIN_RETRY_AFTER)),
            ("Thu, 21 Oct 2037 07:28:00 GMT", None), // It is a Wednesday.
            ("Wed, 21 Oct 2037 07:28:00 GMT", Some(MAX_RETRY_AFTER)),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("²", None),
        ];
        for (text, expected) in table {
            assert_eq!(read_retry_after(text, now), expected, "{text:?}");
        }
    }

    #[test]
    fn secrets_go_only_where_nobody_listens_in() {
        for good in [
            "https://slack.com/api",
            "http://127.0.0.1:9/x",
            "http://localhost:1",
            "http://[::1]:1/",
        ] {
            assert!(address("api_url", good).is_ok(), "{good}");
        }
        for bad in [
            "http://slack.com/api",
            "ftp://127.0.0.1/",
            "slack.com",
            "",
            "http://127.0.0.1.evil.example/",
        ] {
            let error = address("api_url", bad).unwrap_err();
            assert_eq!(error.key, Some("api_url"), "{bad}");
        }
    }

    #[test]
    fn trust_needs_no_file() {
        assert!(
            roots(vec![]).len() > 50,
            "a machine without certificates trusts Mozilla's"
        );
        client(&Url::parse("https://slack.com/api").unwrap()).unwrap();
    }
}
