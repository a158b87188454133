//! One request to Sentry, and what its answer means.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode};
use sentry::transports::RateLimiter;
use url::Url;

use super::config::Config;
use crate::notifiers::http::retry_after;
use crate::notifiers::{self, OpenError};
use crate::reach;

/// What Headcount calls itself there.
const AGENT: &str = concat!("headcount/", env!("CARGO_PKG_VERSION"));

/// How long a connection that nobody speaks on is kept for the next event. Shorter than what proxies allow: what is sent on one
/// that is being closed is lost.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// The longest answer that is read, in bytes: Sentry's has forty.
const MAX_ANSWER: usize = 16 * 1024;

/// The longest that Sentry is left alone because its own header says so, in seconds: a word that is not meant so, such as of the year 9999,
/// would silence it until the next start. Raising it tells later of what a quota does not hold up any more; an hour costs one request.
const MAX_LIMIT: f64 = 3_600.0;

/// What a request came to.
#[derive(Debug)]
pub(super) enum Posted {
    /// It was taken.
    Taken(Limits),
    /// Sentry wants to be left alone; it may come again later.
    Limited(Limits),
    /// It will never be taken, or nothing will be until somebody mends the configuration.
    Refused { status: StatusCode, limits: Limits },
    /// Sentry has trouble of its own, of which what was sent may be the cause.
    Failed(StatusCode),
    /// Somebody before Sentry says that it is not there, or it says so itself: 502, 503, 504.
    Unavailable(StatusCode),
    /// It went, wholly or in part, and nobody answered: it may have been taken, or be the cause.
    Lost(String),
    /// Nobody could be reached, so nothing went.
    Away(String),
}

/// What an answer says of how often Sentry may be asked.
#[derive(Debug)]
pub(super) struct Limits {
    headers: HeaderMap,
    too_many: bool,
}

impl Limits {
    pub(super) fn apply(&self, limiter: &mut RateLimiter) {
        let header = |name: &str| self.headers.get(name)?.to_str().ok();
        if let Some(told) = header("x-sentry-rate-limits") {
            limiter.update_from_sentry_header(&capped(told));
        } else if self.headers.contains_key(RETRY_AFTER) {
            match retry_after(&self.headers) {
                Some(after) => limiter.update_from_retry_after(&after.as_secs_f64().to_string()),
                // It cannot be read: as if it did not say for how long.
                None => limiter.update_from_429(),
            }
        } else if self.too_many {
            limiter.update_from_429();
        }
    }
}

/// Sentry's limits, of `SECONDS:CATEGORIES:SCOPE` each, none of them longer than [`MAX_LIMIT`].
fn capped(told: &str) -> String {
    let group = |group: &str| {
        let (seconds, rest) = group.split_once(':')?;
        let seconds: f64 = seconds.trim().parse().ok()?;
        Some(format!("{}:{rest}", seconds.clamp(0.0, MAX_LIMIT)))
    };
    // One that cannot be read is none.
    told.split(',').filter_map(group).collect::<Vec<_>>().join(",")
}

/// The way to one project. Cheap to clone, with the connection.
#[derive(Clone)]
pub(super) struct Post {
    client: Client,
    url: Url,
    auth: String,
}

impl Post {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// Where TLS cannot be set up, or the address cannot be spoken to.
    pub(super) fn new(config: &Config) -> Result<Self, OpenError> {
        let url: Url = config.dsn.envelope_api_url();
        let client = notifiers::http::client_with(&url, |client| client.pool_idle_timeout(IDLE_FOR))?;
        Ok(Self {
            client,
            url,
            auth: config.dsn.to_auth(Some(AGENT)).to_string(),
        })
    }

    /// Where it goes, without the key.
    pub(super) fn host(&self) -> String {
        reach::host(&self.url)
    }

    /// Sends an envelope once.
    pub(super) async fn send(&self, body: Bytes) -> Posted {
        let request = self
            .client
            .post(self.url.clone())
            .header("X-Sentry-Auth", &self.auth)
            .header(CONTENT_TYPE, "application/x-sentry-envelope")
            .body(body);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Posted::Away(notifiers::http::explain(error)),
            Err(error) => return Posted::Lost(notifiers::http::explain(error)),
        };
        let status = answer.status();
        let limits = Limits {
            headers: answer.headers().clone(),
            too_many: status == StatusCode::TOO_MANY_REQUESTS,
        };
        // Its text says nothing more, but only a connection whose answer was read to its end serves again.
        let mut answer = answer;
        let mut read = 0;
        while read < MAX_ANSWER
            && let Ok(Some(part)) = answer.chunk().await
        {
            read += part.len();
        }
        match status {
            StatusCode::TOO_MANY_REQUESTS => Posted::Limited(limits),
            StatusCode::REQUEST_TIMEOUT => Posted::Failed(status),
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Posted::Unavailable(status)
            }
            status if status.is_success() => Posted::Taken(limits),
            status if status.is_server_error() => Posted::Failed(status),
            status => Posted::Refused { status, limits },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sentry::transports::RateLimitingCategory;

    use super::*;

    /// For how long errors are not to be sent.
    fn rest(name: &'static str, value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        let mut limiter = RateLimiter::new();
        let too_many = false;
        Limits { headers, too_many }.apply(&mut limiter);
        limiter.is_disabled(RateLimitingCategory::Error)
    }

    #[test]
    fn no_word_of_sentrys_silences_for_ever() {
        let longest = Duration::from_secs_f64(MAX_LIMIT);
        let names = ["retry-after", "x-sentry-rate-limits"];
        for (name, value) in [
            (names[0], "9e18"),
            (names[0], "9000000000000000000"),
            (names[0], "99999999999999999999999999"),
            (names[0], "Fri, 31 Dec 9999 23:59:59 GMT"),
            (names[1], "9e18::organization"),
            (names[1], "inf:error:organization"),
            (names[1], "60:session:key, 9999999999:error;transaction:organization"),
        ] {
            let rest = rest(name, value);
            assert!(rest.is_some_and(|rest| rest <= longest), "{value}: {rest:?}");
        }
        for value in ["NaN:error:x", "-5:error:x", "60:session:x", "soon:error:x", ",:,::"] {
            assert_eq!(rest(names[1], value), None, "{value}");
        }
    }
}
