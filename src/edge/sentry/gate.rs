//! What of all that is traced is looked at at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::subscriber::Interest;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Filter};

/// What the way to Sentry says of itself, by its target: it would come back on that way, and cause more of it.
const WAY: &str = "headcount_edge::sentry::way";

/// Lets Headcount's own events and spans of level `INFO` and above through while it is open, and nothing of anybody else's: so
/// neither what clients of brokers call an error, nor the way to Sentry itself, is ever told of.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<AtomicBool>);

impl Gate {
    pub(super) fn set(&self, open: bool) {
        self.0.store(open, Ordering::Relaxed);
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl<S> Filter<S> for Gate {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.is_open() && concerns(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Never "always": the gate opens and closes while the program runs.
        if concerns(metadata) {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }
}

fn concerns(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO && is_ours(metadata.target()) && metadata.target() != WAY
}

/// All crates of this program are called so.
fn is_ours(target: &str) -> bool {
    target
        .strip_prefix("headcount")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', ':']))
}
