//! The body of one record.

use std::cell::Cell;
use std::fmt::Write;
use std::time::Duration;

use compact_str::CompactString;
use headcount_core::celery::inspect::Pool;
use headcount_core::celery::{TaskEvent, TaskKind, WorkerEvent, WorkerKind};
use headcount_core::detect::Means;
use headcount_core::status::QueueStatus;
use headcount_core::time::{Mono, Now, Wall};

use super::bytes::{Bad, Cursor};
use super::encode::{bit, kind, pool_number, told};
use super::record::{Answer, Record, Source, Told};
use super::tables::{Meanings, Profile};
use super::{MAX_CONNECTIONS, MAX_LIST, MAX_TEXT, MAX_WEIGHT, weight};

/// What records of one file refer to.
#[derive(Debug, Default)]
pub(super) struct State {
    meanings: Meanings,
    connections: Vec<u64>,
    clock: u64,
    base: Now,
    uuid: String,
    /// What the names of the record at hand come to so far.
    weight: Cell<usize>,
}

/// What a record's bytes come to before they are read.
pub(super) enum Step {
    /// It defines something, and is no event of its own.
    Defined,
    /// It is to be read.
    Event,
    /// Written by a newer version; this one has no use for it.
    Unknown,
}

impl State {
    /// A frame begins.
    pub(super) fn begin(&mut self, reset: bool) {
        self.clock = 0;
        if reset {
            self.meanings.clear();
            self.connections.clear();
        }
    }

    /// Takes a definition, or says what else it is. Returns the moment that a frame begins with.
    pub(super) fn define(&mut self, kind: u64, body: &[u8]) -> Result<(Step, Option<Mono>), Bad> {
        let mut body = Cursor::new(body);
        match kind {
            kind::MOMENT => {
                self.base = Now {
                    mono: Mono::from_micros(body.uint()?),
                    wall: Wall::from_micros(body.int()?),
                };
                return Ok((Step::Defined, Some(self.base.mono)));
            }
            kind::NAME => {
                let length = body.left();
                if length > MAX_TEXT {
                    return Err("a name is too long");
                }
                let name = std::str::from_utf8(body.take(length)?).map_err(|_| "a text is not UTF-8")?;
                self.meanings.add_name(name)?;
            }
            kind::PROFILE => {
                let profile = profile(&mut body)?;
                self.meanings.name(profile.hostname)?;
                self.meanings.add_profile(profile)?;
            }
            kind::SOURCE..=kind::FOUND => return Ok((Step::Event, None)),
            _ => return Ok((Step::Unknown, None)),
        }
        Ok((Step::Defined, None))
    }

    /// Both clocks at a moment of the frame.
    pub(super) fn now(&self, mono: Mono) -> Now {
        Now {
            mono,
            wall: self.base.wall_at(mono),
        }
    }

    /// Reads a record that [`State::define`] called an event.
    pub(super) fn event<'a>(&'a mut self, kind: u64, now: Now, body: &'a [u8]) -> Result<Record<'a>, Bad> {
        let mut body = Cursor::new(body);
        let body = &mut body;
        self.weight.set(0);
        Ok(match kind {
            kind::SOURCE => {
                let mut text = || body.text(MAX_TEXT).map(CompactString::from);
                Record::Source(Source {
                    broker: text()?,
                    address: text()?,
                    version: text()?,
                    hides_presence: body.left() > 0 && body.byte()? & 1 != 0,
                })
            }
            kind::TICK => Record::Tick,
            kind::OPENED => Record::Opened,
            kind::ENDED => Record::Ended(body.text(MAX_TEXT)?.into()),
            kind::CANARY => Record::Canary(Duration::from_micros(body.uint()?)),
            kind::BLOCKED => Record::Blocked(body.byte()? != 0),
            kind::WORKER => self.worker(now, body)?,
            kind::TASK => self.task(now, body)?,
            kind::MALFORMED => Record::Malformed(body.uint()?),
            kind::PROBED => Record::Probed(self.list(body, Self::answer)?),
            kind::UNPROBED => Record::Unprobed,
            kind::TOLD => Record::Told(
                self.list(body, |state, body| {
                    let hostname = state.name(body)?;
                    Ok(state.told(body)?.map(|told| (hostname, told)))
                })?
                .into_iter()
                .flatten()
                .collect(),
            ),
            kind::QUEUES => Record::Queues(self.list(body, |state, body| {
                Ok(QueueStatus {
                    name: state.name(body)?,
                    length: body.uint()?,
                    consumers: body.optional_small()?,
                })
            })?),
            kind::CONNECTIONS => self.connections(body)?,
            kind::END => Record::End,
            kind::TAKERS => Record::Takers(body.optional_small()?),
            kind::FOUND => Record::Found(self.list(body, |state, body| {
                Ok((state.name(body)?, Duration::from_micros(body.uint()?)))
            })?),
            _ => return Err("a record of no known kind"),
        })
    }

