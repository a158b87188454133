//! Where a pipeline's state is kept: the database, its collections, and transactions in it.

use std::time::Duration;

use async_trait::async_trait;
use headcount_actors::ports::stats::StatsError;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::{Error, ErrorKind, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure};
use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, WriteConcern};
use mongodb::{Client, ClientSession, Collection, Database};

use super::super::sink_url;

/// So long may it take to find a server that answers. Shorter than a lease, so that what waits is told before it is lost.
const SERVER_WITHIN: Duration = Duration::from_secs(5);
/// So long may a connection take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How often a transaction that lost against another one is tried again before it counts as failed.
const MAX_ATTEMPTS: u32 = 20;
/// The first rest between two attempts; it doubles with each, up to [`LONGEST_REST`].
const FIRST_REST: Duration = Duration::from_millis(5);
/// The longest rest between two attempts.
const LONGEST_REST: Duration = Duration::from_millis(500);
/// The most that one command carries, in bytes of its documents: MongoDB takes 16 MiB, and some room is needed for the rest.
pub(super) const MAX_COMMAND: usize = 12 << 20;
/// The most statements that one command carries; MongoDB's own bound is 100,000.
pub(super) const MAX_STATEMENTS: usize = 50_000;

/// MongoDB's code for what a user is not permitted to do.
pub(super) const UNAUTHORIZED: i32 = 13;
/// MongoDB's code for a transaction on a server that is no replica set.
const ILLEGAL_OPERATION: i32 = 20;
/// MongoDB's code for a key that is there already.
pub(super) const DUPLICATE_KEY: i32 = 11_000;

/// The database that holds the state, and its collections.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub(super) client: Client,
    database: Database,
}

impl Home {
    pub(super) fn new(client: Client, database: &str) -> Self {
        let database = client.database(database);
        Self { client, database }
    }

    /// The database's name.
    pub(super) fn database(&self) -> &str {
        self.database.name()
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.database.collection(&format!("headcount_stats_{name}"))
    }

    /// One document for each pipeline: what it is.
    pub(super) fn pipelines(&self) -> Collection<Document> {
        self.collection("pipelines")
    }

    /// One document for each part: its range, how far it has been read, and who holds it.
    pub(super) fn parts(&self) -> Collection<Document> {
        self.collection("parts")
    }

    /// One document for each (pipeline, part, bucket, group): what has been folded.
    pub(super) fn states(&self) -> Collection<Document> {
        self.collection("states")
    }

    /// Which roll-ups have changed and are to be published, one document for some of them.
    pub(super) fn notes(&self) -> Collection<Document> {
        self.collection("notes")
    }

    /// The ids that the tail has read and that are not settled yet, one document for each step.
    pub(super) fn seen(&self) -> Collection<Document> {
        self.collection("seen")
    }

    /// Who publishes.
    pub(super) fn leases(&self) -> Collection<Document> {
        self.collection("leases")
    }

    /// What was put aside.
    pub(super) fn dead_letters(&self) -> Collection<Document> {
        self.collection("dead_letters")
    }

    /// Does all of `work`, or nothing of it; again where it lost against somebody else's transaction.
    pub(super) async fn transact<W: Work>(&self, work: &W) -> Result<W::Out, Fail> {
        transact(&self.client, work).await
    }
}

/// What is done in one transaction. It may be run more than once, so it changes nothing but the database.
#[async_trait]
pub(super) trait Work: Sync {
    /// What comes of it.
    type Out: Send;

    /// Does it.
    async fn run(&self, session: &mut ClientSession) -> Result<Self::Out, Fail>;
}

pub(super) async fn transact<W: Work>(client: &Client, work: &W) -> Result<W::Out, Fail> {
    let mut session = client.start_session().await?;
    let mut rest = FIRST_REST;
    let mut attempt = 0;
    loop {
        attempt += 1;
        session
            .start_transaction()
            .read_concern(ReadConcern::snapshot())
            .write_concern(majority())
            .await?;
        let done = match work.run(&mut session).await {
            Ok(out) => commit(&mut session).await.map(|()| out).map_err(Fail::Driver),
            Err(fail) => {
                // The server ends it by itself where this does not reach it.
                let _ = session.abort_transaction().await;
                Err(fail)
            }
        };
        match done {
            Err(Fail::Driver(error)) if error.contains_label(TRANSIENT_TRANSACTION_ERROR) && attempt < MAX_ATTEMPTS => {
                tokio::time::sleep(rest).await;
                rest = (rest * 2).min(LONGEST_REST);
            }
            done => return done,
        }
    }
}

