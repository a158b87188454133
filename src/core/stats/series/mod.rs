//! What a scraper is shown of task events: counts and histograms by worker, task, queue and exception, under the labels that
//! celery-exporter and Flower use.
//!
//! The event lane gathers them (`gather.rs`) beside its tally, which has joined each event to its task already; once a second
//! it adds them to a book (`book.rs`) that all lanes share, and that a scrape reads. Counts in there only grow; those of a
//! worker that is no longer in the status model end.

mod book;
mod buckets;
mod gather;
#[cfg(test)]
mod tests;

pub use book::{Book, Cell, Known, Label, Limits, RETIRED_AFTER, SourceSeries, TaskSeries, UNSEEN_FOR};
pub use buckets::{Bounds, Buckets, QUEUE_WAIT, RUNTIME};
pub(super) use gather::{Gather, Heard, Source};

/// What stands for everything beyond the most values of a label.
pub const OTHER: &str = super::tally::OTHER;
/// The queue of a task whose `task-sent` was not heard, at a worker of which it is not known that it consumes one queue alone:
/// Celery's default one, as celery-exporter has it.
pub const UNKNOWN_QUEUE: &str = "celery";
/// The name of a task of which neither `task-received` nor `task-sent` was heard, as celery-exporter has it.
pub const UNKNOWN_TASK: &str = "None";
/// The class of an exception that shows none, as celery-exporter has it.
pub const UNKNOWN_EXCEPTION: &str = "UnknownException";
