//! A group: the values of the fields that a roll-up is grouped by; its key while it is folded, and the `_id` that it is
//! written under.

use std::borrow::Borrow;
use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::bucket::Rfc3339;
use super::distinct::whole;
use super::encode::{Damaged, Reader, Writer};
use super::measure::Field;
use super::value::{Bad, Value, Why};
use crate::time::Wall;

/// The longest text that is grouped by, in bytes; a document with a longer one is bad. It is kept once for each open group.
pub const MAX_TEXT: usize = 1_024;
/// The longest `_id`, in bytes; a longer one is replaced by its hash. Elasticsearch takes 512.
pub const MAX_ID: usize = 256;
/// The most fields that a group is made of.
pub const MAX_FIELDS: usize = 16;

/// The values of one group, in one form for all that are equal: what roll-ups are kept and sorted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(Box<[u8]>);

impl Group {
    /// Of these values, in the order of the fields. A value that is missing is null, and a float that is a whole number is that
    /// number.
    ///
    /// # Errors
    /// One of them is no scalar, NaN, infinite, or a text that is too long.
    pub fn of(fields: &[Field], values: &[Value<'_>]) -> Result<Self, Bad> {
        let mut bytes = Vec::new();
        key(&mut bytes, fields, values)?;
        Ok(Self::from_key(&bytes))
    }

    /// From a key that [`key`] made.
    pub(super) fn from_key(key: &[u8]) -> Self {
        Self(key.into())
    }

    /// Its values, in the order of the fields.
    pub fn values(&self) -> Vec<Value<'static>> {
        let mut values = Vec::new();
        let mut from = Reader::new(&self.0);
        while !from.is_empty() {
            match read(&mut from) {
                Ok(value) => values.push(value),
                // A group is made of bytes that were written or have been read already.
                Err(_) => break,
            }
        }
        values
    }

    /// Its bytes, for a state and for a map.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// From the bytes of a state.
    ///
    /// # Errors
    /// They are not what [`Group::as_bytes`] gave of so many fields.
    pub fn from_bytes(bytes: &[u8], fields: usize) -> Result<Self, Damaged> {
        let mut from = Reader::new(bytes);
        let mut again = Writer::default();
        for _ in 0..fields {
            let value = read(&mut from)?;
            write(&mut again, &value).map_err(|_| from.damaged("a value that is no group's"))?;
        }
        from.end()?;
        // Equal groups have equal bytes, or one group would be counted as two.
        if again.finish() == bytes {
            Ok(Self(bytes.into()))
        } else {
            Err(from.damaged("a group in another form"))
        }
    }

    /// The `_id` of this group's roll-up in the bucket that starts there, such as `2026-01-31T12:00:00Z|spring|=7`. No two groups
    /// of one roll-up share one: a text stands as it is, with `\` before what could be taken for something else, and anything
    /// else after `=`. One that would be longer than [`MAX_ID`] is the bucket and `#` with the hash of the long one (SHA-256).
    pub fn id(&self, bucket: Wall) -> String {
        let bucket = Rfc3339(bucket).to_string();
        let mut id = bucket.clone();
        for value in self.values() {
            id.push('|');
            show(&mut id, &value);
        }
        if id.len() <= MAX_ID {
            return id;
        }
        let mut short = bucket;
        short.push_str("|#");
        for byte in Sha256::digest(&id) {
            let _ = write!(short, "{byte:02x}");
        }
        short
    }
}

