//! Elasticsearch as a sink, by its bulk API.
//!
//! Each roll-up goes under its own `_id` with an external version that grows with what has been counted: whatever order
//! requests arrive in, and however often, the newest stays.

use std::time::Duration;

use async_trait::async_trait;
use elasticsearch::auth::Credentials;
use elasticsearch::http::StatusCode;
use elasticsearch::http::response::Response;
use elasticsearch::http::transport::{SingleNodeConnectionPool, TransportBuilder};
use elasticsearch::indices::IndicesExistsParts;
use elasticsearch::params::VersionType;
use elasticsearch::{BulkOperation, BulkOperations, BulkParts, Elasticsearch};
use headcount_actors::ports::stats::StatsError;
use headcount_core::stats::value::Value;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Map, Number, Value as Json};

use super::mongodb::generation;
use super::rollup::{Fence, NOT_OURS, Rollup, Sink, Verdict, unless_all_refused};
use super::sink_url::Index;

/// So long may one bulk request take: a cluster that is busy takes its time. Where that is longer than the lease, another
/// Headcount may write the same meanwhile, which changes nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The status of what cannot be as it is, the document or the index.
const BAD_REQUEST: u16 = 400;
/// The types of errors that lie in the document: a value that does not fit its field, or a field that may not be there. The
/// first is that of version 8 on, the second that of version 7 and of OpenSearch.
const OF_DOCUMENT: [&str; 3] = [
    "document_parsing_exception",
    "mapper_parsing_exception",
    "strict_dynamic_mapping_exception",
];
/// The type of errors that may lie in the document (a field that is a document elsewhere) or in the index (a pipeline that is
/// not there, an alias without an index to write to, a data stream): the second where nothing is taken.
const OF_EITHER: &str = "illegal_argument_exception";
/// The status of a version that is not greater than the one that is there.
const CONFLICT: u16 = 409;
/// The longest that a `Retry-After` is believed: whoever names more is asked again, which costs it one request.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// So large a request every server takes that works, in bytes: where a single roll-up of no more is too large for it, it is the
/// server, or a proxy before it, that is to be mended.
const LEAST_BOUND: usize = 16 << 10;
/// The longest version that is shown, in characters.
const MAX_VERSION: usize = 30;
/// The longest reason that is kept of a refusal, in characters.
const MAX_REASON: usize = 500;

/// One index.
pub(crate) struct IndexSink {
    client: Elasticsearch,
    index: Index,
}

impl IndexSink {
    pub(crate) fn open(index: Index) -> Result<Self, StatsError> {
        let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(index.base.clone()))
            // A proxy in the environment is meant for the outside world.
            .disable_proxy()
            .enable_meta_header(false)
            .timeout(ANSWER_WITHIN);
        if let Some((user, password)) = &index.login {
            builder = builder.auth(Credentials::Basic(user.clone(), password.expose_secret().to_owned()));
        }
        let transport = builder.build().map_err(|error| StatsError::Refused {
            why: format!("{index}: {error}"),
        })?;
        Ok(Self {
            client: Elasticsearch::new(transport),
            index,
        })
    }

    fn later(&self, after: Option<Duration>, what: impl std::fmt::Display) -> StatsError {
        StatsError::Later {
            after,
            why: format!("{}: {what}", self.index),
        }
    }

    async fn bulk(&self, rollups: &[Rollup]) -> Result<Response, StatsError> {
        let mut operations = BulkOperations::new();
        for rollup in rollups {
            let operation = BulkOperation::index(source(rollup))
                .id(&rollup.id)
                .index(&self.index.index)
                .version(rollup.version)
                .version_type(VersionType::ExternalGte);
            operations.push(operation).map_err(|error| self.later(None, error))?;
        }
        let sent = self.client.bulk(BulkParts::None).body(vec![operations]).send().await;
        sent.map_err(|error| self.later(None, words(&error)))
    }
}

/// An error with what is behind it; the crate says the outermost alone. It names the URL, which whoever tells of it names already.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = without_url(&error.to_string());
    let mut inner = error.source();
    while let Some(error) = inner {
        text.push_str(": ");
        text.push_str(&without_url(&error.to_string()));
        inner = error.source();
    }
    text
}