    /// A name of a list, to keep: a few bytes in a file must not become gigabytes.
    fn name(&self, body: &mut Cursor<'_>) -> Result<CompactString, Bad> {
        let name = self.meanings.name(body.small()?)?;
        let weight = self.weight.get() + weight(name);
        if weight > MAX_WEIGHT {
            return Err("a record has too many names");
        }
        self.weight.set(weight);
        Ok(name.clone())
    }

    /// A list whose length is told first. An entry takes a byte at least, so that a false length makes nobody take memory.
    fn list<T>(
        &self,
        body: &mut Cursor<'_>,
        entry: impl Fn(&Self, &mut Cursor<'_>) -> Result<T, Bad>,
    ) -> Result<Vec<T>, Bad> {
        let count = body.count(MAX_LIST.min(body.left()))?;
        (0..count).map(|_| entry(self, body)).collect()
    }

    fn worker<'a>(&'a mut self, now: Now, body: &mut Cursor<'_>) -> Result<Record<'a>, Bad> {
        let flags = body.uint()?;
        let profile = *self.meanings.profile(body.small()?)?;
        let kind = match flags & 3 {
            0 => WorkerKind::Online,
            1 => WorkerKind::Heartbeat,
            2 => WorkerKind::Offline,
            _ => return Err("a worker's event of no known kind"),
        };
        let clock = match flags & bit::CLOCK {
            0 => None,
            _ => {
                self.clock = self.clock.wrapping_add(body.int()? as u64);
                Some(self.clock)
            }
        };
        let timestamp = timestamp(flags & bit::TIMESTAMP != 0, now, body)?;
        let mut number = |bit| (flags & bit != 0).then(|| body.uint()).transpose();
        let (active, processed) = (number(bit::ACTIVE)?, number(bit::PROCESSED)?);
        let meanings = &self.meanings;
        let text = |number: Option<u32>| {
            number
                .map(|number| meanings.name(number).map(CompactString::as_str))
                .transpose()
        };
        let [ident, version, system] = profile.software;
        Ok(Record::Worker(WorkerEvent {
            kind,
            hostname: meanings.name(profile.hostname)?,
            pid: profile.pid,
            clock,
            timestamp,
            freq: profile.freq.map(f64::from_bits),
            active,
            processed,
            sw_ident: text(ident)?,
            sw_ver: text(version)?,
            sw_sys: text(system)?,
        }))
    }

    fn task<'a>(&'a mut self, now: Now, body: &mut Cursor<'a>) -> Result<Record<'a>, Bad> {
        let flags = body.uint()?;
        let kind = match flags & 15 {
            0 => TaskKind::Sent,
            1 => TaskKind::Received,
            2 => TaskKind::Started,
            3 => TaskKind::Succeeded,
            4 => TaskKind::Failed,
            5 => TaskKind::Retried,
            6 => TaskKind::Revoked,
            7 => TaskKind::Rejected,
            8 => TaskKind::Cancelled,
            9 => TaskKind::Custom,
            _ => return Err("a task's event of no known kind"),
        };
        let meanings = &self.meanings;
        let name = |body: &mut Cursor<'_>| meanings.name(body.small()?).map(CompactString::as_str);
        let hostname = name(body)?;
        let uuid: &'a str = match flags & bit::TASK_UUID {
            0 => body.text(MAX_TEXT)?,
            _ => {
                write_uuid(&mut self.uuid, body.take(16)?);
                &self.uuid
            }
        };
        let timestamp = timestamp(flags & bit::TASK_TIMESTAMP != 0, now, body)?;
        let task_name = (flags & bit::TASK_NAME != 0).then(|| name(body)).transpose()?;
        let queue = (flags & bit::TASK_QUEUE != 0).then(|| name(body)).transpose()?;
        let runtime = (flags & bit::TASK_RUNTIME != 0).then(|| float(body)).transpose()?;
        Ok(Record::Task(TaskEvent {
            kind,
            hostname,
            timestamp,
            uuid,
            name: task_name,
            queue,
            runtime: runtime.map(f64::from_bits),
            exception: None,
            has_eta: flags & bit::TASK_ETA != 0,
            // No verdict depends on it, so a trace does not hold it.
            retries: 0,
        }))
    }

