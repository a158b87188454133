//! `[[stats]]`: roll-ups of a collection's documents. Where documents come from and state is kept is in `mongodb/`, where
//! roll-ups go in `mongodb/sink.rs` and `elasticsearch.rs`.

mod config;
mod elasticsearch;
mod mongodb;
mod rollup;
pub mod sink_url;

use std::sync::Arc;

use headcount_actors::ports::stats::{StatsError, StatsPipeline};

pub use config::{Config, Mistake};

use self::elasticsearch::IndexSink;
use self::mongodb::sink::CollectionSink;
use self::mongodb::{MongoPipeline, Setup, SpecParts};
use self::rollup::Sink;
use self::sink_url::Sink as SinkUrl;

/// Opens a pipeline for one processor, which connects on its own runtime when it first has something to do.
///
/// # Errors
/// The configuration is of no use: what [`Config::check`] finds, and what only opening does.
pub fn open(config: &Config) -> Result<Arc<dyn StatsPipeline>, StatsError> {
    let refused = |why: String| StatsError::Refused { why };
    let checked = config.checked().map_err(|mistakes| {
        let first = mistakes.into_iter().next();
        refused(first.map_or_else(String::new, |mistake| format!("{}: {}", mistake.key, mistake.why)))
    })?;
    let collections = |sink: &SinkUrl| match sink {
        SinkUrl::MongoDb(collection) => Some(collection.clone()),
        SinkUrl::Elasticsearch(_) => None,
    };
    let home = checked
        .sinks
        .iter()
        .find_map(collections)
        .unwrap_or_else(|| checked.source.clone());
    let sinks: Result<Vec<Box<dyn Sink>>, StatsError> = checked
        .sinks
        .into_iter()
        .map(|sink| {
            Ok(match sink {
                SinkUrl::MongoDb(collection) => Box::new(CollectionSink::new(collection)) as Box<dyn Sink>,
                SinkUrl::Elasticsearch(index) => Box::new(IndexSink::open(index)?),
            })
        })
        .collect();
    Ok(Arc::new(MongoPipeline::new(Setup {
        name: config.name.clone(),
        source: checked.source,
        home,
        sinks: sinks?,
        spec: SpecParts {
            plan: checked.plan,
            window: checked.window,
            has_late: config.late.is_some(),
            cursor: config.cursor.as_str().to_owned(),
            time: config.time.as_str().to_owned(),
        },
        settle: config.settle.duration(),
        lease: config.lease.duration(),
        step: checked.step,
    })))
}
