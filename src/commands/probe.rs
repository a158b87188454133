//! `headcount probe`: one look at a broker, with the exit codes of a Nagios plugin.

mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use headcount_actors::ports::{Broker, BrokerError, Inspect, Queue, Reply};
use headcount_edge::brokers;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::cli::Probe;
use crate::config::Surroundings;

use super::{Outcome, to_stdout};
use report::{Report, Verdict};

/// Exit code of a Nagios plugin: nobody can tell, also because it was called wrongly.
pub const UNKNOWN: u8 = 3;

/// The name that the broker bears in errors; there is no configuration that gives it one.
const NAME: &str = "probe";

/// How long the whole look may take beyond its timeout: the connection has to be made before anybody can be asked, and
/// those who answered are asked what they are. Raising it delays the word that a broker does not answer; a scheduler of
/// plugins has a limit of its own, Nagios' being 60 s. The help of `--timeout` names it.
const BEYOND: Duration = Duration::from_secs(3);
/// What is kept of it for the lengths of the queues.
const FOR_QUEUES: Duration = Duration::from_millis(500);

/// Looks once and prints what was seen.
///
/// # Errors
/// The result cannot be written.
pub async fn run(args: Probe) -> Outcome {
    let report = match open(&args.broker) {
        Ok(broker) => {
            let address = broker.address();
            match look(&*broker, args.timeout).await {
                Ok(seen) => Report::new(address, seen, args.expect),
                Err(why) => Report::blind(address, why),
            }
        }
        Err(why) => Report::misused(&why),
    };
    to_stdout(&shown(&report, args.json))?;
    Ok(ExitCode::from(match report.verdict {
        Verdict::Ok => 0,
        Verdict::Warning => 1,
        Verdict::Critical => 2,
        Verdict::Unknown => UNKNOWN,
    }))
}

fn open(broker: &str) -> Result<Arc<dyn Broker>, String> {
    let url = match Surroundings::of_process(None).look_up(broker) {
        None => broker.to_owned(),
        Some(found) => found.map_err(|why| format!("--broker: {why}"))?,
    };
    brokers::open(brokers::Config::new(NAME, url)).map_err(|error| format!("--broker: {error}"))
}

fn shown(report: &Report, json: bool) -> String {
    if json {
        super::json(&report.to_json())
    } else {
        report.to_text(super::table::colours())
    }
}

/// Says on standard output, where Nagios reads, that the command line is of no use; the rest is on standard error.
pub fn tell_misuse(error: &clap::Error, json: bool) {
    let text = error.render().to_string();
    // The first paragraph: what is wrong. Hints and the usage follow.
    let first = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    let why = first.collect::<Vec<_>>().join(" ");
    // There is nowhere left to report that it cannot be written.
    let _ = to_stdout(&shown(
        &Report::misused(why.strip_prefix("error: ").unwrap_or(&why)),
        json,
    ));
}

/// What one look brought.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) workers: Vec<Worker>,
    pub(crate) queues: Vec<Queue>,
}

/// One worker that answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Worker {
    pub(crate) hostname: CompactString,
    /// How long its answer to a ping took.
    pub(crate) latency: Duration,
    /// Answers to one ping: two mean two workers with one name.
    pub(crate) answers: u32,
    /// Such as `prefork`; none where it did not say.
    pub(crate) pool: Option<String>,
    /// Processes, threads or greenlets of the pool.
    pub(crate) concurrency: Option<u64>,
    /// Queues that it says it consumes; none where it did not say.
    pub(crate) queues: Option<Vec<CompactString>>,
    /// Tasks accepted since its start.
    pub(crate) processed: Option<u64>,
}

/// Pings everybody, then asks those who answered what they are and what they consume.
///
/// # Errors
/// Why nobody can tell, in words. Who has answered and then says no more only lacks the rest.
async fn look(broker: &dyn Broker, timeout: Duration) -> Result<Seen, String> {
    let limit = timeout + BEYOND;
    let by = Instant::now() + limit;
    let ping = broker.inspect(Inspect {
        method: "ping",
        arguments: serde_json::Map::new(),
        destination: None,
        timeout,
    });
    let pongs = match timeout_at(by, ping).await {
        Ok(pongs) => pongs.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("no answer within {limit:?}")),
    };
    let mut workers: BTreeMap<CompactString, Worker> = BTreeMap::new();
    for pong in pongs {
        let worker = workers.entry(pong.hostname.clone()).or_insert_with(|| Worker {
            hostname: pong.hostname.clone(),
            latency: pong.latency,
            ..Worker::default()
        });
        worker.answers += 1;
        worker.latency = worker.latency.min(pong.latency);
    }
    if workers.is_empty() {
        return Ok(Seen::default());
    }
    let who: Vec<CompactString> = workers.keys().cloned().collect();
    let ask = |method| {
        broker.inspect(Inspect {
            method,
            arguments: serde_json::Map::new(),
            destination: Some(who.clone()),
            timeout: timeout.min(by.duration_since(Instant::now()).saturating_sub(FOR_QUEUES)),
        })
    };
    let (stats, queues) = tokio::join!(until(by, ask("stats")), until(by, ask("active_queues")));
    for reply in stats? {
        if let Some(worker) = workers.get_mut(&reply.hostname) {
            read_stats(worker, &reply.body);
        }
    }
    // A node of Headcount's own answers as a worker does, and does nobody's work.
    let own = short_pool(headcount_core::node::POOL);
    workers.retain(|_, worker| worker.pool.as_ref() != Some(&own));
    for reply in &queues? {
        if let (Some(worker), Some(names)) = (workers.get_mut(&reply.hostname), queue_names(reply)) {
            worker.queues = Some(names);
        }
    }
    let names: BTreeSet<&CompactString> = workers
        .values()
        .filter_map(|worker| worker.queues.as_ref())
        .flatten()
        .collect();
    let names: Vec<CompactString> = names.into_iter().cloned().collect();
    let queues = until(by, broker.queues(&names)).await?;
    Ok(Seen {
        workers: workers.into_values().collect(),
        queues,
    })
}

/// Nothing, where it has not come by then.
async fn until<T: Default>(by: Instant, asked: impl Future<Output = Result<T, BrokerError>>) -> Result<T, String> {
    match timeout_at(by, asked).await {
        Ok(came) => came.map_err(|error| error.to_string()),
        Err(_) => Ok(T::default()),
    }
}

fn read_stats(worker: &mut Worker, body: &Value) {
    let pool = body.get("pool");
    worker.pool = pool
        .and_then(|pool| pool.get("implementation"))
        .and_then(Value::as_str)
        .map(short_pool);
    worker.concurrency = pool
        .and_then(|pool| pool.get("max-concurrency"))
        .and_then(Value::as_u64);
    let total = body.get("total").and_then(Value::as_object);
    worker.processed = total.map(|total| total.values().filter_map(Value::as_u64).sum());
}

/// `celery.concurrency.prefork:TaskPool` is called `prefork` by everybody.
fn short_pool(implementation: &str) -> String {
    let module = implementation.split(':').next().unwrap_or_default();
    let name = module.rsplit('.').next().unwrap_or_default();
    name.strip_prefix("celery_").unwrap_or(name).to_owned()
}

fn queue_names(reply: &Reply) -> Option<Vec<CompactString>> {
    let queues = reply.body.as_array()?;
    Some(
        queues
            .iter()
            .filter_map(|queue| queue.get("name")?.as_str())
            .map(CompactString::from)
            .collect(),
    )
}
