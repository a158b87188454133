//! `/metrics`: the actors' counters, and gauges that are read from the status model at the moment of the scrape.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::http::header::ACCEPT;
use actix_web::{HttpRequest, HttpResponse, web};
use headcount_actors::meters::Meters;
use headcount_actors::ports::StatusView;
use headcount_core::alert::Kind;
use headcount_core::detect::{BrokerState, WorkerState};
use headcount_core::status::Status;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Shared;
use super::problem::Problem;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that a scrape shows.
pub(super) fn registry(meters: &Meters, view: StatusView, version: &'static str) -> Registry {
    let mut registry = Registry::default();
    meters.register(&mut registry);
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64());
    registry.register_collector(Box::new(StatusCollector { view, version, started }));
    registry
}

/// The same as a scrape shows, in OpenMetrics, for whoever sends it elsewhere.
pub fn exposition(
    meters: &Meters,
    view: StatusView,
    version: &'static str,
) -> impl Fn() -> Result<String, fmt::Error> + Send + 'static {
    let registry = registry(meters, view, version);
    move || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

pub(super) async fn scrape(shared: web::Data<Shared>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &shared.registry).map_err(Problem::internal)?;
    let accept = request
        .headers()
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    Ok(if accept.contains("application/openmetrics-text") {
        HttpResponse::Ok().content_type(OPEN_METRICS).body(text)
    } else {
        HttpResponse::Ok()
            .content_type(PROMETHEUS_TEXT)
            .body(to_prometheus_text(&text))
    })
}

/// OpenMetrics as the older text format, which differs here in two things: a counter's help and type bear the name
/// of its series, `_total` included, and there is no end mark.
fn to_prometheus_text(open_metrics: &str) -> String {
    let counter = |line: &str| {
        line.strip_prefix("# TYPE ")
            .and_then(|rest| rest.strip_suffix(" counter"))
            .map(str::to_owned)
    };
    let counters: std::collections::BTreeSet<String> = open_metrics.lines().filter_map(counter).collect();
    let mut text = String::with_capacity(open_metrics.len() + 256);
    for line in open_metrics.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what @ ("HELP" | "TYPE")), Some(name), Some(rest)) if counters.contains(name) => {
                text.push_str(&format!("# {what} {name}_total {rest}"));
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// Turns the status model into gauges. A worker that is no longer in the model has no series any more; one that is
/// down keeps its series at 0 for as long as it is expected.
struct StatusCollector {
    view: StatusView,
    version: &'static str,
    started: f64,
}

impl fmt::Debug for StatusCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatusCollector")
    }
}

impl Collector for StatusCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.view.borrow().clone();
        let out = &mut encoder;
        program(out, self.version, self.started)?;
        brokers(out, &status)?;
        incidents(out, &status)?;
        fleets(out, &status)?;
        workers(out, &status)?;
        queues(out, &status)
    }
}

/// Writes one family of gauges.
fn gauges<L: EncodeLabelSet>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut family = gauge(out, name, help)?;
    for (labels, value) in series {
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

fn gauge<'a>(out: &'a mut DescriptorEncoder<'_>, name: &'a str, help: &str) -> Result<MetricEncoder<'a>, fmt::Error> {
    // The crate ends the help of registered metrics with a full stop; these shall look the same.
    out.encode_descriptor(name, &format!("{help}."), None, MetricType::Gauge)
}

fn program(out: &mut DescriptorEncoder<'_>, version: &str, started: f64) -> fmt::Result {
    gauges(
        out,
        "headcount_build_info",
        "The program's version",
        [([("version", version)], 1)],
    )?;
    gauge(
        out,
        "process_start_time_seconds",
        "Start of the process, in seconds since the Unix epoch",
    )?
    .encode_gauge(&started)?;
    if let Some(bytes) = resident_bytes() {
        gauge(out, "process_resident_memory_bytes", "Resident memory")?.encode_gauge(&bytes)?;
    }
    Ok(())
}

