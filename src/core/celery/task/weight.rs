//! What a call takes in memory.

use serde_json::{Map, Value};

use super::message::TaskMessage;

/// What a map takes for each member, beside the key's text and the value: measured, and rounded up.
const MEMBER: usize = 64;

impl TaskMessage {
    /// About what it takes in memory, in bytes. A number of two digits takes as much as a long one.
    pub fn weight(&self) -> usize {
        let texts = [
            &self.shadow,
            &self.root_id,
            &self.parent_id,
            &self.group,
            &self.argsrepr,
        ];
        let others = [&self.kwargsrepr, &self.origin, &self.reply_to, &self.correlation_id];
        let texts = texts.into_iter().chain(others).flatten().map(String::capacity);
        let lists = [&self.embed.callbacks, &self.embed.errbacks, &self.embed.chain];
        let lists = lists.into_iter().flatten().map(|list| list_weight(list));
        let maps = [&self.kwargs, &self.stamps, &self.others].into_iter().map(map_weight);
        let stamped = self.stamped_headers.iter().flatten();
        let stamped = stamped.map(|name| size_of::<String>() + name.capacity());
        size_of::<Self>()
            + self.id.capacity()
            + self.name.capacity()
            + list_weight(&self.args)
            + self.embed.chord.as_ref().map_or(0, value_weight)
            + texts.chain(lists).chain(maps).chain(stamped).sum::<usize>()
    }
}

fn value_weight(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.capacity(),
            Value::Array(list) => list_weight(list),
            Value::Object(map) => map_weight(map),
        }
}

fn list_weight(list: &[Value]) -> usize {
    list.iter().map(value_weight).sum()
}

fn map_weight(map: &Map<String, Value>) -> usize {
    map.iter()
        .map(|(key, value)| MEMBER + key.capacity() + value_weight(value))
        .sum()
}
