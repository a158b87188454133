//! From a document's bytes to the values that a roll-up is made of, without decoding the rest.

use std::borrow::Cow;

use headcount_core::stats::value::Value;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::raw::{RawBsonRef, RawDocument};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Bson, Document};

use super::parts::{date, wall};

/// The fields that are wanted of each document, each at its own place.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    paths: Vec<Path>,
}

#[derive(Clone, Debug)]
struct Path {
    /// The name in the document itself.
    head: String,
    /// The names in the documents within.
    rest: Vec<String>,
}

impl Path {
    fn of(field: &str) -> Self {
        let mut names = field.split('.').map(str::to_owned);
        Path {
            head: names.next().unwrap_or_default(),
            rest: names.collect(),
        }
    }
}

impl Wanted {
    pub(super) fn of<'a>(fields: impl Iterator<Item = &'a str>) -> Self {
        Self {
            paths: fields.map(Path::of).collect(),
        }
    }

    /// What the server is asked for: these fields, and `also`. A field within a field that is asked for whole is left out,
    /// because the server takes the two together for a mistake.
    pub(super) fn projection(&self, also: &[&str]) -> Document {
        let mut names: Vec<String> = self
            .paths
            .iter()
            .map(|path| {
                std::iter::once(&path.head)
                    .chain(&path.rest)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(".")
            })
            .chain(also.iter().map(|name| (*name).to_owned()))
            .collect();
        names.sort_unstable();
        names.dedup();
        let mut projection = Document::new();
        for name in &names {
            let within = names.iter().any(|other| {
                name.strip_prefix(other.as_str())
                    .is_some_and(|rest| rest.starts_with('.'))
            });
            if !within {
                projection.insert(name, 1);
            }
        }
        if !projection.contains_key("_id") {
            projection.insert("_id", 0);
        }
        projection
    }

    /// The values of one document, in the order of the fields; null where there is none.
    ///
    /// # Errors
    /// The document's bytes are not BSON.
    pub(super) fn read<'a>(&self, document: &'a RawDocument, into: &mut Vec<Value<'a>>) -> Result<(), Damaged> {
        into.clear();
        into.resize(self.paths.len(), Value::Null);
        for element in document.iter() {
            let (name, value) = element.map_err(|_| Damaged)?;
            for (path, place) in self.paths.iter().zip(into.iter_mut()) {
                if path.head == name.as_str() {
                    *place = within(value, &path.rest)?;
                }
            }
        }
        Ok(())
    }
}

/// Bytes that are not BSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

fn within<'a>(value: RawBsonRef<'a>, rest: &[String]) -> Result<Value<'a>, Damaged> {
    let Some((name, rest)) = rest.split_first() else {
        return Ok(scalar(value));
    };
    match value {
        RawBsonRef::Document(document) => match document.get(name).map_err(|_| Damaged)? {
            Some(value) => within(value, rest),
            None => Ok(Value::Null),
        },
        RawBsonRef::Array(_) => Ok(Value::Other("a list")),
        // As in MongoDB, a field of something that has none is missing.
        _ => Ok(Value::Null),
    }
}

/// The raw value at a path.
pub(super) fn raw<'a>(document: &'a RawDocument, path: &str) -> Option<RawBsonRef<'a>> {
    let mut names = path.split('.');
    let mut value = document.get(names.next()?).ok()??;
    for name in names {
        value = value.as_document()?.get(name).ok()??;
    }
    Some(value)
}

