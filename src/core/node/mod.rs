//! A Celery node: what it does with the tasks that a broker hands it, and what it answers when it is asked.
//!
//! Pure, as the detector is: [`Node::step`] takes what has happened and says what is to be done. It opens no connection and
//! runs no task; `actors/celery_node.rs` does that.
//!
//! | file | subject |
//! |---|---|
//! | `machine.rs`, `endings.rs` | the node: taking, waiting, running; ending |
//! | `call.rs` | one call while the node has it |
//! | `schedule.rs` | those that wait for their time |
//! | `panel.rs` | the commands that it answers |
//! | `events.rs` | what it says of itself and of its tasks |
//! | `follow.rs` | callbacks and chains |
//! | `spec.rs`, `step.rs` | what it is told, and what it tells |
//! | `rate.rs`, `revoked.rs` | rate limits; ids that are not to be run |

mod call;
mod endings;
mod events;
mod follow;
mod machine;
mod panel;
mod rate;
mod revoked;
mod schedule;
mod spec;
mod step;
#[cfg(test)]
mod tests;

pub use call::CallInfo;
pub use machine::Node;
pub use panel::POOL;
pub use rate::{Rate, RateError};
pub use spec::{About, MAX_CONCURRENCY, MAX_SCHEDULED, MAX_SCHEDULED_BYTES, NodeSpec, Retries, TaskSpec, Usage};
pub use step::{Conclusion, Input, Outcome, Output, RunId, Settle, Signal, Tag};
