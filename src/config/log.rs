//! `[log]`.

use serde::Deserialize;

use super::spot::Spot;
use crate::telemetry::logs::{Filter, Format};

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// What is logged where `RUST_LOG` says nothing.
    pub level: Filter,
    /// How it is written.
    pub format: Format,
}

/// The table as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogTable {
    level: Option<String>,
    format: Format,
}

impl LogTable {
    pub(super) fn check(self, spot: &mut Spot<'_>) -> Log {
        let level = match self.level.as_deref().map(Filter::parse) {
            None => Filter::default(),
            Some(Ok(filter)) => filter,
            Some(Err(why)) => {
                spot.say_plainly("level", &why.to_string(), "it is no filter for the log");
                Filter::default()
            }
        };
        Log {
            level,
            format: self.format,
        }
    }
}
