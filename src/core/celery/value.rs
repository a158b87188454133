//! A whole body as a tree, bounded: for replies, which are few and whose shape differs by command.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number as JsonNumber, Value};

use super::format::Format;
use super::json::{Json, Next, NotJson, Number};
use super::loose::{from_msgpack, from_yaml};
use super::raw::Malformed;

/// How many values a reply may hold. Each takes some 50 bytes; a worker that runs 1,000 tasks needs about 30,000.
pub(crate) const MAX_NODES: usize = 200_000;

/// Reads a body. Numbers that are none (`NaN`) become null.
pub(crate) fn parse(format: Format, body: &[u8]) -> Result<Value, Malformed> {
    let mut left = MAX_NODES;
    match format {
        Format::Json => {
            let text = std::str::from_utf8(body).map_err(|_| Malformed::Body)?;
            let mut json = Json::new(text);
            let value = json_value(&mut json, &mut left).and_then(|value| json.end().map(|()| value));
            value.map_err(|NotJson| {
                if left == 0 {
                    Malformed::TooLarge
                } else {
                    Malformed::Body
                }
            })
        }
        Format::Msgpack => from_msgpack(body, |deserializer| Tree(&mut left).deserialize(deserializer)),
        Format::Yaml => from_yaml(body, |deserializer| Tree(&mut left).deserialize(deserializer)),
    }
}

/// Reads an object in JSON, and of its members those that are wanted; the others are not kept.
pub(crate) fn members(body: &[u8], wanted: impl Fn(&str) -> bool) -> Result<Map<String, Value>, NotJson> {
    let mut left = MAX_NODES;
    let text = std::str::from_utf8(body).map_err(|_| NotJson)?;
    let mut json = Json::new(text);
    let mut object = Map::new();
    if json.next()? != Next::Object {
        return Err(NotJson);
    }
    json.object(|json, key| {
        if wanted(&key) {
            object.insert(key.into_owned(), json_value(json, &mut left)?);
            Ok(())
        } else {
            json.skip()
        }
    })?;
    json.end().map(|()| object)
}

fn json_value(json: &mut Json<'_>, left: &mut usize) -> Result<Value, NotJson> {
    *left = left.checked_sub(1).ok_or(NotJson)?;
    Ok(match json.next()? {
        Next::Null => {
            json.null()?;
            Value::Null
        }
        Next::Bool => Value::Bool(json.bool()?),
        Next::Text => Value::String(json.string()?.into_owned()),
        Next::Number => number(json.number()?),
        Next::List => {
            let mut list = Vec::new();
            json.list(|json| {
                list.push(json_value(json, left)?);
                Ok(())
            })?;
            Value::Array(list)
        }
        Next::Object => {
            let mut object = Map::new();
            json.object(|json, key| {
                object.insert(key.into_owned(), json_value(json, left)?);
                Ok(())
            })?;
            Value::Object(object)
        }
    })
}

fn number(number: Number) -> Value {
    match number {
        Number::Whole(whole) => Value::from(whole),
        Number::Float(float) => {
            // A negative whole number comes as a float; it stays whole where it is exact.
            if float.fract() == 0.0 && float < 0.0 && float > -9.0e15 {
                return Value::from(float as i64);
            }
            JsonNumber::from_f64(float).map_or(Value::Null, Value::Number)
        }
    }
}

/// Builds the tree from msgpack and YAML, with what is left of [`MAX_NODES`].
struct Tree<'l>(&'l mut usize);

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        *self.0 = self
            .0
            .checked_sub(1)
            .ok_or_else(|| D::Error::custom("too many values"))?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key_seed(Tree(self.0))? {
            let key = if let Value::String(text) = key {
                text
            } else {
                key.to_string()
            };
            object.insert(key, map.next_value_seed(Tree(self.0))?);
        }
        Ok(Value::Object(object))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(Tree(self.0))? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_u64<E>(self, whole: u64) -> Result<Value, E> {
        Ok(Value::from(whole))
    }

    fn visit_i64<E>(self, whole: i64) -> Result<Value, E> {
        Ok(Value::from(whole))
    }

    fn visit_f64<E>(self, float: f64) -> Result<Value, E> {
        Ok(number(Number::Float(float)))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    /// Bytes have no place in what Headcount asks for.
    fn visit_bytes<E>(self, _: &[u8]) -> Result<Value, E> {
        Ok(Value::Null)
    }
}
