//! What looks like a secret: who signs in at an address and what is asked there, tokens, and values of such names.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{NAMES, SECRET};

/// The forms; none of them only if a pattern is wrong, which a test would see.
static FORMS: LazyLock<Option<Forms>> = LazyLock::new(|| Forms::new().ok());

struct Forms {
    /// `Bearer …`.
    credentials: Regex,
    /// Slack's.
    token: Regex,
    /// `password=…`, `"password": "…"`, `password: Some("…")`.
    named: Regex,
}

impl Forms {
    fn new() -> Result<Self, regex::Error> {
        let names = NAMES.join("|");
        // As it stands in quotes within quotes, in quotes, and alone; what is hidden already is left as it is.
        let value = r#"\[secret\]|\\"[^"\\]*(?:\\")?|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|[^\s,;()}\]"']+"#;
        let named = format!(
            r#"(?i)([\w.\-]*(?:{names})[\w.\-]*(?:\\?["'])?[ \t]*(?:=>|[:=])[ \t]*(?:Some\()?)((?:bearer|basic)[ \t]+)?(?:{value})"#
        );
        Ok(Self {
            credentials: Regex::new(r#"(?i)\b(bearer|basic)([ \t]+)[^\s,;()}\]"'\[]+"#)?,
            token: Regex::new(r#"\b(?:xox[abep]|xapp-)[^\s,;()}\]"'<>]+"#)?,
            named: Regex::new(&named)?,
        })
    }

    fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let text = addresses(text);
        let text = replace(text, &self.token, |_| SECRET.to_owned());
        let text = replace(text, &self.named, |found| {
            format!("{}{}{SECRET}", part(found, 1), part(found, 2))
        });
        replace(text, &self.credentials, |found| {
            format!("{}{}{SECRET}", part(found, 1), part(found, 2))
        })
    }
}

/// The text without what looks like a secret.
pub(super) fn hide(text: &str) -> Cow<'_, str> {
    match &*FORMS {
        Some(forms) => forms.hide(text),
        None => Cow::Borrowed(SECRET),
    }
}

