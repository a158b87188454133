//! From a beat schedule to `[[job]]` tables.
//!
//! How people dump theirs, so that all of Python's objects are in it as Python shows them (kombu's own JSON refuses them):
//! ```text
//! python -c 'import json; from proj.celery import app; print(json.dumps({"timezone": str(app.conf.timezone or "UTC"),
//!            "beat_schedule": app.conf.beat_schedule}, default=str))' > beat.json
//! ```
//! `app.conf.beat_schedule` alone is understood too.

use std::fmt::Write;
use std::time::Duration;

use headcount_core::celery::task::MAX_PRIORITY;
use headcount_core::schedule::Cron;
use headcount_core::schedule::timing::SHORTEST;
use headcount_core::span::Span;
use serde_json::{Map, Value};

use super::python::{self, Schedule};

/// The longest name of a job, in characters.
const MAX_NAME: usize = 64;

/// What whoever imports knows beside the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    /// The time zone of the patterns.
    pub(crate) timezone: Option<String>,
    /// The broker to name in each table.
    pub(crate) broker: Option<String>,
}

/// What an import came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Imported {
    /// The tables.
    pub(crate) toml: String,
    /// What there is to say, each in a line that names its entry.
    pub(crate) remarks: Vec<String>,
    /// How many entries there were.
    pub(crate) entries: usize,
    /// How many became tables.
    pub(crate) jobs: usize,
    /// Nothing was left out.
    pub(crate) whole: bool,
}

/// Makes tables of a beat schedule.
///
/// # Errors
/// It is none.
pub(crate) fn import(json: &Value, wishes: &Wishes) -> Result<Imported, String> {
    let expected = || "expected the JSON of app.conf.beat_schedule: an object with an entry for each name".to_owned();
    let root = json.as_object().ok_or_else(expected)?;
    let (entries, zone) = match root.get("beat_schedule") {
        Some(entries) => (entries.as_object().ok_or_else(expected)?, root.get("timezone")),
        None => (root, None),
    };
    let zone = wishes
        .timezone
        .clone()
        .or_else(|| zone.and_then(Value::as_str).map(str::to_owned));
    let mut imported = Imported {
        whole: true,
        entries: entries.len(),
        ..Imported::default()
    };
    let mut without_zone = false;
    for (name, entry) in entries {
        let mut draft = Draft::default();
        match draft.entry(name, entry, zone.as_deref(), wishes) {
            Ok(()) => {
                imported.jobs += 1;
                without_zone |= draft.has_cron && zone.is_none();
                if !imported.toml.is_empty() {
                    imported.toml.push('\n');
                }
                imported.toml.push_str(&draft.toml);
            }
            Err(why) => {
                imported.whole = false;
                imported.remarks.push(format!("{name}: left out: {why}"));
                continue;
            }
        }
        imported.whole &= draft.left_out.is_empty();
        for what in draft.left_out.iter().chain(&draft.notes) {
            imported.remarks.push(format!("{name}: {what}"));
        }
    }
    if without_zone {
        let remark = "no time zone is known: patterns are taken in UTC, Celery's default; with another app.conf.timezone, give --timezone";
        imported.remarks.push(remark.to_owned());
    }
    Ok(imported)
}

/// One table while it is made.
#[derive(Default)]
struct Draft {
    toml: String,
    /// Parts of the entry that are not in the table.
    left_out: Vec<String>,
    notes: Vec<String>,
    has_cron: bool,
}

impl Draft {
    fn entry(&mut self, name: &str, entry: &Value, zone: Option<&str>, wishes: &Wishes) -> Result<(), String> {
        let entry = entry
            .as_object()
            .ok_or("expected an object with `task` and `schedule`")?;
        let task = entry.get("task").and_then(Value::as_str).ok_or("it names no task")?;
        let schedule = python::schedule(entry.get("schedule").unwrap_or(&Value::Null))?;
        self.toml.push_str("[[job]]\n");
        let usable = usable_name(name);
        if usable != name {
            self.notes.push(format!("is now called {usable:?}"));
        }
        self.set("name", &Value::from(usable))?;
        self.schedule(schedule, zone)?;
        if let Some(broker) = &wishes.broker {
            self.set("broker", &Value::from(broker.as_str()))?;
        }
        let empty = Map::new();
        let options = match entry.get("options") {
            Some(Value::Object(options)) => options,
            _ => &empty,
        };
        self.options(options);
        self.set("task", &Value::from(task))?;
        match entry.get("args") {
            None | Some(Value::Null) => {}
            Some(args @ Value::Array(list)) if !list.is_empty() => self.set("args", args)?,
            Some(Value::Array(_)) => {}
            Some(other) => return Err(format!("its args are no list: {other}")),
        }
        match entry.get("kwargs") {
            None | Some(Value::Null) => {}
            Some(kwargs @ Value::Object(map)) if !map.is_empty() => self.set("kwargs", kwargs)?,
            Some(Value::Object(_)) => {}
            Some(other) => return Err(format!("its kwargs are no object: {other}")),
        }
        let known = ["task", "schedule", "args", "kwargs", "options", "relative"];
        let unknown = entry
            .iter()
            .filter(|(key, value)| !known.contains(&key.as_str()) && !value.is_null());
        self.left_out
            .extend(unknown.map(|(key, value)| format!("{key} is not known here: {value}")));
        Ok(())
    }

