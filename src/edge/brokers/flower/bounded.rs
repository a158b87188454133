//! An answer of Flower's as JSON, with lists and maps of a length that a Flower may have. A body that is bounded is not
//! enough: it can hold ten million empty objects.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use compact_str::CompactString;
use headcount_actors::ports::BrokerError;
use headcount_core::celery::plain_json;
use headcount_core::detect::table::MAX_ROWS;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::http::not_flowers;

/// Reads an answer. Flower passes on what workers send it as Python writes it, numbers that are none and halves of
/// characters included: one worker's odd value must not cost the sight of all.
///
/// # Errors
/// It is not `what` it should be.
pub(super) fn parse<T: DeserializeOwned>(what: &str, body: &[u8]) -> Result<T, BrokerError> {
    let plain = plain_json(body).map_err(|_| not_flowers(what, body))?;
    serde_json::from_str(&plain).map_err(|_| not_flowers(what, body))
}

/// A list of at most [`MAX_ROWS`] items: of more workers, or of their queues, the rest of the program keeps nothing either.
#[derive(Debug)]
pub(super) struct List<T>(pub(super) Vec<T>);

/// The same for what is known of each name.
#[derive(Debug)]
pub(super) struct ByName<T>(pub(super) HashMap<CompactString, T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Reader(PhantomData)).map(List)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ByName<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MapReader(PhantomData)).map(ByName)
    }
}

struct Reader<T>(PhantomData<T>);

struct MapReader<T>(PhantomData<T>);

fn check<E: Error>(length: usize) -> Result<(), E> {
    if length < MAX_ROWS {
        Ok(())
    } else {
        Err(E::custom("too many"))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            check(list.len())?;
            list.push(item);
        }
        Ok(list)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for MapReader<T> {
    type Value = HashMap<CompactString, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut map = HashMap::new();
        while let Some((name, value)) = entries.next_entry()? {
            check(map.len())?;
            map.insert(name, value);
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;

    use super::*;

    #[test]
    fn what_has_no_end_is_refused_where_the_bound_is() {
        let list = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
        let map = |count: usize| {
            let entries: Vec<String> = (0..count).map(|n| format!("\"{n}\":0")).collect();
            format!("{{{}}}", entries.join(","))
        };
        let whole = serde_json::from_str::<List<IgnoredAny>>(&list(MAX_ROWS)).unwrap();
        assert_eq!(whole.0.len(), MAX_ROWS);
        serde_json::from_str::<List<IgnoredAny>>(&list(MAX_ROWS + 1)).unwrap_err();
        let whole = serde_json::from_str::<ByName<u8>>(&map(MAX_ROWS)).unwrap();
        assert_eq!(whole.0.len(), MAX_ROWS);
        serde_json::from_str::<ByName<u8>>(&map(MAX_ROWS + 1)).unwrap_err();
    }
}
