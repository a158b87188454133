//! Records into frames.

use headcount_core::celery::inspect::Pool;
use headcount_core::celery::{TaskEvent, TaskKind, WorkerEvent, WorkerKind};
use headcount_core::time::{Mono, Now};

use super::bytes::{cut, put_int, put_optional, put_text, put_uint};
use super::frame::Frame;
use super::record::{Answer, Record, Told};
use super::tables::{Numbers, Profile};
use super::{CUT_AT, MAX_CONNECTIONS, MAX_FRAME, MAX_TEXT, MAX_WEIGHT};

/// The most bytes that a record has before its body: three numbers.
const MAX_HEAD: usize = 30;

/// The number of each kind of record. Never used for another: an older reader leaves out what it does not know.
pub(super) mod kind {
    pub(in super::super) const MOMENT: u64 = 0;
    pub(in super::super) const NAME: u64 = 1;
    pub(in super::super) const PROFILE: u64 = 2;
    pub(in super::super) const SOURCE: u64 = 3;
    pub(in super::super) const TICK: u64 = 4;
    pub(in super::super) const OPENED: u64 = 5;
    pub(in super::super) const ENDED: u64 = 6;
    pub(in super::super) const CANARY: u64 = 7;
    pub(in super::super) const BLOCKED: u64 = 8;
    pub(in super::super) const WORKER: u64 = 9;
    pub(in super::super) const TASK: u64 = 10;
    pub(in super::super) const MALFORMED: u64 = 11;
    pub(in super::super) const PROBED: u64 = 12;
    pub(in super::super) const UNPROBED: u64 = 13;
    pub(in super::super) const TOLD: u64 = 14;
    pub(in super::super) const QUEUES: u64 = 15;
    pub(in super::super) const CONNECTIONS: u64 = 16;
    pub(in super::super) const END: u64 = 17;
    pub(in super::super) const TAKERS: u64 = 18;
    pub(in super::super) const FOUND: u64 = 19;
}

/// The number of each thing that a worker tells.
pub(super) mod told {
    pub(in super::super) const POOL: u64 = 0;
    pub(in super::super) const QUEUES: u64 = 1;
    pub(in super::super) const RUNNING: u64 = 2;
    pub(in super::super) const RESERVED: u64 = 3;
    pub(in super::super) const SCHEDULED: u64 = 4;
    pub(in super::super) const MEANS: u64 = 5;
}

/// Bits that say which optional fields follow.
pub(super) mod bit {
    pub(in super::super) const CLOCK: u64 = 1 << 2;
    pub(in super::super) const TIMESTAMP: u64 = 1 << 3;
    pub(in super::super) const ACTIVE: u64 = 1 << 4;
    pub(in super::super) const PROCESSED: u64 = 1 << 5;

    pub(in super::super) const TASK_TIMESTAMP: u64 = 1 << 4;
    pub(in super::super) const TASK_NAME: u64 = 1 << 5;
    pub(in super::super) const TASK_QUEUE: u64 = 1 << 6;
    pub(in super::super) const TASK_RUNTIME: u64 = 1 << 7;
    pub(in super::super) const TASK_ETA: u64 = 1 << 8;
    pub(in super::super) const TASK_UUID: u64 = 1 << 9;
}

/// Writes records, and hands them over in frames. It holds at most what was written since the last [`Encoder::take`].
#[derive(Debug, Default)]
pub struct Encoder {
    numbers: Numbers,
    connections: Vec<u64>,
    /// Whether the frame that is being written begins the tables anew.
    reset: bool,
    begun: bool,
    frames: Vec<Frame>,
    frame: FrameBody,
    body: Vec<u8>,
    waiting: usize,
    /// The tables do not say what the file does: the next frame begins them anew.
    spoilt: bool,
    left_out: u64,
}

/// The frame that is being written.
#[derive(Debug, Default)]
struct FrameBody {
    plain: Vec<u8>,
    base: Now,
    last: Mono,
    clock: u64,
}

impl FrameBody {
    fn put(&mut self, at: Mono, kind: u64, body: &[u8]) {
        put_uint(&mut self.plain, kind);
        let delta = i128::from(at.as_micros()) - i128::from(self.last.as_micros());
        // Half a million years between two records are too many for the format, and for everybody.
        put_int(&mut self.plain, i64::try_from(delta).unwrap_or(0));
        put_uint(&mut self.plain, body.len() as u64);
        self.plain.extend_from_slice(body);
        self.last = at;
    }

