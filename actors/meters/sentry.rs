//! What became of the errors and traces that were meant for Sentry.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Why an event or a trace was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotSent {
    /// Sentry had trouble of its own with this one again and again.
    Failed,
    /// A trace that ended while Sentry had asked to be left alone.
    Limited,
    /// There was no room for what waits.
    Queue,
    /// Sentry said that it will not take it.
    Refused,
    /// It would have held a secret.
    Secret,
    /// Headcount stopped, or Sentry was turned off, before it could be sent.
    Stopped,
}

impl NotSent {
    /// All of them.
    pub const ALL: [NotSent; 6] = [
        NotSent::Failed,
        NotSent::Limited,
        NotSent::Queue,
        NotSent::Refused,
        NotSent::Secret,
        NotSent::Stopped,
    ];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            NotSent::Failed => "failed",
            NotSent::Limited => "limited",
            NotSent::Queue => "queue",
            NotSent::Refused => "refused",
            NotSent::Secret => "secret",
            NotSent::Stopped => "stopped",
        }
    }
}

/// One label: the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DropLabel {
    /// See [`NotSent`].
    pub reason: &'static str,
}

/// See the module. The way to Sentry is the program's, and these outlive a configuration.
#[derive(Clone, Debug)]
pub struct SentryMeters {
    sent: Counter<u64, AtomicU64>,
    dropped: Family<DropLabel, Counter<u64, AtomicU64>>,
}

impl Default for SentryMeters {
    fn default() -> Self {
        let dropped = Family::default();
        // Each is there from the start, as a rate needs it.
        for reason in NotSent::ALL {
            let reason = reason.as_str();
            drop(dropped.get_or_create(&DropLabel { reason }));
        }
        Self {
            sent: Counter::default(),
            dropped,
        }
    }
}

impl SentryMeters {
    /// Sentry has taken one.
    pub fn sent(&self) {
        self.sent.inc();
    }

    /// So many will not be sent.
    pub fn dropped(&self, reason: NotSent, count: u64) {
        let reason = reason.as_str();
        self.dropped.get_or_create(&DropLabel { reason }).inc_by(count);
    }

    /// How many Sentry has taken.
    pub fn count_sent(&self) -> u64 {
        self.sent.get()
    }

    /// How many were dropped for a reason.
    pub fn count_dropped(&self, reason: NotSent) -> u64 {
        let reason = reason.as_str();
        self.dropped.get_or_create(&DropLabel { reason }).get()
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "headcount_sentry_sent",
            "Errors and traces that Sentry has taken",
            self.sent.clone(),
        );
        registry.register(
            "headcount_sentry_dropped",
            "Errors and traces that were meant for Sentry and were not sent, by reason",
            self.dropped.clone(),
        );
    }
}