    fn answer(&self, body: &mut Cursor<'_>) -> Result<Answer, Bad> {
        let hostname = self.name(body)?;
        let flags = body.byte()?;
        let answers = body.small()?;
        let answer = (flags & 4 != 0).then(|| body.uint()).transpose()?;
        Ok(Answer {
            hostname,
            answer: answer.map(Duration::from_micros),
            answers,
            present: match flags & 3 {
                0 => None,
                1 => Some(true),
                2 => Some(false),
                _ => return Err("a presence of no known kind"),
            },
        })
    }

    /// None for a thing that only a newer version knows.
    fn told(&self, body: &mut Cursor<'_>) -> Result<Option<Told>, Bad> {
        let number = body.uint()?;
        let length = body.count(body.left())?;
        let mut body = Cursor::new(body.take(length)?);
        let body = &mut body;
        let span = |micros: Option<u64>| micros.map(Duration::from_micros);
        Ok(Some(match number {
            told::POOL => Told::Pool(pool(body.uint()?)),
            told::QUEUES => Told::Queues(self.list(body, |state, body| state.name(body))?),
            told::RUNNING => Told::Running(body.small()?),
            told::RESERVED => Told::Reserved(body.small()?),
            told::SCHEDULED => Told::Scheduled(body.small()?),
            told::MEANS => Told::Means(Means {
                slots: body.optional_small()?,
                prefetch: body.optional()?,
                time_limit: span(body.optional()?),
                slowest_rate: span(body.optional()?),
                // Older traces do not have it.
                serves_one: if body.left() == 0 {
                    None
                } else {
                    body.optional()?.map(|one| one > 0)
                },
            }),
            _ => return Ok(None),
        }))
    }

    fn connections(&mut self, body: &mut Cursor<'_>) -> Result<Record<'static>, Bad> {
        let gone = ids(body)?;
        let come = ids(body)?;
        let mut open = std::mem::take(&mut self.connections);
        open.retain(|id| gone.binary_search(id).is_err());
        open.extend(come);
        open.sort_unstable();
        open.dedup();
        if open.len() > MAX_CONNECTIONS {
            return Err("there are too many connections");
        }
        self.connections.clone_from(&open);
        Ok(Record::Connections(open))
    }
}

/// One that only a newer version knows is another.
fn pool(number: u64) -> Pool {
    let known = [Pool::Prefork, Pool::Threads, Pool::Solo, Pool::Gevent, Pool::Eventlet];
    let pool = known.into_iter().find(|pool| u64::from(pool_number(*pool)) == number);
    pool.unwrap_or(Pool::Other)
}

/// Numbers in ascending order, each as what it is more than the one before.
fn ids(body: &mut Cursor<'_>) -> Result<Vec<u64>, Bad> {
    let count = body.count(MAX_CONNECTIONS.min(body.left()))?;
    let mut ids = Vec::with_capacity(count);
    let mut last = 0_u64;
    for _ in 0..count {
        last = last.checked_add(body.uint()?).ok_or("a number is too large")?;
        ids.push(last);
    }
    Ok(ids)
}

fn profile(body: &mut Cursor<'_>) -> Result<Profile, Bad> {
    let hostname = body.small()?;
    let pid = body.optional_small()?;
    let freq = (body.byte()? & 1 != 0).then(|| float(body)).transpose()?;
    let mut software = [None; 3];
    for name in &mut software {
        *name = body.optional_small()?;
    }
    Ok(Profile {
        hostname,
        pid,
        freq,
        software,
    })
}

fn float(body: &mut Cursor<'_>) -> Result<u64, Bad> {
    let bytes = body.take(8)?.try_into().map_err(|_| "a record breaks off")?;
    Ok(u64::from_le_bytes(bytes))
}

fn timestamp(is_there: bool, now: Now, body: &mut Cursor<'_>) -> Result<Option<f64>, Bad> {
    if !is_there {
        return Ok(None);
    }
    let micros = body.int()?.wrapping_add(now.wall.as_micros());
    Ok(Some(micros as f64 / 1e6))
}

fn write_uuid(out: &mut String, bytes: &[u8]) {
    out.clear();
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        // A string takes all that it is given.
        let _ = write!(out, "{byte:02x}");
    }
}
