//! Decodes one table of the tree into a plain struct, and finds all of its mistakes in one go: serde stops at the
//! first, so the faulty entry is noted, taken out, and the rest decoded again.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};

use super::problem::{Found, did_you_mean};
use super::tree::{At, Entry, Node, Table, Value};

/// One mistake: where, under which keys, what.
pub(super) type Mistake = (At, Vec<String>, Found);

/// Decodes a table that stands under `path`. Without a result there is at least one mistake (here, or already
/// reported when the tree was built); with mistakes there may still be a result, good enough to check the rest of it.
pub(super) fn table<T>(
    mut table: Table,
    at: &At,
    path: &[String],
    decode: impl Fn(TableDeserializer<'_>) -> Result<T, Fault>,
) -> (Option<T>, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    let mut removed = take_broken(&mut table);
    loop {
        let fault = match decode(TableDeserializer(&table)) {
            Ok(value) => return (Some(value), mistakes),
            Err(fault) => fault,
        };
        let mut under: Vec<String> = path.to_vec();
        under.extend(fault.path.iter().rev().map(Step::to_string));
        match fault.what {
            What::Missing(field) if removed.iter().any(|key| key == field) => return (None, mistakes),
            What::Missing(field) => {
                under.push(field.to_owned());
                mistakes.push((fault.at.unwrap_or_else(|| at.clone()), under, Found::Said("this key is required".into())));
                return (None, mistakes);
            }
            What::Found(found) => {
                mistakes.push((fault.at.unwrap_or_else(|| at.clone()), under, found));
                let steps: Vec<Step> = fault.path.into_iter().rev().collect();
                let Some(key) = take_out(&mut table, &steps) else { return (None, mistakes) };
                removed.push(key);
            }
        }
    }
}

/// The keys that a struct reads.
pub(super) fn keys_of<T: DeserializeOwned>() -> &'static [&'static str] {
    match T::deserialize(KeysOnly) {
        Err(Keys(keys)) => keys,
        Ok(_) => &[],
    }
}

/// The keys that a kind of notifier reads.
#[cfg(test)]
pub(super) fn keys_of_notifier(kind: &str) -> &'static [&'static str] {
    match headcount_edge::notifiers::decode(kind, KeysOnly) {
        Some(Err(Keys(keys))) => keys,
        _ => &[],
    }
}

/// Takes out what the tree could not read, and tells the keys that it stood under.
fn take_broken(table: &mut Table) -> Vec<String> {
    let mut taken = Vec::new();
    table.0.retain_mut(|entry| {
        let keep = !is_broken(&mut entry.node);
        if !keep {
            taken.push(entry.key.clone());
        }
        keep
    });
    taken
}

fn is_broken(node: &mut Node) -> bool {
    match &mut node.value {
        Value::Broken => true,
        Value::Array(items) => {
            items.retain_mut(|(_, item)| !is_broken(item));
            false
        }
        Value::Table(table) => {
            take_broken(table);
            false
        }
        _ => false,
    }
}

/// Takes out the entry or item that the steps lead to, and tells its key.
fn take_out(table: &mut Table, steps: &[Step]) -> Option<String> {
    let (Step::Key(key), rest) = steps.split_first()? else { return None };
    if rest.is_empty() {
        return table.take(key).map(|entry| entry.key);
    }
    let entry = table.0.iter_mut().find(|entry| entry.key == *key)?;
    take_inside(&mut entry.node, rest)
}

fn take_inside(node: &mut Node, steps: &[Step]) -> Option<String> {
    match (&mut node.value, steps.split_first()?) {
        (Value::Table(table), _) => take_out(table, steps),
        (Value::Array(items), (Step::Item(place), rest)) => {
            let at = items.iter().position(|(index, _)| index == place)?;
            if rest.is_empty() {
                return Some(format!("[{}]", items.remove(at).0));
            }
            take_inside(&mut items.get_mut(at)?.1, rest)
        }
        _ => None,
    }
}

/// One step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
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
enum What {
    Missing(&'static str),
    Found(Found),
}

/// An error of decoding, with the way to it, the last step first.
#[derive(Debug)]
pub(super) struct Fault {
    at: Option<At>,
    path: Vec<Step>,
    what: What,
}

impl Fault {
    fn new(what: What) -> Self {
        Self { at: None, path: Vec::new(), what }
    }

