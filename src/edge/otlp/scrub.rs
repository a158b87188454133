//! What is sent is gone through for secrets, by the thread that sends it.

use std::borrow::Cow;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;

use super::wire::Line;
use crate::secrets::Secrets;

/// Something that has texts.
pub(super) trait Scrub {
    /// Takes the secrets out of all of them.
    fn scrub(&mut self, secrets: &Secrets);
}

impl Scrub for Line {
    fn scrub(&mut self, secrets: &Secrets) {
        if let Some(text) = self.record.body.as_mut().and_then(text_of) {
            clean(text, |text| secrets.text(text));
        }
        attributes(&mut self.record.attributes, secrets);
    }
}

impl Scrub for Span {
    fn scrub(&mut self, secrets: &Secrets) {
        clean(&mut self.name, |text| secrets.text(text));
        if let Some(status) = &mut self.status {
            clean(&mut status.message, |text| secrets.text(text));
        }
        attributes(&mut self.attributes, secrets);
    }
}

fn attributes(attributes: &mut [KeyValue], secrets: &Secrets) {
    for KeyValue { key, value, .. } in attributes {
        if let Some(text) = value.as_mut().and_then(text_of) {
            clean(text, |text| secrets.field(key, text));
        }
    }
}

fn text_of(value: &mut AnyValue) -> Option<&mut String> {
    match &mut value.value {
        Some(Value::StringValue(text)) => Some(text),
        _ => None,
    }
}

fn clean(text: &mut String, how: impl FnOnce(&str) -> Cow<'_, str>) {
    let clean = how(text);
    let changed = (*clean != **text).then(|| clean.into_owned());
    if let Some(clean) = changed {
        *text = clean;
    }
}
