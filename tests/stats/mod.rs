//! What the tests of pipelines share: a source with documents, a configuration, and an independent recomputation.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::future::IntoFuture as _;
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use headcount_testkit::{
    ElasticApi, ElasticFault, ElasticProxy, MongoDb, Process, poll_until, python, repository, run_script,
};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::{Client, IndexModel};
use serde_json::Value;
use tokio::runtime::Runtime;

/// The driver's own tasks live here.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// The ways in which an Elasticsearch fails and comes round: a whole request, some of its items, an answer that is lost.
pub(crate) const FAULTS: [ElasticFault; 6] = [
    ElasticFault::Whole(429),
    ElasticFault::Items { status: 429, every: 2 },
    ElasticFault::Whole(503),
    ElasticFault::Items { status: 503, every: 2 },
    ElasticFault::AnswerLost,
    ElasticFault::Items { status: 429, every: 2 },
];

/// Faults of an Elasticsearch, one kind after the other, so that there are always some to come and never many.
pub(crate) struct Faults<'p> {
    proxy: &'p ElasticProxy,
    planned: usize,
}

impl<'p> Faults<'p> {
    pub(crate) const fn of(proxy: &'p ElasticProxy) -> Self {
        Self { proxy, planned: 0 }
    }

    /// Sees to it that the next two bulk requests fail.
    pub(crate) fn go_on(&mut self) {
        while self.planned < self.proxy.bulks().1 + 2 {
            self.proxy.fail_next(FAULTS.get(self.planned % FAULTS.len()).copied());
            self.planned += 1;
        }
    }

    /// Goes on until each of them was there: kills at random may have kept some away. `work` makes something to publish, and sees it
    /// through.
    pub(crate) fn see_each(&mut self, mut work: impl FnMut(u64)) -> u64 {
        let mut rounds = 0;
        while self.seen() < FAULTS.len() {
            assert!(rounds < 50, "only {} faults", self.seen());
            rounds += 1;
            self.go_on();
            work(rounds);
        }
        rounds
    }

    /// How many bulk requests have failed, in whole or in part.
    pub(crate) fn seen(&self) -> usize {
        self.proxy.bulks().1
    }
}

/// The program under test.
pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_headcount")
}

/// Where the dice of a test begin: at `HEADCOUNT_SEED`, or each time anew. A test that fails has printed it.
pub(crate) fn seed() -> u64 {
    let seed = match std::env::var("HEADCOUNT_SEED") {
        Ok(seed) => seed.parse().expect("HEADCOUNT_SEED is a number"),
        Err(_) => u64::try_from(DateTime::now().timestamp_millis()).unwrap(),
    };
    println!("HEADCOUNT_SEED={seed}");
    seed
}

/// A generator of numbers that is the same everywhere (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// The next of its numbers, below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Where nothing has happened, both sinks are compared again after so long: not all that matters is seen.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Long against what a busy machine may take for one run.
const RUN_WITHIN: Duration = Duration::from_secs(300);

/// One of the commands of `headcount stats`, in a directory of its own.
pub(crate) struct Run {
    pub(crate) process: Process,
    _dir: tempfile::TempDir,
}

impl Run {
    pub(crate) fn start(pipeline: &Pipeline, words: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("headcount.toml");
        std::fs::write(&file, pipeline.config()).unwrap();
        let mut command = Command::new(program());
        command
            .arg("stats")
            .args(words)
            .arg("--config")
            .arg(&file)
            .current_dir(dir.path());
        Self {
            process: Process::start(format!("headcount stats {}", words.join(" ")), &mut command),
            _dir: dir,
        }
    }

    /// Waits until it has done all that there was.
    pub(crate) fn finish(&self) {
        let status = self.process.wait_exit(RUN_WITHIN);
        assert!(status.success(), "{status}\n{}", self.process.last_lines());
    }
}