    fn define(&mut self, kind: u64, body: &[u8]) {
        put_uint(&mut self.plain, kind);
        put_uint(&mut self.plain, 0);
        put_uint(&mut self.plain, body.len() as u64);
        self.plain.extend_from_slice(body);
    }
}

impl Encoder {
    /// One for a new file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one record, of the moment `now`.
    pub fn write(&mut self, now: Now, record: &Record<'_>) {
        if record.weight() > MAX_WEIGHT {
            self.left_out += 1;
            return;
        }
        if !self.begun {
            self.begin(now);
        }
        let before = self.frame.plain.len();
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        let kind = self.body(now, record, &mut body);
        if self.frame.plain.len() + body.len() + MAX_HEAD <= MAX_FRAME {
            self.frame.put(now.mono, kind, &body);
        } else {
            // A reader would refuse the frame. Names that were defined for this record go with it.
            self.left_out += 1;
            self.frame.plain.truncate(before);
            self.spoilt = true;
        }
        self.body = body;
        if self.spoilt || self.frame.plain.len() >= CUT_AT || self.numbers.is_full() {
            self.cut();
        }
    }

    /// Ends the frame that is being written, and hands over all that there are.
    pub fn take(&mut self) -> Vec<Frame> {
        self.cut();
        self.waiting = 0;
        std::mem::take(&mut self.frames)
    }

    /// How many bytes wait to be taken, before packing.
    pub fn waiting(&self) -> usize {
        self.waiting + self.frame.plain.len()
    }

