//! The fields of an event, as loose values, and what they amount to.

use std::borrow::Cow;

use super::event::{Event, TaskEvent, TaskKind, WorkerEvent, WorkerKind};
use super::json::{Json, Next, NotJson, Number};
use super::raw::Malformed;

/// The longest name (of a node, a task, a queue, a task's id) in bytes. RabbitMQ's own limit is 255; Redis has none, and
/// names are kept, so raising it lets a hostile sender take that much more memory for each worker.
pub(crate) const MAX_NAME: usize = 512;

/// The latest time that an event can bear, in seconds since the Unix epoch: the year 10000. A later one is left out, so
/// that nobody who computes with it can overflow.
const MAX_TIMESTAMP: f64 = 253_402_300_800.0;

/// The longest span (an interval, a run time) in seconds: 100 years. A longer one is left out.
const MAX_SPAN: f64 = 100.0 * 366.0 * 86_400.0;

/// Integers beyond this are not exact in a float.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// A value, as far as an event's fields care.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Scalar<'a> {
    /// Absent, or null.
    #[default]
    Null,
    Text(Cow<'a, str>),
    Number(Number),
    /// Of a type that no field has: a truth value, a list, an object, bytes.
    Other,
}

/// The fields that Headcount reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Type,
    Hostname,
    Timestamp,
    Pid,
    Clock,
    Freq,
    Active,
    Processed,
    SwIdent,
    SwVer,
    SwSys,
    Uuid,
    Name,
    Queue,
    Runtime,
    Exception,
    Eta,
    Retries,
}

impl Key {
    const COUNT: usize = Key::Retries as usize + 1;

    /// The field of that name, if it is one of them.
    #[inline(always)]
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "type" => Key::Type,
            "hostname" => Key::Hostname,
            "timestamp" => Key::Timestamp,
            "pid" => Key::Pid,
            "clock" => Key::Clock,
            "freq" => Key::Freq,
            "active" => Key::Active,
            "processed" => Key::Processed,
            "sw_ident" => Key::SwIdent,
            "sw_ver" => Key::SwVer,
            "sw_sys" => Key::SwSys,
            "uuid" => Key::Uuid,
            "name" => Key::Name,
            "queue" => Key::Queue,
            "runtime" => Key::Runtime,
            "exception" => Key::Exception,
            "eta" => Key::Eta,
            "retries" => Key::Retries,
            _ => return None,
        })
    }
}

/// What was found of them. A wrong type matters only where the field does, so it is judged at the end.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a> {
    slots: [Scalar<'a>; Key::COUNT],
}

impl<'a> Fields<'a> {
    /// Reads the object that comes next into new fields. As in Python, the last of two equal keys counts.
    pub(crate) fn read(&mut self, json: &mut Json<'a>) -> Result<(), NotJson> {
        json.object(|json, key| {
            match Key::of(&key) {
                Some(key) => self.set(key, scalar(json)?),
                None => json.skip()?,
            }
            Ok(())
        })
    }

    /// Keeps a value.
    #[inline(always)]
    pub(crate) fn set(&mut self, key: Key, value: Scalar<'a>) {
        if let Some(slot) = self.slots.get_mut(key as usize) {
            *slot = value;
        }
    }

