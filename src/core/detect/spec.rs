//! What a fleet is told about itself: whom it should have, and by which deadlines it is judged.

use compact_str::CompactString;

use super::rules::Rules;

/// How many workers a fleet should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Learned: whoever is there, and whoever vanished without a goodbye.
    Auto,
    /// So many, whatever they are called.
    Count(u32),
    /// Just these.
    Names(Vec<CompactString>),
}

/// Under how many workers a fleet is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Minimum {
    /// So many.
    Given(u32),
    /// One, once there has been any: a configured fleet that does not say.
    OneOnceSeen,
    /// One, as long as any is expected: a fleet that nobody configured, and that may be shut down for good.
    OneWhileExpected,
}

/// What a fleet is told about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetSpec {
    /// Its name.
    pub name: CompactString,
    /// Its broker's name.
    pub broker: CompactString,
    /// How many workers it should have.
    pub expected: Expected,
    /// Under so many it is down.
    pub minimum: Minimum,
    /// Its queues; empty means those that its workers say they consume.
    pub queues: Vec<CompactString>,
    /// Its deadlines.
    pub rules: Rules,
}
