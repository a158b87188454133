//! What nobody should send.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bzip2::write::BzEncoder;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::json;

use crate::celery::event::MAX_BODY;
use crate::celery::{Decoded, Decoder, Event, Malformed, RawMessage};

const JSON: &str = "application/json";
const YAML: &str = "application/x-yaml";
const MSGPACK: &str = "application/x-msgpack";

fn amqp<'a>(content_type: &'a str, compression: &'a str, body: &'a [u8]) -> RawMessage<'a> {
    RawMessage::Amqp {
        content_type,
        content_encoding: "",
        compression,
        body,
    }
}

/// Decodes, on both brokers, which must agree; the names of the events and what was counted.
fn decode(content_type: &str, compression: &str, body: &[u8]) -> (Vec<String>, Decoded) {
    let run = |raw| {
        let mut names = Vec::new();
        let decoded = Decoder::new().decode(raw, |event| {
            names.push(match event {
                Event::Worker(worker) => worker.hostname.to_owned(),
                Event::Task(task) => task.uuid.to_owned(),
                Event::Other => "other".to_owned(),
            });
        });
        assert_eq!(names.len(), decoded.events);
        assert_eq!(decoded.malformed == 0, decoded.why.is_none());
        (names, decoded)
    };
    let direct = run(amqp(content_type, compression, body));
    if body.len() <= MAX_BODY {
        let envelope = json!({
            "body": STANDARD.encode(body),
            "content-type": content_type,
            "headers": {"compression": compression},
            "properties": {"body_encoding": "base64"},
        });
        assert_eq!(
            run(RawMessage::Redis {
                payload: envelope.to_string().as_bytes()
            }),
            direct
        );
    }
    direct
}

#[track_caller]
fn refused(content_type: &str, compression: &str, body: &[u8], why: Malformed) {
    assert_eq!(
        decode(content_type, compression, body),
        (
            vec![],
            Decoded {
                events: 0,
                malformed: 1,
                why: Some(why)
            }
        )
    );
}

#[track_caller]
fn accepted(content_type: &str, body: &[u8], names: &[&str]) {
    let (found, decoded) = decode(content_type, "", body);
    assert_eq!(
        (found.iter().map(String::as_str).collect::<Vec<_>>(), decoded.malformed),
        (names.to_vec(), 0)
    );
}

const ONLINE: &str = r#"{"type": "worker-online", "hostname": "a@b"}"#;

#[test]
fn no_json() {
    for body in [
        "",
        " ",
        "{",
        "}",
        "nul",
        "tru",
        "{\"type\"",
        "{\"type\":}",
        "{\"a\" 1}",
        "{\"a\":1,}",
        "{a:1}",
        "[[1}",
        "{\"a\":1]",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":-}",
        "{\"a\":1e}",
        "{\"a\":+1}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\n\"}",
        "{\"type\":\"\\u12\"}",
        "{\"type\":\"\\ud8zz\"}",
        "{\"a\":NaNN}",
        "{\"a\":-Infinit}",
        "\u{feff}{}",
        "{\"type\": \"worker-online\", \"hostname\": \"a@b\"} x",
        "{} {}",
        "'a'",
    ] {
        let (names, decoded) = decode(JSON, "", body.as_bytes());
        assert_eq!((names, decoded.malformed), (vec![], 1), "{body}");
    }
}

