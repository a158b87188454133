//! serde's deserializers over the tree.

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};

use super::fault::{Fault, Step, What};
use super::problem::Found;
use super::tree::{Entry, Node, Table, Value};

/// Reads a table of the tree.
pub(super) struct TableDeserializer<'a>(pub(super) &'a Table);

impl<'de> de::Deserializer<'de> for TableDeserializer<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(Entries {
            entries: self.0.0.iter(),
            current: None,
        })
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
        seed.deserialize(key)
            .map(Some)
            .map_err(|fault| fault.under(Step::Key(entry.key.clone()), &entry.key_at))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let entry = self
            .current
            .take()
            .ok_or_else(|| Fault::said("a value without a key"))?;
        seed.deserialize(NodeDeserializer(&entry.node))
            .map_err(|fault| fault.under(Step::Key(entry.key.clone()), &entry.node.at))
    }
}

struct Items<'a>(std::slice::Iter<'a, (usize, Node)>);

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some((index, item)) = self.0.next() else {
            return Ok(None);
        };
        seed.deserialize(NodeDeserializer(item))
            .map(Some)
            .map_err(|fault| fault.under(Step::Item(*index), &item.at))
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
            What::Found(Found::Instead { expected, kind, .. }) if self.0.secret && fault.path.is_empty() => Fault {
                what: What::Found(Found::Instead {
                    expected,
                    kind,
                    value: None,
                }),
                ..fault
            },
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
            Value::Datetime(text) => Err(de::Error::invalid_type(
                Unexpected::Other(&format!("the date {text}")),
                &visitor,
            )),
            Value::Int(number) => visitor.visit_i64(*number),
            Value::Float(number) if number.is_finite() => visitor.visit_f64(*number),
            // No setting is endless, and an argument of a job would be sent as null: JSON has no such number.
            Value::Float(number) => Err(de::Error::invalid_type(
                Unexpected::Other(&format!("{number}, which is no number")),
                &visitor,
            )),
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
                Err(Fault::new(What::Found(Found::Instead {
                    expected,
                    kind,
                    value: None,
                })))
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