/// Commits, and asks again while nobody can tell whether it has happened: that is the server's own promise to answer the same.
async fn commit(session: &mut ClientSession) -> Result<(), Error> {
    let mut rest = FIRST_REST;
    for _ in 0..MAX_ATTEMPTS {
        match session.commit_transaction().await {
            Err(error) if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) => {
                tokio::time::sleep(rest).await;
                rest = (rest * 2).min(LONGEST_REST);
            }
            done => return done,
        }
    }
    session.commit_transaction().await
}

/// Written on most of the replica set: no election takes it back.
pub(super) fn majority() -> WriteConcern {
    WriteConcern::builder().w(Acknowledgment::Majority).build()
}

/// Why something in a database did not happen.
#[derive(Debug)]
pub(super) enum Fail {
    /// The driver or the server says so.
    Driver(Error),
    /// The lease has gone to somebody else.
    Fenced,
    /// What was found there cannot be.
    Damaged(String),
    /// One of many documents was not written, for something that lies in it or in the collection: a rule, an index.
    Unwritten {
        /// Which of them, from nought.
        place: usize,
        /// The server's words.
        why: String,
    },
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        Fail::Driver(error)
    }
}

impl From<mongodb::bson::error::Error> for Fail {
    fn from(error: mongodb::bson::error::Error) -> Self {
        Fail::Damaged(error.to_string())
    }
}

impl From<Fail> for StatsError {
    fn from(fail: Fail) -> Self {
        match fail {
            Fail::Fenced => StatsError::Fenced,
            Fail::Damaged(why) | Fail::Unwritten { why, .. } => StatsError::Refused { why },
            Fail::Driver(error) => told(&error),
        }
    }
}

/// An error of the driver's, in words, and whether it may pass.
pub(super) fn told(error: &Error) -> StatsError {
    // The driver's own words have the server's whole answer in them.
    let why = match error.kind.as_ref() {
        ErrorKind::Command(command) => format!("MongoDB: {} ({})", command.message, command.code_name),
        ErrorKind::Write(WriteFailure::WriteError(write)) => format!("MongoDB: {} ({})", write.message, write.code),
        ErrorKind::ServerSelection { message, .. } => format!("MongoDB: {}", unreached(message)),
        kind => format!("MongoDB: {kind}"),
    };
    match error.kind.as_ref() {
        ErrorKind::Command(command) if command.code == ILLEGAL_OPERATION => StatsError::Refused {
            why: format!(
                "{why}; state is kept in transactions, which need a replica set (one of a single server will do)"
            ),
        },
        ErrorKind::Command(command) if command.code == UNAUTHORIZED => StatsError::Refused { why },
        ErrorKind::Authentication { .. } | ErrorKind::InvalidArgument { .. } | ErrorKind::InvalidTlsConfig { .. } => {
            StatsError::Refused { why }
        }
        _ => StatsError::Later { after: None, why },
    }
}

/// What a person needs of the driver's account of all servers that it knows: who they are, and what is wrong with each.
fn unreached(message: &str) -> String {
    let server = |part: &str| {
        let address = part.split(',').next().unwrap_or_default().to_owned();
        match part.split_once("Error: Kind: ") {
            Some((_, error)) => format!("{address}: {}", error.split(", labels:").next().unwrap_or_default()),
            None => address,
        }
    };
    let servers: Vec<String> = message.split("Address: ").skip(1).map(server).collect();
    if !servers.is_empty() {
        return format!("no server that can be used: {}", servers.join("; "));
    }
    match message.split_once("Set Name: ") {
        Some((_, rest)) => format!(
            "no server that can be used: none is in a replica set named {}",
            rest.split([' ', ',']).next().unwrap_or_default()
        ),
        None => message.to_owned(),
    }
}

/// The server's code for an error, where it is one of the server's.
pub(super) fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteError(write)) => Some(write.code),
        _ => None,
    }
}