impl Borrow<[u8]> for Group {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// Writes the key of a group into a buffer that may be used again.
pub(super) fn key(into: &mut Vec<u8>, fields: &[Field], values: &[Value<'_>]) -> Result<(), Bad> {
    into.clear();
    let mut to = Writer::over(std::mem::take(into));
    let mut outcome = Ok(());
    for (place, field) in fields.iter().enumerate() {
        let value = values.get(place).unwrap_or(&Value::Null);
        if let Err(why) = write(&mut to, value) {
            outcome = Err(Bad {
                field: field.as_str().into(),
                why,
            });
            break;
        }
    }
    *into = to.finish();
    outcome
}

fn write(to: &mut Writer, value: &Value<'_>) -> Result<(), Why> {
    match value {
        Value::Null => to.byte(0),
        Value::Bool(false) => to.byte(1),
        Value::Bool(true) => to.byte(2),
        Value::Int(whole) => {
            to.byte(3);
            to.signed(i128::from(*whole));
        }
        Value::Float(float) if float.is_nan() => return Err(Why::NotANumber),
        Value::Float(float) if float.is_infinite() => return Err(Why::Infinite),
        Value::Float(float) => match whole(*float) {
            Some(whole) => {
                to.byte(3);
                to.signed(i128::from(whole));
            }
            None => {
                to.byte(4);
                to.float(*float);
            }
        },
        Value::Date(at) => {
            to.byte(5);
            to.signed(i128::from(at.as_micros()));
        }
        Value::Id(id) => {
            to.byte(6);
            to.slice(id);
        }
        Value::Text(text) if text.len() > MAX_TEXT => {
            return Err(Why::Long {
                found: text.len(),
                most: MAX_TEXT,
            });
        }
        Value::Text(text) => {
            to.byte(7);
            to.text(text);
        }
        Value::Other(kind) => {
            return Err(Why::Kind {
                expected: "a scalar",
                found: kind,
            });
        }
    }
    Ok(())
}

fn read(from: &mut Reader<'_>) -> Result<Value<'static>, Damaged> {
    let small = |from: &mut Reader<'_>| {
        let number = from.signed()?;
        i64::try_from(number).map_err(|_| from.damaged("a number that does not fit"))
    };
    Ok(match from.byte()? {
        0 => Value::Null,
        1 => Value::Bool(false),
        2 => Value::Bool(true),
        3 => Value::Int(small(from)?),
        4 => Value::Float(from.float()?),
        5 => Value::Date(Wall::from_micros(small(from)?)),
        6 => Value::Id(from.array()?),
        7 => Value::text(from.text(MAX_TEXT)?).into_owned(),
        _ => return Err(from.damaged("a value of no kind")),
    })
}

fn show(id: &mut String, value: &Value<'_>) {
    let outcome = match value {
        Value::Null => id.write_str("=null"),
        Value::Bool(value) => write!(id, "={value}"),
        Value::Int(whole) => write!(id, "={whole}"),
        Value::Float(float) => write!(id, "={float:?}"),
        Value::Date(at) => write!(id, "={}", Rfc3339(*at)),
        Value::Id(bytes) => {
            id.push_str("=id:");
            bytes.iter().try_for_each(|byte| write!(id, "{byte:02x}"))
        }
        Value::Text(text) => {
            for (place, character) in text.chars().enumerate() {
                match character {
                    '|' | '\\' => id.extend(['\\', character]),
                    '=' | '#' if place == 0 => id.extend(['\\', character]),
                    _ if character.is_control() => id.extend(character.escape_unicode()),
                    _ => id.push(character),
                }
            }
            Ok(())
        }
        // Never in a group.
        Value::Other(_) => Ok(()),
    };
    // A string takes whatever is written into it.
    debug_assert!(outcome.is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::borrow::Cow;

    fn fields(count: usize) -> Vec<Field> {
        (0..count).map(|n| format!("f{n}").parse().unwrap()).collect()
    }

    fn group(values: &[Value<'_>]) -> Group {
        Group::of(&fields(values.len()), values).unwrap()
    }

    const NOON: Wall = Wall::from_micros(1_769_860_800_000_000);

    #[test]
    fn an_id_can_be_read() {
        let table: [(&[Value<'_>], &str); 9] = [
            (&[], "2026-01-31T12:00:00Z"),
            (
                &[Value::text("spring"), Value::Int(7)],
                "2026-01-31T12:00:00Z|spring|=7",
            ),
            (&[Value::text("7"), Value::Null], "2026-01-31T12:00:00Z|7|=null"),
            (&[Value::text("null"), Value::text("")], "2026-01-31T12:00:00Z|null|"),
            (
                &[Value::text("=7"), Value::text("#a#=")],
                "2026-01-31T12:00:00Z|\\=7|\\#a#=",
            ),
            (
                &[Value::text("a|b\\"), Value::text("\n")],
                "2026-01-31T12:00:00Z|a\\|b\\\\|\\u{a}",
            ),
            (
                &[Value::Bool(true), Value::Float(1.5)],
                "2026-01-31T12:00:00Z|=true|=1.5",
            ),
            (
                &[Value::Date(NOON), Value::Float(-0.0)],
                "2026-01-31T12:00:00Z|=2026-01-31T12:00:00Z|=0",
            ),
            (
                &[Value::Id([0xab; 12])],
                "2026-01-31T12:00:00Z|=id:abababababababababababab",
            ),
        ];
        for (values, id) in table {
            assert_eq!(group(values).id(NOON), id);
        }
        let long = "x".repeat(MAX_TEXT);
        let id = group(&[Value::text(&long), Value::text(&long)]).id(NOON);
        assert!(id.starts_with("2026-01-31T12:00:00Z|#") && id.len() == 86, "{id}");
    }

    #[test]
    fn what_cannot_be_grouped_by_says_why() {
        let why = |value: Value<'_>| Group::of(&fields(2), &[Value::Null, value]).unwrap_err().to_string();
        assert_eq!(why(Value::Float(f64::NAN)), "field `f1`: not a number (NaN)");
        assert_eq!(
            why(Value::Other("a document")),
            "field `f1`: expected a scalar, found a document"
        );
        let long = "x".repeat(MAX_TEXT + 1);
        assert!(why(Value::text(&long)).starts_with("field `f1`: a text of 1025 bytes"));
        let missing = Group::of(&fields(2), &[Value::Int(1)]).unwrap();
        assert_eq!(missing.values(), [Value::Int(1), Value::Null]);
    }

    #[test]
    fn equal_values_make_one_group() {
        assert_eq!(group(&[Value::Float(7.0)]), group(&[Value::Int(7)]));
        assert_eq!(group(&[Value::Float(-0.0)]), group(&[Value::Int(0)]));
        assert_ne!(group(&[Value::text("7")]), group(&[Value::Int(7)]));
        // A float that could have been a whole number is no group's: nobody wrote it.
        let mut bytes = vec![4];
        bytes.extend(7.0_f64.to_le_bytes());
        assert_eq!(
            Group::from_bytes(&bytes, 1).unwrap_err().what,
            "a group in another form"
        );
        bytes.splice(1.., f64::NAN.to_le_bytes());
        assert_eq!(
            Group::from_bytes(&bytes, 1).unwrap_err().what,
            "a value that is no group's"
        );
        assert_eq!(Group::from_bytes(&[0, 0], 1).unwrap_err().what, "more than a state");
        assert_eq!(Group::from_bytes(&[9], 1).unwrap_err().what, "a value of no kind");
    }

    fn value() -> impl Strategy<Value = Value<'static>> {
        let text = prop_oneof!["[a=|#\\\\1\n]{0,4}", "\\PC{0,300}"];
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (-3_i64..3).prop_map(Value::Int),
            any::<i64>().prop_map(Value::Int),
            (-8_i32..8).prop_map(|n| Value::Float(f64::from(n) / 4.0)),
            any::<f64>()
                .prop_filter("finite", |float| float.is_finite())
                .prop_map(Value::Float),
            any::<i64>().prop_map(|micros| Value::Date(Wall::from_micros(micros))),
            any::<[u8; 12]>().prop_map(Value::Id),
            text.prop_filter("short enough", |text| text.len() <= MAX_TEXT)
                .prop_map(|text| Value::Text(Cow::Owned(text))),
        ]
    }

    proptest! {
        #![proptest_config(crate::property::cases(1_000))]

        #[test]
        fn an_id_is_a_groups_alone(a in prop::collection::vec(value(), 3), b in prop::collection::vec(value(), 3)) {
            let (left, right) = (group(&a), group(&b));
            prop_assert_eq!(left == right, left.id(NOON) == right.id(NOON));
            prop_assert!(left.id(NOON).len() <= MAX_ID && !left.id(NOON).contains(char::is_control));
            prop_assert_eq!(Group::from_bytes(left.as_bytes(), 3), Ok(left.clone()));
            prop_assert_eq!(group(&left.values()), left);
        }

        #[test]
        fn any_bytes_are_a_group_or_damaged(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(group) = Group::from_bytes(&bytes, 2) {
                prop_assert_eq!(group.values().len(), 2);
                let _ = group.id(NOON);
            }
        }
    }
}
