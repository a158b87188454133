//! What is told, before it is sent. Texts are cut when there is no secret in them any more: half of one is not known for what it is.
//! The fields of a trace's spans are whoever's made them, so only those stay that are known to hold names.

use sentry::protocol::Breadcrumb;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::report::{MARGIN, MAX_TAG, MAX_TEXT, Report};
use crate::bounded::cut;
use crate::secrets::Secrets;

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

/// Takes secrets out of the texts of a report, and cuts them then.
pub(super) fn shorten_report(secrets: &Secrets, report: &mut Report) {
    report.message = short(secrets, &report.message, MAX_TEXT);
    for tag in report.tags.values_mut() {
        *tag = short(secrets, tag, MAX_TAG);
    }
    report.extra.values_mut().for_each(|value| shorten(secrets, value));
    let said = report.exception.as_mut().and_then(|exception| exception.value.as_mut());
    if let Some(said) = said {
        *said = short(secrets, said, MAX_TEXT);
    }
}

/// The same of breadcrumbs.
pub(super) fn shorten_trail(secrets: &Secrets, trail: &mut [Breadcrumb]) {
    for crumb in trail {
        if let Some(message) = &mut crumb.message {
            *message = short(secrets, message, MAX_TEXT);
        }
        crumb.data.values_mut().for_each(|value| shorten(secrets, value));
    }
}

fn shorten(secrets: &Secrets, value: &mut Value) {
    if let Value::String(text) = value {
        *text = short(secrets, text, MAX_TEXT);
    }
}

/// So much of a text, without secrets.
fn short(secrets: &Secrets, text: &str, most: usize) -> String {
    let clean = secrets.text(text);
    // Of what was not held as a whole, the end may be the beginning of a secret. It is never shown, also where what was taken out
    // before it has made room for it.
    let is_whole = text.len() + char::MAX.len_utf8() <= most + MARGIN;
    let unsure = if is_whole { 0 } else { MARGIN.max(secrets.longest()) };
    cut(&clean, most.min(clean.len().saturating_sub(unsure))).to_owned()
}

/// The trace without any secret; none where one would be in it all the same.
pub(super) fn clean_trace<T: Serialize + DeserializeOwned>(secrets: &Secrets, what: &T) -> Option<T> {
    let mut value = serde_json::to_value(what).ok()?;
    keep_names(&mut value);
    secrets
        .clean(&value)
        .and_then(|value| serde_json::from_value(value).ok())
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use secrecy::SecretString;
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt};

    use super::*;
    use crate::sentry::lock;
    use crate::sentry::report::Told;
    use crate::sentry::trail::Trail;

    /// Of which none is known but by its value, and of which each is longer when it is spelt otherwise.
    const KNOWN: &str = "Q7 kZx9w/Plm";
    /// Of which nothing is known but where it stands.
    const STANDS: &str = "hunter-Tw0";

    /// What is told, made ready to be sent.
    #[derive(Clone, Default)]
    struct Ready(Arc<Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> Layer<S> for Ready {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            let mut report = Told::of(event).report("headcount").unwrap();
            shorten_report(&secrets(), &mut report);
            let mut trail = Trail::default();
            trail.add(report.level, "headcount", Told::of(event));
            let mut trail = trail.until(std::time::SystemTime::now());
            shorten_trail(&secrets(), &mut trail);
            let texts = [
                vec![report.message.clone(), report.template()],
                report.tags.into_values().collect(),
                report.extra.into_values().filter_map(text).collect(),
                trail.iter().filter_map(|crumb| crumb.message.clone()).collect(),
                trail
                    .into_iter()
                    .flat_map(|crumb| crumb.data.into_values())
                    .filter_map(text)
                    .collect(),
            ];
            lock(&self.0).extend(texts.concat());
        }
    }

    fn secrets() -> Secrets {
        Secrets::new(&[SecretString::from(KNOWN)])
    }

    fn text(value: Value) -> Option<String> {
        value.as_str().map(str::to_owned)
    }

    /// A text in which a secret begins at an offset, and which goes on for long behind it.
    fn said(before: &str, secret: &str, offset: usize) -> String {
        let fill = ". ".repeat(offset);
        let filled = cut(&fill, offset.saturating_sub(before.len()));
        format!("{before}{filled}{secret} {}", ". ".repeat(MAX_TEXT + MARGIN))
    }

    fn tells_nothing(texts: &[String]) {
        for secret in [KNOWN, STANDS] {
            let parts: Vec<&str> = (0..secret.len()).filter_map(|at| secret.get(at..at + 4)).collect();
            for text in texts {
                let told = parts.iter().find(|part| text.contains(**part));
                assert_eq!(told, None, "{text}");
            }
        }
    }

    #[test]
    fn no_limit_leaves_a_part_of_a_secret_wherever_it_stands() {
        let (secrets, address) = (secrets(), format!("amqp://u:{STANDS}@mq/v"));
        // What is taken out before it moves what was not held as a whole into what is shown.
        let removed = format!("amqp://{}@mq ", "u".repeat(MARGIN + 50));
        for secret in [KNOWN, &address] {
            for (before, limit) in [("", MAX_TAG), ("", MAX_TAG + MARGIN), (&removed, MAX_TAG + MARGIN)] {
                for offset in limit - secret.len() - 2..limit + 3 {
                    let said = said(before, secret, offset);
                    let told = short(&secrets, cut(&said, MAX_TAG + MARGIN), MAX_TAG);
                    assert!(told.len() <= MAX_TAG);
                    tells_nothing(&[told]);
                }
            }
        }
    }

    #[test]
    fn no_text_that_is_told_ends_in_the_midst_of_a_secret() {
        let ready = Ready::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(ready.clone()), || {
            for limit in [MAX_TAG, MAX_TEXT, MAX_TAG + MARGIN, MAX_TEXT + MARGIN] {
                let said = said("", KNOWN, limit - KNOWN.len() / 2);
                tracing::error!(fleet = said, headline = said, subject = ?said, "{said}");
            }
        });
        let texts = lock(&ready.0);
        let longest = texts.iter().map(String::len).max();
        assert_eq!(longest, Some(MAX_TEXT));
        tells_nothing(&texts);
    }

    #[test]
    fn what_is_the_same_of_a_message_is_made_of_it_without_secrets() {
        let mut report = Report::new("headcount", format!("{KNOWN} was refused 17 times: by itself"));
        shorten_report(&secrets(), &mut report);
        assert_eq!(report.template(), "[secret] was refused 0 times");
        assert_eq!(report.subject(), "[secret] was refused 17 times");
    }

    #[test]
    fn a_text_keeps_what_there_is_room_for() {
        for (length, kept) in [(0, 0), (MAX_TEXT, MAX_TEXT), (MAX_TEXT + MARGIN - 4, MAX_TEXT)] {
            assert_eq!(short(&secrets(), &"x".repeat(length), MAX_TEXT).len(), kept);
        }
        // A secret that is longer than what is held for it.
        let long = "0123456789abcdef".repeat(MARGIN);
        let secrets = Secrets::new(&[long.clone().into()]);
        assert_eq!(short(&secrets, cut(&long, MAX_TEXT + MARGIN), MAX_TEXT), "");
    }
}
