//! Requests and replies of the captures.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::flat::round;
use super::support::{Line, capture};
use crate::celery::control::{self, ReplyTo, Request};
use crate::celery::inspect::{self, Pool, Stats};
use crate::celery::reply::{self, RawReply, WorkerReply};
use crate::celery::{Decoder, Malformed};

fn raw(line: &Line) -> RawReply<'_> {
    match line.text("broker") {
        "redis" => RawReply::Redis { payload: &line.body },
        _ => RawReply::Amqp {
            content_type: line.meta["properties"]["content_type"].as_str().unwrap_or_default(),
            compression: "",
            ticket: line.meta["headers"]["ticket"].as_str(),
            body: &line.body,
        },
    }
}

/// The ticket, read by another hand.
fn ticket(line: &Line) -> Option<String> {
    let headers = match line.text("broker") {
        "redis" => serde_json::from_slice::<Value>(&line.body).unwrap()["headers"].clone(),
        _ => line.meta["headers"].clone(),
    };
    headers["ticket"].as_str().map(str::to_owned)
}

/// With floats as text: `serde_json` reads the last digit of some wrong.
fn rounded(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => json!(round(number.as_f64().unwrap())),
        Value::Array(list) => list.into_iter().map(rounded).collect(),
        Value::Object(object) => object.into_iter().map(|(key, value)| (key, rounded(value))).collect(),
        other => other,
    }
}

fn replies() -> Vec<(Line, WorkerReply)> {
    let read = |line: Line| {
        let reply = reply::parse(raw(&line)).unwrap();
        (line, reply)
    };
    capture("commands")
        .into_iter()
        .filter(|line| line.text("dir") == "reply")
        .map(read)
        .collect()
}

#[test]
fn every_reply() {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (line, reply) in replies() {
        assert_eq!(
            rounded(json!({ reply.hostname.as_str(): reply.body })),
            rounded(line.inner())
        );
        assert_eq!(reply.ticket, ticket(&line));
        assert_eq!(reply::ticket(raw(&line)), reply.ticket);
        *counts
            .entry((line.text("broker").into(), line.text("method").into()))
            .or_default() += 1;
        match line.text("method") {
            "ping" => assert!(inspect::is_pong(&reply.body)),
            "stats" => {
                let stats = Stats::read(&reply.body).unwrap();
                let pool = match reply.hostname.as_str() {
                    "sms@h1" => (Pool::Prefork, 2),
                    "sms@h2" => (Pool::Threads, stats.max_concurrency.unwrap()),
                    "tracker@h1" => (Pool::Solo, 1),
                    "tracker@h2" => (Pool::Gevent, 10),
                    other => panic!("{other}"),
                };
                assert_eq!((stats.pool, stats.max_concurrency), (Some(pool.0), Some(pool.1)));
                assert_eq!(stats.pid.map(u64::from), reply.body["pid"].as_u64());
                assert_eq!(stats.prefetch_count, reply.body["prefetch_count"].as_u64());
                assert!(stats.uptime.is_some() && stats.accepted.is_some());
            }
            "active_queues" => {
                let names = inspect::active_queues(&reply.body).unwrap();
                let service = reply.hostname.split('@').next().unwrap();
                assert_eq!(names.first().map(|name| name.as_str()), Some(service));
            }
            "active" => assert_eq!(inspect::active(&reply.body), reply.body.as_array().map(Vec::len)),
            "nosuch" => assert_eq!(inspect::failed(&reply.body), Some("KeyError('nosuch')")),
            "heartbeat" => assert!(inspect::failed(&reply.body).is_some()),
            _ => {}
        }
    }
    for (broker, method, count) in [
        ("redis", "ping", 73),
        ("redis", "stats", 10),
        ("redis", "active_queues", 10),
        ("redis", "active", 6),
        ("rabbitmq", "ping", 70),
        ("rabbitmq", "stats", 11),
        ("rabbitmq", "active_queues", 11),
        ("rabbitmq", "active", 7),
    ] {
        assert_eq!(
            counts[&(broker.to_owned(), method.to_owned())],
            count,
            "{broker} {method}"
        );
    }
    assert_eq!(counts.values().sum::<usize>(), 301);
}

