//! `[[stats]]`: roll-ups of a collection's documents. Where documents come from and state is kept is in `mongodb/`, where
//! roll-ups go in `mongodb/sink.rs` and `elasticsearch.rs`.

mod config;
mod elasticsearch;
mod mongodb;
mod rollup;
pub mod sink_url;

use std::sync::Arc;

use headcount_actors::ports::stats::{StatsError, StatsPipeline};

use self::config::Checked;
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
    let checked = checked(config)?;
    let home = home(&checked);
    Ok(Arc::new(MongoPipeline::new(Setup {
        name: config.name.clone(),
        elsewhere: elsewhere(&checked, &home),
        home,
        source: checked.source,
        sinks: checked.sinks.into_iter().map(sink).collect::<Result<_, _>>()?,
        spec: SpecParts {
            plan: checked.plan,
            window: checked.window,
            has_late: config.late.is_some(),
            cursor: config.cursor.as_str().to_owned(),
            time: checked.time.as_str().to_owned(),
        },
        settle: config.settle.duration(),
        lease: config.lease.duration(),
        step: checked.step,
    })))
}

/// One thing that a pipeline needs, and what a look at it has shown.
pub struct Look {
    /// What it is to the pipeline.
    pub what: &'static str,
    /// Its address, without user and password.
    pub address: String,
    /// How it is there, or why not.
    pub said: Result<String, StatsError>,
}

/// Looks whether what a pipeline needs is there and answers. It changes nothing there.
///
/// # Errors
/// As those of [`open`].
pub async fn look(config: &Config) -> Result<Vec<Look>, StatsError> {
    let checked = checked(config)?;
    let mut looks = Vec::new();
    let mut add = |what, address, said| looks.push(Look { what, address, said });
    let source = mongodb::look::source(&checked.source, config.cursor.as_str()).await;
    add("source", checked.source.to_string(), source);
    let home = home(&checked);
    if home.to_string() == checked.source.to_string() {
        // Otherwise it is one of the sinks.
        add("state in", home.to_string(), mongodb::look::home(&home).await);
    }
    for url in checked.sinks {
        let sink = sink(url)?;
        add("sink", sink.address(), sink.look().await);
    }
    Ok(looks)
}

fn checked(config: &Config) -> Result<Checked, StatsError> {
    config.checked().map_err(|mistakes| {
        let first = mistakes.into_iter().next();
        let why = first.map_or_else(String::new, |mistake| format!("{}: {}", mistake.key, mistake.why));
        StatsError::Refused { why }
    })
}

fn collections(checked: &Checked) -> impl Iterator<Item = &sink_url::Collection> {
    checked.sinks.iter().filter_map(|sink| match sink {
        SinkUrl::MongoDb(collection) => Some(collection),
        SinkUrl::Elasticsearch(_) => None,
    })
}

/// Where state is kept: beside the first sink that is a collection, or else the source.
fn home(checked: &Checked) -> sink_url::Collection {
    collections(checked).next().unwrap_or(&checked.source).clone()
}

/// The other places where it would be kept if the sinks were in another order, or had been fewer.
fn elsewhere(checked: &Checked, home: &sink_url::Collection) -> Vec<sink_url::Collection> {
    let place = |at: &sink_url::Collection| (at.url().to_owned(), at.database.clone());
    let mut known = vec![place(home)];
    let all = collections(checked).chain([&checked.source]);
    all.filter(|at| {
        let is_new = !known.contains(&place(at));
        known.push(place(at));
        is_new
    })
    .cloned()
    .collect()
}

fn sink(url: SinkUrl) -> Result<Box<dyn Sink>, StatsError> {
    Ok(match url {
        SinkUrl::MongoDb(collection) => Box::new(CollectionSink::new(collection)),
        SinkUrl::Elasticsearch(index) => Box::new(IndexSink::open(index)?),
    })
}