    fn schedule(&mut self, schedule: Schedule, zone: Option<&str>) -> Result<(), String> {
        match schedule {
            Schedule::Crontab(fields) => {
                let [_, _, day, _, weekday] = &fields;
                if !day.starts_with('*') && !weekday.starts_with('*') {
                    return Err(format!(
                        "for Celery both the day of the month ({day}) and the day of the week ({weekday}) must fit, for cron either"
                    ));
                }
                let pattern = fields.join(" ");
                Cron::parse(&pattern).map_err(|error| format!("the pattern {pattern:?}: {error}"))?;
                self.has_cron = true;
                self.set("cron", &Value::from(pattern))?;
                if let Some(zone) = zone {
                    self.set("timezone", &Value::from(zone))?;
                }
                Ok(())
            }
            Schedule::Every { every, rounded } => {
                if every < SHORTEST {
                    return Err(format!(
                        "every {every:?} is more often than a job can run (at least {SHORTEST:?})"
                    ));
                }
                if rounded {
                    self.notes.push(format!(
                        "Celery wrote its interval rounded, it may not be exactly {every:?}"
                    ));
                }
                let every = span(every).ok_or_else(|| format!("every {every:?} is no whole number of milliseconds"))?;
                self.set("every", &Value::from(every.to_string()))
            }
        }
    }

    fn options(&mut self, options: &Map<String, Value>) {
        for (key, value) in options.iter().filter(|(_, value)| !value.is_null()) {
            let done = match (key.as_str(), value) {
                ("queue", Value::String(_)) => self.set("queue", value).is_ok(),
                ("priority", Value::Number(number)) => {
                    let fits = number.as_u64().is_some_and(|number| number <= u64::from(MAX_PRIORITY));
                    fits && self.set("priority", value).is_ok()
                }
                ("expires", value) => python::interval(value)
                    .and_then(span)
                    .is_some_and(|span| !span.is_zero() && self.set("expires", &Value::from(span.to_string())).is_ok()),
                _ => false,
            };
            if !done {
                self.left_out
                    .push(format!("options.{key} cannot be expressed, and is left out: {value}"));
            }
        }
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let value = toml_of(value).map_err(|why| format!("{key}: {why}"))?;
        // Writing to a string cannot fail.
        let _ = writeln!(self.toml, "{key} = {value}");
        Ok(())
    }
}

/// A duration as the configuration writes it; none where that cannot be exact.
fn span(duration: Duration) -> Option<Span> {
    let millis = u64::try_from(duration.as_millis()).ok()?;
    let span = Span::from_millis(millis);
    (span.duration() == duration).then_some(span)
}

/// A name that a job may have.
fn usable_name(name: &str) -> String {
    let plain = |c: char| if c.is_control() || c == '/' { '-' } else { c };
    let name: String = name.trim().chars().map(plain).take(MAX_NAME).collect();
    if name.is_empty() {
        "job".to_owned()
    } else {
        name.trim().to_owned()
    }
}

/// A value as TOML has it.
fn toml_of(value: &Value) -> Result<toml::Value, String> {
    Ok(match value {
        Value::Null => return Err("TOML has no null (None, or a NaN or an Infinity, which JSON has not)".to_owned()),
        Value::Bool(truth) => toml::Value::Boolean(*truth),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => toml::Value::Integer(number),
            (None, Some(number)) if number.is_finite() && !number_is_whole(value) => toml::Value::Float(number),
            _ => return Err(format!("a number that TOML has no room for: {number}")),
        },
        Value::String(text) if text.starts_with('<') && text.contains(" at 0x") => {
            return Err(format!("an object of Python's, which JSON cannot hold: {text}"));
        }
        Value::String(text) if text.starts_with("env:") || text.starts_with("file:") => {
            return Err(format!(
                "a text that the configuration would take for something else: {text:?}"
            ));
        }
        Value::String(text) => toml::Value::String(text.clone()),
        Value::Array(list) => toml::Value::Array(list.iter().map(toml_of).collect::<Result<_, _>>()?),
        Value::Object(object) => {
            let entries = object.iter().map(|(key, value)| Ok((key.clone(), toml_of(value)?)));
            toml::Value::Table(entries.collect::<Result<_, String>>()?)
        }
    })
}

fn number_is_whole(value: &Value) -> bool {
    value.is_u64() || value.is_i64()
}

#[cfg(test)]
mod tests;
