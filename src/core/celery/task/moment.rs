//! Moments as Celery writes them: ISO 8601, with the offset.

use crate::time::Wall;

const MICROS: i64 = 1_000_000;
const DAY: i64 = 86_400;

/// The moment in UTC, such as `2026-11-24T14:33:00.000000+00:00`.
pub fn iso8601(moment: Wall) -> String {
    let (seconds, micros) = (moment.as_secs(), moment.as_micros().rem_euclid(MICROS));
    let (year, month, day) = civil(seconds.div_euclid(DAY));
    let second = seconds.rem_euclid(DAY);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}+00:00")
}

/// Reads a moment. One without an offset is UTC, which is what Celery's settings mean unless they are changed; a date alone
/// is its midnight. None if it is no moment, or not in the years 1 to 9999, which are Python's.
pub fn parse_iso8601(text: &str) -> Option<Wall> {
    let mut rest = text.trim();
    let (year, month, day) = (
        digits(&mut rest, 4)?,
        after(&mut rest, '-', 2)?,
        after(&mut rest, '-', 2)?,
    );
    if year < 1 || !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let mut micros = 0;
    let mut offset = 0;
    let mut time = 0;
    if let Some(after_date) = rest.strip_prefix(['T', ' ', 't']) {
        rest = after_date;
        let (hour, minute) = (digits(&mut rest, 2)?, after(&mut rest, ':', 2)?);
        let second = if rest.starts_with(':') {
            after(&mut rest, ':', 2)?
        } else {
            0
        };
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        time = hour * 3600 + minute * 60 + second;
        if let Some(fraction) = rest.strip_prefix(['.', ',']) {
            rest = fraction;
            micros = fraction_micros(&mut rest)?;
        }
        offset = read_offset(&mut rest)?;
    }
    if !rest.is_empty() {
        return None;
    }
    let seconds = day_number(year, month, day) * DAY + time - offset;
    Some(Wall::from_micros(seconds * MICROS + micros))
}

/// Seconds east of UTC.
fn read_offset(rest: &mut &str) -> Option<i64> {
    let sign = match rest.chars().next() {
        None => return Some(0),
        Some('Z' | 'z') => {
            *rest = rest.get(1..)?;
            return Some(0);
        }
        Some('+') => 1,
        Some('-') => -1,
        Some(_) => return None,
    };
    *rest = rest.get(1..)?;
    let hours = digits(rest, 2)?;
    *rest = rest.strip_prefix(':').unwrap_or(rest);
    let minutes = if rest.is_empty() { 0 } else { digits(rest, 2)? };
    let seconds = if rest.starts_with(':') { after(rest, ':', 2)? } else { 0 };
    (hours < 24 && minutes < 60 && seconds < 60).then_some(sign * (hours * 3600 + minutes * 60 + seconds))
}

/// Microseconds of a fraction of a second; what is finer is left out.
fn fraction_micros(rest: &mut &str) -> Option<i64> {
    let length = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (fraction, after) = rest.split_at_checked(length)?;
    *rest = after;
    if fraction.is_empty() {
        return None;
    }
    let mut micros = 0;
    for place in 0..6 {
        let digit = fraction.as_bytes().get(place).map_or(0, |byte| i64::from(byte - b'0'));
        micros = micros * 10 + digit;
    }
    Some(micros)
}

fn after(rest: &mut &str, mark: char, length: usize) -> Option<i64> {
    *rest = rest.strip_prefix(mark)?;
    digits(rest, length)
}

fn digits(rest: &mut &str, length: usize) -> Option<i64> {
    let (number, after) = rest.split_at_checked(length)?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    *rest = after;
    number.parse().ok()
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days in the years before `year`, counted from the year 1.
const fn days_before(year: i64) -> i64 {
    let years = year - 1;
    years * 365 + years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400)
}

/// Days since 1 January 1970.
fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let months: i64 = (1..month).map(|month| days_in(year, month)).sum();
    days_before(year) - days_before(1970) + months + day - 1
}

/// The date of a day, counted from 1 January 1970.
fn civil(number: i64) -> (i64, i64, i64) {
    // A first guess that is never too late, and early by a year in four centuries.
    let mut year = 1970 + number.div_euclid(366).min(number.div_euclid(365));
    while day_number(year + 1, 1, 1) <= number {
        year += 1;
    }
    let mut day = number - day_number(year, 1, 1);
    let mut month = 1;
    while day >= days_in(year, month) {
        day -= days_in(year, month);
        month += 1;
    }
    (year, month, day + 1)
}
