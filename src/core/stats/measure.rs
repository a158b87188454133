//! The measures of a roll-up, as the configuration writes them: `count`, `sum(price)`, `p99.9(timing.ms)`.

use std::fmt;
use std::str::FromStr;

use compact_str::CompactString;
use serde::{Deserialize, Deserializer, de};
use thiserror::Error;

/// The longest name of a field, in bytes. Names are kept once for each roll-up, so raising it costs nothing but sense.
pub const MAX_FIELD: usize = 200;

/// A field of a document: names with dots between them lead into documents within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field(CompactString);

impl Field {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names on the way to it, the outermost first; at least one, and none of them empty.
    pub fn path(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Field {
    type Err = MeasureError;

    fn from_str(text: &str) -> Result<Self, MeasureError> {
        field(text, 1)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = CompactString::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Which part of the values lies below: more than 0 and less than 1, kept in millionths, so that it is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantile(u32);

impl Quantile {
    /// The median.
    pub const P50: Self = Self(500_000);
    /// Nine in ten lie below.
    pub const P90: Self = Self(900_000);
    /// 95 in a hundred lie below.
    pub const P95: Self = Self(950_000);
    /// 99 in a hundred lie below.
    pub const P99: Self = Self(990_000);

    /// So many millionths, if they are more than none and fewer than all.
    pub const fn millionths(millionths: u32) -> Option<Self> {
        if millionths > 0 && millionths < 1_000_000 {
            Some(Self(millionths))
        } else {
            None
        }
    }

    /// As a part of one.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 1e6
    }

    /// The place, counted from zero, of its value among `count` values in order: rounded down.
    pub(crate) fn rank(self, count: u64) -> u64 {
        let rank = u128::from(self.0) * u128::from(count.saturating_sub(1)) / 1_000_000;
        u64::try_from(rank).unwrap_or(u64::MAX)
    }

    /// From the digits after the `p`: per cent, with at most four decimals.
    fn per_cent(digits: &str) -> Option<Self> {
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(part) || whole.len() > 2 || part.len() > 4 {
            return None;
        }
        let part: u32 = format!("{part:0<4}").parse().ok()?;
        Self::millionths(whole.parse::<u32>().ok()? * 10_000 + part)
    }
}

impl fmt::Display for Quantile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("p{}.{:04}", self.0 / 10_000, self.0 % 10_000);
        f.pad(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// One measure of a roll-up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Measure {
    /// How many documents.
    Count,
    /// The sum of a field's numbers; zero where there are none.
    Sum(Field),
    /// The least of a field's numbers or dates.
    Min(Field),
    /// The greatest of a field's numbers or dates.
    Max(Field),
    /// The mean of a field's numbers.
    Mean(Field),
    /// How many different values a field has: exactly up to a thousand, an estimate beyond.
    Distinct(Field),
    /// The value of a field below which that part of its numbers lies, within one per cent.
    Quantile(Field, Quantile),
}

impl Measure {
    /// The field that it measures; none for `count`.
    pub const fn field(&self) -> Option<&Field> {
        match self {
            Measure::Count => None,
            Measure::Sum(field)
            | Measure::Min(field)
            | Measure::Max(field)
            | Measure::Mean(field)
            | Measure::Distinct(field)
            | Measure::Quantile(field, _) => Some(field),
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Measure::Count => f.write_str("count"),
            Measure::Sum(field) => write!(f, "sum({field})"),
            Measure::Min(field) => write!(f, "min({field})"),
            Measure::Max(field) => write!(f, "max({field})"),
            Measure::Mean(field) => write!(f, "mean({field})"),
            Measure::Distinct(field) => write!(f, "distinct({field})"),
            Measure::Quantile(field, quantile) => write!(f, "{quantile}({field})"),
        }
    }
}

/// Why a text is no measure, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("column {column}: {why}")]
pub struct MeasureError {
    /// Where, in characters, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub why: MeasureFault,
}

/// What is wrong with a measure.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MeasureFault {
    /// Nothing is there.
    #[error("expected a measure such as `count`, `sum(price)` or `p95(ms)`")]
    Empty,
    /// Another word.
    #[error(
        "unknown measure `{0}`: expected count, sum, min, max, mean, distinct, or a quantile such as p50, p99 or p99.9"
    )]
    Unknown(CompactString),
    /// `p` with something else than a number above 0 and below 100.
    #[error(
        "`{0}` is no quantile: expected p0.0001 to p99.9999, such as p50, p99 or p99.9 (the least is min, the greatest max)"
    )]
    Quantile(CompactString),
    /// `count(…)`.
    #[error("`count` takes no field: it counts documents")]
    CountsDocuments,
    /// A measure without a field.
    #[error("`{0}` needs a field: {0}(FIELD)")]
    NoField(CompactString),
    /// The field is not there, or one of its names is empty.
    #[error("expected the name of a field")]
    NoName,
    /// A character that no field has.
    #[error("a field's name holds no {0:?}")]
    Character(char),
    /// Longer than [`MAX_FIELD`].
    #[error("a field's name is at most {MAX_FIELD} bytes long")]
    Long,
    /// The parenthesis is open.
    #[error("expected `)`")]
    Open,
    /// More after the end.
    #[error("nothing may follow the measure")]
    More,
}

