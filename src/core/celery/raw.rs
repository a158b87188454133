//! A message as a broker hands it over, before anything in it is believed.

use thiserror::Error;

/// One event message as it came from the broker, borrowed from the socket's buffer.
#[derive(Clone, Copy, Debug)]
pub enum RawMessage<'a> {
    /// From RabbitMQ: the properties are the broker's, the body is the serialised event.
    Amqp {
        /// `content_type`, such as `application/json`; empty when absent.
        content_type: &'a str,
        /// `content_encoding`, such as `utf-8` or `binary`; empty when absent. Each serialisation has its own encoding,
        /// so kombu does not look at it, and neither does the decoder.
        content_encoding: &'a str,
        /// The header `compression`, such as `application/x-gzip`; empty when absent.
        compression: &'a str,
        /// The body as it came.
        body: &'a [u8],
    },
    /// From Redis: kombu's JSON envelope around the body.
    Redis {
        /// The whole payload of the PUBLISH.
        payload: &'a [u8],
    },
}

/// Why a message could not be read. It is counted and dropped; the stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Malformed {
    /// Larger than [`super::event::MAX_BODY`], packed or unpacked.
    #[error("larger than an event may be")]
    TooLarge,
    /// The envelope that kombu puts around a message on Redis cannot be read.
    #[error("not kombu's envelope")]
    Envelope,
    /// Compressed by something unknown, or not what it says it is.
    #[error("its compression cannot be undone")]
    Compression,
    /// Python's pickle can run code when it is loaded: Headcount never does.
    #[error(
        "pickled: pickle can run code when it is read, so Headcount never reads it; set event_serializer to json, msgpack or yaml"
    )]
    Pickle,
    /// Serialised by something unknown.
    #[error("of a content type that Headcount does not read")]
    ContentType,
    /// Not what its content type says, or cut off.
    #[error("its body cannot be parsed")]
    Body,
    /// Parsed, and not an event: a wrong type, or no type or hostname.
    #[error("not a Celery event")]
    Shape,
}

impl Malformed {
    /// The word for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Malformed::TooLarge => "too_large",
            Malformed::Envelope => "envelope",
            Malformed::Compression => "compression",
            Malformed::Pickle => "pickle",
            Malformed::ContentType => "content_type",
            Malformed::Body => "body",
            Malformed::Shape => "shape",
        }
    }
}
