//! `/metrics`: the actors' counters, and gauges that are read from the status model at the moment of the scrape.

mod accept;
mod page;
mod series;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::http::header::{Accept, Header};
use actix_web::{HttpRequest, HttpResponse, web};
use headcount_actors::meters::Meters;
use headcount_actors::ports::StatusView;
use headcount_core::alert::Kind;
use headcount_core::detect::{BrokerState, FleetState, WorkerState};
use headcount_core::status::{FleetStatus, Status, WorkerStatus};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Shared;
use super::problem::Problem;
use accept::Format;
use page::NoPage;
pub(super) use page::{MAX_PAGES, Pages};
use series::SeriesCollector;

/// Every label that a series of Headcount's has of itself: no label that all series are given may be one of these.
pub const LABELS: &[&str] = &[
    "actor",
    "broker",
    "exception",
    "fleet",
    "hostname",
    "job",
    "kind",
    "label",
    "le",
    "level",
    "name",
    "notifier",
    "outcome",
    "pipeline",
    "queue_name",
    "reason",
    "signal",
    "state",
    "task",
    "type",
    "version",
    "worker",
];

/// What series tell of the program itself.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Its version, for `headcount_build_info`.
    pub version: &'static str,
    /// When it was started, for `process_start_time_seconds`: the same wherever that is told, and also after SIGHUP.
    pub started: SystemTime,
}

/// Everything that a scrape shows.
pub(super) fn registry(meters: &Meters, view: &StatusView, labels: &[(String, String)], about: About) -> Registry {
    let labels = labels.iter().cloned();
    let mut registry = Registry::with_labels(labels.map(|(name, value)| (name.into(), value.into())));
    meters.register(&mut registry);
    registry.register_collector(Box::new(StatusCollector {
        view: view.clone(),
        about,
    }));
    registry.register_collector(Box::new(SeriesCollector {
        view: view.clone(),
        series: meters.series.clone(),
    }));
    registry
}

/// The same as a scrape shows, in OpenMetrics, for whoever sends it elsewhere.
pub fn exposition(
    meters: &Meters,
    view: &StatusView,
    labels: &[(String, String)],
    about: About,
) -> impl Fn() -> Result<String, fmt::Error> + Send + 'static {
    let registry = registry(meters, view, labels, about);
    move || page::open_metrics(&registry)
}

pub(super) async fn scrape(shared: web::Data<Shared>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let format = Accept::parse(&request).map_or(Format::PrometheusText, |accept| accept::best(&accept));
    let page = shared.pages.write(format).await.map_err(|why| match why {
        NoPage::Busy => Problem::busy(format_args!(
            "{MAX_PAGES} others are being given their metrics and have not read them yet; ask again"
        )),
        NoPage::Failed(error) => Problem::internal(error),
        NoPage::Panicked => Problem::internal("writing the metrics panicked: please report what the log says of it"),
    })?;
    Ok(HttpResponse::Ok().content_type(format.content_type()).body(page.body()))
}

/// Turns the status model into gauges. A worker that is no longer in the model has no series any more; one that is
/// down keeps its series at 0 for as long as it is expected.
struct StatusCollector {
    view: StatusView,
    about: About,
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
        program(out, self.about)?;
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

fn program(out: &mut DescriptorEncoder<'_>, about: About) -> fmt::Result {
    gauges(
        out,
        "headcount_build_info",
        "The program's version",
        [([("version", about.version)], 1)],
    )?;
    let started = about
        .started
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64());
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
    gauges(out, "headcount_broker_up", "Whether the broker is being heard", series)?;
    let series = status
        .brokers
        .iter()
        .map(|b| ([("broker", b.name.as_str())], b.unmatched));
    gauges(
        out,
        "headcount_workers_unmatched",
        "Workers that match no configured fleet, and are left alone",
        series,
    )
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
    gauges(out, "headcount_fleet_workers", "Workers of a fleet, by state", series)?;
    let each = |number: fn(&FleetStatus) -> u32| {
        let fleets = status.fleets.iter();
        fleets.map(move |fleet| ([("fleet", fleet.name.as_str())], u64::from(number(fleet))))
    };
    let help = "How many workers of a fleet should be up";
    gauges(out, "headcount_fleet_expected", help, each(|fleet| fleet.expected))?;
    let help = "With fewer workers than these a fleet is down";
    gauges(out, "headcount_fleet_minimum", help, each(|fleet| fleet.minimum))?;
    let series = status.fleets.iter().flat_map(|fleet| {
        FleetState::ALL.iter().map(|state| {
            let labels = [("fleet", fleet.name.as_str()), ("state", state.as_str())];
            (labels, u64::from(fleet.state == *state))
        })
    });
    let help = "How a fleet stands: 1 for the state that it is in, 0 for the others";
    gauges(out, "headcount_fleet_state", help, series)
}

