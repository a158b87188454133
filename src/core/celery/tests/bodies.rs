//! Bodies in every serialisation and compression, made by the real kombu.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::flat::{Flat, ours, theirs};
use super::support::{data, unbase64};
use crate::celery::reply::{self, RawReply};
use crate::celery::{Decoded, Decoder, Malformed, RawMessage};

fn rows() -> Vec<Value> {
    serde_json::from_str(&std::fs::read_to_string(data("bodies.json")).unwrap()).unwrap()
}

/// What a row must come to: the events in it, or why not.
fn expected(row: &Value) -> Result<Vec<Flat>, Malformed> {
    if row["serializer"] == "pickle" {
        return Err(Malformed::Pickle);
    }
    if row["compression"] == "lzma" {
        return Err(Malformed::Compression);
    }
    Ok(match &row["value"] {
        Value::Array(events) => events.iter().map(theirs).collect(),
        event => vec![theirs(event)],
    })
}

#[test]
fn every_event_on_both_brokers() {
    let mut decoder = Decoder::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows().iter().filter(|row| row["name"] != "reply") {
        let body = unbase64(&row["body"]);
        let envelope = unbase64(&row["envelope"]);
        let amqp = RawMessage::Amqp {
            content_type: row["content_type"].as_str().unwrap(),
            content_encoding: row["content_encoding"].as_str().unwrap(),
            compression: row["headers"]["compression"].as_str().unwrap_or_default(),
            body: &body,
        };
        for raw in [amqp, RawMessage::Redis { payload: &envelope }] {
            let mut found = Vec::new();
            let decoded = decoder.decode(raw, |event| found.push(ours(event)));
            let what = format!("{} {} {}", row["name"], row["serializer"], row["compression"]);
            match expected(row) {
                Ok(events) => {
                    assert_eq!(found, events, "{what}");
                    assert_eq!(
                        decoded,
                        Decoded {
                            events: events.len(),
                            malformed: 0,
                            why: None
                        },
                        "{what}"
                    );
                }
                Err(why) => assert_eq!(
                    decoded,
                    Decoded {
                        events: 0,
                        malformed: 1,
                        why: Some(why)
                    },
                    "{what}"
                ),
            }
            *seen.entry(row["serializer"].as_str().unwrap().into()).or_default() += 1;
        }
    }
    let expected = [("json", 20), ("msgpack", 18), ("pickle", 6), ("yaml", 18)];
    assert_eq!(
        seen,
        BTreeMap::from(expected.map(|(name, count)| (name.to_owned(), count)))
    );
}

#[test]
fn every_reply_on_both_brokers() {
    let mut read = 0;
    for row in rows().iter().filter(|row| row["name"] == "reply") {
        let body = unbase64(&row["body"]);
        let envelope = unbase64(&row["envelope"]);
        let amqp = RawReply::Amqp {
            content_type: row["content_type"].as_str().unwrap(),
            compression: row["headers"]["compression"].as_str().unwrap_or_default(),
            ticket: row["headers"]["ticket"].as_str(),
            body: &body,
        };
        for raw in [amqp, RawReply::Redis { payload: &envelope }] {
            assert_eq!(reply::ticket(raw).as_deref(), Some("ticket-1"));
            if row["serializer"] == "pickle" {
                assert_eq!(reply::parse(raw), Err(Malformed::Pickle));
                continue;
            }
            let reply = reply::parse(raw).unwrap();
            assert_eq!(json!({ reply.hostname.as_str(): reply.body }), row["value"]);
            assert_eq!(reply.ticket.as_deref(), Some("ticket-1"));
            read += 1;
        }
    }
    assert_eq!(read, 18);
}

/// kombu's "gzip" is zlib; what really is gzip is read as well.
#[test]
fn real_gzip() {
    let body = br#"{"type": "worker-online", "hostname": "a@b"}"#;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(body).unwrap();
    let gzip = gzip.finish().unwrap();
    let raw = RawMessage::Amqp {
        content_type: "application/json",
        content_encoding: "utf-8",
        compression: "application/x-gzip",
        body: &gzip,
    };
    let mut hostnames = Vec::new();
    let decoded = Decoder::new().decode(raw, |event| hostnames.push(ours(event)["hostname"].clone()));
    assert_eq!((decoded.events, hostnames), (1, vec!["a@b".to_owned()]));
}

/// A transport option of kombu leaves the base64 away: the body is then the text itself.
#[test]
fn envelopes_without_base64() {
    let inner = r#"{"type": "worker-online", "hostname": "a@b"}"#;
    for properties in [
        json!({}),
        json!({"body_encoding": null}),
        json!({"body_encoding": "utf-8"}),
        Value::Null,
    ] {
        let payload = json!({"body": inner, "content-type": "application/json", "properties": properties}).to_string();
        let decoded = Decoder::new().decode(
            RawMessage::Redis {
                payload: payload.as_bytes(),
            },
            |_| {},
        );
        assert_eq!(
            decoded,
            Decoded {
                events: 1,
                malformed: 0,
                why: None
            },
            "{payload}"
        );
    }
    for (payload, why) in [
        (
            json!({"body": inner, "content-type": "application/json", "properties": {"body_encoding": "rot13"}}),
            Malformed::Envelope,
        ),
        (
            json!({"body": inner, "content-type": "application/json", "properties": {"body_encoding": "base64"}}),
            Malformed::Envelope,
        ),
        (json!({"content-type": "application/json"}), Malformed::Envelope),
        (
            json!({"body": 1, "content-type": "application/json"}),
            Malformed::Envelope,
        ),
        (json!([]), Malformed::Envelope),
        (json!({"body": inner}), Malformed::ContentType),
        (
            json!({"body": inner, "content-type": "text/plain"}),
            Malformed::ContentType,
        ),
    ] {
        let payload = payload.to_string();
        let decoded = Decoder::new().decode(
            RawMessage::Redis {
                payload: payload.as_bytes(),
            },
            |_| {},
        );
        assert_eq!(
            decoded,
            Decoded {
                events: 0,
                malformed: 1,
                why: Some(why)
            },
            "{payload}"
        );
    }
}
