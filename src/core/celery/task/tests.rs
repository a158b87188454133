//! Calls of tasks, both ways. What Python makes of them is judged by the live tests.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::celery::WireSettings;
use crate::celery::raw::Malformed;
use crate::glob::GlobError;
use crate::time::Wall;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is no object"),
    }
}

fn full() -> TaskMessage {
    TaskMessage {
        args: vec![json!(30), json!({"a": [1.5, null]})],
        kwargs: object(json!({"to": "größe"})),
        embed: Embed {
            callbacks: Some(vec![json!({"task": "next"})]),
            ..Embed::default()
        },
        eta: Some(Wall::from_micros(1_795_500_000_123_456)),
        expires: Some(Wall::from_micros(1_795_500_060_000_000)),
        retries: 2,
        time_limit: Some(Duration::from_secs(60)),
        soft_time_limit: Some(Duration::from_millis(1500)),
        root_id: Some("root".into()),
        parent_id: Some("parent".into()),
        group: Some("group".into()),
        group_index: Some(3),
        argsrepr: Some("(30, …)".into()),
        kwargsrepr: Some("{}".into()),
        origin: Some("gen1@host1".into()),
        stamped_headers: Some(vec!["who".into()]),
        stamps: object(json!({"who": ["me"]})),
        others: object(json!({"traceparent": "00-1-2-01"})),
        reply_to: Some("oid".into()),
        correlation_id: Some("id".into()),
        priority: Some(6),
        ..TaskMessage::new("id", "sms.purge")
    }
}

fn amqp<'a>(headers: Value, body: &'a [u8]) -> RawTask<'a> {
    RawTask::Amqp(AmqpTask {
        content_type: CONTENT_TYPE,
        headers: object(headers),
        body,
        ..AmqpTask::default()
    })
}

#[test]
fn what_is_encoded_is_decoded_on_both_brokers() {
    for task in [full(), TaskMessage::new("1", "headcount.ping")] {
        let payload = task.redis_payload("", "sms", "tag");
        let came = decode(RawTask::Redis { payload: &payload }).unwrap();
        // What was left open is what Celery's own producer fills in.
        let filled = TaskMessage {
            root_id: Some(task.root_id.clone().unwrap_or_else(|| task.id.clone())),
            correlation_id: Some(task.correlation_id().to_owned()),
            priority: Some(task.priority()),
            argsrepr: Some(task.argsrepr()),
            kwargsrepr: Some(task.kwargsrepr()),
            ..task.clone()
        };
        assert_eq!(came.task, filled);
        assert_eq!(
            (came.exchange.as_str(), came.routing_key.as_str(), came.redelivered),
            ("", "sms", false)
        );

        let body = task.body();
        let raw = AmqpTask {
            content_type: CONTENT_TYPE,
            headers: task.headers(),
            correlation_id: Some(task.correlation_id()),
            reply_to: Some(task.reply_to()),
            priority: Some(task.priority()),
            routing_key: "sms",
            redelivered: true,
            body: &body,
            ..AmqpTask::default()
        };
        let came = decode(RawTask::Amqp(raw)).unwrap();
        assert_eq!(came.task, filled);
        assert!(came.redelivered);
    }
}

#[test]
fn kombus_mark_of_a_message_that_was_put_back_is_seen() {
    let mut envelope: Value = serde_json::from_slice(&full().redis_payload("", "sms", "tag")).unwrap();
    envelope["headers"]["redelivered"] = json!(true);
    envelope["properties"]["delivery_info"]["redelivered"] = json!(true);
    let payload = envelope.to_string();
    let came = decode(RawTask::Redis {
        payload: payload.as_bytes(),
    })
    .unwrap();
    assert!(came.redelivered);
    assert!(!came.task.others.contains_key("redelivered"));
}