/// `error sending request for url (http://…)` without the URL. The crate hands its client's error on as a text.
fn without_url(text: &str) -> String {
    let within = text.split_once(" for url (").and_then(|(before, rest)| {
        let (_, after) = rest.split_once(')')?;
        Some(format!("{before}{after}"))
    });
    within.unwrap_or_else(|| text.to_owned())
}

#[async_trait]
impl Sink for IndexSink {
    fn address(&self) -> String {
        self.index.to_string()
    }

    async fn look(&self) -> Result<String, StatsError> {
        let product = self.product().await?;
        let (indices, names) = (self.client.indices(), [self.index.index.as_str()]);
        let asked = indices.exists(IndicesExistsParts::Index(&names));
        let answer = asked.send().await.map_err(|error| self.later(None, words(&error)))?;
        match answer.status_code() {
            status if status.is_success() => Ok(format!("reached; the index is there; {product}")),
            StatusCode::NOT_FOUND => Ok(format!("reached; the index is not there yet; {product}")),
            status => Err(self.failed(status, answer).await),
        }
    }

    async fn write(&self, rollups: &[Rollup], fence: &Fence) -> Result<Vec<Verdict>, StatsError> {
        // Where a request is too large, its halves may not be.
        let mut left = vec![rollups];
        let mut verdicts = Vec::with_capacity(rollups.len());
        while let Some(some) = left.pop() {
            if some.is_empty() {
                continue;
            }
            let answer = self.bulk(some).await?;
            let status = answer.status_code();
            if status == StatusCode::PAYLOAD_TOO_LARGE {
                match some {
                    [only] if size(only) <= LEAST_BOUND => return Err(self.failed(status, answer).await),
                    [_] => verdicts.push(Verdict::Refused("larger than a request may be".to_owned())),
                    _ => {
                        let (first, second) = some.split_at(some.len() / 2);
                        left.extend([second, first]);
                    }
                }
                continue;
            }
            if !status.is_success() {
                return Err(self.failed(status, answer).await);
            }
            let answer: Answer = answer.json().await.map_err(|error| self.later(None, words(&error)))?;
            if answer.items.len() != some.len() {
                let what = format!("an answer about {} of {} roll-ups", answer.items.len(), some.len());
                return Err(self.later(None, what));
            }
            verdicts.extend(judge(answer.items, fence.newest));
        }
        // Of all requests together: of one that was cut down to a single roll-up nobody could tell.
        Ok(unless_all_refused(verdicts))
    }
}

impl IndexSink {
    /// What answers there, by its own words.
    async fn product(&self) -> Result<String, StatsError> {
        let asked = self.client.info().send().await;
        let answer = asked.map_err(|error| self.later(None, words(&error)))?;
        let status = answer.status_code();
        match status {
            // Whoever may write to an index need not be permitted to ask this.
            StatusCode::FORBIDDEN => return Ok("this user may not ask for its version".to_owned()),
            StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS => return Err(self.failed(status, answer).await),
            status if status.is_server_error() => return Err(self.failed(status, answer).await),
            _ => {}
        }
        let info = if status.is_success() {
            answer.json::<Info>().await.ok()
        } else {
            None
        };
        let Some(Info { version }) = info else {
            return Err(StatsError::Refused {
                why: format!(
                    "{}: answers GET / ({status}) without a `version.number`, unlike Elasticsearch and OpenSearch: it is another \
                     server, or a proxy that should let that through",
                    self.index
                ),
            });
        };
        let name = match version.distribution.as_deref() {
            Some("opensearch") => "OpenSearch",
            _ => "Elasticsearch",
        };
        let sound = |c: &char| c.is_ascii_graphic();
        let number: String = version.number.chars().filter(sound).take(MAX_VERSION).collect();
        Ok(format!("{name} {number}"))
    }

    async fn failed(&self, status: StatusCode, answer: Response) -> StatsError {
        let after = answer
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
        let said: String = answer
            .text()
            .await
            .unwrap_or_default()
            .chars()
            .take(MAX_REASON)
            .collect();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => StatsError::Refused {
                why: format!("{}: {status}: {said}", self.index),
            },
            _ => self.later(after, format_args!("{status}: {said}")),
        }
    }
}

/// What there is to know of the server.
#[derive(Deserialize)]
struct Info {
    version: Version,
}

#[derive(Deserialize)]
struct Version {
    number: String,
    distribution: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
    error: Option<Json>,
}

