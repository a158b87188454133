//! The moments that a job's timing names.
//!
//! # Daylight saving
//! The rule is that of Debian's cron (cron(8), "Special considerations exist when the clock is changed"): what is to happen
//! at an hour of the day happens once on every day. A slot in the hour that a clock leaps over runs once, right after the
//! leap; a slot in the hour that comes twice runs the first time only. What is to happen each hour or each minute (the
//! field of the hour begins with `*`) follows real time: a minute that the clock does not show has no slot, and one that it
//! shows twice has two.
//!
//! In one thing it differs: Debian's cron counts a `*` among the minutes too, so that `*/30 2 * * *` would not run at all on
//! the day of the leap and four times on the other; here only the field of the hour decides. Slots that fall into one leap
//! are one slot, the end of the leap. It makes no difference how long the leap is: half an hour on Lord Howe Island, a day
//! on Samoa in 2011.
//!
//! # `every`
//! Slots are whole multiples of the interval since the Unix epoch, so that they never drift, and all schedulers agree:
//! `10m` is at :00, :10, :20 …, `1d` at midnight in UTC.

use std::fmt;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{Timestamp, ToSpan};

use super::cron::Cron;
use crate::span::Span;
use crate::time::Wall;

/// The most changes of a clock that are looked beyond for one slot: more than 50 years have anywhere.
const MAX_CHANGES: usize = 500;

/// The shortest interval of `every`. Celery's workers need some milliseconds for a task, and the scheduler looks a few
/// times a second.
pub const SHORTEST: Duration = Duration::from_secs(1);

/// When a job is to run.
#[derive(Clone, Debug, PartialEq)]
pub enum Timing {
    /// By a cron pattern, on the clocks of a time zone.
    Cron {
        /// The pattern.
        cron: Cron,
        /// The zone.
        zone: TimeZone,
    },
    /// Again and again; at least [`SHORTEST`].
    Every(Span),
}

impl Timing {
    /// The first slot after a moment; none where there is none within fifty years, or no such time.
    pub fn next(&self, after: Wall) -> Option<Wall> {
        match self {
            Timing::Every(span) => {
                let every = i64::try_from(span.duration().max(SHORTEST).as_micros()).ok()?;
                let next = after.as_micros().div_euclid(every).checked_add(1)?.checked_mul(every)?;
                Some(Wall::from_micros(next))
            }
            Timing::Cron { cron, zone } => {
                let after = Timestamp::from_microsecond(after.as_micros().checked_add(1)?).ok()?;
                by_clock(cron, zone, after).map(|slot| Wall::from_micros(slot.as_microsecond()))
            }
        }
    }

    /// What tells this timing from another one: `cron 0 3 * * * Europe/Berlin`.
    pub fn fingerprint(&self) -> String {
        match self {
            Timing::Cron { cron, zone } => format!("cron {cron} {}", zone.iana_name().unwrap_or("?")),
            Timing::Every(span) => format!("every {span}"),
        }
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Timing::Cron { cron, .. } => cron.fmt(f),
            Timing::Every(span) => write!(f, "every {span}"),
        }
    }
}

/// The first slot at `from` or later. Between two changes of its clock a zone is nothing but an offset, so that is how it
/// is searched: stretch by stretch, and each leap between them.
fn by_clock(cron: &Cron, zone: &TimeZone, mut from: Timestamp) -> Option<Timestamp> {
    for _ in 0..MAX_CHANGES {
        let offset = zone.to_offset(from);
        let change = zone.following(from).next().map(|change| change.timestamp());
        let mut minute = cron.next(whole_minute(offset.to_datetime(from))?)?;
        loop {
            let slot = offset.to_timestamp(minute).ok()?;
            if change.is_some_and(|change| slot >= change) {
                break;
            }
            if !(cron.names_hours() && is_second(zone, minute, offset)) {
                return Some(slot);
            }
            minute = cron.next(minute.checked_add(1.minute()).ok()?)?;
        }
        let change = change?;
        if cron.names_hours() && leaps_over(cron, offset, zone.to_offset(change), change) {
            return Some(change);
        }
        from = change;
    }
    None
}

/// The first whole minute that is not before it.
fn whole_minute(moment: DateTime) -> Option<DateTime> {
    let minute = moment.time().with().second(0).subsec_nanosecond(0).build().ok()?;
    let minute = moment.date().to_datetime(minute);
    if minute < moment {
        minute.checked_add(1.minute()).ok()
    } else {
        Some(minute)
    }
}

/// Whether the clock shows this minute for the second time.
fn is_second(zone: &TimeZone, minute: DateTime, offset: Offset) -> bool {
    matches!(zone.to_ambiguous_timestamp(minute).offset(), AmbiguousOffset::Fold { after, .. } if after == offset)
}

/// Whether the clock leaps over a minute that the pattern names.
fn leaps_over(cron: &Cron, before: Offset, after: Offset, change: Timestamp) -> bool {
    let (begin, end) = (before.to_datetime(change), after.to_datetime(change));
    let first = (begin < end)
        .then(|| whole_minute(begin).and_then(|begin| cron.next(begin)))
        .flatten();
    first.is_some_and(|first| first < end)
}
