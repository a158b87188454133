//! Two readings of one event, made comparable.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::celery::{Event, TaskKind, WorkerKind};

/// An event, flattened to what both readings can say.
pub(super) type Flat = BTreeMap<&'static str, String>;

const WORKER: [&str; 9] = [
    "hostname",
    "pid",
    "clock",
    "freq",
    "active",
    "processed",
    "sw_ident",
    "sw_ver",
    "sw_sys",
];

/// `serde_json` reads the last digit of some floats wrong (it is built without `float_roundtrip`), which matters next
/// to a rounding edge: half of one of its last places is added, so that both fall on the same side.
pub(super) fn round(value: f64) -> String {
    format!("{:.4}", value + 0.000_011)
}

fn show(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(round(number.as_f64().unwrap())),
        other => panic!("{other}"),
    }
}

/// By `serde_json::Value`.
pub(super) fn theirs(event: &Value) -> Flat {
    let kind = event["type"].as_str().unwrap();
    let mut flat = Flat::from([("type", kind.to_owned())]);
    let mut copy = |key: &'static str| {
        if let Some(shown) = show(&event[key]) {
            flat.insert(key, shown);
        }
    };
    copy("timestamp");
    match kind {
        "worker-online" | "worker-heartbeat" | "worker-offline" => WORKER.into_iter().for_each(copy),
        "task-progress" => ["hostname", "uuid"].into_iter().for_each(copy),
        _ => {
            ["hostname", "uuid", "name", "queue", "runtime"]
                .into_iter()
                .for_each(copy);
            flat.insert("has_eta", (!event["eta"].is_null()).to_string());
            flat.insert("retries", event["retries"].as_u64().unwrap_or(0).to_string());
        }
    }
    flat
}

/// By the decoder.
pub(super) fn ours(event: Event<'_>) -> Flat {
    let mut flat = Flat::new();
    let mut number = |key, value: Option<f64>| {
        if let Some(value) = value {
            flat.insert(key, round(value));
        }
    };
    match event {
        Event::Worker(worker) => {
            number("timestamp", worker.timestamp);
            number("pid", worker.pid.map(f64::from));
            number("clock", worker.clock.map(|clock| clock as f64));
            number("freq", worker.freq);
            number("active", worker.active.map(|active| active as f64));
            number("processed", worker.processed.map(|processed| processed as f64));
            let kind = match worker.kind {
                WorkerKind::Online => "worker-online",
                WorkerKind::Heartbeat => "worker-heartbeat",
                WorkerKind::Offline => "worker-offline",
            };
            flat.insert("type", kind.into());
            flat.insert("hostname", worker.hostname.into());
            for (key, text) in [
                ("sw_ident", worker.sw_ident),
                ("sw_ver", worker.sw_ver),
                ("sw_sys", worker.sw_sys),
            ] {
                text.map(|text| flat.insert(key, text.into()));
            }
        }
        Event::Task(task) => {
            number("timestamp", task.timestamp);
            number("runtime", task.runtime);
            let kind = match task.kind {
                TaskKind::Custom => "task-progress".into(),
                known => format!("task-{}", serde_json::to_value(known).unwrap().as_str().unwrap()),
            };
            if task.kind != TaskKind::Custom {
                flat.insert("has_eta", task.has_eta.to_string());
                flat.insert("retries", task.retries.to_string());
            }
            flat.insert("type", kind);
            flat.insert("hostname", task.hostname.into());
            flat.insert("uuid", task.uuid.into());
            for (key, text) in [("name", task.name), ("queue", task.queue)] {
                text.map(|text| flat.insert(key, text.into()));
            }
        }
        Event::Other => panic!("no such event in the captures"),
    }
    flat
}