    fn said(message: impl fmt::Display) -> Self {
        Self::new(What::Found(Found::Said(message.to_string())))
    }

    fn under(mut self, step: Step, at: &At) -> Self {
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
        Self::new(What::Found(Found::Instead { expected: expected.to_string(), kind, value }))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let words: Vec<String> = expected.iter().map(|word| format!("\"{word}\"")).collect();
        let (kind, value) = describe(Unexpected::Str(variant));
        Self::new(What::Found(Found::Instead { expected: words.join(" or "), kind, value }))
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

/// Reads a table of the tree.
pub(super) struct TableDeserializer<'a>(&'a Table);

impl<'de> de::Deserializer<'de> for TableDeserializer<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(Entries { entries: self.0.0.iter(), current: None })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, Entry>,
    current: Option<&'a Entry>,
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.current = self.entries.next();
        let Some(entry) = self.current else { return Ok(None) };
        let key: StrDeserializer<'_, Fault> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|fault| fault.under(Step::Key(entry.key.clone()), &entry.key_at))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let entry = self.current.take().ok_or_else(|| Fault::said("a value without a key"))?;
        seed.deserialize(NodeDeserializer(&entry.node))
            .map_err(|fault| fault.under(Step::Key(entry.key.clone()), &entry.node.at))
    }
}

struct Items<'a>(std::slice::Iter<'a, (usize, Node)>);

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some((index, item)) = self.0.next() else { return Ok(None) };
        seed.deserialize(NodeDeserializer(item)).map(Some).map_err(|fault| fault.under(Step::Item(*index), &item.at))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct NodeDeserializer<'a>(&'a Node);

impl NodeDeserializer<'_> {
    /// A value that came from the environment or a file is named by its kind alone.
    fn veil(&self, fault: Fault) -> Fault {
        match fault.what {
            What::Found(Found::Instead { expected, kind, .. }) if self.0.secret && fault.path.is_empty() => {
                Fault { what: What::Found(Found::Instead { expected, kind, value: None }), ..fault }
            }
            _ => fault,
        }
    }
}

/// A text from the environment as the number or truth that is expected there, or else as it is.
macro_rules! from_loose_text {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            match &self.0.value {
                Value::Loose(text) => {
                    let found = if let Ok(number) = text.parse::<i64>() {
                        visitor.visit_i64(number)
                    } else if let Ok(truth) = text.parse::<bool>() {
                        visitor.visit_bool(truth)
                    } else if let Ok(number) = text.parse::<f64>() {
                        visitor.visit_f64(number)
                    } else {
                        visitor.visit_str(text)
                    };
                    found.map_err(|fault| self.veil(fault))
                }
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> de::Deserializer<'de> for NodeDeserializer<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.value {
            Value::Text(text) | Value::Loose(text) => visitor.visit_str(text),
            Value::Datetime(text) => Err(de::Error::invalid_type(Unexpected::Other(&format!("the date {text}")), &visitor)),
            Value::Int(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Array(items) => visitor.visit_seq(Items(items.iter())),
            Value::Table(table) => TableDeserializer(table).deserialize_any(visitor),
            Value::Broken => visitor.visit_unit(),
        }
        .map_err(|fault| self.veil(fault))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.0.value {
            Value::Text(word) | Value::Loose(word) => {
                let word: StrDeserializer<'_, Fault> = word.as_str().into_deserializer();
                visitor.visit_enum(word).map_err(|fault| self.veil(fault))
            }
            other => {
                let (kind, expected) = (other.kind().to_owned(), "a string".to_owned());
                Err(Fault::new(What::Found(Found::Instead { expected, kind, value: None })))
            }
        }
    }

    from_loose_text! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
    }

    serde::forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// A deserializer that has nothing, and only hears which keys a struct asks for.
struct KeysOnly;

#[derive(Debug)]
struct Keys(&'static [&'static str]);

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Keys {}

impl de::Error for Keys {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Keys(&[])
    }
}

impl<'de> de::Deserializer<'de> for KeysOnly {
    type Error = Keys;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Keys> {
        Err(Keys(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Keys> {
        Err(Keys(fields))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
