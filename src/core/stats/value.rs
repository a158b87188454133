//! What a field of a document holds, as far as a roll-up cares: scalars, independent of where the document came from.

use std::borrow::Cow;
use std::cmp::Ordering;

use compact_str::CompactString;
use thiserror::Error;

use crate::time::Wall;

/// The greatest magnitude of a number that is measured. No quantity that anybody measures comes near, so a greater one is
/// damage, and 2⁶⁴ of them add up without overflow.
pub const HUGE: f64 = 1e30;

/// A scalar.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value<'a> {
    /// Absent, or null.
    #[default]
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction, an infinity, or none at all (NaN).
    Float(f64),
    /// A moment.
    Date(Wall),
    /// An object id of MongoDB.
    Id([u8; 12]),
    /// A text.
    Text(Cow<'a, str>),
    /// No scalar, or one that cannot be measured: the name of its kind, for the reason.
    Other(&'static str),
}

impl<'a> Value<'a> {
    /// A text that is borrowed.
    pub const fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// A moment in milliseconds since the epoch, UTC, as BSON has it.
    pub fn millis(millis: i64) -> Self {
        match millis.checked_mul(1_000) {
            Some(micros) => Self::Date(Wall::from_micros(micros)),
            None => Self::Other("a date that no calendar has"),
        }
    }

    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Bool(value) => Value::Bool(value),
            Value::Int(value) => Value::Int(value),
            Value::Float(value) => Value::Float(value),
            Value::Date(value) => Value::Date(value),
            Value::Id(value) => Value::Id(value),
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Value::Other(kind) => Value::Other(kind),
        }
    }

    /// Its kind, in words.
    pub const fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a truth value",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Date(_) => "a date",
            Value::Id(_) => "an object id",
            Value::Text(_) => "a text",
            Value::Other(kind) => kind,
        }
    }

    /// The number that it is.
    ///
    /// # Errors
    /// It is of another kind, NaN, infinite, or beyond [`HUGE`].
    pub fn number(&self) -> Result<Number, Why> {
        match *self {
            Value::Int(whole) => Ok(Number::Int(whole)),
            Value::Float(float) => Number::float(float),
            _ => Err(Why::Kind {
                expected: "a number",
                found: self.kind(),
            }),
        }
    }
}

/// A number that can be measured.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// A whole number.
    Int(i64),
    /// A finite one of at most [`HUGE`], and never the negative zero.
    Float(f64),
}

impl Number {
    /// From a float.
    ///
    /// # Errors
    /// It is NaN, infinite, or beyond [`HUGE`].
    pub fn float(float: f64) -> Result<Self, Why> {
        if float.is_nan() {
            Err(Why::NotANumber)
        } else if float.is_infinite() {
            Err(Why::Infinite)
        } else if float.abs() > HUGE {
            Err(Why::Huge)
        } else {
            // Adding zero makes the negative zero positive, and nothing else.
            Ok(Number::Float(float + 0.0))
        }
    }

    /// As a float: the nearest one.
    pub const fn as_f64(self) -> f64 {
        match self {
            Number::Int(whole) => whole as f64,
            Number::Float(float) => float,
        }
    }
}

