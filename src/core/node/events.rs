//! What a node says of itself and of its tasks.

use serde_json::{Map, Value, json};

use super::call::{Call, seconds};
use super::spec::NodeSpec;
use crate::celery::result::Failure;
use crate::celery::task::{iso8601, repr};
use crate::celery::{Keep, Publication, To};
use crate::time::Wall;

/// `sw_ident` of Headcount's events.
pub(super) const SOFTWARE: &str = "headcount";

/// An event.
pub(super) fn event(spec: &NodeSpec, kind: &str, clock: u64, now: Wall, fields: Value) -> Publication {
    let mut body = match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let common = [
        ("hostname", json!(spec.hostname)),
        ("utcoffset", json!(spec.about.utc_offset)),
        ("pid", json!(spec.about.pid)),
        ("clock", json!(clock)),
        ("timestamp", json!(seconds(now))),
        ("type", json!(kind)),
    ];
    body.extend(common.map(|(key, value)| (key.to_owned(), value)));
    let mut headers = Map::new();
    headers.insert("hostname".into(), json!(spec.hostname));
    Publication {
        to: To::Events(kind.replace('-', ".")),
        headers,
        correlation_id: None,
        reply_to: None,
        keep: Keep::Transient,
        priority: 0,
        body: Value::Object(body).to_string().into_bytes(),
    }
}

/// The software, as every event of a worker names it.
pub(super) fn software(spec: &NodeSpec) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("sw_ident".into(), json!(SOFTWARE));
    fields.insert("sw_ver".into(), json!(spec.about.version));
    fields.insert("sw_sys".into(), json!(spec.about.system));
    fields
}

/// The fields of `task-received`.
pub(super) fn received(call: &Call) -> Value {
    let message = &call.message;
    json!({
        "uuid": message.id,
        "name": message.shadow.as_ref().unwrap_or(&message.name),
        "args": message.argsrepr(),
        "kwargs": message.kwargsrepr(),
        "root_id": message.root_id.as_ref().unwrap_or(&message.id),
        "parent_id": message.parent_id,
        "retries": message.retries,
        "eta": message.eta.map(iso8601),
        "expires": message.expires.map(iso8601),
    })
}

/// The fields of `task-succeeded`.
pub(super) fn succeeded(call: &Call, value: &Value, runtime: f64) -> Value {
    json!({"uuid": call.message.id, "result": repr(value), "runtime": runtime})
}

/// The fields of `task-failed` and `task-retried`.
pub(super) fn failed(id: &str, failure: &Failure) -> Value {
    json!({"uuid": id, "exception": failure.repr(), "traceback": failure.traceback()})
}

/// The fields of `task-revoked`; of one that was terminated, with the signal.
pub(super) fn revoked(call: &Call, signum: Option<u8>, expired: bool) -> Value {
    json!({
        "uuid": call.message.id,
        "terminated": signum.is_some(),
        "signum": signum,
        "expired": expired,
    })
}
