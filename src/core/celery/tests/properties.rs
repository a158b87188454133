//! Arbitrary bytes, and arbitrary damage to real messages: counted, and never a panic.

use std::sync::OnceLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::support::capture;
use crate::celery::broker_url::BrokerUrl;
use crate::celery::format::Format;
use crate::celery::reply::{self, RawReply};
use crate::celery::{Decoder, RawMessage, value};

const TYPES: [&str; 6] = [
    "application/json",
    "application/x-msgpack",
    "application/x-yaml",
    "application/x-python-serialize",
    "",
    "x",
];
const COMPRESSIONS: [&str; 5] = ["", "application/x-gzip", "application/x-bz2", "bzip2", "x"];

/// Every tenth message of the captures.
fn real() -> &'static [Vec<u8>] {
    static REAL: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    REAL.get_or_init(|| {
        let lines = ["rabbitmq-5x", "redis-5x", "commands"].into_iter().flat_map(capture);
        lines.step_by(10).map(|line| line.body).collect()
    })
}

fn feed(content_type: &str, compression: &str, body: &[u8]) {
    let mut decoder = Decoder::new();
    for raw in [
        RawMessage::Amqp {
            content_type,
            content_encoding: "",
            compression,
            body,
        },
        RawMessage::Redis { payload: body },
    ] {
        let mut handed = 0;
        let decoded = decoder.decode(raw, |_| handed += 1);
        assert_eq!(handed, decoded.events);
        assert_eq!(decoded.malformed == 0, decoded.why.is_none());
    }
    for raw in [
        RawReply::Amqp {
            content_type,
            compression,
            ticket: None,
            body,
        },
        RawReply::Redis { payload: body },
    ] {
        let _ = reply::parse(raw);
        let _ = reply::ticket(raw);
    }
}

#[derive(Clone, Debug)]
enum Damage {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
    Cut(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (any::<Index>(), vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (any::<Index>(), 1..40usize).prop_map(|(at, count)| Damage::Remove(at, count)),
        (any::<Index>(), 1..200usize).prop_map(|(at, count)| Damage::Repeat(at, count)),
        any::<Index>().prop_map(Damage::Cut),
    ]
}

fn apply(mut body: Vec<u8>, damages: Vec<Damage>) -> Vec<u8> {
    for damage in damages {
        if body.is_empty() {
            break;
        }
        let len = body.len();
        match damage {
            Damage::Set(at, byte) => body[at.index(len)] = byte,
            Damage::Insert(at, bytes) => {
                let at = at.index(len);
                body.splice(at..at, bytes);
            }
            Damage::Remove(at, count) => {
                let at = at.index(len);
                body.drain(at..(at + count).min(len));
            }
            Damage::Repeat(at, count) => {
                let at = at.index(len);
                let piece = body[at..(at + count).min(len)].to_vec();
                body.splice(at..at, piece);
            }
            Damage::Cut(at) => body.truncate(at.index(len)),
        }
    }
    body
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-9_000_000_000_000_000..0i64).prop_map(Value::from),
        // Sixteenths: no reader can be wrong about their last digit.
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 16.0 + 0.03125)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::from),
            vec((any::<String>(), inner), 0..8).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(crate::property::cases(500))]

    #[test]
    fn arbitrary_bytes(
        body in vec(any::<u8>(), 0..300),
        content_type in prop::sample::select(&TYPES[..]),
        compression in prop::sample::select(&COMPRESSIONS[..]),
    ) {
        feed(content_type, compression, &body);
    }

    #[test]
    fn json_like_text(
        body in "[\\[\\]{}:,\"\\\\u0-9a-f.eE+\\- ntrueNaI\u{e9}]{0,200}",
        content_type in prop::sample::select(&TYPES[..3]),
    ) {
        feed(content_type, "", body.as_bytes());
    }

    #[test]
    fn damaged_captures(which in any::<Index>(), damages in vec(damage(), 1..6)) {
        feed("application/json", "", &apply(which.get(real()).clone(), damages));
    }

    #[test]
    fn broker_urls(url in "(amqp|redis|rediss|redis\\+socket|sentinel|x)://[a-z:@/?#;=&%\\[\\]0-9é ]{0,40}") {
        if let Ok(parsed) = BrokerUrl::parse(&url) {
            let _ = (parsed.redacted(), parsed.address());
        }
    }

    #[test]
    fn every_tree_is_read_as_another_hand_wrote_it(tree in tree(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&tree).unwrap() } else { tree.to_string() };
        prop_assert_eq!(value::parse(Format::Json, text.as_bytes()), Ok(tree.clone()));
        let packed = rmp_serde::to_vec(&tree).unwrap();
        prop_assert_eq!(value::parse(Format::Msgpack, &packed), Ok(tree));
    }

    /// Another reader agrees on what is JSON, apart from what Python adds to it (which has other letters).
    #[test]
    fn what_is_json_is_no_matter_of_opinion(text in "[\\[\\]{}:,\"\\\\0-9bf.eE+\\- ntrue\u{e9}\t]{0,30}|[0-9.eE+\\-]{1,8}|\"[a-f\\\\/n\"]{0,9}\"") {
        prop_assume!(!text.contains("\\u"));
        prop_assert_eq!(value::parse(Format::Json, text.as_bytes()).is_ok(), serde_json::from_str::<IgnoredAny>(&text).is_ok(), "{}", text);
    }
}