    /// The event that they make up.
    pub(crate) fn event(&self) -> Result<Event<'_>, Malformed> {
        let kind = self.text(Key::Type)?.ok_or(Malformed::Shape)?;
        if let Some(kind) = kind.strip_prefix("worker-") {
            return match kind {
                "heartbeat" => self.worker(WorkerKind::Heartbeat),
                "online" => self.worker(WorkerKind::Online),
                "offline" => self.worker(WorkerKind::Offline),
                _ => Ok(Event::Other),
            };
        }
        match kind.strip_prefix("task-") {
            Some("sent") => self.task(TaskKind::Sent),
            Some("received") => self.task(TaskKind::Received),
            Some("started") => self.task(TaskKind::Started),
            Some("succeeded") => self.task(TaskKind::Succeeded),
            Some("failed") => self.task(TaskKind::Failed),
            Some("retried") => self.task(TaskKind::Retried),
            Some("revoked") => self.task(TaskKind::Revoked),
            Some("rejected") => self.task(TaskKind::Rejected),
            Some("cancelled") => self.task(TaskKind::Cancelled),
            Some(_) => Ok(self.custom()),
            None => Ok(Event::Other),
        }
    }

    fn worker(&self, kind: WorkerKind) -> Result<Event<'_>, Malformed> {
        Ok(Event::Worker(WorkerEvent {
            kind,
            hostname: self.required(Key::Hostname)?,
            pid: self.whole(Key::Pid)?.and_then(|pid| u32::try_from(pid).ok()),
            clock: self.whole(Key::Clock)?,
            timestamp: self.between(Key::Timestamp, MAX_TIMESTAMP)?,
            freq: self.between(Key::Freq, MAX_SPAN)?,
            active: self.whole(Key::Active)?,
            processed: self.whole(Key::Processed)?,
            sw_ident: self.text(Key::SwIdent)?,
            sw_ver: self.text(Key::SwVer)?,
            sw_sys: self.text(Key::SwSys)?,
        }))
    }

    fn task(&self, kind: TaskKind) -> Result<Event<'_>, Malformed> {
        Ok(Event::Task(TaskEvent {
            kind,
            hostname: self.required(Key::Hostname)?,
            timestamp: self.between(Key::Timestamp, MAX_TIMESTAMP)?,
            uuid: self.required(Key::Uuid)?,
            name: self.text(Key::Name)?,
            queue: self.text(Key::Queue)?,
            runtime: self.between(Key::Runtime, MAX_SPAN)?,
            exception: match self.slot(Key::Exception) {
                Scalar::Text(text) => class_of(text),
                _ => None,
            },
            has_eta: match self.slot(Key::Eta) {
                Scalar::Null => false,
                Scalar::Text(_) => true,
                Scalar::Number(_) | Scalar::Other => return Err(Malformed::Shape),
            },
            // Nothing hangs on it but which attempt a time is measured of: no reason to refuse an event.
            retries: match self.slot(Key::Retries) {
                Scalar::Number(Number::Whole(retries)) => u16::try_from(*retries).unwrap_or(u16::MAX),
                _ => 0,
            },
        }))
    }

    /// A custom event's fields are its sender's own affair: only what every event of a task has is read.
    fn custom(&self) -> Event<'_> {
        match (self.required(Key::Hostname), self.required(Key::Uuid)) {
            (Ok(hostname), Ok(uuid)) => Event::Task(TaskEvent {
                kind: TaskKind::Custom,
                hostname,
                timestamp: self.between(Key::Timestamp, MAX_TIMESTAMP).unwrap_or(None),
                uuid,
                name: None,
                queue: None,
                runtime: None,
                exception: None,
                has_eta: false,
                retries: 0,
            }),
            _ => Event::Other,
        }
    }

    fn slot(&self, key: Key) -> &Scalar<'a> {
        self.slots.get(key as usize).unwrap_or(&Scalar::Null)
    }

    fn text(&self, key: Key) -> Result<Option<&str>, Malformed> {
        match self.slot(key) {
            Scalar::Null => Ok(None),
            Scalar::Text(text) if text.len() <= MAX_NAME => Ok(Some(text)),
            _ => Err(Malformed::Shape),
        }
    }

    fn required(&self, key: Key) -> Result<&str, Malformed> {
        self.text(key)?.filter(|text| !text.is_empty()).ok_or(Malformed::Shape)
    }

    /// A whole number; none if it is out of range.
    fn whole(&self, key: Key) -> Result<Option<u64>, Malformed> {
        match *self.slot(key) {
            Scalar::Null => Ok(None),
            Scalar::Number(Number::Whole(whole)) => Ok(Some(whole)),
            Scalar::Number(Number::Float(float)) => Ok((0.0..=MAX_EXACT).contains(&float).then_some(float as u64)),
            _ => Err(Malformed::Shape),
        }
    }

    /// A number from 0 to `max`; none if it is out of range or not a number at all (NaN).
    fn between(&self, key: Key, max: f64) -> Result<Option<f64>, Malformed> {
        let number = match *self.slot(key) {
            Scalar::Null => return Ok(None),
            Scalar::Number(Number::Whole(whole)) => whole as f64,
            Scalar::Number(Number::Float(float)) => float,
            _ => return Err(Malformed::Shape),
        };
        Ok((0.0..=max).contains(&number).then_some(number))
    }
}

/// The longest name of an exception's class, in bytes.
const MAX_CLASS: usize = 100;

/// The class in what Python shows of an exception (`ValueError('no')`, `<Refused: no>`). What is shown in another way may be
/// anything, so nothing of it is taken.
fn class_of(shown: &str) -> Option<&str> {
    let (inner, ends): (&str, &[char]) = match shown.strip_prefix('<') {
        Some(inner) => (inner, &[':', '(']),
        None => (shown, &['(']),
    };
    let name = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let end = inner.find(|c| !name(c))?;
    let class = inner.get(..end)?;
    let begins = class.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let sound = begins && class.len() <= MAX_CLASS && inner.get(end..)?.starts_with(ends);
    // Without its module: Python shows that of some and not of others.
    sound.then(|| class.rsplit('.').next().unwrap_or(class))
}

#[inline(always)]
fn scalar<'a>(json: &mut Json<'a>) -> Result<Scalar<'a>, NotJson> {
    Ok(match json.next()? {
        Next::Text => Scalar::Text(json.string()?),
        Next::Number => Scalar::Number(json.number()?),
        Next::Null => {
            json.null()?;
            Scalar::Null
        }
        Next::Bool | Next::List | Next::Object => {
            json.skip()?;
            Scalar::Other
        }
    })
}

#[cfg(test)]
mod tests {
    use super::class_of;

    #[test]
    fn of_an_exception_its_class_is_taken_and_nothing_else() {
        for (shown, class) in [
            ("ValueError('secret')", Some("ValueError")),
            ("ValueError()", Some("ValueError")),
            ("app.errors.Refused(1, 'x')", Some("Refused")),
            ("<Refused: secret>", Some("Refused")),
            ("<Refused(secret)>", Some("Refused")),
            ("secret", None),
            ("secret words", None),
            ("'ValueError('", None),
            ("1ValueError()", None),
            ("", None),
            ("<>", None),
            ("<secret words>", None),
        ] {
            assert_eq!(class_of(shown), class, "{shown}");
        }
        assert_eq!(class_of(&format!("{}()", "x".repeat(101))), None);
    }
}
