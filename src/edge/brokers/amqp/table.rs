//! Headers: AMQP's tables as JSON, and back, with the types that py-amqp gives them.

use headcount_actors::ports::BrokerError;
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use serde_json::{Map, Number, Value};

use super::short::short;

/// How deep tables may be nested that come from others: Celery's own are 3 deep at most.
const MAX_DEPTH: usize = 16;

/// A table that came, as JSON. What JSON has no word for (bytes that are no text) is null.
pub(super) fn to_json(table: &FieldTable) -> Map<String, Value> {
    object(table, MAX_DEPTH)
}

fn object(table: &FieldTable, depth: usize) -> Map<String, Value> {
    let entry = |(key, value): (&lapin::types::ShortString, &AMQPValue)| (key.to_string(), json(value, depth));
    table.inner().iter().map(entry).collect()
}

fn json(value: &AMQPValue, depth: usize) -> Value {
    match value {
        AMQPValue::Boolean(truth) => Value::Bool(*truth),
        AMQPValue::ShortShortInt(number) => (*number).into(),
        AMQPValue::ShortShortUInt(number) => (*number).into(),
        AMQPValue::ShortInt(number) => (*number).into(),
        AMQPValue::ShortUInt(number) => (*number).into(),
        AMQPValue::LongInt(number) => (*number).into(),
        AMQPValue::LongUInt(number) => (*number).into(),
        AMQPValue::LongLongInt(number) => (*number).into(),
        AMQPValue::Timestamp(number) => (*number).into(),
        AMQPValue::Float(number) => Number::from_f64(f64::from(*number)).map_or(Value::Null, Value::Number),
        AMQPValue::Double(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        AMQPValue::ShortString(text) => Value::String(text.to_string()),
        AMQPValue::LongString(text) => match std::str::from_utf8(text.as_bytes()) {
            Ok(text) => Value::String(text.to_owned()),
            Err(_) => Value::Null,
        },
        AMQPValue::FieldArray(list) if depth > 0 => {
            list.as_slice().iter().map(|value| json(value, depth - 1)).collect()
        }
        AMQPValue::FieldTable(table) if depth > 0 => Value::Object(object(table, depth - 1)),
        _ => Value::Null,
    }
}

/// JSON as a table.
///
/// # Errors
/// If a key is longer than AMQP has room for.
pub(super) fn from_json(object: &Map<String, Value>) -> Result<FieldTable, BrokerError> {
    let mut table = FieldTable::default();
    for (key, value) in object {
        table.insert(short(key)?, amqp(value)?);
    }
    Ok(table)
}

fn amqp(value: &Value) -> Result<AMQPValue, BrokerError> {
    Ok(match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(truth) => AMQPValue::Boolean(*truth),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => i32::try_from(whole).map_or(AMQPValue::LongLongInt(whole), AMQPValue::LongInt),
            None => AMQPValue::Double(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => AMQPValue::LongString(text.as_str().into()),
        Value::Array(list) => {
            let list: Result<Vec<_>, _> = list.iter().map(amqp).collect();
            AMQPValue::FieldArray(FieldArray::from(list?))
        }
        Value::Object(object) => AMQPValue::FieldTable(from_json(object)?),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn headers_come_back_as_they_went() {
        let Value::Object(headers) = json!({
            "task": "t", "eta": null, "retries": 3, "clock": 5_000_000_000_i64, "load": 1.5, "ignore_result": false,
            "timelimit": [null, 2], "stamps": {"who": ["é"]},
        }) else {
            panic!("an object")
        };
        assert_eq!(to_json(&from_json(&headers).unwrap()), headers);
    }

    #[test]
    fn what_json_has_no_word_for_is_null_and_depth_is_bounded() {
        let mut table = FieldTable::default();
        table.insert("bytes".into(), AMQPValue::LongString(vec![0xff_u8].into()));
        let mut deep = FieldTable::default();
        for _ in 0..1_000 {
            let mut outer = FieldTable::default();
            outer.insert("d".into(), AMQPValue::FieldTable(deep));
            deep = outer;
        }
        table.insert("deep".into(), AMQPValue::FieldTable(deep));
        let read = to_json(&table);
        assert_eq!(read["bytes"], Value::Null);
        assert!(read["deep"].is_object());
        let long = json!({"k".repeat(300): 1});
        from_json(long.as_object().unwrap()).unwrap_err();
    }
}
