//! What `[otlp]` comes to.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use crate::notifiers::http::is_loopback;
use crate::reach;

/// Headers that the exporter sets itself, or that make no sense for one address.
const OWN: [&str; 6] = [
    "content-type",
    "content-encoding",
    "content-length",
    "host",
    "transfer-encoding",
    "connection",
];

/// What a point of a counter or histogram counts; by these names as elsewhere in OpenTelemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Temporality {
    /// What was added since the point before: New Relic's.
    #[default]
    Delta,
    /// All since a start, which is said with it: Prometheus's.
    Cumulative,
}

/// Where telemetry goes, and how much of it.
#[derive(Clone, Debug)]
pub struct Config {
    /// The collector's address; `/v1/traces` and its like are added to its path.
    pub endpoint: Url,
    /// What each request carries, such as a key; values are secrets.
    pub headers: BTreeMap<String, SecretString>,
    /// So many of all traces are kept, 0 to 1.
    pub traces_sample_rate: f64,
    /// How often metrics are sent; none: never.
    pub metrics_every: Option<Duration>,
    /// What their points count.
    pub metrics_temporality: Temporality,
    /// Log lines of this level and graver ones are sent.
    pub logs: tracing::level_filters::LevelFilter,
    /// `service.name`.
    pub service_name: String,
    /// What else is said of this Headcount, such as `deployment.environment.name`.
    pub resource: BTreeMap<String, String>,
}

/// How a secret may be sent: encrypted, or on this machine. Without headers there is none.
///
/// # Errors
/// What is wrong with the address, without naming it: it may hold a key.
pub fn endpoint(text: &str, has_secrets: bool) -> Result<Url, &'static str> {
    const NOT_ONE: &str = "expected an address such as \"https://otlp.nr-data.net\" or \"http://127.0.0.1:4318\"";
    let url = Url::parse(text).map_err(|_| NOT_ONE)?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(NOT_ONE);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("an address without a query: /v1/traces and its like are added to its path");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("user and password do not go into the address: give a header such as authorization");
    }
    if has_secrets && url.scheme() == "http" && !is_loopback(&url) {
        return Err(
            "must begin with https:// where there are headers, which are secrets (http:// is for this machine only)",
        );
    }
    Ok(url)
}

/// What one header would be.
///
/// # Errors
/// What is wrong with it, without its value.
pub fn header(name: &str, value: &SecretString) -> Result<(HeaderName, HeaderValue), &'static str> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "it is no name of an HTTP header")?;
    if OWN.contains(&name.as_str()) {
        return Err("this header is set by Headcount itself");
    }
    let mut value = HeaderValue::from_str(value.expose_secret().trim())
        .map_err(|_| "its value cannot be sent in an HTTP header")?;
    if value.is_empty() {
        return Err("its value is empty");
    }
    value.set_sensitive(true);
    Ok((name, value))
}

impl Config {
    /// The address of one signal, such as `traces`.
    pub(super) fn url(&self, signal: &str) -> Url {
        let mut url = self.endpoint.clone();
        let path = format!("{}/v1/{signal}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }

    /// The collector's host, as the log names it: with its port where that is given.
    pub fn host(&self) -> String {
        reach::host(&self.endpoint)
    }

    /// The headers; one that cannot be sent was refused when the configuration was read.
    pub(super) fn header_map(&self) -> HeaderMap {
        self.headers
            .iter()
            .filter_map(|(name, value)| header(name, value).ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_only_where_nobody_listens_in() {
        for good in [
            "https://otlp.nr-data.net",
            "http://127.0.0.1:4318",
            "http://localhost:4318/x/",
        ] {
            assert!(endpoint(good, true).is_ok(), "{good}");
        }
        assert!(endpoint("http://collector:4318", false).is_ok());
        for bad in [
            "http://collector:4318",
            "collector:4318",
            "",
            "grpc://h:4317",
            "https://u:p@h",
            "https://h/?k=v",
        ] {
            assert!(endpoint(bad, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_refused_without_its_value() {
        let secret = |text: &str| SecretString::from(text.to_owned());
        assert!(header("api-key", &secret("abc")).unwrap().1.is_sensitive());
        for (name, value) in [("api key", "x"), ("api-key", "a\nb"), ("api-key", ""), ("Host", "x")] {
            assert!(header(name, &secret(value)).is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_paths_are_added_to_that_of_the_endpoint() {
        let config = |endpoint: &str| Config {
            endpoint: endpoint.parse().unwrap(),
            headers: BTreeMap::new(),
            traces_sample_rate: 1.0,
            metrics_every: None,
            metrics_temporality: Temporality::Delta,
            logs: tracing::level_filters::LevelFilter::INFO,
            service_name: "headcount".to_owned(),
            resource: BTreeMap::new(),
        };
        assert_eq!(config("https://h").url("traces").as_str(), "https://h/v1/traces");
        assert_eq!(config("https://h/otlp/").url("logs").as_str(), "https://h/otlp/v1/logs");
    }
}
