//! Roll-ups: counts, sums, extremes, distinct values and quantiles by group and bucket of time. Everything here merges in any
//! order to the same result, so it does not matter who counted what, and when.
//!
//! | file | what |
//! |---|---|
//! | `measure.rs`, `plan.rs` | what is measured, as the configuration says it, and what has to be kept for it |
//! | `value.rs` | the values of documents, and why one cannot be measured |
//! | `sum.rs`, `sketch.rs`, `distinct.rs` | what is kept of the values of one field |
//! | `rollup.rs`, `group.rs` | the state of one group in one bucket; the group, and the `_id` |
//! | `bucket.rs`, `window.rs` | buckets of time, which of them are open, and what is in those |
//! | `task.rs`, `tally.rs` | roll-ups of Celery's task events, and how the event lane counts them |
//! | `series/` | the same events by worker, task, queue and exception, as scrapers want them |

pub mod bucket;
pub mod distinct;
mod encode;
pub mod group;
pub mod measure;
pub mod plan;
pub mod rollup;
pub mod series;
pub mod sketch;
pub mod sum;
pub mod tally;
pub mod task;
pub mod value;
pub mod window;

pub use encode::Damaged;
