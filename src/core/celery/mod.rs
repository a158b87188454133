//! Celery's protocol: bytes to types and back. Nothing here opens a socket.
//!
//! Measured against Celery 5.7 and kombu 5.7 on RabbitMQ and Redis; the captures that the tests decode are in
//! `tests/data/`.

pub mod event;
pub mod raw;

pub use event::{Event, TaskEvent, TaskKind, WorkerEvent, WorkerKind};
pub use raw::{Malformed, RawMessage};
