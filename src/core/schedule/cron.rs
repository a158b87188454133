//! A cron pattern: five fields, or one of cron's words.
//!
//! What is understood is what Vixie's cron and Celery's `crontab` have in common, and what either has alone where that
//! cannot be mistaken: names in full, and ranges that go over the turn (`fri-mon`), are Celery's. As in cron, 0 and 7 are
//! both Sunday, and where both the day of the month and the day of the week are given (neither begins with `*`), a day that
//! fits either is a day that fits. (Celery wants both to fit; `headcount jobs import` says so where it matters.)
//!
//! Why not the crate croner (4.0.3, tried in three zones): a list of hours is an interval to it, so that `30 1,2,3 * * 0` has no
//! run for 02:30 on the day of the leap and two on the other; its errors do not say where in the pattern they are; and it
//! works with another major version of jiff.

use std::fmt;
use std::ops::Range;

use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Time};
use thiserror::Error;

use super::field::{DAY, Field, HOUR, MINUTE, MONTH, WEEKDAY};

/// How far ahead a pattern is looked for, in years. The 29th of February on a given weekday comes within 40.
const HORIZON_YEARS: i16 = 50;

/// cron's words, and what they stand for.
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// What is wrong with a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{why}")]
pub struct CronError {
    /// The bytes of the pattern that are wrong; never empty, and at most one byte behind its end.
    pub at: Range<usize>,
    /// What was expected there, and what was found.
    pub why: String,
}

/// A pattern that can be right, and that comes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

impl Cron {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`CronError`] says where in the text what is wrong.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let wrong = |at: Range<usize>, why: String| CronError { at, why };
        let words = words(text);
        if let [(at, word)] = words.as_slice()
            && word.starts_with('@')
        {
            let found = WORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
            let Some((_, meaning)) = found else {
                let at = *at..at + word.len();
                return Err(wrong(at, in_vain(word)));
            };
            return Self::parse(meaning).map(|cron| Self {
                text: (*word).to_owned(),
                ..cron
            });
        }
        let [minute, hour, day, month, weekday] = words.as_slice() else {
            return Err(count(text, &words));
        };
        let cron = Self {
            text: words.iter().map(|(_, word)| *word).collect::<Vec<_>>().join(" "),
            minute: MINUTE.parse(minute.1, minute.0)?,
            hour: HOUR.parse(hour.1, hour.0)?,
            day: DAY.parse(day.1, day.0)?,
            month: MONTH.parse(month.1, month.0)?,
            weekday: WEEKDAY.parse(weekday.1, weekday.0)?,
        };
        if !cron.can_come() {
            let at = day.0..month.0 + month.1.len();
            return Err(wrong(
                at,
                format!(
                    "there is no day {} in the month {}: it would never come",
                    day.1, month.1
                ),
            ));
        }
        Ok(cron)
    }

    /// Whether it goes by the hours of the day, and not by each hour that comes: see [`super::timing`].
    pub(super) fn names_hours(&self) -> bool {
        !self.hour.star
    }

    /// The first minute that it names, from `from` (a whole minute) on.
    pub(super) fn next(&self, from: DateTime) -> Option<DateTime> {
        let last = from.year().checked_add(HORIZON_YEARS)?;
        let mut date = from.date();
        let mut time = from.time();
        while date.year() <= last {
            if !self.month.has(date.month()) {
                date = date.first_of_month().checked_add(1.month()).ok()?;
                time = Time::midnight();
                continue;
            }
            if self.has_day(date)
                && let Some(time) = self.next_time(time)
            {
                return Some(date.to_datetime(time));
            }
            date = date.tomorrow().ok()?;
            time = Time::midnight();
        }
        None
    }

    /// Whether it names this minute.
    #[cfg(test)]
    pub(super) fn names(&self, minute: DateTime) -> bool {
        self.month.has(minute.month())
            && self.has_day(minute.date())
            && self.hour.has(minute.hour())
            && self.minute.has(minute.minute())
    }

    fn next_time(&self, from: Time) -> Option<Time> {
        let hour = self.hour.from(from.hour())?;
        if hour == from.hour()
            && let Some(minute) = self.minute.from(from.minute())
        {
            return Time::new(hour, minute, 0, 0).ok();
        }
        let hour = if hour == from.hour() {
            self.hour.from(hour + 1)?
        } else {
            hour
        };
        Time::new(hour, self.minute.from(0)?, 0, 0).ok()
    }

    fn has_day(&self, date: Date) -> bool {
        let by_month = self.day.has(date.day());
        let by_week = self.weekday.has(date.weekday().to_sunday_zero_offset());
        if self.day.star || self.weekday.star {
            by_month && by_week
        } else {
            by_month || by_week
        }
    }

    /// Whether some month that is named has some day that is named.
    fn can_come(&self) -> bool {
        /// Days of each month, in a leap year.
        const LONGEST: [i8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let by_week = !self.day.star && !self.weekday.star;
        let has_day = |(month, days): (i8, i8)| self.month.has(month) && (1..=days).any(|day| self.day.has(day));
        by_week || (1..).zip(LONGEST).any(has_day)
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The words of a text, each with the byte that it begins at.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut begin = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        if !c.is_whitespace() {
            begin.get_or_insert(at);
        } else if let Some(begin) = begin.take() {
            words.extend(text.get(begin..at).map(|word| (begin, word)));
        }
    }
    words
}

fn count(text: &str, words: &[(usize, &str)]) -> CronError {
    const FIELDS: &str = "5 fields (minute, hour, day of the month, month, day of the week)";
    let end = text.trim_end().len();
    let at = match words.get(5) {
        Some((sixth, _)) => *sixth..end,
        None => end..end + 1,
    };
    let hint = match words.len() {
        6 => "; there is none for seconds",
        _ => "",
    };
    CronError {
        at,
        why: format!("expected {FIELDS}, found {}{hint}", words.len()),
    }
}

/// What to say of a word that is none of cron's.
fn in_vain(word: &str) -> String {
    match word.to_ascii_lowercase().as_str() {
        "@reboot" => "@reboot is no time; a job runs at times".to_owned(),
        "@every" => "use `every = \"10m\"` instead of `cron`".to_owned(),
        _ => {
            let words: Vec<&str> = WORDS.iter().map(|(name, _)| *name).collect();
            format!("expected 5 fields, or one of {}, found {word:?}", words.join(", "))
        }
    }
}
