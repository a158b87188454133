//! Why the daemon cannot start, or go on.

use std::io;

use compact_str::CompactString;
use headcount_actors::ports::StoreError;
use headcount_actors::ports::stats::StatsError;
use headcount_edge::http::BindError;
use headcount_edge::{brokers, notifiers};
use thiserror::Error;

/// Why the daemon could not start, or go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// The HTTP address could not be taken.
    #[error("{0}")]
    Bind(#[from] BindError),
    /// The store could not be opened or read.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A broker's table is of no use.
    #[error("broker {name}: {why}")]
    Broker {
        /// Which.
        name: String,
        /// What is wrong.
        why: brokers::OpenError,
    },
    /// A notifier's table is of no use.
    #[error("notifier {name}: {why}")]
    Notifier {
        /// Which.
        name: String,
        /// What is wrong.
        why: notifiers::OpenError,
    },
    /// A node's table is of no use.
    #[error("node {name}: {why}")]
    Node {
        /// Which.
        name: String,
        /// What is wrong.
        why: brokers::OpenError,
    },
    /// A pipeline's table is of no use.
    #[error("stats {name}: {why}")]
    Stats {
        /// Which.
        name: String,
        /// What is wrong.
        why: StatsError,
    },
    /// Nothing can be sent by OTLP.
    #[error("[otlp]: {0}")]
    Otlp(String),
    /// The system refused something.
    #[error("{0}")]
    System(#[from] io::Error),
    /// An actor panicked again and again.
    #[error("the actor {0} failed too often, so the program ends: start it again, and report what the log says of {0}")]
    GivenUp(CompactString),
}