/// A client for a connection string. It connects when it is first used.
pub(super) async fn connect(to: &sink_url::Collection) -> Result<Client, StatsError> {
    let refused = |error: Error| StatsError::Refused {
        why: format!("{to}: {}", error.kind),
    };
    let mut options = ClientOptions::parse(to.url())
        .await
        .map_err(|error| match error.kind.as_ref() {
            ErrorKind::DnsResolve { .. } => told(&error),
            _ => refused(error),
        })?;
    options.app_name.get_or_insert_with(|| "headcount".to_owned());
    options.server_selection_timeout.get_or_insert(SERVER_WITHIN);
    options.connect_timeout.get_or_insert(CONNECT_WITHIN);
    Client::with_options(options).map_err(refused)
}

/// Runs `update` with many statements, in as many commands as it takes; each has `q`, `u` and perhaps `upsert`. Returns how many
/// documents were found, or made.
pub(super) async fn update_many(
    session: &mut ClientSession,
    collection: &Collection<Document>,
    statements: Vec<Document>,
) -> Result<i64, Fail> {
    many(session, collection, "update", "updates", statements).await
}

/// Runs `insert` with many documents, in as many commands as it takes.
pub(super) async fn insert_many(
    session: &mut ClientSession,
    collection: &Collection<Document>,
    documents: Vec<Document>,
) -> Result<(), Fail> {
    many(session, collection, "insert", "documents", documents)
        .await
        .map(drop)
}

/// The driver's own way to write many documents with one command needs a server of version 8.
async fn many(
    session: &mut ClientSession,
    collection: &Collection<Document>,
    command: &str,
    list: &str,
    statements: Vec<Document>,
) -> Result<i64, Fail> {
    let (mut count, mut sent) = (0, 0);
    let database = session.client().database(&collection.namespace().db);
    let mut rest = statements.into_iter().peekable();
    while rest.peek().is_some() {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(next) = rest.peek() {
            let size = rough_size(next);
            if !batch.is_empty() && (bytes + size > MAX_COMMAND || batch.len() >= MAX_STATEMENTS) {
                break;
            }
            bytes += size;
            batch.extend(rest.next().map(Bson::Document));
        }
        let many = batch.len();
        let command = doc! { command: collection.name(), list: batch, "ordered": true };
        let answer = database.run_command(command).session(&mut *session).await?;
        if let Ok(errors) = answer.get_array("writeErrors")
            && let Some(first) = errors.first().and_then(Bson::as_document)
        {
            // They are in order, and the first ends it.
            let place = first
                .get_i32("index")
                .ok()
                .and_then(|index| usize::try_from(index).ok());
            let (code, words) = (
                first.get_i32("code").unwrap_or_default(),
                first.get_str("errmsg").unwrap_or_default(),
            );
            return Err(Fail::Unwritten {
                place: sent + place.unwrap_or_default(),
                why: format!("MongoDB: {words} ({code})"),
            });
        }
        sent += many;
        count += i64::from(answer.get_i32("n").unwrap_or_default());
    }
    Ok(count)
}

/// About how many bytes a document takes; no less than the largest thing in it.
fn rough_size(document: &Document) -> usize {
    fn size(value: &Bson) -> usize {
        match value {
            Bson::String(text) => text.len() + 5,
            Bson::Binary(binary) => binary.bytes.len() + 5,
            Bson::Document(inner) => rough_size(inner),
            Bson::Array(items) => items.iter().map(|item| size(item) + 8).sum(),
            _ => 16,
        }
    }
    document.iter().map(|(key, value)| key.len() + 2 + size(value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_not_there_is_told_in_few_words() {
        let of = |servers: &str| {
            unreached(&format!(
                "Server selection timeout: No available servers. Topology: {{ Type: ReplicaSetNoPrimary, Set Name: r{servers} }}"
            ))
        };
        let error =
            "Type: Unknown, Error: Kind: I/O error: Connection refused (os error 111), labels: {\"A\"}, source: None";
        assert_eq!(
            of(&format!(
                ", Servers: [ {{ Address: a:1, {error} }}, {{ Address: b:2, Type: RSSecondary }} ]"
            )),
            "no server that can be used: a:1: I/O error: Connection refused (os error 111); b:2"
        );
        assert_eq!(of(""), "no server that can be used: none is in a replica set named r");
        assert_eq!(unreached("other words"), "other words");
    }
}
