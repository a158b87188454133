//! The stats pipeline against others that do the same, with a real MongoDB. docs/performance.md says what it shows.
//!
//!     cargo bench --bench stats_pipeline
//!     cargo bench --bench stats_pipeline -- --documents 1000000 --only plain
//!
//! | option | |
//! |---|---|
//! | `--documents N` | in the collection (10,000,000) |
//! | `--celery N` | of them for the Celery task (500,000): its rate is what counts |
//! | `--only TEXT` | the contestants whose names hold this text |
//! | `--rounds N` | so often each (1) |
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]

mod elastic;
mod locked;
mod source;
#[path = "../event_lane/usage.rs"]
#[allow(dead_code, reason = "the event lane uses all of it")]
mod usage;
mod watch;

use std::process::{Command, ExitCode};
use std::time::Duration;

use headcount_testkit::{MongoDb, Process, Redis, python, repository};

use elastic::Elastic;
use source::{Source, difference, in_index};
use watch::{Seen, Watch, family};

/// A Celery worker beside other programs.
const WORKER_WITHIN: Duration = Duration::from_secs(90);

/// Measures that MongoDB's `$group` has, too.
const PLAIN: &str =
    "n = \"count\"\npaid = \"sum(price)\"\ntypical = \"mean(price)\"\nleast = \"min(ms)\"\nmost = \"max(ms)\"\n";
/// Those, a quantile, and a number of different values.
const ALL: &str = "n = \"count\"\npaid = \"sum(price)\"\ntypical = \"mean(price)\"\nleast = \"min(ms)\"\nmost = \"max(ms)\"\n\
                   slow = \"p95(ms)\"\npeople = \"distinct(user)\"\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sinks {
    MongoDb,
    Elastic,
    Both,
}

#[derive(Clone, Copy, Debug)]
enum Contestant {
    /// The program, with so many processors.
    Headcount(u32, Sinks, &'static str),
    /// The same behind one lock.
    Locked(u32),
    Celery,
    /// MongoDB's own, written by `$merge` or only counted.
    Group {
        merge: bool,
    },
    /// Only what a pipeline reads, and nothing done with it, over so many connections.
    Read(u32),
}

const CONTESTANTS: &[(&str, Contestant)] = &[
    ("all measures, 1 processor", Contestant::Headcount(1, Sinks::Both, ALL)),
    ("all measures, 2 processors", Contestant::Headcount(2, Sinks::Both, ALL)),
    ("all measures, 4 processors", Contestant::Headcount(4, Sinks::Both, ALL)),
    ("all measures, 1 processor behind one Redis lock", Contestant::Locked(1)),
    (
        "all measures, 2 processors behind one Redis lock",
        Contestant::Locked(2),
    ),
    (
        "all measures, 4 processors behind one Redis lock",
        Contestant::Locked(4),
    ),
    (
        "plain, to Elasticsearch, 1 processor",
        Contestant::Headcount(1, Sinks::Elastic, PLAIN),
    ),
    ("plain, to Elasticsearch, Celery task in Python", Contestant::Celery),
    (
        "plain, to MongoDB, 1 processor",
        Contestant::Headcount(1, Sinks::MongoDb, PLAIN),
    ),
    (
        "plain, to MongoDB, 2 processors",
        Contestant::Headcount(2, Sinks::MongoDb, PLAIN),
    ),
    (
        "plain, to MongoDB, 4 processors",
        Contestant::Headcount(4, Sinks::MongoDb, PLAIN),
    ),
    (
        "plain, to MongoDB, `$group` and `$merge`",
        Contestant::Group { merge: true },
    ),
    ("plain, to nowhere, `$group`", Contestant::Group { merge: false }),
    ("read only, 1 connection", Contestant::Read(1)),
    ("read only, 2 connections", Contestant::Read(2)),
];

struct Options {
    documents: u64,
    celery: u64,
    only: String,
    rounds: u64,
}

fn options(arguments: Vec<String>) -> Options {
    let mut options = Options {
        documents: 10_000_000,
        celery: 500_000,
        only: String::new(),
        rounds: 1,
    };
    let mut arguments = arguments.into_iter().filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_else(|| panic!("{name} needs a value"));
        let number = || value.parse().unwrap_or_else(|_| panic!("{name} needs a number"));
        match name.as_str() {
            "--documents" => options.documents = number(),
            "--celery" => options.celery = number(),
            "--rounds" => options.rounds = number(),
            "--only" => options.only = value,
            _ => panic!("what is {name}? See the top of benches/stats_pipeline/main.rs"),
        }
    }
    options
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, config, redis] = arguments.as_slice()
        && word == "--locked"
    {
        locked::work(config, redis);
        return ExitCode::SUCCESS;
    }
    let options = options(arguments);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure(&options))
}

