//! Looks in a row.

use super::super::observed::Seen;
use super::super::rules;

/// Looks in a row that found the same.
#[derive(Clone, Debug)]
pub(super) struct Row<T> {
    pub(super) what: T,
    first: Seen,
    pub(super) last: Seen,
    looks: u32,
}

impl<T> Row<T> {
    /// One more look, which found `what` or nothing.
    pub(super) fn add(row: &mut Option<Self>, t: Seen, what: Option<T>) {
        *row = what.map(|what| match row.take() {
            Some(row) => Row {
                what,
                last: t,
                looks: row.looks + 1,
                ..row
            },
            None => Row {
                what,
                first: t,
                last: t,
                looks: 1,
            },
        });
    }

    /// Whether that is enough to believe it.
    pub(super) fn suffices(&self) -> bool {
        self.looks >= rules::CHECKS && self.last.since(self.first) >= rules::LOOK_EVERY.mul_f64(1.5)
    }
}