fn replace<'a>(text: Cow<'a, str>, form: &Regex, with: impl Fn(&Captures<'_>) -> String) -> Cow<'a, str> {
    let replaced = match form.replace_all(&text, with) {
        Cow::Owned(replaced) => replaced,
        Cow::Borrowed(_) => return text,
    };
    Cow::Owned(replaced)
}

fn part<'a>(found: &'a Captures<'_>, number: usize) -> &'a str {
    found.get(number).map_or("", |part| part.as_str())
}

/// What stands between an address' scheme and the rest of it.
const SIGN: &str = "://";

/// Where the first address goes on of which a text that was cut may lack the end: who signs in there may be all that is left of it.
pub(super) fn begun_at(text: &str) -> Option<usize> {
    let mut signs = text.match_indices(SIGN).map(|(at, sign)| (at, at + sign.len()));
    let unended = signs.find(|(at, after)| {
        let rest = text.get(*after..).unwrap_or_default();
        end_of_word(text.get(..*at).unwrap_or_default(), rest).is_none()
    });
    unended.map(|(_, after)| after)
}

/// Where an address ends, of which the scheme is the end of `before`. One in quotes ends with them; any other with the word,
/// because a password may hold anything else.
fn end_of_word(before: &str, rest: &str) -> Option<usize> {
    let opening = before.trim_end_matches(is_of_scheme).chars().last();
    let closing = opening.filter(|quote| matches!(quote, '"' | '\'' | '`'));
    rest.find(|c: char| c.is_whitespace() || Some(c) == closing)
}

/// Each address of the text without its secrets.
fn addresses(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(SIGN) else {
        return Cow::Borrowed(text);
    };
    let mut clean = String::with_capacity(text.len());
    let mut at = first + SIGN.len();
    let mut done = 0;
    loop {
        let (before, rest) = (
            text.get(done..at).unwrap_or_default(),
            text.get(at..).unwrap_or_default(),
        );
        clean.push_str(before);
        let end = end_of_word(before.trim_end_matches(SIGN), rest);
        let mut word = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let next = word.find(SIGN);
        if let Some(next) = next {
            // Another address in the same word: all before its scheme is this one's.
            word = word.get(..next).unwrap_or_default().trim_end_matches(is_of_scheme);
        }
        clean.push_str(&address(word));
        done = at + word.len();
        let Some(next) = text.get(done..).and_then(|rest| rest.find(SIGN)) else {
            break;
        };
        at = done + next + SIGN.len();
    }
    clean.push_str(text.get(done..).unwrap_or_default());
    Cow::Owned(clean)
}

fn is_of_scheme(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')
}

/// What stands behind `://`, without who signs in, and without what is asked. A webhook's path is its secret.
fn address(rest: &str) -> String {
    let rest = without_question(rest);
    // A password may hold anything that is not escaped: who signs in ends with the last of these.
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let place = place.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = place.find('/').map_or((place, ""), |at| place.split_at(at));
    if path.starts_with("/services/") || authority.starts_with("hooks.") {
        return format!("{authority}/{SECRET}");
    }
    format!("{authority}{path}")
}

/// Without `?name=value…`, which may hold an `@` of its own.
fn without_question(rest: &str) -> &str {
    let question = rest.match_indices('?').find(|(at, _)| {
        let asked = rest.get(at + 1..).unwrap_or_default();
        let name = asked.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.'));
        name.is_some_and(|end| end > 0 && asked.get(end..).is_some_and(|rest| rest.starts_with('=')))
    });
    question.and_then(|(at, _)| rest.get(..at)).unwrap_or(rest)
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
            ("at amqp://u:p@ss@h:1/v, no", "at amqp://h:1/v, no"),
            ("at amqp://u:p,a(s;s'@h:1/v, no", "at amqp://h:1/v, no"),
            ("at amqp://u:p?a#s/s@h:1/v", "at amqp://h:1/v"),
            ("(\"amqp://u:p@h\",'a@h1')", "(\"amqp://h\",'a@h1')"),
            ("amqp://u:p@h1;amqp://u:q@h2 x", "amqp://h1;amqp://h2 x"),
            ("http://h:5555/api?workername=a@h1 fails", "http://h:5555/api fails"),
            ("https://k0123@o1.ingest.sentry.io/7", "https://o1.ingest.sentry.io/7"),
            (
                "posting to https://hooks.slack.com/services/T0/B0/abc failed",
                "posting to https://hooks.slack.com/[secret] failed",
            ),
            ("http://127.0.0.1:9/services/T0/B0/abc", "http://127.0.0.1:9/[secret]"),
            ("token xoxb-1-2-abc is wrong", "token [secret] is wrong"),
            ("Authorization: Bearer abc.def", "Authorization: Bearer [secret]"),
            ("it said Basic dTpw, and no", "it said Basic [secret], and no"),
            ("GET http://h/x?api_key=abc#y", "GET http://h/x"),
            ("password=abc, user=bob", "password=[secret], user=bob"),
            ("password: abc user: bob", "password: [secret] user: bob"),
            ("DB_PASSWORD = \"a b\" x", "DB_PASSWORD = [secret] x"),
            (
                "{\"password\": \"a \\\" b\", \"n\": 1}",
                "{\"password\": [secret], \"n\": 1}",
            ),
            (
                "{\\\"token\\\":\\\"a b\\\",\\\"n\\\":1}",
                "{\\\"token\\\":[secret],\\\"n\\\":1}",
            ),
            ("{'api_key': 'a b'}", "{'api_key': [secret]}"),
            (
                "Login { password: Some(\"a b\"), n: 1 }",
                "Login { password: Some([secret]), n: 1 }",
            ),
            ("password=[secret], n", "password=[secret], n"),
            ("nothing to hide: 3 of 4, a@h1", "nothing to hide: 3 of 4, a@h1"),
            (
                "the token is wrong, see the passwords' page",
                "the token is wrong, see the passwords' page",
            ),
        ] {
            assert_eq!(hide(text), clean, "{text}");
            assert_eq!(hide(clean), clean, "once more");
        }
    }
}
