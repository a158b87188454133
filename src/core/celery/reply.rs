//! What workers reply.

use std::borrow::Cow;

use compact_str::CompactString;
use serde_json::Value;

use super::compression::unpack;
use super::envelope::Envelope;
use super::fields::MAX_NAME;
use super::format::Format;
use super::raw::Malformed;
use super::value;

/// The largest reply, in bytes, packed or unpacked. `stats` is about 3 KiB and grows with the number of task names;
/// `active` carries the arguments of the tasks that run.
pub const MAX_REPLY: usize = 4 << 20;

/// A reply message as it came from the broker.
#[derive(Clone, Copy, Debug)]
pub enum RawReply<'a> {
    /// From RabbitMQ.
    Amqp {
        /// `content_type`; empty when absent.
        content_type: &'a str,
        /// The header `compression`; empty when absent.
        compression: &'a str,
        /// The header `ticket`; none when absent or null.
        ticket: Option<&'a str>,
        /// The body as it came.
        body: &'a [u8],
    },
    /// From Redis: an element of the reply list, with the ticket in the envelope.
    Redis {
        /// The whole element.
        payload: &'a [u8],
    },
}

/// One worker's reply to one request.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerReply {
    /// Which request it answers; none if the request bore no ticket. Late replies are the rule: match it.
    pub ticket: Option<String>,
    /// Who replied.
    pub hostname: CompactString,
    /// What; a command that failed there has an object with one key, `error`.
    pub body: Value,
}

/// Reads a reply.
///
/// # Errors
/// [`Malformed`], as for events; [`Malformed::Shape`] if it is not an object with one worker's name as its key.
pub fn parse(raw: RawReply<'_>) -> Result<WorkerReply, Malformed> {
    let (mut scratch, mut unpacked) = (Vec::new(), Vec::new());
    match raw {
        RawReply::Amqp {
            content_type,
            compression,
            ticket,
            body,
        } => {
            if body.len() > MAX_REPLY {
                return Err(Malformed::TooLarge);
            }
            read(
                ticket,
                content_type,
                unpack(compression, body, &mut unpacked, MAX_REPLY)?,
            )
        }
        RawReply::Redis { payload } => {
            let envelope = Envelope::read(payload, MAX_REPLY)?;
            let body = envelope.body(&mut scratch, MAX_REPLY)?;
            let body = unpack(&envelope.compression, body, &mut unpacked, MAX_REPLY)?;
            read(envelope.ticket.as_deref(), &envelope.content_type, body)
        }
    }
}

/// Reads only the ticket of a reply that [`parse`] refuses (a pickled one, say): somebody did answer.
pub fn ticket(raw: RawReply<'_>) -> Option<String> {
    match raw {
        RawReply::Amqp { ticket, .. } => ticket.map(str::to_owned),
        RawReply::Redis { payload } => Envelope::read(payload, MAX_REPLY).ok()?.ticket.map(Cow::into_owned),
    }
}

fn read(ticket: Option<&str>, content_type: &str, body: &[u8]) -> Result<WorkerReply, Malformed> {
    let Value::Object(object) = value::parse(Format::of(content_type)?, body)? else {
        return Err(Malformed::Shape);
    };
    let mut members = object.into_iter();
    match (members.next(), members.next()) {
        (Some((hostname, body)), None) if !hostname.is_empty() && hostname.len() <= MAX_NAME => Ok(WorkerReply {
            ticket: ticket.map(str::to_owned),
            hostname: hostname.into(),
            body,
        }),
        _ => Err(Malformed::Shape),
    }
}
