//! Events in msgpack and YAML: rarer than JSON, and read through serde.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};

use super::decode::Decoded;
use super::event::Event;
use super::fields::{Fields, Key, Scalar};
use super::json::{MAX_DEPTH, Number};
use super::raw::Malformed;

/// How many nodes a YAML body may have, those that its aliases repeat included. A full `task.multi` has under 500;
/// raising it costs time and memory for each hostile body (aliases of aliases grow without end).
const MAX_YAML_NODES: usize = 20_000;

/// How many anchors and aliases a YAML body may have: Python writes some for lists that are used twice.
const MAX_YAML_ALIASES: usize = 1_000;

/// Reads a msgpack body.
pub(crate) fn msgpack(body: &[u8], decoded: &mut Decoded, each: &mut impl FnMut(Event<'_>)) -> Result<(), Malformed> {
    let single = from_msgpack(body, |deserializer| {
        deserializer.deserialize_any(Body { decoded, each })
    })?;
    finish(single, decoded, each);
    Ok(())
}

/// Reads a YAML body.
pub(crate) fn yaml(body: &[u8], decoded: &mut Decoded, each: &mut impl FnMut(Event<'_>)) -> Result<(), Malformed> {
    let single = from_yaml(body, |deserializer| {
        deserializer.deserialize_any(Body { decoded, each })
    })?;
    finish(single, decoded, each);
    Ok(())
}

/// One msgpack value, and no further one after it.
pub(crate) fn from_msgpack<'de, T>(
    body: &'de [u8],
    read: impl FnOnce(&mut Msgpack<'de>) -> Result<T, rmp_serde::decode::Error>,
) -> Result<T, Malformed> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(body);
    deserializer.set_max_depth(MAX_DEPTH);
    let value = read(&mut deserializer).map_err(|_| Malformed::Body)?;
    // The reader does not say where it stands: only at the end is there no further value to begin.
    match IgnoredAny::deserialize(&mut deserializer) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
        _ => Err(Malformed::Body),
    }
}

/// What reads msgpack.
pub(crate) type Msgpack<'de> = rmp_serde::Deserializer<rmp_serde::decode::ReadRefReader<'de, [u8]>>;

/// One YAML document. Its tags name types and are not obeyed; its aliases are bounded.
pub(crate) fn from_yaml<'de, T>(
    body: &'de [u8],
    read: impl for<'e> FnOnce(serde_saphyr::Deserializer<'de, 'e>) -> Result<T, serde_saphyr::Error>,
) -> Result<T, Malformed> {
    let text = std::str::from_utf8(body).map_err(|_| Malformed::Body)?;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 2 * MAX_YAML_NODES,
            max_nodes: MAX_YAML_NODES,
            max_aliases: MAX_YAML_ALIASES,
            max_anchors: MAX_YAML_ALIASES,
            max_recorded_anchor_events: 2 * MAX_YAML_NODES,
            max_recorded_anchor_bytes: super::event::MAX_BODY,
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_documents: 1,
            max_merge_keys: MAX_YAML_ALIASES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 2 * MAX_YAML_NODES,
            max_replay_stack_depth: 8,
        },
        // As in Python, the last of two equal keys counts.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    serde_saphyr::with_deserializer_from_str_with_options(text, options, read).map_err(|_| Malformed::Body)
}

fn finish(single: Option<Fields<'_>>, decoded: &mut Decoded, each: &mut impl FnMut(Event<'_>)) {
    if let Some(fields) = single {
        decoded.take(&fields, each);
    }
}

/// A body: a list's events are handed over as they come, a single one is given back, to be handed over when the whole
/// body has turned out well.
struct Body<'d, F> {
    decoded: &'d mut Decoded,
    each: &'d mut F,
}

impl<'de, F: FnMut(Event<'_>)> Visitor<'de> for Body<'_, F> {
    type Value = Option<Fields<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event or a list of events")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        fields(map).map(Some)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while let Some(entry) = list.next_element::<Entry<'de>>()? {
            match entry.0 {
                Some(fields) => self.decoded.take(&fields, self.each),
                None => self.decoded.not_an_event(),
            }
        }
        Ok(None)
    }
}

/// An entry of a list: an object's fields, or nothing.
struct Entry<'de>(Option<Fields<'de>>);

impl<'de> Deserialize<'de> for Entry<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Value::<true>).map(|found| match found {
            Found::Fields(fields) => Entry(Some(fields)),
            Found::Scalar(_) => Entry(None),
        })
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Value::<false>).map(|found| match found {
            Found::Fields(_) => Scalar::Other,
            Found::Scalar(scalar) => scalar,
        })
    }
}

/// Takes a value of any type; an object's fields are kept only where `FIELDS`.
struct Value<const FIELDS: bool>;

// Short-lived, and an event is the common case: boxing it would cost an allocation for each.
#[allow(clippy::large_enum_variant)]
enum Found<'de> {
    Fields(Fields<'de>),
    Scalar(Scalar<'de>),
}

impl<'de, const FIELDS: bool> Visitor<'de> for Value<FIELDS> {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        if FIELDS {
            return fields(map).map(Found::Fields);
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Found::Scalar(Scalar::Other))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Found::Scalar(Scalar::Other))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Found::Scalar(Scalar::Text(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Found::Scalar(Scalar::Text(Cow::Owned(text.to_owned()))))
    }

    fn visit_u64<E>(self, whole: u64) -> Result<Self::Value, E> {
        Ok(Found::Scalar(Scalar::Number(Number::Whole(whole))))
    }

    fn visit_i64<E>(self, whole: i64) -> Result<Self::Value, E> {
        let number = u64::try_from(whole).map_or(Number::Float(whole as f64), Number::Whole);
        Ok(Found::Scalar(Scalar::Number(number)))
    }

    fn visit_u128<E>(self, whole: u128) -> Result<Self::Value, E> {
        Ok(Found::Scalar(Scalar::Number(Number::Float(whole as f64))))
    }

    fn visit_i128<E>(self, whole: i128) -> Result<Self::Value, E> {
        Ok(Found::Scalar(Scalar::Number(Number::Float(whole as f64))))
    }

    fn visit_f64<E>(self, float: f64) -> Result<Self::Value, E> {
        Ok(Found::Scalar(Scalar::Number(Number::Float(float))))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Found::Scalar(Scalar::Null))
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Found::Scalar(Scalar::Null))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Found::Scalar(Scalar::Other))
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Self::Value, E> {
        Ok(Found::Scalar(Scalar::Other))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, extension: D) -> Result<Self::Value, D::Error> {
        IgnoredAny::deserialize(extension).map(|_| Found::Scalar(Scalar::Other))
    }
}

fn fields<'de, A: MapAccess<'de>>(mut map: A) -> Result<Fields<'de>, A::Error> {
    let mut fields = Fields::default();
    while let Some(key) = map.next_key::<Scalar<'de>>()? {
        let known = if let Scalar::Text(name) = &key {
            Key::of(name)
        } else {
            None
        };
        match known {
            Some(key) => fields.set(key, map.next_value()?),
            None => {
                map.next_value::<IgnoredAny>()?;
            }
        }
    }
    Ok(fields)
}