fn workers(out: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    // One name on two brokers is two workers, and this label, which existing dashboards expect, cannot tell them
    // apart: both must be up for a 1, and their tasks add up.
    let mut up: BTreeMap<&str, bool> = BTreeMap::new();
    let mut active: BTreeMap<&str, u64> = BTreeMap::new();
    for worker in &status.workers {
        // Where nobody sees, a 0 would tell every rule that all are dead: there is no series, and a rule on the broker.
        let Some(is_up) = is_up(worker.state) else { continue };
        *up.entry(&worker.hostname).or_insert(true) &= is_up;
        if let Some(tasks) = worker.active {
            *active.entry(&worker.hostname).or_default() += if is_up { tasks } else { 0 };
        }
    }
    let up = |label| {
        let series = up.iter();
        series.map(move |(hostname, up)| ([(label, *hostname)], u64::from(*up)))
    };
    let active = |label| {
        let series = active.iter();
        series.map(move |(hostname, tasks)| ([(label, *hostname)], *tasks))
    };
    let help = "Whether the worker is up; 0 for as long as it is expected, absent while its broker is not heard";
    gauges(out, "celery_worker_up", help, up("hostname"))?;
    let help = "Tasks that the worker runs";
    gauges(out, "celery_worker_tasks_active", help, active("hostname"))?;
    let help = "Whether the worker is up, under Flower's name";
    gauges(out, "flower_worker_online", help, up("worker"))?;
    let help = "Tasks that the worker runs, under Flower's name";
    gauges(
        out,
        "flower_worker_number_of_currently_executing_tasks",
        help,
        active("worker"),
    )
}

/// Alive, whether or not it is being looked at or consumes; none where that is not known.
const fn is_up(state: WorkerState) -> Option<bool> {
    match state {
        WorkerState::Starting | WorkerState::Up | WorkerState::Suspect | WorkerState::Stalled => Some(true),
        WorkerState::Down | WorkerState::Offline => Some(false),
        WorkerState::Unknown => None,
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
    // A queue that nobody consumes any more has none, rather than no series.
    let mut workers: BTreeMap<&str, (u64, u64)> = lengths.keys().map(|name| (*name, (0, 0))).collect();
    let takes = |worker: &&WorkerStatus| is_up(worker.state) == Some(true);
    for worker in status.workers.iter().filter(takes) {
        for queue in worker.queues.iter().collect::<BTreeSet<_>>() {
            let (count, processes) = workers.entry(queue).or_default();
            *count += 1;
            *processes += worker.slots.map_or(0, u64::from);
        }
    }
    let series = lengths.iter().map(|(name, n)| ([("queue_name", *name)], *n));
    gauges(out, "celery_queue_length", "Messages that wait in the queue", series)?;
    let series = consumers.iter().map(|(name, n)| ([("queue_name", *name)], *n));
    let help = "Consumers of the queue, where the broker can tell";
    counts(out, "celery_active_consumer_count", help, series)?;
    let series = workers.iter().map(|(name, (n, _))| ([("queue_name", *name)], *n));
    let help = "Workers that are up and consume the queue";
    counts(out, "celery_active_worker_count", help, series)?;
    let series = workers.iter().map(|(name, (_, n))| ([("queue_name", *name)], *n));
    let help = "Tasks that the workers which consume the queue can run at once: their processes, or threads";
    counts(out, "celery_active_process_count", help, series)
}

/// Writes one family of gauges whose name ends in `_count`. That is a part of a histogram wherever a type is given, and
/// `promtool check metrics` says so; the names are other programs', so it is the type that is left open.
fn counts<L: EncodeLabelSet>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut family = out.encode_descriptor(name, &format!("{help}."), None, MetricType::Unknown)?;
    for (labels, value) in series {
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}
