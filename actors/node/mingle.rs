//! What a worker does when it has joined (mingle): it asks the others what has been revoked, and how late it is by their clocks.

use std::time::Duration;

use headcount_core::celery::inspect::failed;
use headcount_core::node::Input;
use serde_json::{Map, Value, json};

use super::Joined;
use crate::ports::Inspect;

/// So long answers are waited for, as Celery does. No task begins before: it may be one of the revoked.
const WAIT: Duration = Duration::from_secs(1);

/// Asks. Where that fails nothing is known, and the tasks begin all the same.
pub(super) async fn meet(with: &Joined, revoked: Vec<String>) -> Input {
    let (mut clock, mut theirs) = (0, Vec::new());
    let own = with.spec.hostname.as_str();
    let arguments: Map<String, Value> = [("from_node", json!(own)), ("revoked", json!(revoked))]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    let hello = Inspect {
        method: "hello",
        arguments,
        destination: None,
        timeout: WAIT,
    };
    let replies = match &with.neighbours {
        Some(broker) => broker.inspect(hello).await.unwrap_or_else(|error| {
            tracing::warn!(broker = broker.name(), node = own, %error, "the node's neighbours cannot be asked what has been revoked: it begins all the same, and may run what was revoked while it was away");
            Vec::new()
        }),
        None => Vec::new(),
    };
    // One answer of this name is its own.
    if replies.iter().filter(|reply| reply.hostname == own).count() > 1 {
        tracing::warn!(
            broker = with.broker.name(),
            node = own,
            "another node is called {own} already: both obey what is said to either; give each Headcount's [[node]] a name of its own"
        );
    }
    for reply in replies.iter().filter(|reply| failed(&reply.body).is_none()) {
        let said = |key| reply.body.get(key);
        clock = clock.max(said("clock").and_then(Value::as_u64).unwrap_or_default());
        match said("revoked") {
            Some(Value::Array(ids)) => theirs.extend(ids.iter().filter_map(Value::as_str).map(str::to_owned)),
            // Before Celery 5.7, with their times.
            Some(Value::Object(ids)) => theirs.extend(ids.keys().cloned()),
            _ => {}
        }
    }
    Input::Met { clock, revoked: theirs }
}
