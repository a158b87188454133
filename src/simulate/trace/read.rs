//! A file back into records.

use std::io::{self, Read};

use headcount_core::time::{Mono, Now};
use thiserror::Error;

use super::bytes::{Bad, Cursor};
use super::decode::{State, Step};
use super::frame::{ENVELOPE, Envelope};
use super::record::Record;
use super::{HEAD, MAGIC, MAJOR};

/// Why a trace cannot be read, or not any further.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The system refused.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
    /// Something else altogether.
    #[error("it is no trace: it does not begin with the letters HDCTRACE")]
    NotATrace,
    /// Of a version that this one would misunderstand.
    #[error("it has version {found}, and this Headcount reads versions up to {MAJOR}: use a newer Headcount")]
    Newer {
        /// The version found.
        found: u8,
    },
    /// What is in there is not what was written.
    #[error("it is damaged at byte {at}: {why}")]
    Damaged {
        /// Where the frame begins that cannot be read.
        at: u64,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// How a trace ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was being read, and has not ended.
    Reading,
    /// The recorder was told to stop.
    Whole,
    /// The recorder ended without a word, between two frames.
    CutOff,
    /// The last frame was not written to its end. All before it was read.
    Torn {
        /// Where that frame begins, in bytes.
        at: u64,
    },
}

/// Reads a trace, frame by frame. Its memory is bounded by that of one frame and of the tables, whatever the file holds.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    state: State,
    packed: Vec<u8>,
    plain: Vec<u8>,
    /// How much of `plain` has been read.
    done: usize,
    last: Mono,
    /// Where the frame in `plain` begins in the file.
    at: u64,
    /// Where the next one does.
    next: u64,
    ending: Ending,
    ended_well: bool,
    unknown: u64,
    frames: u64,
    unpacked: u64,
}

/// A record's place in the frame.
struct Place {
    kind: u64,
    now: Now,
    body: std::ops::Range<usize>,
}

impl<R: Read> Reader<R> {
    /// Reads the head of a file.
    ///
    /// # Errors
    /// It is no trace, or one of a newer version.
    pub fn new(mut from: R) -> Result<Self, TraceError> {
        let mut head = [0; HEAD.len()];
        if fill(&mut from, &mut head)? < HEAD.len() || !head.starts_with(&MAGIC) {
            return Err(TraceError::NotATrace);
        }
        let [.., major, _minor, _, _] = head;
        if major != MAJOR {
            return Err(TraceError::Newer { found: major });
        }
        let next = HEAD.len() as u64;
        Ok(Self {
            from,
            state: State::default(),
            packed: Vec::new(),
            plain: Vec::new(),
            done: 0,
            last: Mono::default(),
            at: next,
            next,
            ending: Ending::Reading,
            ended_well: false,
            unknown: 0,
            frames: 0,
            unpacked: 0,
        })
    }

    /// The next record with its moment; none at the end, and then [`Reader::ending`] says how that was.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged in its middle. After an error there is nothing more to read.
    #[expect(clippy::should_implement_trait, reason = "what it gives borrows from the reader")]
    pub fn next(&mut self) -> Result<Option<(Now, Record<'_>)>, TraceError> {
        let at = self.at;
        let Some(place) = self.find()? else { return Ok(None) };
        let damaged = |why| TraceError::Damaged { at, why };
        let body = self.plain.get(place.body).unwrap_or_default();
        let record = self.state.event(place.kind, place.now, body).map_err(damaged)?;
        self.ended_well = matches!(record, Record::End);
        Ok(Some((place.now, record)))
    }

    /// How the trace ended.
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// Records that were left out because a newer version wrote them.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Frames read so far, and how many bytes they had in the file and unpacked.
    pub fn size(&self) -> (u64, u64, u64) {
        (self.frames, self.next, self.unpacked)
    }

    /// The frame that is being read, unpacked.
    pub fn frame(&self) -> &[u8] {
        &self.plain
    }

