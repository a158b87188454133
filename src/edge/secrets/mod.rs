//! Secrets, and texts without them: whoever sends anything away goes through the whole of it here at the end, whoever has put
//! together what is in it. What is secret is said here alone: by its value, which the configuration has; by its name; and by its
//! form (`forms.rs`).

mod forms;

use std::borrow::Cow;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What stands in a secret's place.
pub const SECRET: &str = "[secret]";

/// A shorter secret, in bytes, is not looked for by itself: as a word of its own it is in every second text. Where secrets usually
/// stand (an address, a header, after `password=`) it is found all the same.
pub const MIN_SECRET: usize = 6;

/// Parts of the names of what is secret, in lower case: keys of the configuration, fields, headers.
const NAMES: &[&str] = &[
    "api-key",
    "api_key",
    "apikey",
    "authorization",
    "cookie",
    "credential",
    "dsn",
    "passphrase",
    "passwd",
    "password",
    "secret",
    "token",
    "webhook",
];

/// Whether what has this name is a secret.
pub fn is_secret_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    NAMES.iter().any(|secret| lower.contains(secret))
}

/// The password of an address; the name of who signs in where there is no password, as in a DSN. Two where it can be read in two
/// ways: a password may hold a `/` or `@` that is not escaped.
pub fn sign_in(address: &str) -> impl Iterator<Item = &str> {
    let rest = address.split_once("://").map(|(_, rest)| rest);
    let as_written = rest
        .and_then(|rest| rest.split(['/', '?', '#']).next()?.rsplit_once('@'))
        .map(|(login, _)| login.split_once(':').map_or(login, |(_, password)| password));
    let to_the_last = rest
        .and_then(|rest| rest.rsplit_once('@'))
        .and_then(|(login, _)| Some(login.split_once(':')?.1))
        .filter(|longer| Some(*longer) != as_written);
    as_written
        .into_iter()
        .chain(to_the_last)
        .filter(|secret| !secret.is_empty())
}

/// The secrets of the configuration.
#[derive(Default)]
pub struct Secrets {
    /// In every spelling, the longest first: one that is a part of another would leave the rest of that standing.
    anywhere: Vec<SecretString>,
    /// As they stand in who signs in: `:secret@`.
    in_logins: Vec<SecretString>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// Those that are looked for.
    pub fn new(secrets: &[SecretString]) -> Self {
        let mut all: Vec<String> = Vec::new();
        for secret in secrets.iter().map(ExposeSecret::expose_secret) {
            let decoded = percent_encoding::percent_decode_str(secret).decode_utf8_lossy();
            let encoded = percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC);
            all.extend([
                secret.to_owned(),
                decoded.into_owned(),
                encoded.to_string(),
                escaped(secret),
            ]);
        }
        all.retain(|secret| !secret.is_empty());
        all.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        all.dedup();
        let (long, short): (Vec<String>, Vec<String>) = all.into_iter().partition(|secret| secret.len() >= MIN_SECRET);
        Self {
            anywhere: long.into_iter().map(SecretString::from).collect(),
            in_logins: short.iter().map(|secret| format!(":{secret}@").into()).collect(),
        }
    }

    /// A text without any secret.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut clean = Cow::Borrowed(text);
        for secret in self.anywhere.iter().map(ExposeSecret::expose_secret) {
            if clean.contains(secret) {
                clean = Cow::Owned(clean.replace(secret, SECRET));
            }
        }
        for login in self.in_logins.iter().map(ExposeSecret::expose_secret) {
            if clean.contains(login) {
                clean = Cow::Owned(clean.replace(login, &format!(":{SECRET}@")));
            }
        }
        match forms::hide(&clean) {
            Cow::Owned(hidden) => Cow::Owned(hidden),
            Cow::Borrowed(_) => clean,
        }
    }

    /// As much of a text that was cut as does not end in the midst of a secret, which nobody would know for one any more.
    pub fn without_begun<'a>(&self, text: &'a str) -> &'a str {
        let known = || {
            let all = self.anywhere.iter().chain(&self.in_logins);
            all.map(ExposeSecret::expose_secret)
        };
        let begun = known().filter_map(|secret| begun_at(text, secret)).min();
        let mut end = begun
            .into_iter()
            .chain(forms::begun_at(text))
            .min()
            .unwrap_or(text.len());
        // What only looks like the beginning of one may be the end of another, of which that would leave the beginning.
        while let Some(before) = known().filter_map(|secret| astride(text, secret, end)).min() {
            end = before;
        }
        text.get(..end).unwrap_or_default()
    }

    /// The length of the longest that is looked for by its value, in bytes.
    pub fn longest(&self) -> usize {
        let all = self.anywhere.iter().chain(&self.in_logins);
        all.map(|secret| secret.expose_secret().len()).max().unwrap_or_default()
    }

    /// The text of a field: none of it where the field's name is that of a secret.
    pub fn field<'a>(&self, name: &str, text: &'a str) -> Cow<'a, str> {
        if is_secret_name(name) {
            Cow::Borrowed(SECRET)
        } else {
            self.text(text)
        }
    }

    /// The same without any secret; none where one would be in it all the same, in the name of a field.
    pub fn clean<T: Serialize + DeserializeOwned>(&self, what: &T) -> Option<T> {
        let mut value = serde_json::to_value(what).ok()?;
        self.walk(&mut value);
        let text = value.to_string();
        let slipped = |secret: &SecretString| text.contains(&escaped(secret.expose_secret()));
        if self.anywhere.iter().any(slipped) {
            return None;
        }
        serde_json::from_value(value).ok()
    }

    fn walk(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(clean) = self.text(text) {
                    *text = clean;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk(item)),
            Value::Object(fields) => {
                for (name, field) in fields {
                    match field {
                        Value::String(_) | Value::Number(_) if is_secret_name(name) => *field = SECRET.into(),
                        field => self.walk(field),
                    }
                }
            }
            _ => {}
        }
    }
}