#[test]
fn no_event() {
    for body in [
        "null",
        "1",
        "true",
        "\"worker-online\"",
        "{}",
        r#"{"hostname": "a@b"}"#,
        r#"{"type": 5, "hostname": "a@b"}"#,
        r#"{"type": "worker-online"}"#,
        r#"{"type": "worker-online", "hostname": ""}"#,
        r#"{"type": "worker-online", "hostname": null}"#,
        r#"{"type": "worker-online", "hostname": ["a@b"]}"#,
        r#"{"type": "worker-online", "hostname": "a@b", "pid": "1"}"#,
        r#"{"type": "worker-online", "hostname": "a@b", "timestamp": "now"}"#,
        r#"{"type": "worker-online", "hostname": "a@b", "active": true}"#,
        r#"{"type": "worker-online", "hostname": "a@b", "sw_ver": 5}"#,
        r#"{"type": "task-started", "hostname": "a@b"}"#,
        r#"{"type": "task-received", "hostname": "a@b", "uuid": "u", "eta": 5}"#,
    ] {
        refused(JSON, "", body.as_bytes(), Malformed::Shape);
    }
    let long = format!(r#"{{"type": "worker-online", "hostname": "{}"}}"#, "a".repeat(100_000));
    refused(JSON, "", long.as_bytes(), Malformed::Shape);
}

#[test]
fn odd_events_still_count() {
    accepted(JSON, ONLINE.as_bytes(), &["a@b"]);
    accepted(JSON, format!(" \n{ONLINE}\t ").as_bytes(), &["a@b"]);
    accepted(JSON, b"[]", &[]);
    // Unknown types, and custom events whose fields are their sender's own affair.
    accepted(JSON, br#"{"type": "worker-dancing"}"#, &["other"]);
    accepted(JSON, br#"{"type": "x"}"#, &["other"]);
    accepted(
        JSON,
        br#"{"type": "task-progress", "hostname": "a@b", "uuid": "u", "name": {}, "runtime": "long"}"#,
        &["u"],
    );
    accepted(
        JSON,
        br#"{"type": "task-progress", "hostname": "a@b", "timestamp": "now"}"#,
        &["other"],
    );
    // The last of two equal keys, and keys with escapes.
    accepted(
        JSON,
        br#"{"type": 1, "type": "worker-online", "hostname": "x", "\u0068ostname": "a@b"}"#,
        &["a@b"],
    );
    // What Python writes and JSON forbids: not-a-numbers, and halves of surrogate pairs.
    accepted(
        JSON,
        br#"{"type": "worker-online", "hostname": "a@\udc80", "x": [NaN, -Infinity, Infinity]}"#,
        &["a@\u{fffd}"],
    );
    accepted(
        JSON,
        br#"{"type": "worker-online", "hostname": "\ud83d\ude00\ud83d\u0041\/\"\n"}"#,
        &["\u{1f600}\u{fffd}A/\"\n"],
    );
    // Bare UTF-8, as other producers write it.
    accepted(
        JSON,
        "{\"type\": \"worker-online\", \"hostname\": \"größe@höst\"}".as_bytes(),
        &["größe@höst"],
    );
}

#[test]
fn numbers_out_of_bounds_are_left_out() {
    let body = r#"{"type": "worker-heartbeat", "hostname": "a@b", "timestamp": NaN, "freq": Infinity, "pid": 99999999999,
        "clock": 1e300, "active": -1, "processed": 3.0}"#;
    let check = |event: Event<'_>| {
        let Event::Worker(worker) = event else {
            panic!("{event:?}")
        };
        assert_eq!(
            (worker.timestamp, worker.freq, worker.pid, worker.clock),
            (None, None, None, None)
        );
        assert_eq!((worker.active, worker.processed), (None, Some(3)));
    };
    assert_eq!(Decoder::new().decode(amqp(JSON, "", body.as_bytes()), check).events, 1);
    for timestamp in ["1e308", "-1", "1e999", "-0.5", "253402300801", "18446744073709551616"] {
        let body = format!(r#"{{"type": "task-started", "hostname": "a@b", "uuid": "u", "timestamp": {timestamp}}}"#);
        let check = |event: Event<'_>| {
            let Event::Task(task) = event else { panic!("{event:?}") };
            assert_eq!(task.timestamp, None, "{timestamp}");
        };
        assert_eq!(Decoder::new().decode(amqp(JSON, "", body.as_bytes()), check).events, 1);
    }
}

#[test]
fn one_bad_entry_does_not_take_the_others_with_it() {
    let body = format!(r#"[{ONLINE}, 5, {{"type": "task-started"}}, null, {ONLINE}]"#);
    let (names, decoded) = decode(JSON, "", body.as_bytes());
    assert_eq!(names, ["a@b", "a@b"]);
    assert_eq!(
        decoded,
        Decoded {
            events: 2,
            malformed: 3,
            why: Some(Malformed::Shape)
        }
    );
    let packed = rmp_serde::to_vec(&serde_json::from_str::<serde_json::Value>(&body).unwrap()).unwrap();
    assert_eq!(decode(MSGPACK, "", &packed).1, decoded);
    assert_eq!(decode(YAML, "", body.as_bytes()).1, decoded);
    assert_eq!(
        decode(JSON, "", b"[1,]").1,
        Decoded {
            events: 0,
            malformed: 2,
            why: Some(Malformed::Shape)
        }
    );
    // Cut off anywhere: what was whole counts, and the rest counts once.
    let list = format!("[{ONLINE}, {ONLINE}]");
    for cut in 0..list.len() {
        let (names, decoded) = decode(JSON, "", &list.as_bytes()[..cut]);
        assert_eq!((decoded.malformed, decoded.why), (1, Some(Malformed::Body)), "{cut}");
        assert_eq!(names.len(), list[..cut].matches('}').count());
    }
}

#[test]
fn invalid_utf8() {
    refused(
        JSON,
        "",
        b"{\"type\": \"worker-online\", \"hostname\": \"a@\xff\"}",
        Malformed::Body,
    );
    refused(YAML, "", b"type: \xff", Malformed::Body);
    let payload = RawMessage::Redis {
        payload: b"{\"body\": \"\xff\"}",
    };
    assert_eq!(Decoder::new().decode(payload, |_| {}).why, Some(Malformed::Envelope));
}

#[test]
fn deep_nesting() {
    let deep = |open: &str, close: &str| {
        format!(
            r#"{{"type": "worker-online", "hostname": "a@b", "x": {}0{}}}"#,
            open.repeat(100_000),
            close.repeat(100_000)
        )
    };
    refused(JSON, "", deep("[", "]").as_bytes(), Malformed::Body);
    refused(JSON, "", deep("{\"a\":", "}").as_bytes(), Malformed::Body);
    refused(JSON, "", "[".repeat(MAX_BODY).as_bytes(), Malformed::Body);
    refused(YAML, "", deep("[", "]").as_bytes(), Malformed::Body);
    refused(YAML, "", "- ".repeat(100_000).as_bytes(), Malformed::Body);
    refused(YAML, "", "? ".repeat(100_000).as_bytes(), Malformed::Body);
    refused(MSGPACK, "", &vec![0x91; 100_000], Malformed::Body);
    refused(MSGPACK, "", &vec![0x81; 100_000], Malformed::Body);
}

#[test]
fn too_large() {
    let large = vec![b' '; 16 << 20];
    refused(JSON, "", &large, Malformed::TooLarge);
    let payload = json!({"body": "A".repeat(16 << 20), "properties": {"body_encoding": "base64"}}).to_string();
    let decoded = Decoder::new().decode(
        RawMessage::Redis {
            payload: payload.as_bytes(),
        },
        |_| {},
    );
    assert_eq!(decoded.why, Some(Malformed::TooLarge));
    // Just as large as allowed.
    let body = format!("{ONLINE}{}", " ".repeat(MAX_BODY - ONLINE.len()));
    accepted(JSON, body.as_bytes(), &["a@b"]);
}

#[test]
fn bombs_do_not_unpack() {
    let zeros = vec![b' '; 8 << 20];
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(&zeros).unwrap();
    refused(JSON, "application/x-gzip", &zlib.finish().unwrap(), Malformed::TooLarge);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&zeros).unwrap();
    refused(JSON, "application/x-gzip", &gzip.finish().unwrap(), Malformed::TooLarge);
    let mut bzip2 = BzEncoder::new(Vec::new(), bzip2::Compression::default());
    bzip2.write_all(&zeros).unwrap();
    refused(JSON, "application/x-bz2", &bzip2.finish().unwrap(), Malformed::TooLarge);
}

#[test]
fn broken_compression() {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(ONLINE.as_bytes()).unwrap();
    let zlib = zlib.finish().unwrap();
    let mut bzip2 = BzEncoder::new(Vec::new(), bzip2::Compression::default());
    bzip2.write_all(ONLINE.as_bytes()).unwrap();
    let bzip2 = bzip2.finish().unwrap();
    for cut in 0..zlib.len() {
        refused(JSON, "gzip", &zlib[..cut], Malformed::Compression);
    }
    for cut in 1..bzip2.len() {
        refused(JSON, "bzip2", &bzip2[..cut], Malformed::Compression);
    }
    refused(JSON, "zlib", ONLINE.as_bytes(), Malformed::Compression);
    refused(JSON, "bzip2", ONLINE.as_bytes(), Malformed::Compression);
    refused(JSON, "application/x-gzip", &[0x1f, 0x8b, 8], Malformed::Compression);
    refused(JSON, "application/x-brotli", ONLINE.as_bytes(), Malformed::Compression);
}

#[test]
fn hostile_yaml() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(9);
        laughs.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    laughs.push_str("type: worker-online\nhostname: a@b\n");
    refused(YAML, "", laughs.as_bytes(), Malformed::Body);
    refused(YAML, "", b"a: &a [*a]", Malformed::Body);
    refused(YAML, "", "--- 1\n".repeat(1000).as_bytes(), Malformed::Body);
    // More nodes than a body may have: those before the bound count, one by one.
    let (names, decoded) = decode(YAML, "", "- {}\n".repeat(100_000).as_bytes());
    assert_eq!((names, decoded.why), (vec![], Some(Malformed::Shape)));
    assert!(decoded.malformed < 21_000, "{decoded:?}");
    // A tag names a Python object and is not obeyed.
    accepted(
        YAML,
        b"type: worker-online\nhostname: a@b\nx: !!python/object/apply:os.system ['true']\n",
        &["a@b"],
    );
}

