//! Buckets of time: `1m`, `5m`, `1h`, `1d`, in UTC, aligned to midnight.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use thiserror::Error;

use crate::span::{Span, SpanError};
use crate::time::{Wall, civil};

/// Microseconds of a minute and of a day.
const MINUTE: i64 = 60_000_000;
const DAY: i64 = 1_440 * MINUTE;
/// The first moment after the year 9999, in microseconds: later ones have no RFC 3339.
const END_OF_CALENDAR: i64 = 253_402_300_800_000_000;

/// How long a bucket is: whole minutes that a day is a multiple of, so that every bucket lies within one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Width(i64);

impl Width {
    /// A minute.
    pub const MINUTE: Self = Self(MINUTE);
    /// An hour.
    pub const HOUR: Self = Self(60 * MINUTE);
    /// A day.
    pub const DAY: Self = Self(DAY);

    /// From a duration.
    ///
    /// # Errors
    /// It is not whole minutes, or a day is no multiple of it.
    pub fn of(span: Duration) -> Result<Self, WidthError> {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        if micros >= MINUTE && micros % MINUTE == 0 && DAY % micros == 0 {
            Ok(Self(micros))
        } else {
            Err(WidthError::Uneven)
        }
    }

    /// As a duration.
    pub const fn duration(self) -> Duration {
        Duration::from_micros(self.0.unsigned_abs())
    }

    /// The start of the bucket that a moment lies in.
    pub const fn start(self, at: Wall) -> Wall {
        let at = at.as_micros();
        // Before the first whole bucket there is none: the earliest moments stay as they are.
        Wall::from_micros(at.saturating_sub(at.rem_euclid(self.0)))
    }

    /// The end of the bucket that starts there: the start of the next.
    pub const fn end(self, start: Wall) -> Wall {
        Wall::from_micros(start.as_micros().saturating_add(self.0))
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Span::from_millis((self.0 / 1_000).unsigned_abs()).fmt(f)
    }
}

/// Why something is no width of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WidthError {
    /// No duration.
    #[error(transparent)]
    Span(#[from] SpanError),
    /// A duration that does not divide a day.
    #[error("a bucket is whole minutes long, and divides a day: `1m`, `5m`, `15m`, `1h`, `6h`, `1d`")]
    Uneven,
}

impl FromStr for Width {
    type Err = WidthError;

    fn from_str(text: &str) -> Result<Self, WidthError> {
        Self::of(text.parse::<Span>()?.duration())
    }
}

impl<'de> Deserialize<'de> for Width {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::of(Span::deserialize(deserializer)?.duration()).map_err(de::Error::custom)
    }
}

/// Whether a calendar holds this moment: the years 1970 to 9999.
pub const fn on_calendar(at: Wall) -> bool {
    at.as_micros() >= 0 && at.as_micros() < END_OF_CALENDAR
}

/// A moment as RFC 3339 has it, in UTC: `2026-01-31T12:00:00Z`, with as many of three or six decimals as it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rfc3339(pub Wall);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs();
        let (year, month, day) = civil(secs.div_euclid(86_400));
        let of_day = secs.rem_euclid(86_400);
        let (h, m, s) = (of_day / 3_600, of_day % 3_600 / 60, of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}")?;
        match self.0.as_micros().rem_euclid(1_000_000) {
            0 => {}
            micros if micros % 1_000 == 0 => write!(f, ".{:03}", micros / 1_000)?,
            micros => write!(f, ".{micros:06}")?,
        }
        f.write_str("Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(secs: i64) -> Wall {
        Wall::from_micros(secs * 1_000_000)
    }

    #[test]
    fn widths_divide_a_day() {
        for text in ["1m", "5m", "1h", "6h", "1d"] {
            assert_eq!(text.parse::<Width>().unwrap().to_string(), text);
        }
        assert_eq!("60s".parse::<Width>(), Ok(Width::MINUTE));
        assert_eq!("24h".parse::<Width>(), Ok(Width::DAY));
        for text in ["0m", "30s", "90s", "7m", "5h", "2d", "1w", "", "-1m"] {
            assert!(text.parse::<Width>().is_err(), "{text}");
        }
    }

    /// Expected values from `date -u -d @SECONDS`.
    #[test]
    fn buckets_start_in_utc() {
        let moment = at(1_795_507_392); // 2026-11-24 08:03:12
        let starts = [Width::MINUTE, Width::HOUR, Width::DAY].map(|width| Rfc3339(width.start(moment)).to_string());
        assert_eq!(
            starts,
            ["2026-11-24T08:03:00Z", "2026-11-24T08:00:00Z", "2026-11-24T00:00:00Z"]
        );
        assert_eq!(Rfc3339(Width::HOUR.end(at(0))).to_string(), "1970-01-01T01:00:00Z");
        assert_eq!(Width::DAY.start(at(-1)), at(-86_400));
        assert_eq!(Width::MINUTE.start(at(60)), at(60));
        assert_eq!(
            Rfc3339(Wall::from_micros(1_500_000)).to_string(),
            "1970-01-01T00:00:01.500Z"
        );
        assert_eq!(
            Rfc3339(Wall::from_micros(-1)).to_string(),
            "1969-12-31T23:59:59.999999Z"
        );
        assert_eq!(
            Rfc3339(Wall::from_micros(END_OF_CALENDAR - 1)).to_string(),
            "9999-12-31T23:59:59.999999Z"
        );
        assert!(on_calendar(at(0)) && !on_calendar(at(-1)) && !on_calendar(Wall::from_micros(END_OF_CALENDAR)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_moment_lies_in_its_bucket(micros in any::<i64>(), minutes in prop::sample::select(vec![1_u64, 5, 60, 1_440])) {
            let width = Width::of(Duration::from_secs(minutes * 60)).unwrap();
            let moment = Wall::from_micros(micros);
            let start = width.start(moment);
            prop_assert!(start <= moment && (moment < width.end(start) || width.end(start).as_micros() == i64::MAX));
            let _ = Rfc3339(moment).to_string();
        }
    }
}
