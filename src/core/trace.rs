//! Traces: what belongs together, as a tracing backend shows it.
//!
//! Ids are made of what they are about, and of nothing else: whoever knows an incident's id knows its trace and the span that
//! all others of it hang on. So spans that are made in different actors, by different threads, and before and after a restart
//! join without anybody handing a context on.

use std::fmt;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::alert::IncidentId;
use crate::time::Wall;

pub mod incident;
pub mod run;

/// The id of a trace: 16 bytes, not all of them zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 16]);

/// The id of a span within its trace: 8 bytes, not all of them zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// The trace of an incident, from the last sign of life to the message that it is over.
    pub fn of_incident(id: &IncidentId) -> Self {
        let digest = digest(&[b"headcount incident", id.0.as_bytes()]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(bytes)
    }

    /// The trace of a task, by its id or that of the first of its workflow: where that is a UUID, as Celery's are, it is the
    /// trace's as well, so that one can be found by the other.
    pub fn of_task(id: &str) -> Self {
        let bytes = Uuid::try_parse(id)
            .ok()
            .filter(|uuid| !uuid.is_nil())
            .map(Uuid::into_bytes);
        Self(bytes.unwrap_or_else(|| {
            let digest = digest(&[b"headcount task", id.as_bytes()]);
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&digest[..16]);
            bytes
        }))
    }

    /// Its bytes, as they go over the wire.
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// Whether it is among so many of all traces, 0 to 1: always the same answer for one trace, whoever asks and when. It is
    /// judged by the last seven bytes, as W3C and OpenTelemetry do.
    pub fn is_sampled(self, rate: f64) -> bool {
        const WHOLE: u64 = 1 << 56;
        let mut last = [0; 8];
        last[1..].copy_from_slice(&self.0[9..]);
        // Exact enough: a rate is not given to 53 bits.
        let below = (rate.clamp(0.0, 1.0) * WHOLE as f64) as u64;
        u64::from_be_bytes(last) < below
    }
}

impl SpanId {
    /// The span that all others of a trace hang on.
    pub fn root(trace: TraceId) -> Self {
        Self::of(trace, &["root"])
    }

    /// The span of a task's run: of which task it is, is enough to find it.
    pub fn of_task(id: &str) -> Self {
        Self::cut(digest(&[b"headcount task span", id.as_bytes()]))
    }

    /// The span that these words name within a trace.
    pub fn of(trace: TraceId, words: &[&str]) -> Self {
        let mut parts: Vec<&[u8]> = vec![b"headcount span", &trace.0];
        parts.extend(words.iter().map(|word| word.as_bytes()));
        Self::cut(digest(&parts))
    }

    fn cut(digest: [u8; 32]) -> Self {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&digest[..8]);
        Self(bytes)
    }

    /// Its bytes, as they go over the wire.
    pub const fn bytes(self) -> [u8; 8] {
        self.0
    }
}

/// Of several parts, none of which can be taken for the end of the one before. That it comes to nothing but zeros, which
/// would be no id, is as likely as that two ids are the same.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

/// W3C's header, which OpenTelemetry's instrumentation of Celery puts among a task's.
pub const TRACEPARENT: &str = "traceparent";

/// Where a span hangs: what W3C's header `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: TraceId,
    /// The span that the next one is a part of.
    pub span: SpanId,
    /// Whether that one is kept.
    pub sampled: bool,
}

impl Context {
    /// Reads a `traceparent`; none where it is none (<https://www.w3.org/TR/trace-context/#traceparent-header>).
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let [version] = unhex(version)?;
        // Of later versions the beginning is read; this one has nothing behind the flags.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let ([flags], trace, span) = (unhex(flags)?, unhex(trace)?, unhex(span)?);
        (trace != [0; 16] && span != [0; 8]).then_some(Self {
            trace: TraceId(trace),
            span: SpanId(span),
            sampled: flags & 1 == 1,
        })
    }

    /// As the header has it.
    pub fn header(self) -> String {
        format!("00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// Exactly so many bytes in small hexadecimal digits.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digit = |at: usize| match digits.get(at)? {
            digit @ b'0'..=b'9' => Some(digit - b'0'),
            digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        *byte = digit(0)? * 16 + digit(1)?;
    }
    Some(bytes)
}