#[test]
fn hostile_msgpack() {
    // A list whose one entry is no event, and which then breaks off.
    let list = [0xdd, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert_eq!(
        decode(MSGPACK, "", &list).1,
        Decoded {
            events: 0,
            malformed: 2,
            why: Some(Malformed::Shape)
        }
    );
    // Maps, strings, bytes and extensions that claim four thousand million of something.
    for head in [0xdf, 0xdb, 0xc6, 0xc9] {
        refused(MSGPACK, "", &[head, 0xff, 0xff, 0xff, 0xff, 0x01], Malformed::Body);
    }
    let mut body = rmp_serde::to_vec(&json!({"type": "worker-online", "hostname": "a@b"})).unwrap();
    accepted(MSGPACK, &body, &["a@b"]);
    body.push(0xc0);
    refused(MSGPACK, "", &body, Malformed::Body);
}

#[test]
fn scratch_shrinks_back() {
    let mut decoder = Decoder::new();
    let body = format!("{ONLINE}{}", " ".repeat(MAX_BODY - ONLINE.len()));
    let payload = json!({
        "body": STANDARD.encode(&body),
        "content-type": JSON,
        "properties": {"body_encoding": "base64"},
    });
    decoder.decode(
        RawMessage::Redis {
            payload: payload.to_string().as_bytes(),
        },
        |_| {},
    );
    assert!(decoder.scratch() <= 128 << 10, "{}", decoder.scratch());
}
