//! As much of MongoDB's protocol as it takes to tell a server something: one command in one OP_MSG, and its answer.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Map, Value, json};

/// So long may the server take to answer: to make a replica set, it writes much to its disk first.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The opcode of OP_MSG.
const OP_MSG: i32 = 2013;
/// More than any answer to an administrator's command.
const MAX_ANSWER: usize = 1 << 20;

pub(super) fn command(port: u16, database: &str, command: &Value) -> Result<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let mut command = command.as_object().cloned().ok_or_else(wrong)?;
    command.insert("$db".to_owned(), json!(database));
    // The name of the command comes first, whatever order the map has.
    let mut names: Vec<&String> = command.keys().collect();
    names.sort_by_key(|name| matches!(name.as_str(), "$db" | "force"));
    let fields = names.into_iter().map(|name| (name.clone(), &command[name]));
    let body = document(fields);

    let length = i32::try_from(16 + 4 + 1 + body.len()).map_err(|_| wrong())?;
    let mut message = Vec::new();
    for number in [length, 1, 0, OP_MSG, 0] {
        message.extend(number.to_le_bytes());
    }
    message.push(0);
    message.extend(body);
    stream.write_all(&message)?;

    let mut head = [0; 21];
    stream.read_exact(&mut head)?;
    let length = head.first_chunk().map_or(0, |bytes| i32::from_le_bytes(*bytes));
    let left = usize::try_from(length).ok().and_then(|length| length.checked_sub(21));
    let mut answer = vec![0; left.filter(|left| *left <= MAX_ANSWER).ok_or_else(wrong)?];
    stream.read_exact(&mut answer)?;
    read_document(&mut answer.as_slice()).map(Value::Object)
}

fn wrong() -> Error {
    Error::new(
        ErrorKind::InvalidData,
        "not what MongoDB's protocol is here expected to be",
    )
}

fn document<'a>(fields: impl Iterator<Item = (String, &'a Value)>) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let (kind, bytes) = element(value);
        body.push(kind);
        body.extend(name.as_bytes());
        body.push(0);
        body.extend(bytes);
    }
    body.push(0);
    let length = i32::try_from(body.len() + 4).expect("a command is short");
    [length.to_le_bytes().as_slice(), &body].concat()
}

fn element(value: &Value) -> (u8, Vec<u8>) {
    match value {
        Value::Null => (0x0a, Vec::new()),
        Value::Bool(truth) => (0x08, vec![u8::from(*truth)]),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => (0x12, whole.to_le_bytes().to_vec()),
            None => (0x01, number.as_f64().unwrap_or_default().to_le_bytes().to_vec()),
        },
        Value::String(text) => {
            let length = i32::try_from(text.len() + 1).expect("a command is short");
            (0x02, [length.to_le_bytes().as_slice(), text.as_bytes(), &[0]].concat())
        }
        Value::Array(items) => {
            let fields = items.iter().enumerate().map(|(index, item)| (index.to_string(), item));
            (0x04, document(fields))
        }
        Value::Object(fields) => (0x03, document(fields.iter().map(|(name, value)| (name.clone(), value)))),
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or_else(wrong)?;
    *bytes = rest;
    Ok(taken)
}

fn read_int(bytes: &mut &[u8]) -> Result<i32> {
    let taken = take(bytes, 4)?;
    taken.try_into().map(i32::from_le_bytes).map_err(|_| wrong())
}

fn read_document(bytes: &mut &[u8]) -> Result<Map<String, Value>> {
    read_int(bytes)?;
    let mut fields = Map::new();
    loop {
        let kind = take(bytes, 1)?[0];
        if kind == 0 {
            return Ok(fields);
        }
        let end = bytes.iter().position(|byte| *byte == 0).ok_or_else(wrong)?;
        let name = String::from_utf8_lossy(take(bytes, end)?).into_owned();
        take(bytes, 1)?;
        fields.insert(name, read_value(kind, bytes)?);
    }
}

fn read_value(kind: u8, bytes: &mut &[u8]) -> Result<Value> {
    let eight = |bytes: &mut &[u8]| -> Result<[u8; 8]> { take(bytes, 8)?.try_into().map_err(|_| wrong()) };
    Ok(match kind {
        0x01 => json!(f64::from_le_bytes(eight(bytes)?)),
        0x02 => {
            let length = usize::try_from(read_int(bytes)?).map_err(|_| wrong())?;
            let text = take(bytes, length)?;
            json!(String::from_utf8_lossy(text.strip_suffix(&[0]).unwrap_or(text)))
        }
        0x03 => Value::Object(read_document(bytes)?),
        0x04 => Value::Array(read_document(bytes)?.into_iter().map(|(_, item)| item).collect()),
        0x05 => {
            let length = usize::try_from(read_int(bytes)?).map_err(|_| wrong())?;
            take(bytes, 1 + length)?;
            Value::Null
        }
        0x07 => json!(
            take(bytes, 12)?
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        ),
        0x08 => json!(take(bytes, 1)? != [0]),
        0x0a => Value::Null,
        0x10 => json!(read_int(bytes)?),
        // A long, a date, a time stamp.
        0x09 | 0x11 | 0x12 => json!(i64::from_le_bytes(eight(bytes)?)),
        _ => return Err(wrong()),
    })
}