    /// Records that were left out because no frame, or no reader, has room for them; none that a real broker's answers make.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    fn begin(&mut self, now: Now) {
        self.begun = true;
        self.reset = self.spoilt || self.numbers.is_full() || !self.started();
        self.spoilt = false;
        if self.reset {
            self.numbers.clear();
            self.connections.clear();
        }
        self.frame.base = now;
        self.frame.last = now.mono;
        self.frame.clock = 0;
        let mut body = Vec::new();
        put_uint(&mut body, now.mono.as_micros());
        put_int(&mut body, now.wall.as_micros());
        self.frame.define(kind::MOMENT, &body);
    }

    /// Whether an earlier frame was written.
    fn started(&self) -> bool {
        self.frame.base != Now::default()
    }

    fn cut(&mut self) {
        if !self.begun {
            return;
        }
        self.begun = false;
        let plain = std::mem::take(&mut self.frame.plain);
        self.waiting += plain.len();
        self.frames.push(Frame {
            reset: self.reset,
            plain,
        });
    }

    fn name(&mut self, name: &str) -> u32 {
        let frame = &mut self.frame;
        let name = cut(name, MAX_TEXT);
        self.numbers.name(name, || frame.define(kind::NAME, name.as_bytes()))
    }

    fn put_name(&mut self, name: &str, out: &mut Vec<u8>) {
        put_uint(out, u64::from(self.name(name)));
    }

    fn body(&mut self, now: Now, record: &Record<'_>, out: &mut Vec<u8>) -> u64 {
        match record {
            Record::Source(source) => {
                for text in [&source.broker, &source.address, &source.version] {
                    put_text(out, text, MAX_TEXT);
                }
                out.push(u8::from(source.hides_presence));
                kind::SOURCE
            }
            Record::Tick => kind::TICK,
            Record::Opened => kind::OPENED,
            Record::Ended(why) => {
                put_text(out, why, MAX_TEXT);
                kind::ENDED
            }
            Record::Canary(round_trip) => {
                put_uint(out, micros(*round_trip));
                kind::CANARY
            }
            Record::Blocked(blocked) => {
                out.push(u8::from(*blocked));
                kind::BLOCKED
            }
            Record::Worker(event) => {
                self.worker(now, event, out);
                kind::WORKER
            }
            Record::Task(event) => {
                self.task(now, event, out);
                kind::TASK
            }
            Record::Malformed(count) => {
                put_uint(out, *count);
                kind::MALFORMED
            }
            Record::Probed(answers) => {
                self.probed(answers, out);
                kind::PROBED
            }
            Record::Unprobed => kind::UNPROBED,
            Record::Told(told) => {
                put_uint(out, told.len() as u64);
                let mut body = Vec::new();
                for (hostname, told) in told {
                    self.put_name(hostname, out);
                    body.clear();
                    put_uint(out, self.told(told, &mut body));
                    put_uint(out, body.len() as u64);
                    out.extend_from_slice(&body);
                }
                kind::TOLD
            }
            Record::Queues(queues) => {
                put_uint(out, queues.len() as u64);
                for queue in queues {
                    self.put_name(&queue.name, out);
                    put_uint(out, queue.length);
                    put_optional(out, queue.consumers.map(u64::from));
                }
                kind::QUEUES
            }
            Record::Connections(ids) => {
                self.connections(ids, out);
                kind::CONNECTIONS
            }
            Record::Takers(takers) => {
                put_optional(out, takers.map(u64::from));
                kind::TAKERS
            }
            Record::Found(found) => {
                put_uint(out, found.len() as u64);
                for (hostname, latency) in found {
                    self.put_name(hostname, out);
                    put_uint(out, micros(*latency));
                }
                kind::FOUND
            }
            Record::End => kind::END,
        }
    }

    fn worker(&mut self, now: Now, event: &WorkerEvent<'_>, out: &mut Vec<u8>) {
        let hostname = self.name(event.hostname);
        let software = [event.sw_ident, event.sw_ver, event.sw_sys].map(|text| text.map(|text| self.name(text)));
        let profile = Profile {
            hostname,
            pid: event.pid,
            freq: event.freq.map(f64::to_bits),
            software,
        };
        let frame = &mut self.frame;
        let number = self
            .numbers
            .profile(profile, || frame.define(kind::PROFILE, &profile_body(&profile)));
        let timestamp = event.timestamp.and_then(to_micros);
        let mut flags = match event.kind {
            WorkerKind::Online => 0,
            WorkerKind::Heartbeat => 1,
            WorkerKind::Offline => 2,
        };
        for (is_there, bit) in [
            (event.clock.is_some(), bit::CLOCK),
            (timestamp.is_some(), bit::TIMESTAMP),
            (event.active.is_some(), bit::ACTIVE),
            (event.processed.is_some(), bit::PROCESSED),
        ] {
            flags |= if is_there { bit } else { 0 };
        }
        put_uint(out, flags);
        put_uint(out, u64::from(number));
        if let Some(clock) = event.clock {
            // Gossip keeps the clocks of all workers close together.
            put_int(out, clock.wrapping_sub(frame.clock) as i64);
            frame.clock = clock;
        }
        if let Some(timestamp) = timestamp {
            put_int(out, timestamp.wrapping_sub(frame.wall(now.mono)));
        }
        for number in [event.active, event.processed].into_iter().flatten() {
            put_uint(out, number);
        }
    }

    fn task(&mut self, now: Now, event: &TaskEvent<'_>, out: &mut Vec<u8>) {
        let timestamp = event.timestamp.and_then(to_micros);
        let uuid = plain_uuid(event.uuid);
        let mut flags = match event.kind {
            TaskKind::Sent => 0,
            TaskKind::Received => 1,
            TaskKind::Started => 2,
            TaskKind::Succeeded => 3,
            TaskKind::Failed => 4,
            TaskKind::Retried => 5,
            TaskKind::Revoked => 6,
            TaskKind::Rejected => 7,
            TaskKind::Cancelled => 8,
            TaskKind::Custom => 9,
        };
        for (is_there, bit) in [
            (timestamp.is_some(), bit::TASK_TIMESTAMP),
            (event.name.is_some(), bit::TASK_NAME),
            (event.queue.is_some(), bit::TASK_QUEUE),
            (event.runtime.is_some(), bit::TASK_RUNTIME),
            (event.has_eta, bit::TASK_ETA),
            (uuid.is_some(), bit::TASK_UUID),
        ] {
            flags |= if is_there { bit } else { 0 };
        }
        put_uint(out, flags);
        self.put_name(event.hostname, out);
        match uuid {
            Some(bytes) => out.extend_from_slice(&bytes),
            None => put_text(out, event.uuid, MAX_TEXT),
        }
        if let Some(timestamp) = timestamp {
            put_int(out, timestamp.wrapping_sub(self.frame.wall(now.mono)));
        }
        for name in [event.name, event.queue].into_iter().flatten() {
            self.put_name(name, out);
        }
        if let Some(runtime) = event.runtime {
            out.extend_from_slice(&runtime.to_bits().to_le_bytes());
        }
    }

    fn probed(&mut self, answers: &[Answer], out: &mut Vec<u8>) {
        put_uint(out, answers.len() as u64);
        for answer in answers {
            self.put_name(&answer.hostname, out);
            let presence = match answer.present {
                None => 0,
                Some(true) => 1,
                Some(false) => 2,
            };
            out.push(presence | if answer.answer.is_some() { 4 } else { 0 });
            put_uint(out, u64::from(answer.answers));
            if let Some(latency) = answer.answer {
                put_uint(out, micros(latency));
            }
        }
    }

    /// Writes the body of one thing told, and returns its number.
    fn told(&mut self, told: &Told, out: &mut Vec<u8>) -> u64 {
        match told {
            Told::Pool(pool) => {
                put_uint(out, u64::from(pool_number(*pool)));
                told::POOL
            }
            Told::Queues(queues) => {
                put_uint(out, queues.len() as u64);
                for queue in queues {
                    self.put_name(queue, out);
                }
                told::QUEUES
            }
            Told::Running(count) => {
                put_uint(out, u64::from(*count));
                told::RUNNING
            }
            Told::Reserved(count) => {
                put_uint(out, u64::from(*count));
                told::RESERVED
            }
            Told::Scheduled(count) => {
                put_uint(out, u64::from(*count));
                told::SCHEDULED
            }
            Told::Means(means) => {
                put_optional(out, means.slots.map(u64::from));
                put_optional(out, means.prefetch);
                put_optional(out, means.time_limit.map(micros));
                put_optional(out, means.slowest_rate.map(micros));
                // Last: a reader that does not know it leaves out what is left.
                put_optional(out, means.serves_one.map(u64::from));
                told::MEANS
            }
        }
    }

    /// What has come and gone since the last listing; connections live long, so most listings are empty.
    fn connections(&mut self, ids: &[u64], out: &mut Vec<u8>) {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(MAX_CONNECTIONS);
        let missing_in = |other: &[u64]| {
            let other = other.to_vec();
            move |id: &&u64| other.binary_search(id).is_err()
        };
        let gone: Vec<u64> = self.connections.iter().filter(missing_in(&ids)).copied().collect();
        let come: Vec<u64> = ids.iter().filter(missing_in(&self.connections)).copied().collect();
        for list in [gone, come] {
            put_uint(out, list.len() as u64);
            let mut last = 0;
            for id in list {
                put_uint(out, id.wrapping_sub(last));
                last = id;
            }
        }
        self.connections = ids;
    }
}

