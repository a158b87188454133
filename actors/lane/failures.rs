//! What the event lane hears of tasks that failed, for whoever wants to be told of them: how many of which name and exception.

use std::collections::HashMap;

use compact_str::CompactString;
use headcount_core::detect::table::FleetIndex;

use crate::ports::{SharedFailureBook, TaskFailures};

/// The most kinds that are told apart in a second; of all others the task is `other`.
const MAX_KINDS: usize = 1_000;
/// What stands for them.
const OTHER: CompactString = CompactString::const_new("other");

/// See the module.
#[derive(Debug)]
pub(super) struct FailureEar {
    book: SharedFailureBook,
    kinds: HashMap<(FleetIndex, CompactString, CompactString), u64>,
}

impl FailureEar {
    pub(super) fn new(book: SharedFailureBook) -> Self {
        Self {
            book,
            kinds: HashMap::new(),
        }
    }

    /// Whether the failures of a fleet are wanted.
    pub(super) fn wants(&self, fleet: &str) -> bool {
        self.book.wants(fleet)
    }

    /// A task has failed, for good.
    pub(super) fn hear(&mut self, fleet: FleetIndex, task: &str, exception: Option<&str>) {
        let mut kind = (fleet, task.into(), exception.unwrap_or_default().into());
        if self.kinds.len() >= MAX_KINDS && !self.kinds.contains_key(&kind) {
            kind = (fleet, OTHER, CompactString::default());
        }
        *self.kinds.entry(kind).or_default() += 1;
    }

    /// Tells what was heard; `name` gives the name of a fleet.
    pub(super) fn hand_over<'a>(&mut self, broker: &str, name: impl Fn(FleetIndex) -> Option<&'a str>) {
        let failures = self.kinds.drain().filter_map(|((fleet, task, exception), count)| {
            let fleet = name(fleet)?;
            self.book.wants(fleet).then(|| TaskFailures {
                fleet: fleet.into(),
                task,
                exception,
                count,
            })
        });
        let failures: Vec<TaskFailures> = failures.collect();
        if !failures.is_empty() {
            self.book.failed(broker, failures);
        }
    }
}
