//! Celery's protocol: bytes to types and back. Nothing here opens a socket.
//!
//! Measured against Celery 5.7 and kombu 5.7 on RabbitMQ and Redis; the captures that the tests decode are in
//! `tests/data/`.
//!
//! | file | subject |
//! |---|---|
//! | `raw.rs`, `event.rs` | a message before it is believed, and what it can turn out to be |
//! | `decode.rs` | from the one to the other |
//! | `envelope.rs`, `compression.rs`, `format.rs` | what is wrapped around a body |
//! | `json/`, `loose.rs`, `fields.rs` | the body of an event, in JSON or else; Python's JSON made plain |
//! | `control.rs`, `reply.rs`, `value.rs`, `inspect.rs` | requests to workers, and their replies |
//! | `publication.rs`, `mailbox.rs`, `result.rs` | what a node sends, is asked, and has to tell of its tasks |
//! | `task/` | calls of tasks, both ways |
//! | `wire_names.rs`, `broker_url/` | the names on the wire, and where the wire is |

pub mod broker_url;
mod compression;
pub mod control;
pub mod decode;
mod envelope;
pub mod event;
mod fields;
mod format;
pub mod inspect;
mod json;
mod loose;
mod mailbox;
pub mod publication;
pub mod raw;
pub mod reply;
pub mod result;
pub mod task;
mod value;
pub mod wire_names;

pub use broker_url::{BrokerUrl, UrlError};
pub use control::{ReplyTo, Request};
pub use decode::{Decoded, Decoder};
pub use event::{Event, TaskEvent, TaskKind, WorkerEvent, WorkerKind};
pub use json::plain_json;
pub use mailbox::{Command, RawRequest, Where, answer, read_request};
pub use publication::{Keep, Publication, To};
pub use raw::{Malformed, RawMessage};
pub use reply::{RawReply, WorkerReply};
pub use wire_names::{FanoutPrefix, WireSettings};

#[cfg(test)]
mod tests;
