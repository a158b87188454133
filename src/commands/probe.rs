//! `headcount probe`: one look at a broker, with the exit codes of a Nagios plugin.

mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

use compact_str::CompactString;
use headcount_actors::ports::{Broker, BrokerError, Inspect, Queue, Reply};
use headcount_edge::brokers;
use serde_json::Value;

use crate::cli::Probe;

use super::{Outcome, argument, to_stderr, to_stdout};
use report::{Report, Verdict};

/// Exit code of a Nagios plugin: nobody can tell, also because it was called wrongly.
pub const UNKNOWN: u8 = 3;

/// The name that the broker bears in errors; there is no configuration that gives it one.
const NAME: &str = "probe";

/// Looks once and prints what was seen.
///
/// # Errors
/// The result cannot be written, or the URL cannot be looked up.
pub async fn run(args: Probe) -> Outcome {
    let url = argument("--broker", &args.broker).map_err(|error| error.to_string());
    let opened = url.and_then(|url| {
        let config = brokers::Config::new(NAME, url);
        brokers::open(config).map_err(|error| format!("headcount: --broker: {error}"))
    });
    let broker = match opened {
        Ok(broker) => broker,
        Err(why) => {
            // A Nagios plugin that is called wrongly knows nothing of what it should look at.
            to_stderr(&why);
            return Ok(ExitCode::from(UNKNOWN));
        }
    };
    let address = broker.address();
    let looked = tokio::time::timeout(patience(args.timeout), look(&*broker, args.timeout)).await;
    let report = match looked {
        Ok(Ok(seen)) => Report::new(address, seen, args.expect),
        Ok(Err(error)) => Report::blind(address, error.to_string()),
        Err(_) => Report::blind(address, format!("no answer within {:?}", patience(args.timeout))),
    };
    let text = if args.json {
        super::json(&report.to_json())
    } else {
        report.to_text(super::table::colours())
    };
    to_stdout(&text)?;
    Ok(ExitCode::from(match report.verdict {
        Verdict::Ok => 0,
        Verdict::Warning => 1,
        Verdict::Critical => 2,
        Verdict::Unknown => UNKNOWN,
    }))
}

/// The whole look: three questions, one of which may have to wait for the connection first.
const fn patience(timeout: Duration) -> Duration {
    timeout.saturating_mul(3).saturating_add(Duration::from_secs(5))
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
async fn look(broker: &dyn Broker, timeout: Duration) -> Result<Seen, BrokerError> {
    let pongs = broker
        .inspect(Inspect {
            method: "ping",
            destination: None,
            timeout,
        })
        .await?;
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
            destination: Some(who.clone()),
            timeout,
        })
    };
    let (stats, queues) = (ask("stats").await?, ask("active_queues").await?);
    for reply in stats {
        if let Some(worker) = workers.get_mut(&reply.hostname) {
            read_stats(worker, &reply.body);
        }
    }
    for reply in &queues {
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
    let queues = broker.queues(&names).await?;
    Ok(Seen {
        workers: workers.into_values().collect(),
        queues,
    })
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
