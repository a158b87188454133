//! How a pipeline stands, for machines.

use headcount_core::stats::bucket::Rfc3339;
use serde_json::{Value, json};

use crate::ports::stats::{Standing, StatsPipeline};

/// As `headcount stats status --json` and the task `headcount.stats.status` show it.
pub fn shown(pipeline: &dyn StatsPipeline, standing: &Standing) -> Value {
    json!({
        "name": pipeline.name(),
        "route": pipeline.route(),
        "begun": standing.is_begun(),
        "documents": standing.documents,
        "parts": standing.parts,
        "parts_done": standing.parts_done,
        "parts_held": standing.parts_held,
        "lag_documents": standing.lag_documents,
        "lag_s": standing.lag.map(|lag| lag.as_secs_f64()),
        "unpublished": standing.unpublished,
        "dead_letters": standing.dead_letters,
        "looked_at": standing.looked_at.map(|at| Rfc3339(at).to_string()),
    })
}
