//! Nothing that is sent holds a secret: the whole of it is gone through at the end, whoever has put together what is in it.

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What stands in a secret's place.
const SECRET: &str = "[secret]";
/// A shorter secret is not looked for by itself: as a word of its own it is in every second text. Where secrets usually stand
/// (an address, a header, after `password=`) it is found all the same.
const MIN_SECRET: usize = 6;

/// How tokens of Slack's begin.
const TOKENS: &[&str] = &["xoxb-", "xoxp-", "xoxa-", "xoxe", "xapp-"];
/// Parts of the names of what is secret.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "api-key",
    "apikey",
    "authorization",
    "dsn",
];
/// The data of spans that may be texts; numbers may all be there.
const SPAN_DATA: &[&str] = &[
    "broker",
    "exception",
    "fleet",
    "id",
    "incident",
    "job",
    "kind",
    "name",
    "node",
    "notifier",
    "outcome",
    "pipeline",
    "root_id",
    "state",
    "task",
];

/// The secrets of the configuration.
#[derive(Default)]
pub(super) struct Secrets(Vec<SecretString>);

impl Secrets {
    pub(super) fn new(secrets: &[SecretString]) -> Self {
        let mut all: Vec<String> = Vec::new();
        for secret in secrets.iter().map(ExposeSecret::expose_secret) {
            let decoded = percent_encoding::percent_decode_str(secret).decode_utf8_lossy();
            let encoded = percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC);
            all.extend([secret.to_owned(), decoded.into_owned(), encoded.to_string()]);
        }
        all.retain(|secret| secret.len() >= MIN_SECRET);
        // The longest first: one that is a part of another would leave the rest of that standing.
        all.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        all.dedup();
        Self(all.into_iter().map(SecretString::from).collect())
    }

    /// The same without any secret; none where one would be in it all the same.
    pub(super) fn clean<T: Serialize + DeserializeOwned>(&self, what: &T) -> Option<T> {
        let mut value = serde_json::to_value(what).ok()?;
        self.walk(&mut value);
        let text = value.to_string();
        let slipped = |secret: &SecretString| {
            let escaped = Value::from(secret.expose_secret()).to_string();
            text.contains(escaped.trim_matches('"'))
        };
        if self.0.iter().any(slipped) {
            return None;
        }
        serde_json::from_value(value).ok()
    }

    /// A trace: the fields of its spans are whoever's made them, so only those stay that are known to hold names.
    pub(super) fn clean_trace<T: Serialize + DeserializeOwned>(&self, what: &T) -> Option<T> {
        let mut value = serde_json::to_value(what).ok()?;
        keep_names(&mut value);
        self.clean(&value).and_then(|value| serde_json::from_value(value).ok())
    }

    fn walk(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(clean) = self.text(text) {
                    *text = clean;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.walk(field)),
            _ => {}
        }
    }

    /// None where there is nothing to hide.
    fn text(&self, text: &str) -> Option<String> {
        let mut clean = text.to_owned();
        for secret in &self.0 {
            if clean.contains(secret.expose_secret()) {
                clean = clean.replace(secret.expose_secret(), SECRET);
            }
        }
        let clean = by_form(&clean);
        (clean != text).then_some(clean)
    }
}

fn keep_names(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(keep_names),
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                match field {
                    Value::Object(data) if name == "data" || name == "extra" => data.retain(|name, value| {
                        let known = SPAN_DATA.contains(&name.as_str())
                            || name.starts_with("code.")
                            || name.starts_with("sentry.");
                        known || matches!(value, Value::Number(_) | Value::Bool(_))
                    }),
                    field => keep_names(field),
                }
            }
        }
        _ => {}
    }
}

/// Hides what looks like a secret: who signs in at an address and what is asked there, tokens, and values of such names.
fn by_form(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut after_scheme = false;
    for piece in text.split_inclusive(is_border) {
        let word = piece.strip_suffix(is_border).unwrap_or(piece);
        let border = piece.get(word.len()..).unwrap_or_default();
        if after_scheme && !word.is_empty() {
            clean.push_str(SECRET);
        } else {
            clean.push_str(&hide(word));
        }
        clean.push_str(border);
        if !word.is_empty() {
            after_scheme = word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic");
        }
    }
    clean
}

fn is_border(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '(' | ')' | '{' | '}' | ',' | ';')
}

fn hide(word: &str) -> String {
    if TOKENS.iter().any(|token| word.contains(token)) {
        return SECRET.to_owned();
    }
    if let Some((scheme, rest)) = word.split_once("://") {
        return format!("{scheme}://{}", address(rest));
    }
    if let Some(at) = word.find(['=', ':']) {
        let (name, value) = word.split_at(at);
        let lower = name.to_ascii_lowercase();
        if value.len() > 1 && NAMES.iter().any(|secret| lower.contains(secret)) {
            return format!("{name}{}{SECRET}", &value[..1]);
        }
    }
    word.to_owned()
}

/// What stands behind `://`, without who signs in, and without what is asked. A webhook's path is its secret.
fn address(rest: &str) -> String {
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    // A password may hold a slash that is not escaped: then the sign stands behind what seems to be a path.
    let (authority, path) = match (authority.rsplit_once('@'), path.rsplit_once('@')) {
        (_, Some((_, behind))) => behind.find('/').map_or((behind, ""), |at| behind.split_at(at)),
        (Some((_, host)), None) => (host, path),
        (None, None) => (authority, path),
    };
    if path.starts_with("/services/") || authority.starts_with("hooks.") {
        return format!("{authority}/{SECRET}");
    }
    format!("{authority}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_hidden() {
        for (text, clean) in [
            (
                "amqp://bob:hunter2@mq.example.org:5672//",
                "amqp://mq.example.org:5672//",
            ),
            (
                "cannot reach redis://:p%40ss@h/0: refused",
                "cannot reach redis://h/0: refused",
            ),
            ("at amqp://u:pa/ss@h:1/v, no", "at amqp://h:1/v, no"),
            ("https://k0123@o1.ingest.sentry.io/7", "https://o1.ingest.sentry.io/7"),
            (
                "posting to https://hooks.slack.com/services/T0/B0/abc failed",
                "posting to https://hooks.slack.com/[secret] failed",
            ),
            ("http://127.0.0.1:9/services/T0/B0/abc", "http://127.0.0.1:9/[secret]"),
            ("token xoxb-1-2-abc is wrong", "token [secret] is wrong"),
            ("Authorization: Bearer abc.def", "Authorization: Bearer [secret]"),
            ("GET http://h/x?api_key=abc#y", "GET http://h/x"),
            ("password=abc, user=bob", "password=[secret], user=bob"),
            ("nothing to hide: 3 of 4, a@h1", "nothing to hide: 3 of 4, a@h1"),
        ] {
            assert_eq!(by_form(text), clean, "{text}");
        }
    }

    #[test]
    fn a_secret_of_the_configuration_is_found_anywhere_and_in_every_spelling() {
        let secrets = Secrets::new(&["pä\"ss wörd".to_owned().into(), "abc".to_owned().into()]);
        let said =
            serde_json::json!({"a": ["x pä\"ss wörd y", {"b": "p%C3%A4%22ss%20w%C3%B6rd"}], "n": 1, "short": "abc"});
        let clean: Value = secrets.clean(&said).unwrap();
        assert_eq!(
            clean,
            serde_json::json!({"a": ["x [secret] y", {"b": "[secret]"}], "n": 1, "short": "abc"})
        );
        // Where none can be taken out, nothing is sent.
        let name = serde_json::json!({"pä\"ss wörd": 1});
        assert_eq!(secrets.clean(&name), None);
    }
}
