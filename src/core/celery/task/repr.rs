//! Values as Python shows them (`repr`): what events and Flower show of arguments and results.

use std::fmt::Write;

use serde_json::{Map, Value};

/// The longest text, in characters: what Celery cuts arguments to. Raising it makes each event that much larger.
pub const MAX_REPR: usize = 1024;

/// A value, such as `{'a': [1, None, 'x']}`, cut to [`MAX_REPR`] characters.
pub fn repr(value: &Value) -> String {
    let mut out = Out::default();
    out.value(value);
    out.text
}

/// Positional arguments: a tuple, such as `(30,)`.
pub fn tuple_repr(args: &[Value]) -> String {
    let mut out = Out::default();
    out.push("(");
    out.list(args);
    out.push(if args.len() == 1 { ",)" } else { ")" });
    out.text
}

/// Keyword arguments, such as `{'days': 30}`.
pub fn kwargs_repr(kwargs: &Map<String, Value>) -> String {
    let mut out = Out::default();
    out.object(kwargs);
    out.text
}

#[derive(Default)]
struct Out {
    text: String,
    length: usize,
}

impl Out {
    fn full(&self) -> bool {
        self.length >= MAX_REPR
    }

    fn push(&mut self, text: &str) {
        for character in text.chars() {
            if self.full() {
                return;
            }
            self.length += 1;
            if self.full() {
                self.text.push('…');
                return;
            }
            self.text.push(character);
        }
    }

    fn value(&mut self, value: &Value) {
        if self.full() {
            return;
        }
        match value {
            Value::Null => self.push("None"),
            Value::Bool(true) => self.push("True"),
            Value::Bool(false) => self.push("False"),
            Value::Number(number) => self.push(&number.to_string()),
            Value::String(text) => self.quoted(text),
            Value::Array(list) => {
                self.push("[");
                self.list(list);
                self.push("]");
            }
            Value::Object(object) => self.object(object),
        }
    }

    fn list(&mut self, list: &[Value]) {
        for (place, value) in list.iter().enumerate() {
            if place > 0 {
                self.push(", ");
            }
            self.value(value);
            if self.full() {
                return;
            }
        }
    }

    fn object(&mut self, object: &Map<String, Value>) {
        self.push("{");
        for (place, (key, value)) in object.iter().enumerate() {
            if place > 0 {
                self.push(", ");
            }
            self.quoted(key);
            self.push(": ");
            self.value(value);
            if self.full() {
                return;
            }
        }
        self.push("}");
    }

    /// In single quotes, unless it holds some and no double ones.
    fn quoted(&mut self, text: &str) {
        let quote = if text.contains('\'') && !text.contains('"') {
            '"'
        } else {
            '\''
        };
        let mut quoted = String::with_capacity(text.len().min(MAX_REPR) + 2);
        quoted.push(quote);
        for character in text.chars().take(MAX_REPR) {
            match character {
                '\\' => quoted.push_str("\\\\"),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                character if character == quote => {
                    quoted.push('\\');
                    quoted.push(quote);
                }
                character if character.is_control() => {
                    // Writing to a string cannot fail.
                    let _ = match u32::from(character) {
                        code @ 0..=0xff => write!(quoted, "\\x{code:02x}"),
                        code => write!(quoted, "\\u{code:04x}"),
                    };
                }
                character => quoted.push(character),
            }
        }
        quoted.push(quote);
        self.push(&quoted);
    }
}