    /// Goes on to the next record that is no definition.
    fn find(&mut self) -> Result<Option<Place>, TraceError> {
        loop {
            if self.done >= self.plain.len() && !self.load()? {
                return Ok(None);
            }
            let at = self.at;
            let damaged = |why| TraceError::Damaged { at, why };
            let found = self.head().and_then(|(kind, delta, body)| {
                let bytes = self.plain.get(body.clone()).unwrap_or_default();
                let (step, base) = self.state.define(kind, bytes)?;
                Ok((kind, delta, body, step, base))
            });
            let (kind, delta, body, step, base) = found.map_err(damaged)?;
            self.done = body.end;
            let micros = base.unwrap_or(self.last).as_micros();
            self.last = Mono::from_micros(micros.saturating_add_signed(delta));
            match step {
                Step::Defined => {}
                Step::Unknown => self.unknown += 1,
                Step::Event => {
                    let now = self.state.now(self.last);
                    return Ok(Some(Place { kind, now, body }));
                }
            }
        }
    }

    /// Kind, time and place of the record at hand.
    fn head(&self) -> Result<(u64, i64, std::ops::Range<usize>), Bad> {
        let rest = self.plain.get(self.done..).unwrap_or_default();
        let mut cursor = Cursor::new(rest);
        let (kind, delta) = (cursor.uint()?, cursor.int()?);
        let length = cursor.count(cursor.left())?;
        let from = self.plain.len() - cursor.left();
        cursor.take(length)?;
        Ok((kind, delta, from..from + length))
    }

    /// Reads the next frame; false at the end.
    fn load(&mut self) -> Result<bool, TraceError> {
        if self.ending != Ending::Reading {
            return Ok(false);
        }
        self.plain.clear();
        self.done = 0;
        self.at = self.next;
        let at = self.at;
        let mut envelope = [0; ENVELOPE];
        let ended = |reader: &mut Self, ending| {
            reader.ending = ending;
            Ok(false)
        };
        match fill(&mut self.from, &mut envelope)? {
            0 if self.ended_well => return ended(self, Ending::Whole),
            0 => return ended(self, Ending::CutOff),
            read if read < ENVELOPE => return ended(self, Ending::Torn { at }),
            _ => {}
        }
        let read = match Envelope::read(&envelope) {
            Ok(envelope) => self.unpack(envelope)?,
            Err(why) => Err(why),
        };
        match read {
            Ok(true) => Ok(true),
            Ok(false) => ended(self, Ending::Torn { at }),
            // What a power loss leaves at the end of a file may have a length, and zeros in the place of its bytes.
            Err(_) if is_blank(&mut self.from)? => ended(self, Ending::Torn { at }),
            Err(why) => {
                self.ending = Ending::Torn { at };
                Err(TraceError::Damaged { at, why })
            }
        }
    }

    /// Reads what follows an envelope; false if that breaks off.
    fn unpack(&mut self, envelope: Envelope) -> Result<Result<bool, Bad>, TraceError> {
        self.packed.clear();
        let read = self
            .from
            .by_ref()
            .take(envelope.packed as u64)
            .read_to_end(&mut self.packed)?;
        if read < envelope.packed {
            return Ok(Ok(false));
        }
        if let Err(why) = envelope.unpack(&self.packed, &mut self.plain) {
            self.plain.clear();
            return Ok(Err(why));
        }
        self.next += (ENVELOPE + envelope.packed) as u64;
        self.frames += 1;
        self.unpacked += self.plain.len() as u64;
        self.state.begin(envelope.resets());
        Ok(Ok(true))
    }
}

/// Reads until the buffer is full, or nothing more comes. Returns how much there was.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether nothing follows but zeros.
fn is_blank(from: &mut impl Read) -> io::Result<bool> {
    let mut buffer = [0; 4_096];
    loop {
        let read = fill(from, &mut buffer)?;
        if buffer.iter().take(read).any(|byte| *byte != 0) {
            return Ok(false);
        }
        if read < buffer.len() {
            return Ok(true);
        }
    }
}