impl FromStr for Measure {
    type Err = MeasureError;

    fn from_str(text: &str) -> Result<Self, MeasureError> {
        // Columns count characters, bytes are what slices count.
        let column = |byte: usize| text.get(..byte).map_or(0, |before| before.chars().count()) + 1;
        let fail = |byte: usize, why| {
            Err(MeasureError {
                column: column(byte),
                why,
            })
        };
        let start = text.len() - text.trim_start().len();
        let body = text.trim();
        if body.is_empty() {
            return fail(start, MeasureFault::Empty);
        }
        let (word, rest) = match body.find('(') {
            Some(open) => (body[..open].trim_end(), Some(start + open + 1)),
            None => (body, None),
        };
        let make = match word {
            "count" => {
                return match rest {
                    None => Ok(Measure::Count),
                    Some(open) => fail(open - 1, MeasureFault::CountsDocuments),
                };
            }
            "sum" => Make::Field(Measure::Sum),
            "min" => Make::Field(Measure::Min),
            "max" => Make::Field(Measure::Max),
            "mean" => Make::Field(Measure::Mean),
            "distinct" => Make::Field(Measure::Distinct),
            _ => match word.strip_prefix('p') {
                Some(digits) if digits.starts_with(|c: char| c.is_ascii_digit()) => match Quantile::per_cent(digits) {
                    Some(quantile) => Make::Quantile(quantile),
                    None => return fail(start, MeasureFault::Quantile(shorten(word))),
                },
                _ => return fail(start, MeasureFault::Unknown(shorten(word))),
            },
        };
        let Some(open) = rest else {
            return fail(start + body.len(), MeasureFault::NoField(word.into()));
        };
        let Some(length) = text[open..].find(')') else {
            return fail(start + body.len(), MeasureFault::Open);
        };
        let inside = &text[open..open + length];
        let field = field(inside, column(open))?;
        let after = open + length + 1;
        let more = text[after..].trim_start();
        if !more.is_empty() {
            return fail(text.len() - more.len(), MeasureFault::More);
        }
        Ok(match make {
            Make::Field(make) => make(field),
            Make::Quantile(quantile) => Measure::Quantile(field, quantile),
        })
    }
}

enum Make {
    Field(fn(Field) -> Measure),
    Quantile(Quantile),
}

impl<'de> Deserialize<'de> for Measure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = CompactString::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Reads a field's name, which begins in this column, with space around it or without.
fn field(text: &str, column: usize) -> Result<Field, MeasureError> {
    let name = text.trim();
    let before = text.chars().take_while(|c| c.is_whitespace()).count();
    let first = column + if name.is_empty() { 0 } else { before };
    let mut part_is_empty = true;
    for (place, character) in name.chars().enumerate() {
        let column = first + place;
        let fault = match character {
            '.' if part_is_empty => MeasureFault::NoName,
            '$' if part_is_empty => MeasureFault::Character(character),
            '(' | ')' | ',' | '"' | '\'' | '`' => MeasureFault::Character(character),
            _ if character.is_whitespace() || character.is_control() => MeasureFault::Character(character),
            _ => {
                part_is_empty = character == '.';
                continue;
            }
        };
        return Err(MeasureError { column, why: fault });
    }
    if part_is_empty {
        let column = first + name.chars().count();
        return Err(MeasureError {
            column,
            why: MeasureFault::NoName,
        });
    }
    if name.len() > MAX_FIELD {
        return Err(MeasureError {
            column: first,
            why: MeasureFault::Long,
        });
    }
    Ok(Field(name.into()))
}

