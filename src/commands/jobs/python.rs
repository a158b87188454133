//! Schedules as Python writes them: the `repr` and `str` of Celery's `crontab`, `schedule` and `solar`, and of
//! `datetime.timedelta`.

use std::time::Duration;

use serde_json::Value;

/// A schedule of Celery's.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Schedule {
    /// The five fields of a cron pattern, in cron's order.
    Crontab([String; 5]),
    /// An interval. `rounded`: Celery wrote it with two digits behind the point and no more.
    Every { every: Duration, rounded: bool },
}

/// Reads a schedule. The error says, for people, why it is none that can be expressed.
pub(super) fn schedule(value: &Value) -> Result<Schedule, String> {
    match value {
        Value::Number(number) => {
            seconds(number.as_f64().unwrap_or(f64::NAN)).map(|every| Schedule::Every { every, rounded: false })
        }
        Value::String(text) => from_text(text.trim()),
        Value::Object(fields) => {
            let known = ["minute", "hour", "day_of_month", "month_of_year", "day_of_week"];
            if fields.is_empty() || !fields.keys().all(|key| known.contains(&key.as_str())) {
                return Err(format!("not a schedule: {value}"));
            }
            let field = |key: &str| match fields.get(key) {
                None | Some(Value::Null) => Ok("*".to_owned()),
                Some(Value::String(text)) => cron_field(text),
                Some(Value::Array(list)) => {
                    let items: Vec<String> = list.iter().map(|item| item.to_string().replace('"', "")).collect();
                    cron_field(&items.join(","))
                }
                Some(other) => cron_field(&other.to_string()),
            };
            let [minute, hour, day, month, weekday] = known.map(field);
            Ok(Schedule::Crontab([minute?, hour?, day?, month?, weekday?]))
        }
        other => Err(format!("not a schedule: {other}")),
    }
}

fn from_text(text: &str) -> Result<Schedule, String> {
    if let Some(fields) = text.strip_prefix("<crontab: ").and_then(|rest| rest.strip_suffix('>')) {
        return crontab(fields.trim_end_matches(" (m/h/dM/MY/d)"));
    }
    if let Some(every) = text.strip_prefix("<freq: ").and_then(|rest| rest.strip_suffix('>')) {
        return human(every);
    }
    if text.starts_with("<solar: ") {
        return Err("a solar schedule (sunrise, sunset …) has no hour that cron could name".to_owned());
    }
    let every = match text
        .strip_prefix("datetime.timedelta(")
        .and_then(|rest| rest.strip_suffix(')'))
    {
        Some(arguments) => timedelta_repr(arguments),
        None => timedelta_str(text),
    };
    match every {
        Some(micros) => micros_to(micros).map(|every| Schedule::Every { every, rounded: false }),
        None => Err(format!("a schedule of a kind that is not known: {text}")),
    }
}

/// `0 {4, 5} * * mon-fri`: words, of which those in brackets may hold spaces.
fn crontab(text: &str) -> Result<Schedule, String> {
    let mut fields: Vec<String> = Vec::new();
    let (mut depth, mut open) = (0_i32, false);
    for word in text.split_whitespace() {
        match fields.last_mut().filter(|_| open) {
            Some(field) => field.push_str(word),
            None => fields.push(word.to_owned()),
        }
        for c in word.chars() {
            depth += match c {
                '{' | '[' | '(' => 1,
                '}' | ']' | ')' => -1,
                _ => 0,
            };
        }
        open = depth > 0 || word.ends_with(',');
    }
    let fields: Result<Vec<String>, String> = fields.iter().map(|field| cron_field(field)).collect();
    <[String; 5]>::try_from(fields?)
        .map(Schedule::Crontab)
        .map_err(|fields| format!("a crontab with {} fields instead of 5: {text}", fields.len()))
}

