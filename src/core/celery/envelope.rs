//! The JSON envelope that kombu puts around a message on Redis.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::json::{Json, Next, NotJson};
use super::raw::Malformed;

/// What an envelope may add to a body that is base64: headers and properties, in bytes. kombu's own are under 1 KiB.
const MAX_ENVELOPE: usize = 64 << 10;

/// Python's decoder wants padding; other producers leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What is needed of an envelope to read what it holds.
#[derive(Debug, Default)]
pub(crate) struct Envelope<'a> {
    pub(crate) content_type: Cow<'a, str>,
    /// The header `compression`; empty when absent.
    pub(crate) compression: Cow<'a, str>,
    /// The header `ticket`, of a reply to a command.
    pub(crate) ticket: Option<Cow<'a, str>>,
    body: Cow<'a, str>,
    body_encoding: Cow<'a, str>,
}

impl<'a> Envelope<'a> {
    /// Reads the envelope of a message whose body has at most `max_body` bytes.
    pub(crate) fn read(payload: &'a [u8], max_body: usize) -> Result<Self, Malformed> {
        if payload.len() > max_body.div_ceil(3) * 4 + MAX_ENVELOPE {
            return Err(Malformed::TooLarge);
        }
        let text = std::str::from_utf8(payload).map_err(|_| Malformed::Envelope)?;
        let mut envelope = Self::default();
        let mut body = None;
        let mut json = Json::new(text);
        let read = json.object(|json, key| {
            match &*key {
                "body" => body = text_or_skip(json)?,
                "content-type" => envelope.content_type = text_or_skip(json)?.unwrap_or_default(),
                "headers" => members(json, |json, key| {
                    match key {
                        "compression" => envelope.compression = text_or_skip(json)?.unwrap_or_default(),
                        "ticket" => envelope.ticket = text_or_skip(json)?,
                        _ => json.skip()?,
                    }
                    Ok(())
                })?,
                "properties" => members(json, |json, key| {
                    match key {
                        "body_encoding" => envelope.body_encoding = text_or_skip(json)?.unwrap_or_default(),
                        _ => json.skip()?,
                    }
                    Ok(())
                })?,
                _ => json.skip()?,
            }
            Ok(())
        });
        read.and_then(|()| json.end()).map_err(|NotJson| Malformed::Envelope)?;
        envelope.body = body.ok_or(Malformed::Envelope)?;
        Ok(envelope)
    }

    /// The bytes of the body: the text itself, or decoded into `scratch`.
    pub(crate) fn body<'s>(&'s self, scratch: &'s mut Vec<u8>, max_body: usize) -> Result<&'s [u8], Malformed> {
        let bytes = unbase64(&self.body, &self.body_encoding, scratch)?;
        if bytes.len() > max_body {
            Err(Malformed::TooLarge)
        } else {
            Ok(bytes)
        }
    }
}

/// The bytes of a body by its `body_encoding`: the text itself, or decoded into `scratch`.
pub(crate) fn unbase64<'s>(body: &'s str, encoding: &str, scratch: &'s mut Vec<u8>) -> Result<&'s [u8], Malformed> {
    match encoding {
        "base64" => {
            scratch.clear();
            BASE64
                .decode_vec(body.as_bytes(), scratch)
                .map_err(|_| Malformed::Envelope)?;
            Ok(scratch.as_slice())
        }
        text if text.is_empty() || text.eq_ignore_ascii_case("utf-8") => Ok(body.as_bytes()),
        _ => Err(Malformed::Envelope),
    }
}

/// The members of an object; a null or anything else has none.
fn members<'a>(
    json: &mut Json<'a>,
    mut each: impl FnMut(&mut Json<'a>, &str) -> Result<(), NotJson>,
) -> Result<(), NotJson> {
    if json.next()? == Next::Object {
        json.object(|json, key| each(json, &key))
    } else {
        json.skip()
    }
}

fn text_or_skip<'a>(json: &mut Json<'a>) -> Result<Option<Cow<'a, str>>, NotJson> {
    if json.next()? == Next::Text {
        json.string().map(Some)
    } else {
        json.skip().map(|()| None)
    }
}
