//! An error before it is an event of Sentry's: what it is, for whom, and what may be said of it.

use std::collections::BTreeMap;
use std::fmt;

use headcount_actors::ports::TaskFailures;
use headcount_actors::vitals::{self, Duty};
use sentry::protocol::{Exception, Level, Mechanism, Stacktrace, Value};
use tracing::field::{Field, Visit};

use crate::bounded::{Bounded, cut};

/// The longest message, and the longest value of a field, in bytes; beyond it is cut, once secrets are out of it (`clean.rs`).
pub(super) const MAX_TEXT: usize = 1_000;
/// The longest value of a tag, which is Sentry's own limit, in bytes.
pub(super) const MAX_TAG: usize = 200;
/// What is held of a longer text beyond that, in bytes: a secret that goes over the limit has to be there as a whole to be known
/// for one. Longer than an address with a password, or a token; raising it costs so much for each text that is that long.
pub(super) const MARGIN: usize = 2_000;

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

/// Fields that a breadcrumb shows beside these, and beside all that are numbers.
const CRUMB_DATA: &[&str] = &["headline", "id", "incident", "queue", "state", "subject"];

/// The field by which somebody says that the panic which he tells of is one of those that the hook has reported (`panics.rs`).
const OF_A_PANIC: &str = "panic";

/// Who tells of a panic.
pub(super) const PANIC: &str = "panic";

/// What stands for the message of a panic in a task, which may be what the task was given.
const IN_A_TASK: &str = "a task panicked";

/// Tags by their name.
pub(super) type Tags = BTreeMap<&'static str, String>;

/// What has a table of its own in the books (`repeats.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Panics, and what Headcount cannot go on after.
    Grave,
    /// Headcount's own errors.
    Own,
    /// Failures of watched tasks: how many kinds there are is up to others.
    Watched,
}

impl Class {
    /// All of them, the gravest first.
    pub(super) const ALL: [Class; 3] = [Class::Grave, Class::Own, Class::Watched];
}

/// One error.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Report {
    pub(super) class: Class,
    pub(super) level: Level,
    /// Who says so: the target of what was traced.
    pub(super) logger: String,
    pub(super) message: String,
    /// What is the same of it each time, where that is not what its message begins with.
    same: Option<String>,
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
        Self {
            class: Class::Own,
            level: Level::Error,
            logger: logger.to_owned(),
            message: message.into(),
            same: None,
            tags: Tags::new(),
            extra: BTreeMap::new(),
            exception: None,
        }
    }

    /// The daemon cannot start, or cannot go on.
    pub(super) fn fatal(error: &str) -> Self {
        // Of what follows a colon, such as an address or a path, nothing makes it another error.
        let what = head(hold(error, MAX_TEXT));
        let mut report = Self::grave("headcount", format!("Headcount cannot go on: {what}"));
        report.same = Some(without_numbers(&report.message));
        report.level = Level::Fatal;
        report.extra.insert("error", hold(error, MAX_TEXT).into());
        report
    }

    /// Failures of a watched task. The task and the exception are tags: what is the same of all of them is that they failed.
    pub(super) fn watched(broker: &str, failure: &TaskFailures) -> Self {
        let task = match &*failure.task {
            // Its worker told its id alone, and nothing before of what that is.
            "" => "a task whose name was not heard",
            named => named,
        };
        let message = match &*failure.exception {
            "" => format!("{task} failed"),
            exception => format!("{task} failed: {exception}"),
        };
        let mut report = Self::new("celery.task", message);
        report.class = Class::Watched;
        report.same = Some("a watched task failed".to_owned());
        for (name, value) in [
            ("broker", broker),
            ("fleet", &failure.fleet),
            ("task", &failure.task),
            ("exception", &failure.exception),
        ] {
            report.tag(name, value);
        }
        report
    }

    fn grave(logger: &str, message: impl Into<String>) -> Self {
        let mut report = Self::new(logger, message);
        report.class = Class::Grave;
        report
    }

    pub(super) fn key(&self) -> Key {
        Key {
            logger: self.logger.clone(),
            template: cut(&self.template(), MAX_TEXT).to_owned(),
            tags: self
                .tags
                .iter()
                .map(|(name, value)| (*name, cut(value, MAX_TAG).to_owned()))
                .collect(),
        }
    }

    /// What is the same of it each time: of a message, neither its numbers nor a reason.
    pub(super) fn template(&self) -> String {
        match &self.same {
            Some(same) => same.clone(),
            None => without_numbers(head(&self.message)),
        }
    }

    /// What it is, without a reason. Unlike the template it is as it was said, so that secrets are found in it.
    pub(super) fn subject(&self) -> &str {
        self.same.as_deref().unwrap_or_else(|| head(&self.message))
    }

    pub(super) fn tag(&mut self, name: &'static str, value: &str) {
        if !value.is_empty() {
            self.tags.insert(name, hold(value, MAX_TAG).to_owned());
        }
    }

    /// A panic at a place in the code.
    pub(super) fn panic(place: &str, message: &str, stack: impl FnOnce() -> Option<Stacktrace>) -> Self {
        let duty = vitals::duty();
        // What a task panics with may be what it was given.
        let value = match &duty {
            Some(duty) if duty.kind == vitals::TASK => IN_A_TASK.to_owned(),
            _ => without_values(message).to_owned(),
        };
        let mut report = Self::grave(PANIC, format!("panic at {place}: {}", hold(&value, MAX_TEXT)));
        report.same = Some(place.to_owned());
        report.tags_of_duty(duty.as_deref());
        report.exception = Some(Exception {
            ty: "panic".to_owned(),
            value: Some(hold(&value, MAX_TEXT).to_owned()),
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
            report.message = head(&report.message).to_owned();
        }
        for (name, value) in self.fields {
            let said = TAGS.contains(&name) || (private && matches!(value, Value::String(_)) && name != "id");
            if !said {
                report.extra.insert(name, value);
            }
        }
        Some(report)
    }

    /// A line of what went before, and what it is about: names, numbers, and no text that may be a task's.
    pub(super) fn crumb(self) -> (String, BTreeMap<String, Value>) {
        let private = ["task", "job"].iter().any(|name| self.fields.contains_key(name));
        let message = if private {
            head(&self.message).to_owned()
        } else {
            self.message
        };
        let data = self.fields.into_iter().filter(|(name, value)| {
            let number = matches!(value, Value::Number(_) | Value::Bool(_));
            number || TAGS.contains(name) || CRUMB_DATA.contains(name)
        });
        (message, data.map(|(name, value)| (name.to_owned(), value)).collect())
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
        self.keep(field, hold(value, MAX_TEXT));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = Bounded::debug(value, MAX_TEXT + MARGIN).text();
        if field.name() == "message" {
            self.message = text;
        } else {
            self.keep(field, text);
        }
    }
}

/// A message without what follows a colon, which is a reason.
fn head(message: &str) -> &str {
    let line = message.lines().next().unwrap_or_default();
    line.split(": ").next().unwrap_or_default()
}

fn without_numbers(text: &str) -> String {
    let mut template = String::with_capacity(text.len());
    for c in text.chars() {
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

/// As much of a text as is needed to send so many bytes of it without secrets.
fn hold(text: &str, most: usize) -> &str {
    cut(text, most + MARGIN)
}