/// What all contestants run against.
struct Ring<'o> {
    options: &'o Options,
    mongo: MongoDb,
    elastic: Elastic,
    redis: Redis,
    source: Source,
}

async fn measure(options: &Options) -> ExitCode {
    let (mongo, redis, elastic) = (MongoDb::start(), Redis::start(), Elastic::start());
    let source = Source::open(&mongo.url("app")).await;
    let filled = source.fill(options.documents).await;
    // What the server still has to write of it is not the first contestant's.
    mongo.command("admin", &serde_json::json!({"fsync": 1}));
    eprintln!("{} documents inserted in {filled:.0} s", options.documents);
    let ring = Ring {
        options,
        mongo,
        elastic,
        redis,
        source,
    };
    ring.source.group(None, Some("expected")).await;
    println!("{HEAD}");
    let mut failed = false;
    for _ in 0..options.rounds {
        for (name, contestant) in CONTESTANTS.iter().filter(|(name, _)| name.contains(&options.only)) {
            ring.source.clear().await;
            ring.elastic.clear();
            let (seen, documents) = ring.run(*contestant).await;
            let verdict = ring.check(*contestant).await;
            failed |= verdict.is_err();
            println!("{}", row(name, &seen, documents, verdict));
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

impl Ring<'_> {
    fn config(&self, processors: u32, sinks: Sinks, measures: &str) -> String {
        let collection = format!("\"{}\"", self.mongo.url("app.clicks_1m"));
        let index = format!("\"{}\"", self.elastic.sink());
        let sinks = match sinks {
            Sinks::MongoDb => collection,
            Sinks::Elastic => index,
            Sinks::Both => format!("{collection}, {index}"),
        };
        format!(
            "[[stats]]\nname = \"clicks\"\nsource = \"{}\"\ntime = \"at\"\nbucket = \"1m\"\n\
             group_by = [\"campaign\", \"country\"]\nsinks = [{sinks}]\nprocessors = {processors}\n\
             [stats.measures]\n{measures}",
            self.mongo.url("app.clicks"),
        )
    }

    /// Returns also how many documents it was about.
    async fn run(&self, contestant: Contestant) -> (Seen, u64) {
        let all = self.options.documents;
        match contestant {
            Contestant::Headcount(processors, sinks, measures) => {
                (self.program(&self.config(processors, sinks, measures), false), all)
            }
            Contestant::Locked(processors) => (self.program(&self.config(processors, Sinks::Both, ALL), true), all),
            Contestant::Celery => (self.celery(), self.options.celery),
            Contestant::Group { merge } => {
                let watch = Watch::begin(self.mongo.process());
                self.source.group(None, merge.then_some("grouped")).await;
                (watch.end_here(), all)
            }
            Contestant::Read(connections) => {
                let watch = Watch::begin(self.mongo.process());
                self.source.read(connections, all).await;
                (watch.end_here(), all)
            }
        }
    }

    fn program(&self, config: &str, locked: bool) -> Seen {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("headcount.toml");
        std::fs::write(&file, config).expect("write the configuration");
        let mut command = if locked {
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command.arg("--locked").arg(&file).arg(self.redis.url());
            command
        } else {
            let mut command = Command::new(env!("CARGO_BIN_EXE_headcount"));
            command.args(["stats", "run", "--config"]).arg(&file);
            command
        };
        let watch = Watch::begin(self.mongo.process());
        let process = Process::start("headcount", command.current_dir(dir.path()));
        watch.to_its_end(&process)
    }

    /// The worker is there already: its start is not counted.
    fn celery(&self) -> Seen {
        let python = || {
            let mut command = Command::new(python());
            command
                .current_dir(repository().join("benches/stats_pipeline"))
                .env("BENCH_BROKER", self.redis.url())
                .env("BENCH_MONGODB", self.mongo.url(""))
                .env("BENCH_ELASTIC", self.elastic.url())
                .env("PYTHONDONTWRITEBYTECODE", "1")
                // The bench may run as root; the messages are JSON, so that this is not dangerous.
                .env("C_FORCE_ROOT", "1");
            command
        };
        let mut worker = python();
        worker.args([
            "-m",
            "celery",
            "-A",
            "service",
            "worker",
            "--pool",
            "prefork",
            "-c",
            "1",
            "--loglevel",
            "INFO",
        ]);
        let worker = Process::start("celery", &mut worker);
        worker.wait_line(" ready.", WORKER_WITHIN);
        let (before_s, _) = family(&worker);
        let watch = Watch::begin(self.mongo.process());
        let sent = Process::start(
            "service.py",
            python().arg("service.py").arg(self.options.celery.to_string()),
        );
        let seen = watch.to_its_end(&sent);
        let (after_s, peak_kb) = family(&worker);
        Seen {
            own_s: after_s - before_s,
            peak_kb,
            ..seen
        }
    }

    /// How many roll-ups there are, and whether they are right.
    async fn check(&self, contestant: Contestant) -> Result<u64, String> {
        let mut expected = "expected";
        let mut found = Vec::new();
        match contestant {
            Contestant::Read(_) | Contestant::Group { merge: false } => return Ok(0),
            Contestant::Group { merge: true } => found.push(self.source.rollups("grouped").await),
            Contestant::Headcount(_, Sinks::MongoDb, _) => found.push(self.source.rollups("clicks_1m").await),
            Contestant::Headcount(_, Sinks::Elastic, _) => found.push(in_index(self.elastic.documents())),
            Contestant::Headcount(_, Sinks::Both, _) | Contestant::Locked(_) => {
                found.push(self.source.rollups("clicks_1m").await);
                found.push(in_index(self.elastic.documents()));
            }
            Contestant::Celery => {
                expected = "expected_first";
                self.source.group(Some(self.options.celery), Some(expected)).await;
                found.push(in_index(self.elastic.documents()));
            }
        }
        let expected = self.source.rollups(expected).await;
        match found.iter().find_map(|found| difference(found, &expected)) {
            Some(wrong) => Err(wrong),
            None => Ok(expected.len() as u64),
        }
    }
}

const HEAD: &str = "\
| contestant | documents | roll-ups | seconds | documents /s | processor seconds: its own, mongod, Elasticsearch | idle | peak RSS MiB | |
|---|---|---|---|---|---|---|---|---|";

fn row(name: &str, seen: &Seen, documents: u64, verdict: Result<u64, String>) -> String {
    let (rollups, verdict) = match verdict {
        Ok(0) => ("–".to_owned(), "–".to_owned()),
        Ok(count) => (count.to_string(), "right".to_owned()),
        Err(wrong) => ("?".to_owned(), format!("WRONG: {wrong}")),
    };
    let peak = if seen.peak_kb > 0 {
        format!("{:.0}", seen.peak_kb as f64 / 1024.0)
    } else {
        "–".to_owned()
    };
    format!(
        "| {name} | {documents} | {rollups} | {:.1} | {:.0} | {:.1}, {:.1}, {:.1} | {:.0} % | {peak} | {verdict} |",
        seen.seconds,
        documents as f64 / seen.seconds,
        seen.own_s,
        seen.mongod_s,
        seen.elastic_s,
        seen.idle * 100.0,
    )
}
