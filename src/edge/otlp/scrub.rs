//! What is sent is gone through for secrets, by the thread that sends it. A text that was cut by then may end in the midst of one.

use std::borrow::Cow;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;

use super::wire::{Line, MAX_LINE, MAX_TEXT};
use crate::bounded::{MORE, cut};
use crate::secrets::Secrets;

/// Something that has texts.
pub(super) trait Scrub {
    /// Takes the secrets out of all of them.
    fn scrub(&mut self, secrets: &Secrets);
}

impl Scrub for Line {
    fn scrub(&mut self, secrets: &Secrets) {
        if let Some(text) = self.record.body.as_mut().and_then(text_of) {
            clean(text, MAX_LINE, secrets, |text| secrets.text(text));
        }
        attributes(&mut self.record.attributes, secrets);
    }
}

impl Scrub for Span {
    fn scrub(&mut self, secrets: &Secrets) {
        clean(&mut self.name, MAX_TEXT, secrets, |text| secrets.text(text));
        if let Some(status) = &mut self.status {
            clean(&mut status.message, MAX_TEXT, secrets, |text| secrets.text(text));
        }
        attributes(&mut self.attributes, secrets);
    }
}

fn attributes(attributes: &mut [KeyValue], secrets: &Secrets) {
    for KeyValue { key, value, .. } in attributes {
        if let Some(text) = value.as_mut().and_then(text_of) {
            clean(text, MAX_TEXT, secrets, |text| secrets.field(key, text));
        }
    }
}

fn text_of(value: &mut AnyValue) -> Option<&mut String> {
    match &mut value.value {
        Some(Value::StringValue(text)) => Some(text),
        _ => None,
    }
}

/// Cleans a text that was cut to so many bytes, and is afterwards no longer than that: what stands in a secret's place may be longer.
fn clean(text: &mut String, most: usize, secrets: &Secrets, how: impl FnOnce(&str) -> Cow<'_, str>) {
    // A cut takes no more than a character that does not fit.
    let was_cut = text
        .strip_suffix(MORE)
        .filter(|taken| taken.len() + char::MAX.len_utf8() > most);
    let clean = how(was_cut.map_or(text.as_str(), |taken| secrets.without_begun(taken)));
    let taken = cut(&clean, most);
    if was_cut.is_none() && taken == text {
        return;
    }
    let mut short = taken.to_owned();
    if was_cut.is_some() || taken.len() < clean.len() {
        short.push(MORE);
    }
    *text = short;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::marked;

    const MOST: usize = 200;

    /// Whether a text has a part of a secret that would be of use to somebody.
    fn tells_of(text: &str, secret: &str) -> bool {
        let mut parts = (0..secret.len()).filter_map(|at| secret.get(at..at + 4));
        parts.any(|part| text.contains(part))
    }

    #[test]
    fn no_part_of_a_secret_is_left_where_a_text_was_cut() {
        // Of the configuration: one within another, one that begins as another ends, a short one. The rest has their form alone.
        let known = [
            "Q7-kZx9w",
            "0123-Q7-kZx9w-4567-hunter22",
            "x9w-Brimful-Tongs",
            "p3Wd5",
            "ä-ö-ü-é",
        ];
        let secrets = Secrets::new(&known.map(|secret| secret.to_owned().into()));
        let texts = [
            (known[0], known[0]),
            (known[1], known[1]),
            (known[2], known[2]),
            (known[4], known[4]),
            (":p3Wd5@", known[3]),
            ("amqp://user:of-a-worker's@mq/v", "of-a-worker's"),
            ("(\"amqp://user:of-a-worker's@mq/v\")", "of-a-worker's"),
            ("xoxb-12345-abcdef", "12345-abcdef"),
            ("Bearer eyJhbGciOi", "eyJhbGciOi"),
            ("token: \"ab cd ef gh\"", "ab cd ef gh"),
        ];
        // What is taken out before makes room for what was beyond the limit, or the other way about.
        let befores = [
            "",
            "0123-Q7-kZx9w-4567-hunter22 x9w-Brimful-Tongs ",
            "token=a token=b token=c ",
        ];
        for (text, secret) in texts {
            for (before, offset) in befores
                .iter()
                .flat_map(|before| (before.len()..=MOST + 4).map(move |at| (before, at)))
            {
                let filler = ". ".repeat(offset).split_off(offset + before.len());
                let mut said = marked(&format!("{before}{filler}{text} and more {filler}{filler}"), MOST);
                clean(&mut said, MOST, &secrets, |text| secrets.text(text));
                assert!(!tells_of(&said, secret), "{secret} at {offset} in {said:?}");
                assert!(said.len() <= MOST + MORE.len_utf8(), "{said:?}");
            }
        }
    }

    #[test]
    fn a_text_that_was_not_cut_keeps_its_end() {
        let secrets = Secrets::new(&["goes-on".to_owned().into()]);
        for text in ["this goes…", "this goes", ""] {
            let mut said = text.to_owned();
            clean(&mut said, MOST, &secrets, |text| secrets.text(text));
            assert_eq!(said, text);
        }
        let mut grows = "token=a ".repeat(MOST / 8);
        clean(&mut grows, MOST, &secrets, |text| secrets.text(text));
        assert!(
            grows.len() <= MOST + MORE.len_utf8() && grows.ends_with(MORE),
            "{grows}"
        );
    }
}
