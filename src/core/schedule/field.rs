//! One field of a cron pattern: a list of numbers, ranges and steps.

use std::ops::Range;

use super::cron::CronError;

/// What a field counts.
pub(super) struct Kind {
    pub(super) name: &'static str,
    min: u8,
    max: u8,
    /// In the order of their numbers, from `min`.
    names: &'static [&'static str],
    /// A second number for the first one: 7 is Sunday, as 0 is.
    alias: Option<u8>,
}

pub(super) const MINUTE: Kind = Kind::numbers("minute", 0, 59);
pub(super) const HOUR: Kind = Kind::numbers("hour", 0, 23);
pub(super) const DAY: Kind = Kind::numbers("day of the month", 1, 31);
pub(super) const MONTH: Kind = Kind {
    names: &[
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ],
    ..Kind::numbers("month", 1, 12)
};
pub(super) const WEEKDAY: Kind = Kind {
    names: &[
        "sunday",
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
    ],
    alias: Some(7),
    ..Kind::numbers("day of the week", 0, 6)
};

/// The numbers that a field names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    bits: u64,
    /// It begins with `*`, also where a step follows: what cron calls a wildcard.
    pub(super) star: bool,
}

impl Field {
    /// Whether it names this number.
    pub(super) fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| self.bits.checked_shr(number).unwrap_or(0) & 1 == 1)
    }

    /// The first number that it names, from `number` on.
    pub(super) fn from(self, number: i8) -> Option<i8> {
        (number..=59).find(|number| self.has(*number))
    }
}

impl Kind {
    const fn numbers(name: &'static str, min: u8, max: u8) -> Self {
        Self {
            name,
            min,
            max,
            names: &[],
            alias: None,
        }
    }

    /// Reads a field. `at` is where it begins in the pattern, in bytes.
    pub(super) fn parse(&self, text: &str, at: usize) -> Result<Field, CronError> {
        let mut bits = 0;
        let mut from = at;
        for item in text.split(',') {
            bits |= self.item(item, from)?;
            from += item.len() + 1;
        }
        Ok(Field {
            bits,
            star: text.starts_with('*'),
        })
    }

    fn item(&self, item: &str, at: usize) -> Result<u64, CronError> {
        let wrong = |part: Range<usize>, why: String| Err(CronError { at: part, why });
        let whole = at..at + item.len().max(1);
        if item.is_empty() {
            return wrong(whole, format!("an empty item for the {}", self.name));
        }
        if is_extension(item) {
            return wrong(
                whole,
                "L, W, # and ? are extensions of other programs, and not supported".to_owned(),
            );
        }
        let (range, step) = match item.split_once('/') {
            None => (item, None),
            Some((range, step)) => {
                let place = at + range.len() + 1;
                (range, Some(self.step(step, place..at + item.len().max(1))?))
            }
        };
        let numbers: Vec<u8> = if range == "*" {
            (self.min..=self.max).collect()
        } else if let Some((first, last)) = range.split_once('-') {
            let last_at = at + first.len() + 1;
            let first = self.number(first, at)?;
            let last = self.number(last, last_at)?;
            self.between(first, last)
        } else {
            let number = self.number(range, at)?;
            if let Some(step) = step {
                return wrong(
                    whole,
                    format!(
                        "a step needs a range: write {range}-{}/{step} or */{step}",
                        self.alias.unwrap_or(self.max)
                    ),
                );
            }
            vec![number]
        };
        let step = usize::from(step.unwrap_or(1));
        let bit = |number: &u8| {
            let number = if Some(*number) == self.alias { self.min } else { *number };
            1_u64.checked_shl(u32::from(number)).unwrap_or(0)
        };
        Ok(numbers.iter().step_by(step).map(bit).fold(0, |bits, bit| bits | bit))
    }

    /// A range; one whose end is before its beginning goes over the turn, as in Celery: `fri-mon`, `22-2`.
    fn between(&self, first: u8, last: u8) -> Vec<u8> {
        if first <= last {
            return (first..=last).collect();
        }
        let first = if Some(first) == self.alias { self.min } else { first };
        if first <= last {
            (first..=last).collect()
        } else {
            (first..=self.max).chain(self.min..=last).collect()
        }
    }

    fn step(&self, text: &str, at: Range<usize>) -> Result<u8, CronError> {
        let at = at.start..at.end.max(at.start + 1);
        let most = self.max - self.min;
        match number(text) {
            Some(step) if (1..=u32::from(most)).contains(&step) => Ok(u8::try_from(step).unwrap_or(most)),
            _ => Err(CronError {
                at,
                why: format!("expected a step from 1 to {most} for the {}, found {text:?}", self.name),
            }),
        }
    }

    fn number(&self, text: &str, at: usize) -> Result<u8, CronError> {
        let most = self.alias.unwrap_or(self.max);
        if let Some(found) = number(text).and_then(|number| u8::try_from(number).ok())
            && (self.min..=most).contains(&found)
        {
            return Ok(found);
        }
        if let Some(place) = self.name(text) {
            return Ok(place);
        }
        let or_names = match self.names.first().and_then(|name| name.get(..3)) {
            Some(name) => format!(", or a name such as {name}"),
            None => String::new(),
        };
        Err(CronError {
            at: at..at + text.len().max(1),
            why: format!(
                "expected {} to {most} for the {}{or_names}, found {text:?}",
                self.min, self.name
            ),
        })
    }

    /// The number of a name: whole, or its first three letters, in any case.
    fn name(&self, text: &str) -> Option<u8> {
        let text = text.to_ascii_lowercase();
        let place = self
            .names
            .iter()
            .position(|name| *name == text || name.get(..3) == Some(text.as_str()))?;
        u8::try_from(place).ok().map(|place| place + self.min)
    }
}

/// `L`, `15W`, `5#2`, `5L`, `?`: not cron's, and not Celery's.
fn is_extension(item: &str) -> bool {
    let letters = item.trim_start_matches(|c: char| c.is_ascii_digit());
    item.contains(['#', '?']) || ["l", "w", "lw"].iter().any(|word| letters.eq_ignore_ascii_case(word))
}

/// Digits and nothing else.
fn number(text: &str) -> Option<u32> {
    (!text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}