/// What the items of one answer mean.
fn judge(items: Vec<Item>, newest: i64) -> Vec<Verdict> {
    // Then the index and its pipeline are as they should be.
    let works = items.iter().any(|item| item.index.is_taken());
    unless_all_refused(
        items
            .into_iter()
            .map(|item| verdict(item.index, works, newest))
            .collect(),
    )
}

impl Outcome {
    const fn is_taken(&self) -> bool {
        matches!(self.status, 200..=299)
    }
}

fn verdict(outcome: Outcome, works: bool, newest: i64) -> Verdict {
    if outcome.is_taken() {
        return Verdict::Taken;
    }
    let error = outcome.error.unwrap_or_default();
    let text = |name: &str| error.get(name).and_then(Json::as_str).unwrap_or_default();
    if outcome.status == CONFLICT {
        return match version_there(text("reason")) {
            Some(version) if generation::of(version) > newest => Verdict::Later(NOT_OURS.to_owned()),
            // A newer one is there.
            _ => Verdict::Taken,
        };
    }
    let mut reason = format!("{} {}: {}", outcome.status, text("type"), text("reason"));
    let mut inner = error.get("caused_by");
    while let Some(cause) = inner.filter(|_| reason.len() < MAX_REASON) {
        if let Some(text) = cause.get("reason").and_then(Json::as_str) {
            reason.push_str(": ");
            reason.push_str(text);
        }
        inner = cause.get("caused_by");
    }
    let reason = reason.chars().take(MAX_REASON).collect();
    // Only what lies in the document itself stays wrong; an index that is missing or locked is somebody's to mend.
    let is_refused =
        outcome.status == BAD_REQUEST && (OF_DOCUMENT.contains(&text("type")) || works && text("type") == OF_EITHER);
    if is_refused {
        Verdict::Refused(reason)
    } else {
        Verdict::Later(reason)
    }
}

/// The version that a conflict is with, which the reason alone tells.
fn version_there(reason: &str) -> Option<i64> {
    let (_, rest) = reason.split_once("current version [")?;
    rest.split(']').next()?.parse().ok()
}

/// About how many bytes a request takes with this roll-up alone.
fn size(rollup: &Rollup) -> usize {
    rollup.id.len() + source(rollup).to_string().len()
}

/// The document of a roll-up.
fn source(rollup: &Rollup) -> Json {
    let mut document = Map::new();
    document.insert("bucket".to_owned(), json(&Value::Date(rollup.bucket)));
    for (path, value) in &rollup.fields {
        insert(&mut document, path, json(value));
    }
    Json::Object(document)
}

fn insert(document: &mut Map<String, Json>, path: &str, value: Json) {
    match path.split_once('.') {
        None => drop(document.insert(path.to_owned(), value)),
        Some((name, rest)) => {
            let within = document.entry(name).or_insert_with(|| Json::Object(Map::new()));
            if let Json::Object(within) = within {
                insert(within, rest, value);
            }
        }
    }
}