/// One of the commands with a terminal of 80 columns as its standard error: its exit code, and what it wrote there.
pub(crate) fn on_a_terminal(pipeline: &Pipeline, words: &[&str]) -> (i64, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("headcount.toml");
    std::fs::write(&file, pipeline.config()).unwrap();
    let command = [&[program(), "stats"], words, &["--config", file.to_str().unwrap()]].concat();
    let told = run_script("", "terminal.py", &command);
    (told[0].as_i64().unwrap(), told[1].as_str().unwrap().to_owned())
}

/// The collection that is read.
pub(crate) struct Source {
    client: Client,
}

impl Source {
    pub(crate) fn of(mongo: &MongoDb) -> Self {
        let client = RUNTIME.block_on(Client::with_uri_str(mongo.url("app"))).unwrap();
        Self { client }
    }

    pub(crate) fn insert(&self, documents: Vec<Document>) {
        let collection = self.client.database("app").collection::<Document>("clicks");
        RUNTIME
            .block_on(async { collection.insert_many(documents).await })
            .unwrap();
    }

    /// Makes an index, as a cursor field needs one.
    pub(crate) fn index(&self, field: &str) {
        let index = IndexModel::builder().keys(doc! { field: 1 }).build();
        let collection = self.client.database("app").collection::<Document>("clicks");
        RUNTIME
            .block_on(async { collection.create_index(index).await })
            .unwrap();
    }

    /// Changes documents that have long been read, and deletes one.
    pub(crate) fn mend(&self) {
        let collection = self.client.database("app").collection::<Document>("clicks");
        RUNTIME.block_on(async {
            let dearer = collection
                .update_many(doc! {}, doc! { "$inc": { "price": 1.0 } })
                .await
                .unwrap();
            assert!(dearer.modified_count > 0);
            // From the middle, where no minute is begun or broken off: the roll-up of a group's last document would stay.
            let half = collection.count_documents(doc! {}).await.unwrap() / 2;
            let found = collection.find_one(doc! {}).sort(doc! { "_id": 1 }).skip(half);
            let id = found.await.unwrap().unwrap().get_object_id("_id").unwrap();
            collection.delete_one(doc! { "_id": id }).await.unwrap();
        });
    }

    /// Documents of just now: of the last five seconds, their ids being as old.
    pub(crate) fn insert_random(&self, count: usize, seed: u64) {
        self.insert((0..count as u64).map(|n| random(n, count as u64, seed, 5)).collect());
    }

    /// Documents of the last so many seconds, in batches.
    pub(crate) fn insert_past(&self, count: u64, seed: u64, seconds: u64) {
        let all: Vec<u64> = (0..count).collect();
        for some in all.chunks(10_000) {
            self.insert(some.iter().map(|n| random(*n, count, seed, seconds)).collect());
        }
    }
}

/// One of so many documents, spread over the last so many seconds.
fn random(number: u64, count: u64, seed: u64, seconds: u64) -> Document {
    let mut dice = Dice(seed.wrapping_mul(1_000_003).wrapping_add(number));
    let ago = (count - number) * seconds * 1_000 / count;
    let at = DateTime::now().timestamp_millis() - i64::try_from(ago).unwrap();
    let mut id = [0; 12];
    id[..4].copy_from_slice(&u32::try_from(at / 1_000).unwrap().to_be_bytes());
    id[4] = u8::try_from(seed % 256).unwrap();
    id[5..].copy_from_slice(&number.to_be_bytes()[1..]);
    doc! {
        "_id": ObjectId::from_bytes(id),
        "at": DateTime::from_millis(at),
        "campaign": format!("c{}", dice.below(5)),
        "country": *["de", "fr", "us"].get(dice.below(3) as usize).unwrap(),
        "price": dice.below(1_000) as f64 / 100.0,
        "ms": (1 + dice.below(5_000)) as f64 / 10.0,
        "user": i64::try_from(dice.below(200)).unwrap(),
        "serial": i64::try_from(number).unwrap(),
    }
}

