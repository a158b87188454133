//! An error of decoding that knows the way to what is wrong.

use std::fmt;

use serde::de::{self, Unexpected};

use super::problem::{Found, did_you_mean};
use super::tree::At;

/// One step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Item(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Key(key) => f.write_str(key),
            Step::Item(index) => write!(f, "[{index}]"),
        }
    }
}

#[derive(Debug)]
pub(super) enum What {
    Missing(&'static str),
    Found(Found),
}

/// An error of decoding, with the way to it, the last step first.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: Option<At>,
    pub(super) path: Vec<Step>,
    pub(super) what: What,
}

impl Fault {
    pub(super) fn new(what: What) -> Self {
        Self {
            at: None,
            path: Vec::new(),
            what,
        }
    }

    pub(super) fn said(message: impl fmt::Display) -> Self {
        Self::new(What::Found(Found::Said(message.to_string())))
    }

    pub(super) fn under(mut self, step: Step, at: &At) -> Self {
        self.path.push(step);
        self.at.get_or_insert_with(|| at.clone());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.what)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::said(message)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let (kind, value) = describe(found);
        Self::new(What::Found(Found::Instead {
            expected: in_words(&expected.to_string()),
            kind,
            value,
        }))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let words: Vec<String> = expected.iter().map(|word| format!("\"{word}\"")).collect();
        let (kind, value) = describe(Unexpected::Str(variant));
        Self::new(What::Found(Found::Instead {
            expected: words.join(" or "),
            kind,
            value,
        }))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::said(unknown_key(field, expected))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(What::Missing(field))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::said(format_args!("the key {field} is there twice"))
    }
}

/// What to say of a key that nobody reads.
pub(super) fn unknown_key(key: &str, known: &[&str]) -> String {
    match did_you_mean(key, known.iter().copied()) {
        Some(meant) => format!("unknown key; did you mean `{meant}`?"),
        None => {
            let known: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
            format!("unknown key; expected one of {}", known.join(", "))
        }
    }
}

/// What serde expects, in the words of TOML.
fn in_words(expected: &str) -> String {
    match expected {
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" | "usize" => "a whole number from 0".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a map" => "a table".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other => other.to_owned(),
    }
}

fn describe(found: Unexpected<'_>) -> (String, Option<String>) {
    match found {
        Unexpected::Bool(truth) => ("a boolean".into(), Some(truth.to_string())),
        Unexpected::Unsigned(number) => ("an integer".into(), Some(number.to_string())),
        Unexpected::Signed(number) => ("an integer".into(), Some(number.to_string())),
        Unexpected::Float(number) => ("a float".into(), Some(number.to_string())),
        Unexpected::Str(text) => ("a string".into(), Some(format!("{text:?}"))),
        Unexpected::Seq => ("an array".into(), None),
        Unexpected::Map => ("a table".into(), None),
        other => (other.to_string(), None),
    }
}