/// Requests, results and whatever else passes by are no events, and are said not to be.
#[test]
fn what_is_no_event() {
    let mut decoder = Decoder::new();
    let mut seen = 0;
    for name in ["commands", "redis-5x", "rabbitmq-5x"] {
        for line in capture(name) {
            let is_event = line.text("exchange") == "celeryev" || line.text("channel").starts_with("/0.celeryev/");
            if is_event {
                continue;
            }
            let decoded = decoder.decode(line.raw(), |event| panic!("{event:?}"));
            assert_eq!((decoded.events, decoded.malformed), (0, 1));
            assert!(
                !matches!(decoded.why, None | Some(Malformed::TooLarge)),
                "{:?}",
                line.meta
            );
            seen += 1;
        }
    }
    assert_eq!(seen, 394 + 28 + 26);
}

/// What we write is what Celery's own client wrote, field for field.
#[test]
fn requests_are_as_celery_writes_them() {
    let mut compared = 0;
    for line in capture("commands")
        .iter()
        .filter(|line| line.text("dir") == "request" && line.meta["note"].is_null())
    {
        let theirs = line.inner();
        let destination: Option<Vec<&str>> = theirs["destination"]
            .as_array()
            .map(|names| names.iter().map(|name| name.as_str().unwrap()).collect());
        let request = Request {
            method: line.text("method"),
            arguments: theirs["arguments"].as_object().unwrap().clone(),
            destination: destination.as_deref(),
            ticket: theirs["ticket"].as_str().unwrap(),
            reply_to: Some(ReplyTo {
                exchange: theirs["reply_to"]["exchange"].as_str().unwrap(),
                routing_key: theirs["reply_to"]["routing_key"].as_str().unwrap(),
            }),
        };
        let ours = control::body(&request);
        assert_eq!(serde_json::from_slice::<Value>(&ours).unwrap(), theirs);
        if line.text("broker") == "redis" {
            let mut theirs: Value = serde_json::from_slice(&line.body).unwrap();
            let tag = theirs["properties"]["delivery_tag"].as_str().unwrap().to_owned();
            let expires = theirs["headers"]["expires"].as_f64().unwrap();
            let payload = control::redis_payload(&request, "celery.pidbox", &tag, expires);
            let mut ours: Value = serde_json::from_slice(&payload).unwrap();
            // The order of keys within the body is free; what it says was compared above.
            for envelope in [&mut ours, &mut theirs] {
                let body = STANDARD.decode(envelope["body"].as_str().unwrap()).unwrap();
                envelope["body"] = serde_json::from_slice(&body).unwrap();
                envelope["headers"]["expires"] = json!(envelope["headers"]["expires"].as_f64());
            }
            assert_eq!(ours, theirs);
        }
        compared += 1;
    }
    assert_eq!(compared, 46);
}

#[test]
fn a_request_without_reply_has_no_ticket() {
    let request = Request {
        method: "enable_events",
        arguments: Map::new(),
        destination: Some(&["sms@h1"]),
        ticket: "t",
        reply_to: None,
    };
    let body: Value = serde_json::from_slice(&control::body(&request)).unwrap();
    assert_eq!(body["destination"], json!(["sms@h1"]));
    assert!(body.get("ticket").is_none() && body.get("reply_to").is_none());
}

#[test]
fn a_bad_reply_is_an_error() {
    let amqp = |content_type, body| {
        reply::parse(RawReply::Amqp {
            content_type,
            compression: "",
            ticket: Some("t"),
            body,
        })
    };
    assert_eq!(
        amqp("application/x-python-serialize", b"\x80\x04".as_slice()),
        Err(Malformed::Pickle)
    );
    assert_eq!(amqp("", b"{}".as_slice()), Err(Malformed::ContentType));
    assert_eq!(amqp("application/json", b"{}".as_slice()), Err(Malformed::Shape));
    assert_eq!(
        amqp("application/json", br#"{"a": 1, "b": 2}"#.as_slice()),
        Err(Malformed::Shape)
    );
    assert_eq!(
        amqp("application/json", br#"{"": 1}"#.as_slice()),
        Err(Malformed::Shape)
    );
    assert_eq!(amqp("application/json", br#"{"a": "#.as_slice()), Err(Malformed::Body));
    let large = vec![b' '; reply::MAX_REPLY + 1];
    assert_eq!(amqp("application/json", &large), Err(Malformed::TooLarge));
    // A reply cannot make a tree that is much larger than itself.
    let wide = format!("{{\"a\": [{}0]}}", "0,".repeat(300_000));
    assert_eq!(amqp("application/json", wide.as_bytes()), Err(Malformed::TooLarge));
    // Python writes NaN where a task has such an argument; the rest of the reply still counts.
    let nan = amqp(
        "application/json",
        br#"{"a": [{"args": [NaN, -Infinity, -3, 1e400]}]}"#.as_slice(),
    )
    .unwrap();
    assert_eq!(nan.body, json!([{"args": [null, null, -3, null]}]));
}
