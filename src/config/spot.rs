//! One table while it is checked.

use std::ops::Range;

use super::decode::Mistake;
use super::problem::Found;
use super::tree::{At, Node, Table, Value};

/// The longest name of a broker or fleet, in characters: it is a label, a page and a word in a message.
const MAX_NAME: usize = 64;

/// Knows where the table's keys stand.
pub(super) struct Spot<'a> {
    pub(super) table: &'a Table,
    pub(super) at: &'a At,
    pub(super) path: Vec<String>,
    pub(super) mistakes: &'a mut Vec<Mistake>,
}

/// A key such as `hostnames.[2]`, step by step.
fn steps(key: &str) -> Vec<&str> {
    key.split('.').filter(|step| !step.is_empty()).collect()
}

impl Spot<'_> {
    /// Reports a mistake at a key (`hostnames`, `hostnames.[2]` for one item, `measures.n` for a key of a table in it), or at the table where the key is not.
    pub(super) fn say(&mut self, key: &str, message: impl Into<String>) {
        self.put(key, Found::Said(message.into()));
    }

    /// Reports a mistake in a part of a key's text, in bytes of that text. `what` is all that is said where the text came
    /// from elsewhere, and must not be shown.
    pub(super) fn say_within(&mut self, key: &str, text: &str, part: Range<usize>, what: &str, message: String) {
        let node = self.table.get(key);
        if node.is_some_and(|node| node.secret) {
            return self.say(key, format!("it is no {what}"));
        }
        let within = node.and_then(|node| super::jobs::part_of(&node.at, text, &part));
        let Some(at) = within else {
            return self.say(key, message);
        };
        let path = self.path.iter().cloned().chain([key.to_owned()]).collect();
        self.mistakes.push((at, path, Found::Said(message)));
    }

    /// Reports what is wrong in words that quote the value; `veiled` where that came from elsewhere, and must not be shown.
    pub(super) fn say_plainly(&mut self, key: &str, message: &str, veiled: &str) {
        let secret = self.node(&steps(key)).is_some_and(|node| node.secret);
        self.say(key, if secret { veiled } else { message });
    }

    /// Reports a value that is not what it should be; the value is shown only where the key holds no secret.
    pub(super) fn expected(&mut self, key: &str, expected: &str, found: &impl std::fmt::Display) {
        let secret = self.table.get(key).is_some_and(|node| node.secret);
        let value = (!secret).then(|| format!("{:?}", found.to_string()));
        self.put(
            key,
            Found::Instead {
                expected: expected.to_owned(),
                kind: "a string".to_owned(),
                value,
            },
        );
    }

    fn put(&mut self, key: &str, found: Found) {
        let steps = steps(key);
        let at = self.node(&steps).map_or(self.at, |node| &node.at).clone();
        let path = self
            .path
            .iter()
            .cloned()
            .chain(steps.into_iter().map(str::to_owned))
            .collect();
        self.mistakes.push((at, path, found));
    }

    /// What stands there, or as near to it as there is anything.
    fn node(&self, steps: &[&str]) -> Option<&Node> {
        let mut node = self.table.get(steps.first()?)?;
        for step in steps.iter().skip(1) {
            let within = match &node.value {
                Value::Array(items) => items
                    .iter()
                    .find(|(index, _)| format!("[{index}]") == *step)
                    .map(|(_, item)| item),
                Value::Table(table) => table.get(step),
                _ => None,
            };
            let Some(within) = within else { break };
            node = within;
        }
        Some(node)
    }

    /// Whether something has already been said about a key.
    pub(super) fn has_mistake(&self, key: &str) -> bool {
        let path: Vec<&str> = self.path.iter().map(String::as_str).chain([key]).collect();
        self.mistakes.iter().any(|(_, under, _)| *under == path)
    }

    /// Whether something has already been said about anything in this table.
    pub(super) fn has_mistakes(&self) -> bool {
        self.mistakes.iter().any(|(_, under, _)| under.starts_with(&self.path))
    }

    /// Whether something has already been said about a key, or about anything in it.
    pub(super) fn has_mistakes_under(&self, key: &str) -> bool {
        let path: Vec<String> = self.path.iter().cloned().chain([key.to_owned()]).collect();
        self.mistakes.iter().any(|(_, under, _)| under.starts_with(&path))
    }

    /// Reports an unusable name.
    pub(super) fn check_name(&mut self, key: &str, name: &str) {
        let sound = !name.is_empty()
            && name.chars().count() <= MAX_NAME
            && !name.contains(|c: char| c.is_control() || c == '/')
            && name.trim() == name;
        if !sound {
            self.expected(key, &format!("1 to {MAX_NAME} printable characters without `/`"), &name);
        }
    }

    /// Does something with a table inside this one; with this one itself where that is not there.
    pub(super) fn inside<R>(&mut self, key: &str, act: impl FnOnce(&mut Spot<'_>) -> R) -> R {
        let path: Vec<String> = self.path.iter().cloned().chain([key.to_owned()]).collect();
        let empty = Table::default();
        let (table, at) = match self.table.get(key) {
            Some(Node {
                value: Value::Table(table),
                at,
                ..
            }) => (table, at),
            _ => (&empty, self.at),
        };
        act(&mut Spot {
            table,
            at,
            path,
            mistakes: self.mistakes,
        })
    }
}
