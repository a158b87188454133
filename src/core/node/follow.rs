//! What follows a task: callbacks, errbacks and the rest of a chain, as Celery's canvas writes them into the message.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::celery::task::{Embed, Route, Routes, TaskMessage, parse_iso8601};
use crate::celery::{Publication, To};
use crate::hash::fnv1a;
use crate::time::Wall;

/// Celery's `task_default_queue`: where a signature goes that names no queue, and that no route leads elsewhere.
const DEFAULT_QUEUE: &str = "celery";

/// Why a task cannot be taken on: something is to follow it that Headcount cannot send. Known before it runs, so that nobody
/// waits for what never comes.
pub(super) fn unable(embed: &Embed) -> Option<&'static str> {
    if embed.chord.is_some() {
        return Some("Headcount does not take part in chords");
    }
    let lists = [&embed.callbacks, &embed.errbacks, &embed.chain];
    let mut signatures = lists.into_iter().flatten().flatten();
    signatures
        .any(|signature| !is_plain(signature))
        .then_some("Headcount calls single tasks after its own, and no groups or chords")
}

fn is_plain(signature: &Value) -> bool {
    let kind = signature.get("subtask_type");
    let plain = kind.is_none_or(|kind| kind.is_null() || kind == "");
    plain && signature.get("task").is_some_and(Value::is_string)
}

/// What is sent after a success: each callback, and the next of the chain, with the result as first argument.
pub(super) fn after_success(parent: &TaskMessage, result: &Value, routes: &Routes, now: Wall) -> Vec<Publication> {
    let callbacks = parent.embed.callbacks.iter().flatten();
    let mut sent: Vec<Publication> = callbacks
        .enumerate()
        .filter_map(|(place, signature)| call(parent, signature, place, (result.clone(), None), routes, now))
        .collect();
    if let Some((next, rest)) = parent.embed.chain.as_ref().and_then(|chain| chain.split_last()) {
        let rest = (!rest.is_empty()).then(|| rest.to_vec());
        sent.extend(call(parent, next, sent.len(), (result.clone(), rest), routes, now));
    }
    sent
}

/// What is sent after a failure: each errback, with the id of the task that failed.
pub(super) fn after_failure(parent: &TaskMessage, routes: &Routes, now: Wall) -> Vec<Publication> {
    let errbacks = parent.embed.errbacks.iter().flatten();
    errbacks
        .enumerate()
        .filter_map(|(place, signature)| {
            let id = Value::from(parent.id.as_str());
            call(parent, signature, place, (id, None), routes, now)
        })
        .collect()
}

fn call(
    parent: &TaskMessage,
    signature: &Value,
    place: usize,
    (first, chain): (Value, Option<Vec<Value>>),
    routes: &Routes,
    now: Wall,
) -> Option<Publication> {
    let name = signature.get("task")?.as_str()?;
    let options = signature.get("options").and_then(Value::as_object);
    let option = |key: &str| {
        options
            .and_then(|options| options.get(key))
            .filter(|value| !value.is_null())
    };
    let text = |key: &str| option(key).and_then(Value::as_str).map(str::to_owned);
    let countdown = option("countdown").and_then(Value::as_f64);
    let countdown = countdown
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .map(|rest| now + rest);
    let mut args = Vec::new();
    if signature.get("immutable") != Some(&Value::Bool(true)) {
        args.push(first);
    }
    args.extend(
        signature
            .get("args")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .cloned(),
    );
    let list = |key: &str| match option(key) {
        Some(Value::Array(list)) => Some(list.clone()),
        Some(one @ Value::Object(_)) => Some(vec![one.clone()]),
        _ => None,
    };
    let queue = match option("queue") {
        Some(Value::String(queue)) => Some(queue.clone()),
        Some(Value::Object(queue)) => queue.get("name").and_then(Value::as_str).map(str::to_owned),
        _ => None,
    };
    let said = Route {
        queue,
        exchange: text("exchange").filter(|exchange| !exchange.is_empty()),
        routing_key: text("routing_key"),
        priority: option("priority")
            .and_then(Value::as_u64)
            .and_then(|priority| u8::try_from(priority).ok()),
    };
    let route = routes.route(name, said, DEFAULT_QUEUE);
    let to = route.destination(DEFAULT_QUEUE);
    let message = TaskMessage {
        args,
        kwargs: signature
            .get("kwargs")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_else(Map::new),
        embed: Embed {
            callbacks: list("link"),
            errbacks: list("link_error"),
            chain,
            chord: option("chord").cloned(),
        },
        eta: countdown.or_else(|| text("eta").and_then(|eta| parse_iso8601(&eta))),
        expires: text("expires").and_then(|expires| parse_iso8601(&expires)),
        root_id: Some(parent.root_id.clone().unwrap_or_else(|| parent.id.clone())),
        parent_id: Some(parent.id.clone()),
        group: text("group_id"),
        reply_to: text("reply_to").or_else(|| parent.reply_to.clone()),
        priority: route.priority,
        others: parent.others.clone(),
        ..TaskMessage::new(
            text("task_id").unwrap_or_else(|| derived_id(&parent.id, name, place)),
            name,
        )
    };
    Some(message.publication(To::exchange(to.exchange, to.routing_key)))
}

/// An id for a signature that bears none, in the shape of a UUID. Made of what it follows: a task that comes again after a
/// crash calls the same ones again.
fn derived_id(parent: &str, name: &str, place: usize) -> String {
    let hash = |salt: &str| fnv1a(&format!("{salt}\0{parent}\0{name}\0{place}"));
    let digits = format!("{:016x}{:016x}", hash("a"), hash("b"));
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}