impl FrameBody {
    /// What the wall clock showed at a moment, as a reader will reckon it.
    fn wall(&self, at: Mono) -> i64 {
        self.base.wall_at(at).as_micros()
    }
}

fn profile_body(profile: &Profile) -> Vec<u8> {
    let mut body = Vec::with_capacity(24);
    put_uint(&mut body, u64::from(profile.hostname));
    put_optional(&mut body, profile.pid.map(u64::from));
    body.push(u8::from(profile.freq.is_some()));
    if let Some(freq) = profile.freq {
        body.extend_from_slice(&freq.to_le_bytes());
    }
    for name in profile.software {
        put_optional(&mut body, name.map(u64::from));
    }
    body
}

pub(super) const fn pool_number(pool: Pool) -> u32 {
    match pool {
        Pool::Prefork => 0,
        Pool::Threads => 1,
        Pool::Solo => 2,
        Pool::Gevent => 3,
        Pool::Eventlet => 4,
        Pool::Other => 5,
    }
}

fn micros(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// A worker's wall clock in whole microseconds; none if it is no time at all.
fn to_micros(seconds: f64) -> Option<i64> {
    let micros = (seconds * 1e6).round();
    (micros.abs() < 9e18).then_some(micros as i64)
}

/// The 16 bytes of a task id in the form that Celery makes, lower case with four hyphens; none for any other.
fn plain_uuid(text: &str) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 16];
    let mut nibbles = 0;
    for (place, byte) in text.iter().enumerate() {
        let hyphen = matches!(place, 8 | 13 | 18 | 23);
        let value = match byte {
            b'-' if hyphen => continue,
            b'0'..=b'9' if !hyphen => byte - b'0',
            b'a'..=b'f' if !hyphen => byte - b'a' + 10,
            _ => return None,
        };
        let target = bytes.get_mut(nibbles / 2)?;
        *target = (*target << 4) | value;
        nibbles += 1;
    }
    Some(bytes)
}
