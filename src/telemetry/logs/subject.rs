//! Whom an event is about.

use std::fmt;
use std::hash::{Hash, Hasher};

use headcount_edge::bounded::Bounded;
use tracing::Event;
use tracing::field::{Field, Visit};

/// Fields that say whom something is about. Not ids, which differ each time: ten thousand failures of one task are one storm.
/// `log.target` is where an event comes from that a library gives to the crate `log`.
pub(super) const FIELDS: [&str; 12] = [
    "broker",
    "fleet",
    "node",
    "worker",
    "hostname",
    "job",
    "task",
    "notifier",
    "pipeline",
    "actor",
    "subject",
    "log.target",
];

/// The longest value that is kept of one field, and the longest message, in bytes.
const MAX_TEXT: usize = 200;

/// The fields of [`FIELDS`] that an event has, in the order in which it has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subject(Vec<(&'static str, String)>);

impl Subject {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let named = |field: Field| FIELDS.contains(&field.name());
        let mut subject = Self::default();
        if event.fields().any(named) {
            event.record(&mut subject);
        }
        subject
    }

    #[cfg(test)]
    pub(super) fn new(name: &'static str, value: &str) -> Self {
        Self(vec![(name, value.to_owned())])
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value.as_str())
    }

    /// A number for it, by which it is told from others.
    pub(super) fn number(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }
}

impl Visit for Subject {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if FIELDS.contains(&field.name()) {
            self.0.push((field.name(), shortened(value)));
        }
    }
}

/// An event's message.
pub(super) fn message(event: &Event<'_>) -> String {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                self.0 = shortened(value);
            }
        }
    }
    let mut message = Message(String::new());
    event.record(&mut message);
    message.0
}

fn shortened(value: &dyn fmt::Debug) -> String {
    Bounded::debug(value, MAX_TEXT).marked()
}
