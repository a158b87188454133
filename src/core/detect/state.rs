//! The words of the contract as types.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// All of them, for metrics that must show a zero.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word that the API, the metrics and the messages use.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// One kind of evidence about a worker.
    Signal {
        /// Its connection, as the broker sees it.
        Presence = "presence",
        /// Its events.
        Heartbeat = "heartbeat",
        /// Its replies to inspect.
        Answer = "answer",
        /// Its consuming.
        Work = "work",
    }
}

words! {
    /// How one worker stands.
    WorkerState {
        /// Seen for the first time a moment ago.
        Starting = "starting",
        /// Alive.
        Up = "up",
        /// Silent for longer than it should be; being looked at, nobody is told.
        Suspect = "suspect",
        /// Gone, or silent beyond every excuse.
        Down = "down",
        /// Alive, and not consuming while its queue has waited.
        Stalled = "stalled",
        /// It said goodbye.
        Offline = "offline",
        /// Headcount itself could not see.
        Unknown = "unknown",
    }
}

words! {
    /// Why a worker is missing, in one word. A worker that is down carries one of the first three; the others are an
    /// incident's, of workers that are there and do not do their work.
    Diagnosis {
        /// Its connection is gone, and there was no goodbye.
        Crashed = "crashed",
        /// Connected, and silent.
        Frozen = "frozen",
        /// Neither can be told.
        Unreachable = "unreachable",
        /// Alive, and consuming nothing.
        Stalled = "stalled",
        /// Alive, and not getting on with what it has taken.
        Stuck = "stuck",
        /// Down and up again and again.
        Flapping = "flapping",
    }
}

words! {
    /// Why a worker is stalled.
    Trouble {
        /// It no longer consumes a queue that it consumed: its consumer is gone.
        #[serde(rename = "consumer gone")]
        ConsumerGone = "consumer gone",
        /// It takes nothing from its queues, though messages wait there and it has free slots.
        #[serde(rename = "not taking")]
        NotTaking = "not taking",
        /// It gets on with nothing that it has taken: a pool that hangs, or a task that never ends.
        Stuck = "stuck",
    }
}

words! {
    /// How one fleet stands.
    FleetState {
        /// As many workers as expected.
        Healthy = "healthy",
        /// Fewer than expected, at least the minimum.
        Degraded = "degraded",
        /// Under the minimum.
        Down = "down",
        /// Headcount itself could not see.
        Unknown = "unknown",
    }
}

words! {
    /// How one broker stands, as Headcount sees it.
    BrokerState {
        /// Not tried yet, or still being reached for the first time.
        Connecting = "connecting",
        /// Events are being heard.
        Heard = "heard",
        /// It could be heard, and now it cannot.
        Lost = "lost",
    }
}
