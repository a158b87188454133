//! A call of a task on the wire: Celery's message protocol 2, both ways.
//!
//! Measured against, and read in the source of, Celery 5.7 and kombu 5.7 (`app/amqp.py`, `worker/request.py`,
//! `worker/strategy.py`, `transport/virtual/base.py`).
//!
//! | file | subject |
//! |---|---|
//! | `message.rs` | a call, and what it looks like on either broker |
//! | `decode.rs` | from a broker's message to a call, or to why it is none |
//! | `moment.rs` | ETA and expiry as ISO 8601 |
//! | `repr.rs` | arguments as Python shows them |
//! | `weight.rs` | what a call takes in memory |
//! | `routes.rs` | Celery's `task_routes` |

mod decode;
mod message;
mod moment;
mod repr;
mod routes;
#[cfg(test)]
mod tests;
mod weight;

pub use decode::{AmqpTask, Asker, Delivered, MAX_TASK, NotATask, RawTask, Why, decode};
pub use message::{CONTENT_ENCODING, CONTENT_TYPE, DELIVERY_MODE, Embed, MAX_PRIORITY, TaskMessage};
pub use moment::{iso8601, parse_iso8601};
pub use repr::{MAX_REPR, kwargs_repr, repr, tuple_repr};
pub use routes::{Destination, Pattern, Route, Routes};