/// One pipeline from `app.clicks` to `app.clicks_1m` and an index.
pub(crate) struct Pipeline {
    client: Client,
    mongo_url: String,
    index: String,
    config: String,
    measures: &'static [(&'static str, &'static str)],
}

/// Measures that are folded here.
const ALL: &[(&str, &str)] = &[
    ("n", "count"),
    ("paid", "sum(price)"),
    ("slow", "p95(ms)"),
    ("people", "distinct(user)"),
];
/// Measures of single numbers.
pub(crate) const PLAIN: &[(&str, &str)] = &[
    ("n", "count"),
    ("paid", "sum(price)"),
    ("typical", "mean(price)"),
    ("least", "min(ms)"),
    ("most", "max(ms)"),
];

impl Pipeline {
    /// With a lease of a second, so that what a crash leaves is taken soon.
    pub(crate) fn new(mongo: &MongoDb, index: &str) -> Self {
        Self::with(mongo, index, "lease = \"1s\"")
    }

    pub(crate) fn with(mongo: &MongoDb, index: &str, more: &str) -> Self {
        Self::of(mongo, index, more, ALL)
    }

    pub(crate) fn of(
        mongo: &MongoDb,
        index: &str,
        more: &str,
        measures: &'static [(&'static str, &'static str)],
    ) -> Self {
        let more = format!("bucket = \"1m\"\ngroup_by = [\"campaign\", \"country\"]\n{more}");
        Self::shaped(mongo, index, &more, measures)
    }

    /// With buckets and groups of its own.
    pub(crate) fn shaped(
        mongo: &MongoDb,
        index: &str,
        more: &str,
        measures: &'static [(&'static str, &'static str)],
    ) -> Self {
        let client = RUNTIME.block_on(Client::with_uri_str(mongo.url("app"))).unwrap();
        let lines: String = measures
            .iter()
            .map(|(name, measure)| format!("{name} = \"{measure}\"\n"))
            .collect();
        let config = format!(
            "[[stats]]\nname = \"clicks\"\nsource = \"{}\"\ntime = \"at\"\n\
             sinks = [\"{}\", \"{index}\"]\n{more}\n[stats.measures]\n{lines}",
            mongo.url("app.clicks"),
            mongo.url("app.clicks_1m"),
        );
        Self {
            client,
            mongo_url: mongo.url(""),
            index: index.rsplit('/').next().unwrap_or_default().to_owned(),
            config,
            measures,
        }
    }

    pub(crate) fn config(&self) -> String {
        self.config.clone()
    }

    /// With one address in the configuration replaced.
    pub(crate) fn moved(mut self, from: &str, to: &str) -> Self {
        assert!(self.config.contains(from), "{from} is not in {}", self.config);
        self.config = self.config.replace(from, to);
        self
    }

    pub(crate) fn all(&self, collection: &str, filter: Document) -> Vec<Document> {
        self.all_in("app", collection, filter)
    }

    /// Drops what is kept of pipelines in a database, and nothing else.
    pub(crate) fn forget(&self, database: &str) {
        let database = self.client.database(database);
        RUNTIME.block_on(async {
            for name in database.list_collection_names().await.unwrap() {
                if name.starts_with("headcount_stats_") {
                    database.collection::<Document>(&name).drop().await.unwrap();
                }
            }
        });
    }

    /// Runs a command of MongoDB's.
    pub(crate) fn command(&self, database: &str, command: Document) {
        RUNTIME
            .block_on(self.client.database(database).run_command(command).into_future())
            .unwrap();
    }

    pub(crate) fn all_in(&self, database: &str, collection: &str, filter: Document) -> Vec<Document> {
        let collection = self.client.database(database).collection::<Document>(collection);
        RUNTIME.block_on(async {
            let mut found = collection.find(filter).await.unwrap();
            let mut all = Vec::new();
            while found.advance().await.unwrap() {
                all.push(found.deserialize_current().unwrap());
            }
            all
        })
    }

