//! From a message to its events.

use super::compression::unpack;
use super::envelope::Envelope;
use super::event::{Event, MAX_BODY};
use super::fields::Fields;
use super::format::Format;
use super::json::{Json, Next, NotJson};
use super::loose;
use super::raw::{Malformed, RawMessage};

/// How much scratch memory is kept between messages, in bytes. A body of Celery's own fits; a larger one costs an
/// allocation, and its memory is given back.
const KEEP: usize = 64 << 10;

/// What one message held.
///
/// A message is one event, or a list of them (`task.multi`). In a list each entry counts for itself: one that is no
/// event does not take the others with it, and a list that breaks off counts as one malformed entry after those that
/// were whole. A message of which nothing could be read counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Events handed over.
    pub events: usize,
    /// What was malformed: entries, or the message.
    pub malformed: usize,
    /// Why, of the first that was.
    pub why: Option<Malformed>,
}

impl Decoded {
    fn refuse(&mut self, why: Malformed) {
        self.malformed += 1;
        self.why.get_or_insert(why);
    }

    pub(crate) fn take(&mut self, fields: &Fields<'_>, each: &mut impl FnMut(Event<'_>)) {
        match fields.event() {
            Ok(event) => {
                self.events += 1;
                each(event);
            }
            Err(why) => self.refuse(why),
        }
    }

    pub(crate) fn not_an_event(&mut self) {
        self.refuse(Malformed::Shape);
    }
}

/// Decodes event messages, and keeps its scratch memory between them. One for each listening session.
#[derive(Debug, Default)]
pub struct Decoder {
    body: Vec<u8>,
    unpacked: Vec<u8>,
}

impl Decoder {
    /// With no scratch memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hands every event of the message to `each`, in their order. Never fails: what could not be read is counted.
    /// Ordinary JSON messages cost no allocation.
    pub fn decode(&mut self, raw: RawMessage<'_>, mut each: impl FnMut(Event<'_>)) -> Decoded {
        let mut decoded = Decoded::default();
        if let Err(why) = self.message(raw, &mut decoded, &mut each) {
            decoded.refuse(why);
        }
        self.body.clear();
        self.body.shrink_to(KEEP);
        self.unpacked.clear();
        self.unpacked.shrink_to(KEEP);
        decoded
    }

    #[cfg(test)]
    pub(crate) fn scratch(&self) -> usize {
        self.body.capacity() + self.unpacked.capacity()
    }

    fn message(
        &mut self,
        raw: RawMessage<'_>,
        decoded: &mut Decoded,
        each: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Malformed> {
        match raw {
            RawMessage::Amqp {
                content_type,
                compression,
                body,
                ..
            } => {
                if body.len() > MAX_BODY {
                    return Err(Malformed::TooLarge);
                }
                let format = Format::of(content_type)?;
                read(
                    format,
                    unpack(compression, body, &mut self.unpacked, MAX_BODY)?,
                    decoded,
                    each,
                )
            }
            RawMessage::Redis { payload } => {
                let envelope = Envelope::read(payload, MAX_BODY)?;
                let format = Format::of(&envelope.content_type)?;
                let body = envelope.body(&mut self.body, MAX_BODY)?;
                read(
                    format,
                    unpack(&envelope.compression, body, &mut self.unpacked, MAX_BODY)?,
                    decoded,
                    each,
                )
            }
        }
    }
}

fn read(format: Format, body: &[u8], decoded: &mut Decoded, each: &mut impl FnMut(Event<'_>)) -> Result<(), Malformed> {
    match format {
        Format::Json => {
            let text = std::str::from_utf8(body).map_err(|_| Malformed::Body)?;
            json(&mut Json::new(text), decoded, each).map_err(|NotJson| Malformed::Body)
        }
        Format::Msgpack => loose::msgpack(body, decoded, each),
        Format::Yaml => loose::yaml(body, decoded, each),
    }
}

fn json(json: &mut Json<'_>, decoded: &mut Decoded, each: &mut impl FnMut(Event<'_>)) -> Result<(), NotJson> {
    match json.next()? {
        Next::Object => {
            let mut fields = Fields::default();
            fields.read(json)?;
            json.end()?;
            decoded.take(&fields, each);
        }
        Next::List => {
            json.list(|json| {
                if json.next()? == Next::Object {
                    let mut fields = Fields::default();
                    fields.read(json)?;
                    decoded.take(&fields, each);
                } else {
                    json.skip()?;
                    decoded.not_an_event();
                }
                Ok(())
            })?;
            json.end()?;
        }
        _ => {
            json.skip()?;
            json.end()?;
            decoded.not_an_event();
        }
    }
    Ok(())
}
