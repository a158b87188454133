//! A trace before it is sent: the fields of its spans are whoever's made them, so only those stay that are known to hold names.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::secrets::Secrets;

/// The data of spans that may be texts; numbers may all be there.
const SPAN_DATA: &[&str] = &[
    "broker",
    "exception",
    "fleet",
    "id",
    "incident",
    "job",
    "kind",
    "name",
    "node",
    "notifier",
    "outcome",
    "pipeline",
    "root_id",
    "state",
    "task",
];

/// The trace without any secret; none where one would be in it all the same.
pub(super) fn clean_trace<T: Serialize + DeserializeOwned>(secrets: &Secrets, what: &T) -> Option<T> {
    let mut value = serde_json::to_value(what).ok()?;
    keep_names(&mut value);
    secrets
        .clean(&value)
        .and_then(|value| serde_json::from_value(value).ok())
}

fn keep_names(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(keep_names),
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                match field {
                    Value::Object(data) if name == "data" || name == "extra" => data.retain(|name, value| {
                        let known = SPAN_DATA.contains(&name.as_str())
                            || name.starts_with("code.")
                            || name.starts_with("sentry.");
                        known || matches!(value, Value::Number(_) | Value::Bool(_))
                    }),
                    field => keep_names(field),
                }
            }
        }
        _ => {}
    }
}