impl From<Number> for Value<'static> {
    fn from(number: Number) -> Self {
        match number {
            Number::Int(whole) => Value::Int(whole),
            Number::Float(float) => Value::Float(float),
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    /// By value, exactly; of two that are the same number, the float is the greater: so no order of merging matters.
    fn cmp(&self, other: &Self) -> Ordering {
        match (*self, *other) {
            (Number::Int(a), Number::Int(b)) => a.cmp(&b),
            (Number::Float(a), Number::Float(b)) => a.total_cmp(&b),
            (Number::Int(a), Number::Float(b)) => mixed(a, b),
            (Number::Float(a), Number::Int(b)) => mixed(b, a).reverse(),
        }
    }
}

/// A whole number against a float, without rounding either.
fn mixed(whole: i64, float: f64) -> Ordering {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    if float >= TWO_63 {
        return Ordering::Less;
    }
    if float < -TWO_63 {
        return Ordering::Greater;
    }
    let floor = float.floor();
    // Of equal whole parts, the float is greater: by its fraction, or by kind.
    whole.cmp(&(floor as i64)).then(Ordering::Less)
}

/// Why a field of a document cannot be measured.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Why {
    /// It is of another kind.
    #[error("expected {expected}, found {found}")]
    Kind {
        /// What can be measured there.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// NaN.
    #[error("not a number (NaN)")]
    NotANumber,
    /// An infinity.
    #[error("infinite")]
    Infinite,
    /// Beyond [`HUGE`].
    #[error("a number beyond {HUGE:e}")]
    Huge,
    /// A text that is too long to group by.
    #[error("a text of {found} bytes; groups are made of texts of at most {most}")]
    Long {
        /// How long it is, in bytes.
        found: usize,
        /// How long it may be, in bytes.
        most: usize,
    },
    /// The time of a document lies ahead of the clock.
    #[error("a time in the future")]
    Future,
    /// The bucket of a document has been closed.
    #[error("a time in a bucket that is closed")]
    Late,
    /// The time of a document lies outside of what a calendar holds.
    #[error("a time before 1970 or after 9999")]
    Calendar,
    /// Partial results that contradict each other.
    #[error("partial results that do not fit together: {0}")]
    Contradiction(&'static str),
}

/// A document that cannot be counted: nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("field `{field}`: {why}")]
pub struct Bad {
    /// Which field.
    pub field: CompactString,
    /// What is wrong with it.
    pub why: Why,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers() -> impl Strategy<Value = Number> {
        let edges = [
            Number::Int(i64::MIN),
            Number::Int(i64::MAX),
            Number::Int(9_007_199_254_740_993),
            Number::Float(9_007_199_254_740_992.0),
            Number::Float(-9_223_372_036_854_775_808.0),
            Number::Float(9_223_372_036_854_775_808.0),
            Number::Float(HUGE),
            Number::Float(-0.5),
            Number::Float(0.0),
            Number::Int(0),
        ];
        prop_oneof![
            prop::sample::select(edges.to_vec()),
            any::<i64>().prop_map(Number::Int),
            (-4_i64..4).prop_map(Number::Int),
            (-16_i32..16).prop_map(|n| Number::Float(f64::from(n) / 4.0)),
        ]
    }

    #[test]
    fn what_cannot_be_measured_says_why() {
        let why = |value: Value<'_>| value.number().unwrap_err().to_string();
        assert_eq!(why(Value::text("7")), "expected a number, found a text");
        assert_eq!(why(Value::Null), "expected a number, found null");
        assert_eq!(why(Value::Other("a list")), "expected a number, found a list");
        assert_eq!(why(Value::Float(f64::NAN)), "not a number (NaN)");
        assert_eq!(why(Value::Float(f64::NEG_INFINITY)), "infinite");
        assert_eq!(why(Value::Float(-1.1e30)), "a number beyond 1e30");
        assert_eq!(Value::millis(i64::MAX).kind(), "a date that no calendar has");
        assert_eq!(Value::millis(-5), Value::Date(Wall::from_micros(-5_000)));
        let bad = Bad {
            field: "a.b".into(),
            why: Why::NotANumber,
        };
        assert_eq!(bad.to_string(), "field `a.b`: not a number (NaN)");
    }

    #[test]
    fn a_negative_zero_is_a_zero() {
        let Ok(Number::Float(zero)) = Value::Float(-0.0).number() else {
            panic!("no float");
        };
        assert!(zero.is_sign_positive());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_order_is_total_and_by_value(a in numbers(), b in numbers(), c in numbers()) {
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
            if a.as_f64() < b.as_f64() {
                prop_assert!(a < b);
            }
        }
    }
}
