//! Durations as people write them: `500ms`, `10s`, `5m`, `2h`, `1d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// The units, the smallest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// A duration in whole milliseconds, written as one number and one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

impl Span {
    /// The longest: ten years. Longer ones are slips of the finger, and would overflow a clock somewhere.
    pub const MAX: Span = Span(3_650 * 86_400_000);

    /// So many milliseconds, [`Span::MAX`] at most.
    pub const fn from_millis(millis: u64) -> Self {
        if millis > Self::MAX.0 { Self::MAX } else { Self(millis) }
    }

    /// So many seconds, [`Span::MAX`] at most.
    pub const fn from_secs(secs: u64) -> Self {
        Self::from_millis(secs.saturating_mul(1_000))
    }

    /// A duration as exactly as people want to read it: to the second from one on, to the minute from two on, and to the
    /// hour from two on.
    pub const fn about(exact: Duration) -> Self {
        let millis = exact.as_millis();
        let step = match millis {
            0..1_000 => 1,
            1_000..120_000 => 1_000,
            120_000..7_200_000 => 60_000,
            _ => 3_600_000,
        };
        let rounded = (millis + step / 2) / step * step;
        if rounded > Self::MAX.0 as u128 {
            Self::MAX
        } else {
            Self(rounded as u64)
        }
    }

    /// The same as the standard library has it.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// Whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Duration {
        span.duration()
    }
}

impl fmt::Display for Span {
    /// In the largest unit that says it exactly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.pad("0s");
        }
        let (unit, size) = UNITS
            .iter()
            .rev()
            .find(|(_, size)| self.0.is_multiple_of(*size))
            .unwrap_or(&UNITS[0]);
        f.pad(&format!("{}{unit}", self.0 / size))
    }
}

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpanError {
    /// It does not start with a whole number, or goes on after the unit.
    #[error("expected a duration such as `500ms`, `10s`, `5m`, `2h` or `1d`")]
    Shape,
    /// A number alone.
    #[error("the unit is missing: expected a duration such as `{0}s`, `{0}m` or `{0}h`")]
    NoUnit(u64),
    /// Another word where the unit should be.
    #[error("unknown unit `{0}`: expected `ms`, `s`, `m`, `h` or `d`")]
    Unit(String),
    /// Beyond [`Span::MAX`].
    #[error("longer than a duration may be ({max})", max = Span::MAX)]
    TooLong,
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let text = text.trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(SpanError::Shape);
        }
        let number: u64 = number.parse().map_err(|_| SpanError::TooLong)?;
        let unit = unit.trim_start();
        if unit.is_empty() {
            return Err(SpanError::NoUnit(number));
        }
        if !unit.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(SpanError::Shape);
        }
        let (_, size) = UNITS
            .iter()
            .find(|(word, _)| *word == unit)
            .ok_or_else(|| SpanError::Unit(unit.to_owned()))?;
        let millis = number
            .checked_mul(*size)
            .filter(|millis| *millis <= Self::MAX.0)
            .ok_or(SpanError::TooLong)?;
        Ok(Self(millis))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl de::Visitor<'_> for Text {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"500ms\", \"10s\", \"5m\", \"2h\" or \"1d\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_reads_and_writes_back() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("0s", 0),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.duration(), Duration::from_millis(millis), "{text}");
            assert_eq!(span.to_string(), text);
            assert_eq!(
                serde_json::from_str::<Span>(&serde_json::to_string(&span).unwrap()).unwrap(),
                span
            );
        }
        assert_eq!("90s".parse::<Span>().unwrap().to_string(), "90s");
        assert_eq!("120s".parse::<Span>().unwrap().to_string(), "2m");
    }

    #[test]
    fn a_measured_one_is_rounded_for_people() {
        for (secs, text) in [
            (0.0, "0s"),
            (0.212_4, "212ms"),
            (1.449, "1s"),
            (5.017_407_469, "5s"),
            (59.6, "1m"),
            (91.2, "91s"),
            (5_399.0, "90m"),
            (3_630.0, "61m"),
            (90_000.0, "25h"),
            (1e12, "3650d"),
        ] {
            assert_eq!(Span::about(Duration::from_secs_f64(secs)).to_string(), text, "{secs}");
        }
    }

    #[test]
    fn what_is_no_duration_says_why() {
        for (text, error) in [
            ("", SpanError::Shape),
            ("soon", SpanError::Shape),
            ("-5s", SpanError::Shape),
            ("1.5s", SpanError::Shape),
            ("1h30m", SpanError::Shape),
            ("10", SpanError::NoUnit(10)),
            ("10 weeks", SpanError::Unit("weeks".into())),
            ("10S", SpanError::Unit("S".into())),
            ("3651d", SpanError::TooLong),
            ("99999999999999999999s", SpanError::TooLong),
            ("9999999999999999999d", SpanError::TooLong),
        ] {
            assert_eq!(text.parse::<Span>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_number_in_a_file_is_told_what_is_expected() {
        let error = serde_json::from_str::<Span>("5").unwrap_err().to_string();
        assert!(error.contains("expected a duration such as \"500ms\""), "{error}");
    }
}
