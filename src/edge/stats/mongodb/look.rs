//! A look at a MongoDB before anything is done with it. It changes nothing there.

use headcount_actors::ports::stats::StatsError;
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};

use super::super::sink_url;
use super::home::{code, connect, told};

/// MongoDB's code for a collection that is not there.
const NAMESPACE_NOT_FOUND: i32 = 26;

/// Whether a collection has an index that begins with a field; none where there is no such collection yet.
pub(super) async fn has_index(of: &Collection<Document>, field: &str) -> Result<Option<bool>, mongodb::error::Error> {
    let mut indexes = match of.list_indexes().await {
        Ok(indexes) => indexes,
        Err(error) if code(&error) == Some(NAMESPACE_NOT_FOUND) => return Ok(None),
        Err(error) => return Err(error),
    };
    while indexes.advance().await? {
        let index = indexes.deserialize_current()?;
        if index.keys.keys().next().is_some_and(|first| first == field) {
            return Ok(Some(true));
        }
    }
    Ok(Some(false))
}

/// What is said where there is none.
pub(super) fn no_index(of: &sink_url::Collection, cursor: &str) -> StatsError {
    let why = format!(
        "{of} has no index that begins with `{cursor}`, the cursor: every step would read the whole collection; create one"
    );
    StatsError::Refused { why }
}

/// Whether the collection that is read is there and can be read, and in what order.
pub(crate) async fn source(at: &sink_url::Collection, cursor: &str) -> Result<String, StatsError> {
    let client = connect(at).await?;
    let collection = client.database(&at.database).collection::<Document>(&at.collection);
    let found = has_index(&collection, cursor).await.map_err(|error| told(&error))?;
    // Whoever may list indexes may not read yet.
    let first = collection.find_one(doc! {}).projection(doc! { "_id": 1 }).await;
    first.map_err(|error| told(&error))?;
    match found {
        None => Ok("reached; the collection is not there yet".to_owned()),
        Some(true) => Ok(format!("reached; there is an index for the cursor `{cursor}`")),
        Some(false) => Err(no_index(at, cursor)),
    }
}

/// Whether a collection can be written to in transactions: that of roll-ups, and those of a pipeline's state.
pub(crate) async fn home(at: &sink_url::Collection) -> Result<String, StatsError> {
    match replica_set(&connect(at).await?).await? {
        Some(set) => Ok(format!("reached; {set}")),
        None => Err(StatsError::Refused {
            why: "no replica set: state is kept in transactions, which need one (one of a single server will do)"
                .to_owned(),
        }),
    }
}

/// What makes transactions possible there.
async fn replica_set(client: &Client) -> Result<Option<String>, StatsError> {
    let hello = client.database("admin").run_command(doc! { "hello": 1 }).await;
    let hello = hello.map_err(|error| told(&error))?;
    if let Ok(set) = hello.get_str("setName") {
        return Ok(Some(format!("the replica set {set}")));
    }
    let is_router = hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
    Ok(is_router.then(|| "a sharded cluster".to_owned()))
}