/// What a span says of itself, beside its name and its times.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
    /// Yes or no.
    Yes(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Value::Number(i64::from(number))
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Value::Yes(yes)
    }
}

/// What kind of work a span is, in OpenTelemetry's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Something of its own.
    Internal,
    /// It asks another service.
    Client,
    /// It gives something to a broker.
    Producer,
    /// It deals with what came from a broker.
    Consumer,
}

/// One piece of work, which is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its trace.
    pub trace: TraceId,
    /// Its id.
    pub id: SpanId,
    /// The span that it is a part of.
    pub parent: Option<SpanId>,
    /// What it is, such as `incident.hold`: few different ones, so that they can be grouped by it.
    pub name: &'static str,
    /// What kind of work it is.
    pub kind: SpanKind,
    /// When it began.
    pub began: Wall,
    /// When it was over: not before it began.
    pub ended: Wall,
    /// What else there is to say.
    pub fields: Vec<(&'static str, Value)>,
    /// Why it came to nothing, without a secret; none where it did what it was for.
    pub failed: Option<String>,
}

impl Span {
    /// A part of a trace, right below its root. A wall clock can step back; a span cannot end before it begins.
    pub fn part(trace: TraceId, id: SpanId, name: &'static str, (began, ended): (Wall, Wall)) -> Self {
        Self {
            trace,
            id,
            parent: Some(SpanId::root(trace)),
            name,
            kind: SpanKind::Internal,
            began,
            ended: ended.max(began),
            fields: Vec::new(),
            failed: None,
        }
    }

    /// The same with one more thing said.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((key, value.into()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_of_what_it_is_about_alone() {
        let id = |text: &str| TraceId::of_incident(&IncidentId(text.into()));
        assert_eq!(id("f-1"), id("f-1"));
        assert_ne!(id("f-1"), id("f-2"));
        // As it was first published: a trace that was begun before an update goes on after it.
        assert_eq!(id("f-gz8xjv2t3k").to_string().len(), 32);
        let uuid = "0194e1f4-7b2a-4c3d-9e8f-112233445566";
        assert_eq!(TraceId::of_task(uuid).to_string(), uuid.replace('-', ""));
        assert_ne!(TraceId::of_task("0"), TraceId::of_task("1"));
        let nil = "00000000-0000-0000-0000-000000000000";
        assert_ne!(TraceId::of_task(nil).bytes(), [0; 16], "which is no id of a trace");
    }

    #[test]
    fn words_are_not_run_together() {
        let trace = TraceId::of_task("x");
        assert_ne!(SpanId::of(trace, &["ab", "c"]), SpanId::of(trace, &["a", "bc"]));
        assert_ne!(SpanId::of(trace, &["a"]), SpanId::of(TraceId::of_task("y"), &["a"]));
    }

    #[test]
    fn a_rate_keeps_about_so_many_and_always_the_same() {
        let traces: Vec<_> = (0..10_000).map(|n| TraceId::of_task(&format!("task {n}"))).collect();
        let kept = |rate| traces.iter().filter(|trace| trace.is_sampled(rate)).count();
        assert_eq!((kept(0.0), kept(1.0), kept(f64::NAN)), (0, 10_000, 0));
        assert!((900..1_100).contains(&kept(0.1)), "{}", kept(0.1));
        assert!(
            traces
                .iter()
                .all(|trace| !trace.is_sampled(0.1) || trace.is_sampled(0.2))
        );
    }

    #[test]
    fn a_traceparent_is_read_as_w3c_has_it() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = Context::parse(text).unwrap();
        assert!(context.sampled);
        assert_eq!(context.header(), text);
        let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-what-comes";
        assert!(!Context::parse(later).unwrap().sampled);
        for wrong in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c8031é-b7ad6b7169203331-01",
        ] {
            assert_eq!(Context::parse(wrong), None, "{wrong:?}");
        }
    }
}