/// Where a secret begins of which the end of a text is the beginning.
fn begun_at(text: &str, secret: &str) -> Option<usize> {
    let lengths = secret.char_indices().map(|(length, _)| length).rev();
    let mut begun = lengths.filter(|length| *length > 0);
    let length = begun.find(|length| secret.get(..*length).is_some_and(|part| text.ends_with(part)))?;
    Some(text.len() - length)
}

/// Where a secret begins that a cut would go through.
fn astride(text: &str, secret: &str, cut: usize) -> Option<usize> {
    let first = (cut + 1).saturating_sub(secret.len());
    (first..cut).find(|at| text.get(*at..).is_some_and(|rest| rest.starts_with(secret)))
}

/// As a text within quotes shows it.
fn escaped(secret: &str) -> String {
    let quoted = Value::from(secret).to_string();
    // Not trimmed: the secret itself may begin or end with a quote.
    let within = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    within.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(all: &[&str]) -> Secrets {
        let all: Vec<SecretString> = all.iter().map(|secret| (*secret).to_owned().into()).collect();
        Secrets::new(&all)
    }

    #[test]
    fn a_secret_of_the_configuration_is_found_anywhere_and_in_every_spelling() {
        let secrets = secrets(&["pä\"ss wörd", "abc"]);
        let said = serde_json::json!({
            "a": ["x pä\"ss wörd y", {"b": "p%C3%A4%22ss%20w%C3%B6rd"}], "n": 1, "short": "abc",
            "debug": format!("{:?}", "pä\"ss wörd"), "api_token": "any", "pin": {"password": 1234, "note": "x"},
        });
        let clean: Value = secrets.clean(&said).unwrap();
        assert_eq!(
            clean,
            serde_json::json!({
                "a": ["x [secret] y", {"b": "[secret]"}], "n": 1, "short": "abc",
                "debug": "\"[secret]\"", "api_token": "[secret]", "pin": {"password": "[secret]", "note": "x"},
            })
        );
        // Where none can be taken out, nothing is sent.
        let name = serde_json::json!({"pä\"ss wörd": 1});
        assert_eq!(secrets.clean(&name), None);
    }

    #[test]
    fn a_short_secret_is_hidden_where_secrets_stand_and_nowhere_else() {
        let secrets = secrets(&["abc", "p@1"]);
        for (text, clean) in [
            ("abc is the alphabet", "abc is the alphabet"),
            ("bob:abc@mq is away", "bob:[secret]@mq is away"),
            ("bob:p%401@mq is away", "bob:[secret]@mq is away"),
            ("password: abc", "password: [secret]"),
            ("amqp://bob:p@1@mq//", "amqp://mq//"),
        ] {
            assert_eq!(secrets.text(text), clean);
        }
        assert_eq!(secrets.field("api-key", "abc"), "[secret]");
        assert_eq!(secrets.field("reason", "no abc"), "no abc");
    }

    #[test]
    fn of_an_address_it_is_the_password() {
        for (text, found) in [
            ("amqp://bob:hunter2@h:5672//", &["hunter2"][..]),
            ("redis://:p%40ss@h/0", &["p%40ss"]),
            ("redis://:p@ss@h/0", &["p@ss"]),
            ("redis://:pa/ss@h/0", &["pa/ss"]),
            ("amqp://u:p#a?s@s/x@h//v", &["p#a?s@s/x"]),
            ("mongodb://u:pass@h/db?tag=a@b", &["pass", "pass@h/db?tag=a"]),
            ("https://0123456789abcdef@o1.ingest.sentry.io/7", &["0123456789abcdef"]),
            ("https://h/a@b", &[]),
            ("redis://h", &[]),
            ("words", &[]),
        ] {
            assert_eq!(sign_in(text).collect::<Vec<_>>(), found, "{text}");
        }
    }
}
