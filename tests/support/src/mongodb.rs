//! A MongoDB of one's own.

mod wire;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::{Process, command};
use crate::wait::poll_until;
use crate::{free_port, reaper, repository};

/// It is ready in half a second, and in many times that when everything else is being built meanwhile.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// The name of its replica set.
const SET: &str = "headcount";
/// What makes it a member of that.
const MEMBER: &[&str] = &["--replSet", SET];
/// The same, and it gives up a transaction after so many seconds: long against any transaction of the tests.
const IMPATIENT: &[&str] = &["--replSet", SET, "--setParameter", "transactionLifetimeLimitSeconds=4"];

/// Where the servers from PyPI are: `HEADCOUNT_TEST_SERVERS`, or where `scripts/install.sh` puts them.
///
/// # Panics
/// When they are not there.
pub fn servers() -> PathBuf {
    let servers =
        std::env::var_os("HEADCOUNT_TEST_SERVERS").map_or_else(|| repository().join(".cache/servers"), PathBuf::from);
    assert!(
        servers.exists(),
        "no servers at {}: run scripts/install.sh",
        servers.display()
    );
    servers
}

/// A real `mongod` on a free port of loopback, a replica set of one, so that it has transactions.
#[derive(Debug)]
pub struct MongoDb {
    port: u16,
    process: Process,
    dir: tempfile::TempDir,
    kind: &'static [&'static str],
}

impl MongoDb {
    /// Starts one, and returns when it takes writes.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start() -> Self {
        Self::start_member(MEMBER)
    }

    /// As [`MongoDb::start`]. What somebody leaves locked who is killed in a transaction is free in seconds, and not in a minute.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_impatient() -> Self {
        Self::start_member(IMPATIENT)
    }

    /// One that is no replica set, and so has no transactions and no primary.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_alone() -> Self {
        Self::start_as(&[])
    }

    fn start_member(kind: &'static [&'static str]) -> Self {
        let server = Self::start_as(kind);
        let members = json!([{"_id": 0, "host": format!("127.0.0.1:{}", server.port)}]);
        let config = json!({"_id": SET, "members": members, "settings": {"electionTimeoutMillis": 500}});
        server.command("admin", &json!({"replSetInitiate": config}));
        server.wait_primary();
        server
    }

    fn start_as(kind: &'static [&'static str]) -> Self {
        let (port, dir) = (free_port(), reaper::directory("mongodb"));
        let process = launch(port, dir.path(), kind);
        MongoDb {
            port,
            process,
            dir,
            kind,
        }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of one of its databases, or with `database.collection` of a collection, as Headcount reads it.
    pub fn url(&self, path: &str) -> String {
        let options = if self.kind.is_empty() {
            String::new()
        } else {
            format!("?replicaSet={SET}")
        };
        format!("mongodb://127.0.0.1:{}/{path}{options}", self.port)
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Runs a command, and returns the answer. Of BSON it knows what JSON has: enough for administration.
    ///
    /// # Panics
    /// When the server does not answer, or says that it failed.
    pub fn command(&self, database: &str, command: &Value) -> Value {
        let answer = wire::command(self.port, database, command).expect("mongod answers");
        assert_eq!(answer["ok"], json!(1.0), "{command}: {answer}");
        answer
    }

    /// Makes it step down; as it is alone, it is elected again some moments later. Every connection is closed, and every
    /// transaction aborted.
    ///
    /// # Panics
    /// When it refuses.
    pub fn step_down(&self) {
        // It may close this connection before it has answered.
        let said = wire::command(self.port, "admin", &json!({"replSetStepDown": 1, "force": true}));
        if let Ok(answer) = said {
            assert_eq!(answer["ok"], json!(1.0), "{answer}");
        }
    }

    /// Waits until it takes writes.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn wait_primary(&self) {
        self.process.wait("a primary", READY_WITHIN, || {
            let hello = wire::command(self.port, "admin", &json!({"hello": 1})).ok()?;
            (hello["isWritablePrimary"] == json!(true)).then_some(())
        });
    }

    /// SIGKILL. Returns the moment.
    pub fn kill(&self) -> Instant {
        self.process.sigkill()
    }

    /// Starts it again, after [`MongoDb::kill`], on the same port and data. Returns when it takes writes.
    pub fn restart(&mut self) {
        self.process = launch(self.port, self.dir.path(), self.kind);
        self.wait_primary();
    }
}

fn launch(port: u16, dir: &Path, kind: &[&str]) -> Process {
    let mut mongod = command(servers().join("fiftyone/db/bin/mongod"));
    mongod
        .args(["--port", &port.to_string(), "--bind_ip", "127.0.0.1"])
        // Without a socket in /tmp, which another user's would stand in the way of.
        .args(["--nounixsocket", "--dbpath"])
        .arg(dir)
        .args(kind);
    let process = Process::start(format!("mongod:{port}"), &mut mongod);
    let answers = || {
        poll_until(Duration::ZERO, || {
            wire::command(port, "admin", &json!({"ping": 1})).ok()
        })
    };
    process.wait("an answer", READY_WITHIN, answers);
    process
}