/// A value as roll-ups see it.
pub(super) fn scalar(value: RawBsonRef<'_>) -> Value<'_> {
    match value {
        RawBsonRef::Null | RawBsonRef::Undefined => Value::Null,
        RawBsonRef::Boolean(value) => Value::Bool(value),
        RawBsonRef::Int32(whole) => Value::Int(i64::from(whole)),
        RawBsonRef::Int64(whole) => Value::Int(whole),
        RawBsonRef::Double(float) => Value::Float(float),
        // The nearest float: sums are kept as floats in any case. Its text is one that floats are read from.
        RawBsonRef::Decimal128(decimal) => match decimal.to_string().parse() {
            Ok(float) => Value::Float(float),
            Err(_) => Value::Other("a decimal number"),
        },
        RawBsonRef::DateTime(at) => Value::millis(at.timestamp_millis()),
        RawBsonRef::ObjectId(id) => Value::Id(id.bytes()),
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) => Value::text(text),
        RawBsonRef::Binary(binary) if binary.subtype == BinarySubtype::Uuid => {
            match uuid::Uuid::from_slice(binary.bytes) {
                Ok(id) => Value::Text(Cow::Owned(id.to_string())),
                Err(_) => Value::Other("binary data"),
            }
        }
        RawBsonRef::Binary(_) => Value::Other("binary data"),
        RawBsonRef::Array(_) => Value::Other("a list"),
        RawBsonRef::Document(_) => Value::Other("a document"),
        RawBsonRef::Timestamp(_) => Value::Other("a time stamp of MongoDB's own"),
        _ => Value::Other("a value of MongoDB's own"),
    }
}

/// A value as it is written to a collection.
pub(super) fn bson(value: &Value<'_>) -> Bson {
    match value {
        Value::Null | Value::Other(_) => Bson::Null,
        Value::Bool(value) => Bson::Boolean(*value),
        Value::Int(whole) => Bson::Int64(*whole),
        Value::Float(float) => Bson::Double(*float),
        Value::Date(at) => Bson::DateTime(date(*at)),
        Value::Id(id) => Bson::ObjectId(ObjectId::from_bytes(*id)),
        Value::Text(text) => Bson::String(text.clone().into_owned()),
    }
}

/// The moment that a value of the cursor field tells.
pub(super) fn moment(value: RawBsonRef<'_>) -> Option<headcount_core::time::Wall> {
    match value {
        RawBsonRef::ObjectId(id) => Some(wall(id.timestamp())),
        RawBsonRef::DateTime(at) => Some(wall(at)),
        _ => None,
    }
}

/// Puts a value at a path, in documents within documents.
pub(super) fn insert(document: &mut Document, path: &str, value: Bson) {
    match path.split_once('.') {
        None => drop(document.insert(path, value)),
        Some((name, rest)) => {
            if !matches!(document.get(name), Some(Bson::Document(_))) {
                document.insert(name, Document::new());
            }
            if let Some(Bson::Document(within)) = document.get_mut(name) {
                insert(within, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::{RawDocumentBuf, doc};

    #[test]
    fn the_server_is_asked_for_what_is_needed_and_no_more() {
        let asked = |fields: &[&str], also: &[&str]| Wanted::of(fields.iter().copied()).projection(also);
        assert_eq!(
            asked(&["ms", "place.country"], &["at"]),
            doc! { "at": 1, "ms": 1, "place.country": 1, "_id": 0 }
        );
        assert_eq!(asked(&["ms", "ms"], &["_id"]), doc! { "_id": 1, "ms": 1 });
        // Both would be a mistake to MongoDB. What only begins alike is another field.
        assert_eq!(
            asked(&["place.country", "place", "places.n", "place.at.x"], &[]),
            doc! { "place": 1, "places.n": 1, "_id": 0 }
        );
    }

    #[test]
    fn values_are_found_within_documents() {
        let document = doc! { "a": { "b": { "c": 7 }, "l": [1] }, "x": "text", "n": Bson::Null };
        let raw = RawDocumentBuf::try_from(&document).unwrap();
        let wanted = Wanted::of(["x", "a.b.c", "a.b", "a.l.c", "x.y", "n", "absent", "a.absent"].into_iter());
        let mut values = Vec::new();
        wanted.read(&raw, &mut values).unwrap();
        let expected = [
            Value::text("text"),
            Value::Int(7),
            Value::Other("a document"),
            Value::Other("a list"),
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
        ];
        assert_eq!(values, expected);
    }

    #[test]
    fn values_are_put_within_documents() {
        let mut document = doc! { "n": 1 };
        insert(&mut document, "a.b.c", Bson::Int32(7));
        insert(&mut document, "a.d", Bson::Int32(8));
        insert(&mut document, "n.m", Bson::Int32(9));
        assert_eq!(document, doc! { "n": { "m": 9 }, "a": { "b": { "c": 7 }, "d": 8 } });
    }
}
