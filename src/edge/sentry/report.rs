//! An error before it is an event of Sentry's: what it is, for whom, and what may be said of it.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use headcount_actors::vitals::{self, Duty};
use sentry::protocol::{Exception, Level, Mechanism, Stacktrace, Value};
use tracing::field::{Field, Visit};

/// The longest message, and the longest value of a field, in bytes; beyond it is cut.
const MAX_TEXT: usize = 1_000;
/// The longest value of a tag, which is Sentry's own limit, in bytes.
const MAX_TAG: usize = 200;

/// Fields that become tags: what errors are told apart by, beside their message. Names of the configuration and of code.
const TAGS: &[&str] = &[
    "actor",
    "broker",
    "exception",
    "fleet",
    "job",
    "node",
    "notifier",
    "pipeline",
    "table",
    "task",
];

/// The field by which somebody says that the panic which he tells of is one of those that the hook has reported (`panics.rs`).
const OF_A_PANIC: &str = "panic";

/// Who tells of a panic.
pub(super) const PANIC: &str = "panic";

/// Tags by their name.
pub(super) type Tags = BTreeMap<&'static str, String>;

/// One error.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Report {
    pub(super) level: Level,
    /// Who says so: the target of what was traced.
    pub(super) logger: String,
    pub(super) message: String,
    /// What is the same of it each time.
    pub(super) template: String,
    pub(super) tags: Tags,
    pub(super) extra: BTreeMap<&'static str, Value>,
    /// Of a panic: where it was.
    pub(super) exception: Option<Exception>,
}

/// By what an error is known again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    logger: String,
    template: String,
    tags: Tags,
}

impl Report {
    pub(super) fn new(logger: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            level: Level::Error,
            logger: logger.to_owned(),
            template: template(&message),
            message,
            tags: Tags::new(),
            extra: BTreeMap::new(),
            exception: None,
        }
    }

    pub(super) fn key(&self) -> Key {
        Key {
            logger: self.logger.clone(),
            template: self.template.clone(),
            tags: self.tags.clone(),
        }
    }

    pub(super) fn tag(&mut self, name: &'static str, value: &str) {
        if !value.is_empty() {
            self.tags.insert(name, cut(value, MAX_TAG).to_owned());
        }
    }

    /// A panic at a place in the code.
    pub(super) fn panic(place: &str, message: &str, stack: impl FnOnce() -> Option<Stacktrace>) -> Self {
        let duty = vitals::duty();
        // What a task panics with may be what it was given.
        let value = match &duty {
            Some(duty) if duty.kind == vitals::TASK => "a task panicked".to_owned(),
            _ => without_values(message).to_owned(),
        };
        let mut report = Self::new(PANIC, format!("panic at {place}: {}", cut(&value, MAX_TEXT)));
        report.template = place.to_owned();
        report.tags_of_duty(duty.as_deref());
        report.exception = Some(Exception {
            ty: "panic".to_owned(),
            value: Some(cut(&value, MAX_TEXT).to_owned()),
            mechanism: Some(Mechanism {
                ty: "panic".to_owned(),
                handled: Some(false),
                ..Mechanism::default()
            }),
            stacktrace: stack(),
            ..Exception::default()
        });
        report
    }

    pub(super) fn tags_of_duty(&mut self, duty: Option<&Duty>) {
        let Some(duty) = duty else { return };
        let of = duty.of.as_deref().unwrap_or_default();
        let name = match duty.kind {
            vitals::TASK => return self.tag("task", of),
            "FleetProber" => "fleet",
            "BrokerListener" => "broker",
            "SlackNotifier" => "notifier",
            "CeleryNode" => "node",
            _ => "of",
        };
        self.tag("actor", duty.kind);
        if !self.tags.contains_key(name) {
            self.tag(name, of);
        }
    }
}

/// What was traced, as its fields say it.
#[derive(Debug, Default)]
pub(super) struct Told {
    message: String,
    fields: BTreeMap<&'static str, Value>,
    of_a_panic: bool,
}

impl Told {
    pub(super) fn of(event: &tracing::Event<'_>) -> Self {
        let mut told = Self::default();
        event.record(&mut told);
        told
    }

    /// The error; none where it has been reported already, as a panic.
    pub(super) fn report(self, logger: &str) -> Option<Report> {
        if self.of_a_panic {
            return None;
        }
        let mut report = Report::new(logger, self.message);
        let duty = vitals::duty();
        report.tags_of_duty(duty.as_deref());
        for (name, value) in &self.fields {
            if let Some(tag) = TAGS.iter().find(|tag| *tag == name) {
                report.tag(tag, &as_text(value));
            }
        }
        if let Some(actor) = report.tags.get("actor").cloned() {
            // Of which: `FleetProber(sms)` is told by two tags.
            report.tag("actor", actor.split('(').next().unwrap_or_default());
        }
        let private = report.tags.contains_key("task") || report.tags.contains_key("job");
        if private {
            // The text of a task's error may be what it was given, so it stays here; what stands after the colon is such a text.
            report.message = report.template.clone();
        }
        for (name, value) in self.fields {
            let said = TAGS.contains(&name) || (private && matches!(value, Value::String(_)) && name != "id");
            if !said {
                report.extra.insert(name, value);
            }
        }
        Some(report)
    }

    /// A line of what went before: what is the same of it each time, and its tags.
    pub(super) fn crumb(self) -> (String, BTreeMap<String, Value>) {
        let data = self.fields.into_iter().filter(|(name, _)| TAGS.contains(name));
        (
            template(&self.message),
            data.map(|(name, value)| (name.to_owned(), value)).collect(),
        )
    }

    fn keep(&mut self, field: &Field, value: impl Into<Value>) {
        self.fields.insert(field.name(), value.into());
    }
}

impl Visit for Told {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.keep(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == OF_A_PANIC {
            self.of_a_panic = value;
        } else {
            self.keep(field, value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, cut(value, MAX_TEXT));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Short(String::new());
        // An error means that there is more of it than is kept.
        let _ = write!(text, "{value:?}");
        if field.name() == "message" {
            self.message = text.0;
        } else {
            self.keep(field, text.0);
        }
    }
}

/// Takes [`MAX_TEXT`] bytes, and ends the writing of whatever is longer.
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_TEXT.saturating_sub(self.0.len());
        let taken = cut(text, room);
        self.0.push_str(taken);
        if taken.len() < text.len() {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

/// What is the same of a message each time: without what follows a colon, which is a reason, and without its numbers.
fn template(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let head = line.split(": ").next().unwrap_or_default();
    let mut template = String::with_capacity(head.len());
    for c in head.chars() {
        match c {
            '0'..='9' if template.ends_with('0') => {}
            '0'..='9' => template.push('0'),
            _ => template.push(c),
        }
    }
    template
}

/// A panic's message without the value that was unwrapped, or compared.
fn without_values(message: &str) -> &str {
    let ends = ["an `Err` value: ", "\n  left: "];
    let end = ends
        .iter()
        .filter_map(|end| message.find(end).map(|at| at + end.len()))
        .min();
    end.and_then(|end| message.get(..end)).unwrap_or(message).trim_end()
}

fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The longest beginning of at most so many bytes.
pub(super) fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