    /// How many parts of the backlog are not done, and how many notes of changed roll-ups wait for a publisher.
    pub(crate) fn unfinished(&self) -> (usize, usize) {
        let parts = self.all("headcount_stats_parts", doc! { "kind": "backlog", "done": false });
        let notes = self.all("headcount_stats_notes", doc! { "keys": { "$exists": true } });
        (parts.len(), notes.len())
    }

    pub(crate) fn rollups(&self) -> Vec<Document> {
        self.all("clicks_1m", doc! {})
    }

    /// How many documents the roll-ups of the collection tell of.
    pub(crate) fn counted(&self) -> i64 {
        self.rollups().iter().map(|rollup| rollup.get_i64("n").unwrap()).sum()
    }

    pub(crate) fn dead_letters(&self) -> Vec<Document> {
        self.all("headcount_stats_dead_letters", doc! {})
    }

    /// What the recomputation says.
    pub(crate) fn recompute(&self, elastic: &ElasticApi) -> Value {
        let said = Command::new(python())
            .arg(repository().join("tests/stats/recompute.py"))
            .args([
                &self.mongo_url,
                "app",
                "clicks",
                "clicks_1m",
                elastic.url(),
                &self.index,
            ])
            .args(self.measures.iter().map(|(name, measure)| format!("{name}={measure}")))
            .output()
            .unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        serde_json::from_slice(&said.stdout).unwrap()
    }

    /// Waits until both sinks have exactly what they should.
    ///
    /// # Panics
    /// When they do not in time; with what differs.
    pub(crate) fn wait_right(&self, elastic: &ElasticApi, within: Duration) {
        let mut looked: Option<(Instant, Vec<Document>)> = None;
        let right = poll_until(within, || {
            // A recomputation takes a second of a busy machine, and is of no use before something has happened.
            let mut parts = self.all("headcount_stats_parts", doc! {});
            for name in ["renewed", "owner", "settled"] {
                parts.iter_mut().for_each(|part| drop(part.remove(name)));
            }
            let is_old = |at: &Instant| at.elapsed() > LOOK_AGAIN;
            if self.unfinished() != (0, 0) || looked.as_ref().is_some_and(|(at, then)| !is_old(at) && *then == parts) {
                return None;
            }
            let is_right = self.both_are_right(elastic);
            looked = Some((Instant::now(), parts));
            is_right.then_some(())
        });
        if right.is_none() {
            self.compare(elastic);
            panic!("it was not finished in time: {:?}", self.unfinished());
        }
    }

    /// Whether both sinks have exactly what they should.
    pub(crate) fn both_are_right(&self, elastic: &ElasticApi) -> bool {
        self.recompute(elastic)["wrong"].as_array().unwrap().is_empty()
    }

    /// # Panics
    /// With what differs.
    pub(crate) fn compare(&self, elastic: &ElasticApi) -> Value {
        let said = self.recompute(elastic);
        assert!(said["wrong"] == serde_json::json!([]), "{said:#}");
        said
    }

    /// As [`Pipeline::compare`], where so many documents were read and none of them is bad.
    pub(crate) fn compare_whole(&self, elastic: &ElasticApi, documents: u64) {
        let said = self.compare(elastic);
        let counted = (&said["documents"], &said["bad"]);
        assert_eq!(counted, (&documents.into(), &0.into()), "{said:#}");
    }

    /// As [`Pipeline::both_are_right`], and exactly these documents were put aside.
    pub(crate) fn both_are_right_without(&self, elastic: &ElasticApi, bad: &[Bson]) -> bool {
        let said = self.recompute(elastic);
        said["wrong"].as_array().unwrap().is_empty() && said["bad"] == serde_json::json!(bad.len())
    }
}