/// One field: a text, a number, or one of Python's collections of numbers.
fn cron_field(text: &str) -> Result<String, String> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let inner = text
        .strip_prefix("frozenset(")
        .or_else(|| text.strip_prefix("set("))
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap_or(&text);
    if let Some(arguments) = inner.strip_prefix("range(").and_then(|rest| rest.strip_suffix(')')) {
        return range(arguments).ok_or_else(|| format!("not a range of numbers: {text}"));
    }
    let items = inner.trim_matches(|c| matches!(c, '{' | '}' | '[' | ']' | '(' | ')'));
    let items: Vec<&str> = items
        .split(',')
        .map(|item| item.trim_matches(|c| c == '\'' || c == '"'))
        .filter(|item| !item.is_empty())
        .collect();
    if items.is_empty() {
        return Err(format!("a field of a crontab that names nothing: {text}"));
    }
    Ok(items.join(","))
}

/// `range(0, 24, 6)` as a list.
fn range(arguments: &str) -> Option<String> {
    /// More than any field has.
    const MOST: usize = 60;
    let numbers: Option<Vec<i64>> = arguments.split(',').map(|number| number.parse().ok()).collect();
    let (first, end, step) = match numbers?.as_slice() {
        [end] => (0, *end, 1),
        [first, end] => (*first, *end, 1),
        [first, end, step] if *step > 0 => (*first, *end, usize::try_from(*step).ok()?),
        _ => return None,
    };
    let list: Vec<String> = (first..end)
        .step_by(step)
        .take(MOST + 1)
        .map(|number| number.to_string())
        .collect();
    (1..=MOST).contains(&list.len()).then(|| list.join(","))
}

/// `1.50 minutes`, as Celery's `humanize_seconds` writes an interval.
fn human(text: &str) -> Result<Schedule, String> {
    let unknown = || format!("an interval that cannot be read: {text}");
    let (number, unit) = text.split_once(' ').ok_or_else(unknown)?;
    let number: f64 = number.parse().map_err(|_| unknown())?;
    let unit = match unit.trim_end_matches('s') {
        "day" => 86_400.0,
        "hour" => 3_600.0,
        "minute" => 60.0,
        "second" => 1.0,
        _ => return Err(unknown()),
    };
    let every = seconds((number * unit * 1_000.0).round() / 1_000.0)?;
    Ok(Schedule::Every {
        every,
        // Of seconds two digits are as exact as people are.
        rounded: unit > 1.0 && number.fract() != 0.0,
    })
}

/// `days=1, seconds=30, microseconds=5`, in microseconds.
fn timedelta_repr(arguments: &str) -> Option<i64> {
    let mut micros = 0_i64;
    for argument in arguments
        .split(',')
        .map(str::trim)
        .filter(|argument| !argument.is_empty())
    {
        let (unit, number) = match argument.split_once('=') {
            Some((unit, number)) => (unit, number),
            None => ("days", argument),
        };
        let size = match unit {
            "days" => 86_400_000_000,
            "seconds" => 1_000_000,
            "microseconds" => 1,
            _ => return None,
        };
        micros = micros.checked_add(number.parse::<i64>().ok()?.checked_mul(size)?)?;
    }
    Some(micros)
}

/// `1 day, 2:03:04.500000`, in microseconds.
fn timedelta_str(text: &str) -> Option<i64> {
    let (days, clock) = match text.split_once(" day") {
        Some((days, rest)) => (
            days.parse::<i64>().ok()?,
            rest.trim_start_matches('s').strip_prefix(", ")?,
        ),
        None => (0, text),
    };
    let mut parts = clock.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let fraction = format!("{fraction:0<6}").get(..6)?.parse::<i64>().ok()?;
    let number = |text: &str| text.parse::<u32>().ok().map(i64::from);
    let seconds = number(hours)? * 3_600 + number(minutes)? * 60 + number(seconds)?;
    days.checked_mul(86_400)?
        .checked_add(seconds)?
        .checked_mul(1_000_000)?
        .checked_add(fraction)
}