/// Resident memory as Linux tells it; none on other systems.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim()
        .strip_suffix(" kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

fn brokers(out: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let series = status
        .brokers
        .iter()
        .map(|b| ([("broker", b.name.as_str())], u64::from(b.state == BrokerState::Heard)));
    gauges(out, "headcount_broker_up", "Whether the broker is being heard", series)
}

fn incidents(out: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let count = |kind| {
        status
            .incidents
            .iter()
            .filter(|incident| incident.is_open() && incident.kind == kind)
            .count()
    };
    let series = Kind::ALL.map(|kind| ([("kind", kind.as_str())], count(kind) as u64));
    gauges(
        out,
        "headcount_incidents_open",
        "Open incidents, by whose trouble it is",
        series,
    )
}

fn fleets(out: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let mut counts: BTreeMap<(&str, WorkerState), u64> = BTreeMap::new();
    for fleet in &status.fleets {
        counts.extend(WorkerState::ALL.iter().map(|state| ((fleet.name.as_str(), *state), 0)));
    }
    for worker in &status.workers {
        *counts.entry((&worker.fleet, worker.state)).or_default() += 1;
    }
    let series = counts
        .iter()
        .map(|((fleet, state), n)| ([("fleet", *fleet), ("state", state.as_str())], *n));
    gauges(out, "headcount_fleet_workers", "Workers of a fleet, by state", series)
}

fn workers(out: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    // One name on two brokers is two workers, and this label, which existing dashboards expect, cannot tell them
    // apart: both must be up for a 1, and their tasks add up.
    let mut up: BTreeMap<&str, bool> = BTreeMap::new();
    let mut active: BTreeMap<&str, u64> = BTreeMap::new();
    for worker in &status.workers {
        *up.entry(&worker.hostname).or_insert(true) &= is_up(worker.state);
        if let Some(tasks) = worker.active {
            *active.entry(&worker.hostname).or_default() += tasks;
        }
    }
    let series = up
        .iter()
        .map(|(hostname, up)| ([("hostname", *hostname)], u64::from(*up)));
    gauges(
        out,
        "celery_worker_up",
        "Whether the worker is up; 0 for as long as it is expected",
        series,
    )?;
    let series = active
        .iter()
        .map(|(hostname, tasks)| ([("hostname", *hostname)], *tasks));
    gauges(out, "celery_worker_tasks_active", "Tasks that the worker runs", series)
}

/// Alive, whether or not it is being looked at or consumes.
const fn is_up(state: WorkerState) -> bool {
    match state {
        WorkerState::Starting | WorkerState::Up | WorkerState::Suspect | WorkerState::Stalled => true,
        WorkerState::Down | WorkerState::Offline | WorkerState::Unknown => false,
    }
}

fn queues(out: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    // A queue that two fleets of one broker share is one queue; the same name on two brokers is two, which add up.
    let mut seen: BTreeMap<(&str, &str), (u64, Option<u32>)> = BTreeMap::new();
    for fleet in &status.fleets {
        for queue in &fleet.queues {
            seen.insert((&queue.name, &fleet.broker), (queue.length, queue.consumers));
        }
    }
    let mut lengths: BTreeMap<&str, u64> = BTreeMap::new();
    let mut consumers: BTreeMap<&str, u64> = BTreeMap::new();
    for ((name, _), (length, listening)) in seen {
        *lengths.entry(name).or_default() += length;
        if let Some(listening) = listening {
            *consumers.entry(name).or_default() += u64::from(listening);
        }
    }
    let series = lengths.iter().map(|(name, n)| ([("queue_name", *name)], *n));
    gauges(out, "celery_queue_length", "Messages that wait in the queue", series)?;
    let series = consumers.iter().map(|(name, n)| ([("queue_name", *name)], *n));
    gauges(
        out,
        "celery_active_consumer_count",
        "Consumers of the queue, where the broker can tell",
        series,
    )
}