/// A word that somebody wrote, as far as an error repeats it.
fn shorten(word: &str) -> CompactString {
    word.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> String {
        text.parse::<Measure>().unwrap_err().to_string()
    }

    #[test]
    fn every_measure_reads_and_writes_back() {
        for text in [
            "count",
            "sum(price)",
            "min(a)",
            "max(a.b.c)",
            "mean(größe)",
            "distinct(user._id)",
            "p50(ms)",
            "p99(ms)",
            "p99.9(ms)",
            "p0.0001(x$y)",
            "p99.9999(0)",
        ] {
            assert_eq!(text.parse::<Measure>().unwrap().to_string(), text);
        }
        assert_eq!("  p95 ( ms )  ".parse::<Measure>().unwrap().to_string(), "p95(ms)");
        assert_eq!("p05(ms)".parse::<Measure>().unwrap().to_string(), "p5(ms)");
        assert_eq!(
            "p50.0(ms)".parse(),
            Ok(Measure::Quantile(Field("ms".into()), Quantile::P50))
        );
        let field: Field = "a.b.c".parse().unwrap();
        assert_eq!(field.path().collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn a_mistake_names_its_column() {
        for (text, column, says) in [
            ("", 1, "expected a measure"),
            ("   ", 4, "expected a measure"),
            ("count()", 6, "takes no field"),
            ("count(*)", 6, "takes no field"),
            ("avg(x)", 1, "unknown measure `avg`"),
            (" SUM(x)", 2, "unknown measure `SUM`"),
            ("sum", 4, "`sum` needs a field: sum(FIELD)"),
            ("sum price", 1, "unknown measure"),
            ("sum()", 5, "expected the name of a field"),
            ("sum( )", 5, "expected the name of a field"),
            ("sum(price", 10, "expected `)`"),
            ("sum(price) x", 12, "nothing may follow"),
            ("sum(price))", 11, "nothing may follow"),
            ("sum(a..b)", 7, "expected the name of a field"),
            ("sum(.a)", 5, "expected the name of a field"),
            ("sum(a.)", 7, "expected the name of a field"),
            ("sum($price)", 5, "holds no '$'"),
            ("sum(a.$b)", 7, "holds no '$'"),
            ("sum(ä,b)", 6, "holds no ','"),
            ("sum(a b)", 6, "holds no ' '"),
            ("sum((a)", 5, "holds no '('"),
            ("sum(a\u{1}b)", 6, "holds no"),
            ("p(ms)", 1, "unknown measure `p`"),
            ("price(ms)", 1, "unknown measure"),
            ("p0(ms)", 1, "`p0` is no quantile"),
            ("p100(ms)", 1, "is no quantile"),
            ("p99.(ms)", 1, "is no quantile"),
            ("p99.99999(ms)", 1, "is no quantile"),
            ("p5x(ms)", 1, "is no quantile"),
            ("p9999999999999999999(ms)", 1, "is no quantile"),
        ] {
            let error = error(text);
            assert!(error.starts_with(&format!("column {column}: ")), "{text:?}: {error}");
            assert!(error.contains(says), "{text:?}: {error}");
        }
        let long = format!("sum({})", "x".repeat(MAX_FIELD + 1));
        assert_eq!(error(&long), "column 5: a field's name is at most 200 bytes long");
        assert!(error(&"y".repeat(10_000)).len() < 300);
    }

    #[test]
    fn ranks_are_exact() {
        let nine_tenths = Quantile::millionths(900_000).unwrap();
        assert_eq!(
            [1, 2, 10, 11, 101].map(|count| nine_tenths.rank(count)),
            [0, 0, 8, 9, 90]
        );
        assert_eq!(Quantile::P50.rank(u64::MAX), u64::MAX / 2);
        assert_eq!((Quantile::millionths(0), Quantile::millionths(1_000_000)), (None, None));
        assert_eq!(Quantile::P99.as_f64(), 0.99);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_a_measure_or_an_error(text in "[a-z0-9.()$ ä\u{0}]{0,20}|\\PC{0,20}|(sum|p9|count)[( ]\\PC{0,9}\\)?") {
            match text.parse::<Measure>() {
                Ok(measure) => prop_assert_eq!(measure.to_string().parse::<Measure>(), Ok(measure)),
                Err(error) => prop_assert!(error.column >= 1 && error.column <= text.chars().count() + 1),
            }
        }
    }
}