/// So many seconds.
pub(super) fn seconds(seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("not an interval: {seconds} s"))
}

fn micros_to(micros: i64) -> Result<Duration, String> {
    u64::try_from(micros)
        .map(Duration::from_micros)
        .map_err(|_| "an interval that goes backwards".to_owned())
}

/// An interval that an option may be: a number of seconds, or a timedelta.
pub(super) fn interval(value: &Value) -> Option<Duration> {
    match value {
        Value::Number(number) => seconds(number.as_f64()?).ok(),
        Value::String(text) => match from_text(text.trim()).ok()? {
            Schedule::Every { every, .. } => Some(every),
            Schedule::Crontab(_) => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn every(secs: f64) -> Result<Schedule, String> {
        Ok(Schedule::Every {
            every: Duration::from_secs_f64(secs),
            rounded: false,
        })
    }

    fn cron(text: &str) -> Result<Schedule, String> {
        let fields: Vec<String> = text.split(' ').map(str::to_owned).collect();
        Ok(Schedule::Crontab(fields.try_into().unwrap()))
    }

    #[test]
    fn what_celery_writes_is_read() {
        for (value, expected) in [
            (json!(30), every(30.0)),
            (json!(0.5), every(0.5)),
            (json!("0:10:00"), every(600.0)),
            (json!("1 day, 0:00:00"), every(86_400.0)),
            (json!("14 days, 1:02:03.500000"), every(1_213_323.5)),
            (json!("datetime.timedelta(seconds=30)"), every(30.0)),
            (
                json!("datetime.timedelta(days=1, seconds=1, microseconds=500000)"),
                every(86_401.5),
            ),
            (json!("<freq: 10.00 minutes>"), every(600.0)),
            (json!("<freq: 1.00 hour>"), every(3_600.0)),
            (json!("<crontab: 0 3 * * * (m/h/dM/MY/d)>"), cron("0 3 * * *")),
            (
                json!("<crontab: */15 8-17 1,15 jan mon-fri (m/h/dM/MY/d)>"),
                cron("*/15 8-17 1,15 jan mon-fri"),
            ),
            (
                json!("<crontab: {0, 30} [1, 2] * * (0, 6) (m/h/dM/MY/d)>"),
                cron("0,30 1,2 * * 0,6"),
            ),
            (
                json!("<crontab: 0 7, 8 * * sun, mon (m/h/dM/MY/d)>"),
                cron("0 7,8 * * sun,mon"),
            ),
            (
                json!("<crontab: range(0, 60, 20) range(3) * * * (m/h/dM/MY/d)>"),
                cron("0,20,40 0,1,2 * * *"),
            ),
            (json!({"minute": 0, "hour": [1, 2]}), cron("0 1,2 * * *")),
        ] {
            assert_eq!(schedule(&value), expected, "{value}");
        }
        let rounded = schedule(&json!("<freq: 1.51 minutes>"));
        assert!(
            matches!(rounded, Ok(Schedule::Every { rounded: true, .. })),
            "{rounded:?}"
        );
    }

    #[test]
    fn what_cannot_be_expressed_says_why() {
        for (value, word) in [
            (json!("<solar: sunset at latitude -37.81, longitude: 144.96>"), "solar"),
            (json!("<app.MySchedule object at 0x7f>"), "not known"),
            (json!("-1 day, 23:59:00"), "backwards"),
            (json!("<crontab: 0 3 * * (m/h/dM/MY/d)>"), "4 fields"),
            (json!("<crontab: range(0) 3 * * * (m/h/dM/MY/d)>"), "range"),
            (json!(null), "not a schedule"),
            (json!(-3), "not an interval"),
            (json!({"event": "sunset"}), "not a schedule"),
            (json!("1:2"), "not known"),
            (json!("99999999999999999999 days, 0:00:00"), "not known"),
        ] {
            let why = schedule(&value).unwrap_err();
            assert!(why.contains(word), "{value}: {why}");
        }
    }
}