#[test]
fn what_is_no_task_says_why_and_who_it_would_have_been() {
    let good = b"[[], {}, {}]";
    let who = json!({"id": "1", "task": "t"});
    let with = |key: &str, value: Value| {
        let mut headers = who.clone();
        headers[key] = value;
        headers
    };
    for (headers, body, why, acknowledged) in [
        (json!({}), good.as_slice(), Why::NoTask, false),
        (json!({"task": 7}), good, Why::Header("task"), false),
        (json!({"task": ""}), good, Why::Header("task"), false),
        (json!({"task": "t"}), good, Why::Header("id"), false),
        (with("eta", json!("soon")), good, Why::Header("eta"), false),
        (with("eta", json!(1.0)), good, Why::Header("eta"), false),
        (
            with("expires", json!("2026-13-01T00:00:00")),
            good,
            Why::Header("expires"),
            false,
        ),
        (with("retries", json!(-1)), good, Why::Header("retries"), false),
        (with("retries", json!("2")), good, Why::Header("retries"), false),
        (
            with("timelimit", json!([1e300, null])),
            good,
            Why::Header("timelimit"),
            false,
        ),
        (
            with("timelimit", json!([-1, null])),
            good,
            Why::Header("timelimit"),
            false,
        ),
        (with("timelimit", json!([1])), good, Why::Header("timelimit"), false),
        (with("timelimit", json!("x")), good, Why::Header("timelimit"), false),
        (who.clone(), b"{}", Why::Body, false),
        (who.clone(), b"[[], {}]", Why::Body, false),
        (who.clone(), b"[{}, {}, {}]", Why::Body, false),
        (who.clone(), b"[[], [], {}]", Why::Body, false),
        (who.clone(), b"[[], {}, []]", Why::Body, false),
        (who.clone(), b"[[], {}, {\"chain\": 7}]", Why::Body, false),
        (who.clone(), b"[[], {}", Why::Malformed(Malformed::Body), true),
        (who.clone(), b"", Why::Malformed(Malformed::Body), true),
        (who.clone(), b"\xff\xfe", Why::Malformed(Malformed::Body), true),
    ] {
        let refused = decode(amqp(headers.clone(), body)).unwrap_err();
        assert_eq!(
            (&refused.why, refused.acknowledged),
            (&why, acknowledged),
            "{headers} {body:?}"
        );
        let known = |key: &str| headers[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        assert_eq!(refused.name, known("task"), "{headers}");
        assert_eq!(refused.id, known("id"), "{headers}");
    }
}

#[test]
fn pickle_and_what_is_too_large_are_refused_unread() {
    let raw = AmqpTask {
        content_type: "application/x-python-serialize",
        headers: object(json!({"id": "1", "task": "t"})),
        body: b"\x80\x04.",
        ..AmqpTask::default()
    };
    let refused = decode(RawTask::Amqp(raw)).unwrap_err();
    assert_eq!(refused.why, Why::Malformed(Malformed::Pickle));
    assert!(
        !refused.acknowledged,
        "Celery rejects a content type that it does not accept"
    );
    let large = vec![b' '; MAX_TASK + 1];
    let refused = decode(amqp(json!({"id": "1", "task": "t"}), &large)).unwrap_err();
    assert_eq!(refused.why, Why::Malformed(Malformed::TooLarge));
    assert!(
        !refused.acknowledged,
        "whoever wants it finds it among the dead letters"
    );
    let large = vec![b' '; 2 * MAX_TASK];
    let refused = decode(RawTask::Redis { payload: &large }).unwrap_err();
    assert_eq!(refused.why, Why::Malformed(Malformed::TooLarge));
}

/// Whoever waits for a task that cannot be read is known as long as its headers can be.
#[test]
fn of_what_is_refused_it_is_known_who_waits() {
    let asker = Asker {
        reply_to: Some("oid".into()),
        correlation_id: Some("c".into()),
        ignore_result: true,
        parent_id: Some("p".into()),
        group: Some("g".into()),
    };
    let headers = json!({"id": "1", "task": "t", "eta": "soon", "ignore_result": true, "parent_id": "p", "group": "g"});
    let raw = AmqpTask {
        headers: object(headers.clone()),
        reply_to: Some("oid"),
        correlation_id: Some("c"),
        body: b"[[], {}, {}]",
        content_type: "application/json",
        ..AmqpTask::default()
    };
    let refused = decode(RawTask::Amqp(raw)).unwrap_err();
    assert_eq!((refused.why, *refused.asker), (Why::Header("eta"), asker.clone()));

    let encoded = |length: usize| STANDARD.encode(vec![b'1'; length]);
    for (body, why) in [
        ("%".to_owned(), Why::Header("eta")),
        (encoded(MAX_TASK + 1), Why::Header("eta")),
        // Not even copied out of the envelope.
        (encoded(MAX_TASK * 3 / 2), Why::Malformed(Malformed::TooLarge)),
    ] {
        let properties = json!({"reply_to": "oid", "correlation_id": "c", "body_encoding": "base64"});
        let envelope = json!({"headers": headers, "properties": properties, "body": body});
        let payload = envelope.to_string();
        let payload = payload.as_bytes();
        let refused = decode(RawTask::Redis { payload }).unwrap_err();
        assert_eq!((refused.why, *refused.asker), (why, asker.clone()));
        assert_eq!((refused.id.as_deref(), refused.name.as_deref()), (Some("1"), Some("t")));
    }
}

/// Both brokers take a body of the same length.
#[test]
fn the_largest_body_is_read_from_both() {
    for (length, fits) in [(MAX_TASK, true), (MAX_TASK + 1, false)] {
        let rest = "[[\"\"], {}, {}]".len();
        let body = format!("[[\"{}\"], {{}}, {{}}]", "x".repeat(length - rest));
        assert_eq!(body.len(), length);
        let headers = json!({"id": "1", "task": "t"});
        let envelope = json!({
            "headers": headers, "properties": {"body_encoding": "base64"}, "content-type": "application/json",
            "body": STANDARD.encode(&body),
        });
        let payload = envelope.to_string();
        let payload = payload.as_bytes();
        let read = [
            decode(amqp(headers, body.as_bytes())),
            decode(RawTask::Redis { payload }),
        ];
        for read in read {
            match read {
                Ok(delivered) => assert!(fits && delivered.task.weight() > length - rest),
                Err(refused) => {
                    assert!(!fits);
                    assert_eq!(refused.why, Why::Malformed(Malformed::TooLarge));
                }
            }
        }
    }
}

/// In the words of who sends tasks, not of who sends events.
#[test]
fn why_a_task_is_refused_is_said_of_tasks() {
    let said = Why::Malformed(Malformed::TooLarge).to_string();
    assert!(said.contains("16 MiB") && !said.contains("event"), "{said}");
    let said = Why::Malformed(Malformed::Pickle).to_string();
    assert!(
        said.contains("set task_serializer") && !said.contains("event"),
        "{said}"
    );
}

#[test]
fn on_redis_the_envelope_is_hostile_too() {
    let good: Value = serde_json::from_slice(&full().redis_payload("", "q", "tag")).unwrap();
    let changed = |key: &str, value: Value| {
        let mut envelope = good.clone();
        envelope[key] = value;
        envelope.to_string()
    };
    for (payload, why) in [
        (String::new(), Why::Malformed(Malformed::Envelope)),
        ("nonsense".into(), Why::Malformed(Malformed::Envelope)),
        ("[]".into(), Why::Malformed(Malformed::Envelope)),
        ("{}".into(), Why::NoTask),
        (changed("headers", Value::Null), Why::NoTask),
        (changed("headers", json!([1])), Why::NoTask),
        (changed("body", json!("%%%")), Why::Malformed(Malformed::Envelope)),
        (changed("body", json!(7)), Why::Malformed(Malformed::Body)),
        (
            changed("content-type", Value::Null),
            Why::Malformed(Malformed::ContentType),
        ),
        (changed("body", json!(STANDARD.encode("{}"))), Why::Body),
    ] {
        let refused = decode(RawTask::Redis {
            payload: payload.as_bytes(),
        })
        .unwrap_err();
        assert_eq!(refused.why, why, "{payload}");
    }
    // Properties that are not there are no reason for a refusal: it is still plain what is to be done.
    let bare = changed("properties", json!({"body_encoding": "base64"}));
    decode(RawTask::Redis {
        payload: bare.as_bytes(),
    })
    .unwrap();
}

#[test]
fn moments_are_pythons() {
    for (text, micros) in [
        ("1970-01-01T00:00:00+00:00", 0),
        ("1970-01-01", 0),
        ("1970-01-01T00:00", 0),
        ("2026-11-24T14:33:00.123456+00:00", 1_795_530_780_123_456),
        ("2026-11-24T15:33:00.123456+01:00", 1_795_530_780_123_456),
        ("2026-11-24T09:03:00.123456-0530", 1_795_530_780_123_456),
        ("2026-11-24 14:33:00,1234567Z", 1_795_530_780_123_456),
        ("2024-02-29T00:00:00", 1_709_164_800_000_000),
        ("1969-12-31T23:59:59.5", -500_000),
        ("0001-01-01T00:00:00", -62_135_596_800_000_000),
        ("9999-12-31T23:59:59.999999", 253_402_300_799_999_999),
    ] {
        assert_eq!(parse_iso8601(text), Some(Wall::from_micros(micros)), "{text}");
    }
    for text in [
        "",
        "soon",
        "2026",
        "2026-1-1",
        "2026-02-29",
        "2026-00-10",
        "0000-01-01",
        "2026-01-01T",
        "2026-01-01T24:00:00",
        "2026-01-01T00:60:00",
        "2026-01-01T00:00:00.",
        "2026-01-01T00:00:00+",
        "2026-01-01T00:00:00+25:00",
        "2026-01-01T00:00:00x",
        "２026-01-01",
        "2026-01-01T00:00:00é",
    ] {
        assert_eq!(parse_iso8601(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn moments_come_back(micros in -62_135_596_800_000_000_i64..253_402_300_800_000_000) {
        let moment = Wall::from_micros(micros);
        prop_assert_eq!(parse_iso8601(&iso8601(moment)), Some(moment));
    }

    #[test]
    fn any_wall_can_be_written(micros in any::<i64>()) {
        prop_assert!(iso8601(Wall::from_micros(micros)).ends_with("+00:00"));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(RawTask::Redis { payload: &payload });
        let _ = decode(amqp(json!({"id": "1", "task": "t"}), &payload));
    }

    #[test]
    fn any_text_is_a_moment_or_none(text in "\\PC{0,40}") {
        let _ = parse_iso8601(&text);
    }
}

#[test]
fn values_look_as_in_python() {
    for (value, shown) in [
        (json!(null), "None"),
        (json!([true, false, 1, -2, 1.5]), "[True, False, 1, -2, 1.5]"),
        (json!({"a": "x"}), "{'a': 'x'}"),
        (json!("it's"), "\"it's\""),
        (json!("it's \"so\""), "'it\\'s \"so\"'"),
        (json!("a\n\t\\\u{7}é"), "'a\\n\\t\\\\\\x07é'"),
    ] {
        assert_eq!(repr(&value), shown);
    }
    assert_eq!(tuple_repr(&[]), "()");
    assert_eq!(tuple_repr(&[json!(30)]), "(30,)");
    assert_eq!(tuple_repr(&[json!(30), json!("a")]), "(30, 'a')");
    assert_eq!(kwargs_repr(&object(json!({"days": 30}))), "{'days': 30}");
    let long = repr(&json!("é".repeat(5_000)));
    assert_eq!((long.chars().count(), long.chars().last()), (MAX_REPR, Some('…')));
}

#[test]
fn a_priority_goes_to_the_list_of_its_step() {
    let wire = WireSettings::default();
    for (priority, list) in [
        (0, "q"),
        (2, "q"),
        (3, "q\x06\x163"),
        (5, "q\x06\x163"),
        (9, "q\x06\x169"),
        (255, "q\x06\x169"),
    ] {
        assert_eq!(wire.queue_list("q", priority), list);
    }
    let odd = WireSettings {
        priority_steps: vec![2, 5],
        ..WireSettings::default()
    };
    assert_eq!(odd.queue_list("q", 0), "q\x06\x165");
}

#[test]
fn routes_are_celerys() {
    let route = |text: &str, route: Route| (Pattern::parse(text).unwrap(), route);
    let by_key = Route {
        exchange: Some("feeds".into()),
        routing_key: Some("feed.tasks".into()),
        priority: Some(3),
        ..Route::default()
    };
    let routes = Routes::new(vec![
        route("feed.*", by_key),
        route("*.purge", Route::to("slow")),
        route("sms.purge", Route::to("sms")),
        route("odd[", Route::to("odd")),
    ]);
    let queue = |name: &str, said: Route| routes.route(name, said, "celery").destination("celery");
    let direct = |queue: &str| Destination {
        exchange: String::new(),
        routing_key: queue.into(),
    };
    assert_eq!(
        queue("sms.purge", Route::default()),
        direct("sms"),
        "the name itself comes first"
    );
    assert_eq!(queue("mail.purge", Route::default()), direct("slow"));
    assert_eq!(queue("other", Route::default()), direct("celery"));
    assert_eq!(queue("odd[", Route::default()), direct("odd"));
    assert_eq!(
        queue("sms.purge", Route::to("now")),
        direct("now"),
        "the caller knows best"
    );
    let keyed = routes.route("feed.read", Route::default(), "celery");
    assert_eq!(
        (keyed.destination("celery").exchange.as_str(), keyed.priority),
        ("feeds", Some(3))
    );
    assert_eq!(Pattern::parse(""), Err(GlobError::Empty));
    assert_eq!(Pattern::parse(&"*".repeat(513)), Err(GlobError::TooLong));
    assert!(Pattern::parse("a[!b]*").unwrap().matches("ac.x"));
    assert!(!Pattern::parse("a[!b]*").unwrap().matches("ab.x"));
    assert!(Pattern::parse("a[b*").unwrap().matches("a[bc"));
}
