//! Times and lengths of time in words for people.

use std::fmt;
use std::time::Duration;

use crate::time::{Wall, civil};

/// A length of time in its two largest units, rounded down: `8 s`, `2 min 10 s`, `3 h 5 min`, `2 d 4 h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.as_secs();
        let (large, unit, small, part) = match all {
            0 => return f.write_str("under 1 s"),
            1..60 => return write!(f, "{all} s"),
            60..3_600 => (all / 60, "min", all % 60, "s"),
            3_600..86_400 => (all / 3_600, "h", all % 3_600 / 60, "min"),
            _ => (all / 86_400, "d", all % 86_400 / 3_600, "h"),
        };
        write!(f, "{large} {unit}")?;
        if small > 0 {
            write!(f, " {small} {part}")
        } else {
            Ok(())
        }
    }
}

/// A moment in UTC to the second: `2026-11-24 08:03:12 UTC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Wall);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs();
        let (year, month, day) = civil(secs.div_euclid(86_400));
        let of_day = secs.rem_euclid(86_400);
        let (h, m, s) = (of_day / 3_600, of_day % 3_600 / 60, of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02} UTC")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let table = [
            (0, "under 1 s"),
            (1, "1 s"),
            (59, "59 s"),
            (60, "1 min"),
            (130, "2 min 10 s"),
            (3_599, "59 min 59 s"),
            (3_600, "1 h"),
            (3_659, "1 h"),
            (11_100, "3 h 5 min"),
            (86_400, "1 d"),
            (187_200, "2 d 4 h"),
            (400 * 86_400, "400 d"),
        ];
        for (secs, text) in table {
            assert_eq!(Span(Duration::from_secs(secs)).to_string(), text);
        }
        assert_eq!(Span(Duration::from_millis(1_999)).to_string(), "1 s");
        assert!(Span(Duration::MAX).to_string().ends_with(" h"));
    }

    /// Expected values from `date -u -d @SECONDS`.
    #[test]
    fn moments() {
        let table = [
            (0, "1970-01-01 00:00:00 UTC"),
            (-1, "1969-12-31 23:59:59 UTC"),
            (951_827_696, "2000-02-29 12:34:56 UTC"),
            (1_709_164_800, "2024-02-29 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (1_795_507_392, "2026-11-24 08:03:12 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ];
        for (secs, text) in table {
            assert_eq!(Moment(Wall::from_micros(secs * 1_000_000)).to_string(), text);
        }
        for edge in [i64::MIN, i64::MAX] {
            assert!(Moment(Wall::from_micros(edge)).to_string().ends_with(" UTC"));
        }
    }
}
