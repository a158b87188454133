//! What the tests of the wire share.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde_json::Value;

use crate::celery::RawMessage;

/// A file below `tests/data/` of the repository.
pub(super) fn data(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data")
        .join(path)
}

/// The lines of a capture.
#[expect(
    clippy::disallowed_methods,
    reason = "a test of the core may read its data; the core itself may not"
)]
pub(super) fn capture(name: &str) -> Vec<Line> {
    let path = data(&format!("celery-wire/{name}.jsonl.gz"));
    BufReader::new(GzDecoder::new(File::open(path).unwrap()))
        .lines()
        .map(|line| {
            let meta: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let body = unbase64(&meta["body_b64"]);
            Line { meta, body }
        })
        .collect()
}

pub(super) fn unbase64(text: &Value) -> Vec<u8> {
    STANDARD.decode(text.as_str().unwrap()).unwrap()
}

/// One line of a capture.
pub(super) struct Line {
    pub(super) meta: Value,
    pub(super) body: Vec<u8>,
}

impl Line {
    pub(super) fn text(&self, key: &str) -> &str {
        self.meta[key].as_str().unwrap_or_default()
    }

    pub(super) fn raw(&self) -> RawMessage<'_> {
        match self.text("broker") {
            "redis" => RawMessage::Redis { payload: &self.body },
            _ => RawMessage::Amqp {
                content_type: self.meta["properties"]["content_type"].as_str().unwrap_or_default(),
                content_encoding: self.meta["properties"]["content_encoding"].as_str().unwrap_or_default(),
                compression: self.meta["headers"]["compression"].as_str().unwrap_or_default(),
                body: &self.body,
            },
        }
    }

    /// The body without its envelope, read by another hand.
    pub(super) fn inner(&self) -> Value {
        let outer: Value = match serde_json::from_slice(&self.body) {
            Ok(outer) => outer,
            Err(_) => return Value::Null,
        };
        if self.text("broker") != "redis" {
            return outer;
        }
        serde_json::from_slice(&unbase64(&outer["body"])).unwrap()
    }
}
