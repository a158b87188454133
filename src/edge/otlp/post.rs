//! One request to a collector, and what its answer means.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use headcount_actors::meters::otlp::Signal;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, StatusCode};
use url::Url;

use super::config::Config;
use crate::notifiers::http::{client_with, explain, retry_after};

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a whole request may take: OpenTelemetry's own default. Raising it lets more wait behind a collector that hangs.
const WHOLE: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes; what is longer says nothing more.
const MAX_ANSWER: usize = 64 * 1024;

/// The longest that a collector may ask to be left alone.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// What a request came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Posted {
    /// It was taken, but for so many entries, with the reason.
    Taken { rejected: usize, why: String },
    /// Nobody could be reached, or it was asked to come again: not before so long, where that was said.
    Later { after: Option<Duration>, why: String },
    /// What is in it will never be taken: it cannot be read there, or is too much.
    Refused(String),
    /// Nothing is taken there as things are, whatever is in it: a wrong key or address, or a server with an error of its own. Of no
    /// use to try again before somebody has seen to it.
    Denied(String),
}

/// Posts the requests of one signal.
pub(super) struct Poster {
    client: Client,
    url: Url,
    headers: HeaderMap,
    signal: Signal,
}

/// A client that is shared by the signals.
///
/// # Errors
/// Where TLS cannot be set up.
pub(super) fn client(config: &Config) -> Result<Client, String> {
    client_with(&config.endpoint, |client| {
        client.connect_timeout(CONNECT).timeout(WHOLE)
    })
    .map_err(|error| error.to_string())
}

impl Poster {
    pub(super) fn new(client: Client, config: &Config, signal: Signal) -> Self {
        let mut headers = config.header_map();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        Self {
            client,
            url: config.url(signal.as_str()),
            headers,
            signal,
        }
    }

    /// Sends one request once.
    pub(super) async fn post(&self, body: Bytes) -> Posted {
        let request = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .body(body);
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                let late = error.is_timeout() && !error.is_connect();
                let why = if late {
                    format!("no answer within {} s", WHOLE.as_secs())
                } else {
                    explain(error)
                };
                return Posted::Later { after: None, why };
            }
        };
        let status = answer.status();
        if is_later(status) {
            return Posted::Later {
                after: retry_after(answer.headers()).map(|after| after.min(MAX_RETRY_AFTER)),
                why: format!("HTTP {}", status.as_u16()),
            };
        }
        if is_about_contents(status) {
            return Posted::Refused(format!("HTTP {}", status.as_u16()));
        }
        if !status.is_success() {
            return Posted::Denied(match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    format!("HTTP {}: the key in [otlp] headers is not accepted", status.as_u16())
                }
                StatusCode::NOT_FOUND => "HTTP 404: nothing takes OTLP at that address".to_owned(),
                other => format!("HTTP {}", other.as_u16()),
            });
        }
        // It has been taken; what is said beside that may be cut, or missing.
        let mut said = Vec::new();
        while let Ok(Some(part)) = answer.chunk().await {
            let room = MAX_ANSWER - said.len();
            said.extend_from_slice(part.get(..room).unwrap_or(&part));
            if said.len() == MAX_ANSWER {
                break;
            }
        }
        let (rejected, why) = rejected(self.signal, &said);
        Posted::Taken { rejected, why }
    }
}

/// What OTLP's specification has sent again, and 408, which says the same.
fn is_later(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 502 | 503 | 504)
}

/// What says that these contents will never be taken: OTLP has 400 for what cannot be read; 413 is too much at once.
fn is_about_contents(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 413)
}

/// How many entries were not taken of those that were sent, and why: where that cannot be read, none.
fn rejected(signal: Signal, said: &[u8]) -> (usize, String) {
    let partly = match signal {
        Signal::Traces => ExportTraceServiceResponse::decode(said)
            .ok()
            .and_then(|answer| answer.partial_success)
            .map(|partly| (partly.rejected_spans, partly.error_message)),
        Signal::Metrics => ExportMetricsServiceResponse::decode(said)
            .ok()
            .and_then(|answer| answer.partial_success)
            .map(|partly| (partly.rejected_data_points, partly.error_message)),
        Signal::Logs => ExportLogsServiceResponse::decode(said)
            .ok()
            .and_then(|answer| answer.partial_success)
            .map(|partly| (partly.rejected_log_records, partly.error_message)),
    };
    let (count, why) = partly.unwrap_or_default();
    (
        usize::try_from(count).unwrap_or(0),
        why.chars().filter(|c| !c.is_control()).take(300).collect(),
    )
}

/// Packs a request.
pub(super) fn pack(body: &[u8]) -> Bytes {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    // Neither fails: it is written to memory.
    let packed = packer.write_all(body).and_then(|()| packer.finish());
    packed.unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    #[test]
    fn what_is_rejected_is_read_and_garbage_says_nothing() {
        let partly = ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans: 3,
                error_message: "too old".to_owned(),
            }),
        };
        assert_eq!(
            rejected(Signal::Traces, &partly.encode_to_vec()),
            (3, "too old".to_owned())
        );
        for garbage in [&b""[..], b"<html>", b"{}", &[0xff; 100]] {
            for signal in Signal::ALL {
                assert_eq!(rejected(signal, garbage).0, 0, "{garbage:?}");
            }
        }
    }
}