fn json(value: &Value<'_>) -> Json {
    match value {
        Value::Null | Value::Other(_) => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(whole) => Json::from(*whole),
        Value::Float(float) => Number::from_f64(*float).map_or(Json::Null, Json::Number),
        Value::Date(at) => match jiff::Timestamp::from_microsecond(at.as_micros()) {
            Ok(at) => Json::String(at.to_string()),
            Err(_) => Json::Null,
        },
        Value::Id(id) => Json::String(id.iter().map(|byte| format!("{byte:02x}")).collect()),
        Value::Text(text) => Json::String(text.clone().into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headcount_core::time::Wall;
    use serde_json::json;

    fn says(status: u16, error: Json) -> Verdict {
        let outcome = Outcome {
            status,
            error: Some(error),
        };
        verdict(outcome, false, 3)
    }

    fn answer(items: &[(u16, &str)]) -> Vec<Verdict> {
        let item = |(status, kind): &(u16, &str)| Item {
            index: Outcome {
                status: *status,
                error: (*status >= 300).then(|| json!({"type": kind, "reason": "r"})),
            },
        };
        judge(items.iter().map(item).collect(), 3)
    }

    #[test]
    fn the_url_is_not_told_twice() {
        let said = without_url("error sending request for url (http://127.0.0.1:9/_bulk?a=(b)");
        assert_eq!(said, "error sending request");
        assert_eq!(without_url("connection refused"), "connection refused");
    }

    #[test]
    fn a_broken_index_is_waited_for() {
        let (argument, parsing) = ((400, "illegal_argument_exception"), (400, "document_parsing_exception"));
        let waits = |verdicts: Vec<Verdict>| verdicts.iter().all(|verdict| matches!(verdict, Verdict::Later(_)));
        // A pipeline that is missing, or an alias without an index to write to.
        assert!(waits(answer(&[argument])));
        assert!(waits(answer(&[argument, argument])));
        // A mapping that nothing fits.
        assert!(waits(answer(&[parsing, parsing])));
        assert!(waits(answer(&[
            (400, "illegal_state_exception"),
            (400, "mapper_exception_of_another_kind")
        ])));
    }

    #[test]
    fn a_document_that_does_not_fit_is_refused_where_others_are_taken() {
        let (argument, parsing) = ((400, "illegal_argument_exception"), (400, "document_parsing_exception"));
        let verdicts = answer(&[argument, (201, ""), parsing]);
        assert!(matches!(
            verdicts.as_slice(),
            [Verdict::Refused(_), Verdict::Taken, Verdict::Refused(_)]
        ));
        assert!(matches!(answer(&[parsing]).as_slice(), [Verdict::Refused(_)]));
        // One that waits is no refusal, so not all are refused.
        let verdicts = answer(&[parsing, (429, "es_rejected_execution_exception")]);
        assert!(matches!(verdicts.as_slice(), [Verdict::Refused(_), Verdict::Later(_)]));
    }

    #[test]
    fn a_conflict_with_a_roll_up_of_a_later_pipeline_is_none_with_a_newer_one() {
        let conflict = |version: i64| {
            let reason =
                format!("[x]: version conflict, current version [{version}] is higher than the one provided [7]");
            says(
                409,
                json!({"type": "version_conflict_engine_exception", "reason": reason}),
            )
        };
        assert_eq!(conflict((3 << 32) + 5), Verdict::Taken);
        assert_eq!(conflict((4 << 32) + 5), Verdict::Later(NOT_OURS.to_owned()));
    }

    #[test]
    fn only_what_lies_in_the_document_is_refused() {
        let parsing = json!({"type": "document_parsing_exception", "reason": "failed to parse field [n]",
            "caused_by": {"type": "x", "reason": "For input string: \"a\""}});
        let Verdict::Refused(why) = says(400, parsing) else {
            panic!("taken");
        };
        assert_eq!(
            why,
            "400 document_parsing_exception: failed to parse field [n]: For input string: \"a\""
        );
        assert!(matches!(
            says(400, json!({"type": "mapper_parsing_exception"})),
            Verdict::Refused(_)
        ));
        assert!(matches!(
            says(400, json!({"type": "strict_dynamic_mapping_exception"})),
            Verdict::Refused(_)
        ));
        assert!(matches!(
            says(429, json!({"type": "es_rejected_execution_exception"})),
            Verdict::Later(_)
        ));
        assert!(matches!(
            says(503, json!({"type": "unavailable_shards_exception"})),
            Verdict::Later(_)
        ));
        assert!(matches!(
            says(404, json!({"type": "index_not_found_exception"})),
            Verdict::Later(_)
        ));
        assert!(matches!(
            says(400, json!({"type": "invalid_index_name_exception"})),
            Verdict::Later(_)
        ));
        assert_eq!(
            says(409, json!({"type": "version_conflict_engine_exception"})),
            Verdict::Taken
        );
    }

    #[test]
    fn a_document_is_what_the_contract_says() {
        let rollup = Rollup {
            id: "x".to_owned(),
            bucket: Wall::from_micros(1_769_860_800_000_000),
            fields: vec![
                ("geo.country".to_owned(), Value::text("de")),
                ("geo.id".to_owned(), Value::Id([0xab; 12])),
                ("n".to_owned(), Value::Int(3)),
                ("paid".to_owned(), Value::Float(1.5)),
                ("slow".to_owned(), Value::Null),
            ],
            version: 3,
        };
        let id = "ab".repeat(12);
        assert_eq!(
            source(&rollup),
            json!({"bucket": "2026-01-31T12:00:00Z", "geo": {"country": "de", "id": id}, "n": 3, "paid": 1.5, "slow": null})
        );
    }
}
