//! The series of workers' tasks, under celery-exporter's and Flower's names, from the book that the event lanes add to.

use std::collections::BTreeSet;
use std::fmt;

use headcount_actors::meters::SharedSeries;
use headcount_actors::ports::StatusView;
use headcount_core::celery::TaskKind;
use headcount_core::detect::WorkerState;
use headcount_core::stats::series::{
    Book, Bounds, Buckets, Cell, Label, QUEUE_WAIT, RUNTIME, TaskSeries, UNKNOWN_TASK,
};
use headcount_core::status::{Status, WorkerStatus};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// celery-exporter's counters that have no further label.
const COUNTERS: [(TaskKind, &str, &str); 7] = [
    (
        TaskKind::Sent,
        "celery_task_sent",
        "Tasks sent, by the host of who sent them; needs task_send_sent_event",
    ),
    (
        TaskKind::Received,
        "celery_task_received",
        "Tasks that a worker has received",
    ),
    (
        TaskKind::Started,
        "celery_task_started",
        "Tasks that a worker has begun",
    ),
    (TaskKind::Succeeded, "celery_task_succeeded", "Tasks that ended well"),
    (
        TaskKind::Rejected,
        "celery_task_rejected",
        "Tasks that a worker has rejected",
    ),
    (TaskKind::Revoked, "celery_task_revoked", "Tasks that were revoked"),
    (
        TaskKind::Retried,
        "celery_task_retried",
        "Attempts that failed and will be made again",
    ),
];

pub(super) struct SeriesCollector {
    pub(super) view: StatusView,
    pub(super) series: SharedSeries,
}

impl fmt::Debug for SeriesCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeriesCollector")
    }
}

impl Collector for SeriesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.view.borrow().clone();
        let Some(book) = self.series.read(&status) else {
            return Ok(());
        };
        let out = &mut encoder;
        for (kind, name, help) in COUNTERS {
            let mut family = family(out, name, help, MetricType::Counter)?;
            each_cell(&book, |labels, cell| {
                // A producer has only sent, and says nothing of what became of it.
                let shown = if kind == TaskKind::Sent {
                    cell.of(kind) > 0
                } else {
                    cell.is_at_worker()
                };
                if shown {
                    count(&mut family, &labels, cell.of(kind))
                } else {
                    Ok(())
                }
            })?;
        }
        failures(out, &book)?;
        let help = "How long tasks ran that ended well, in seconds";
        histograms(out, &book, "celery_task_runtime", help, |cell| {
            (&cell.runtime, &RUNTIME)
        })?;
        let help = "How long tasks waited before they were begun, beyond what they were to wait, in seconds; needs task_send_sent_event";
        histograms(out, &book, "celery_task_queue_wait_time", help, |cell| {
            (&cell.queue_wait, &QUEUE_WAIT)
        })?;
        flower(out, &book, &status)?;
        let help = "Task events that were counted under `other`, because the label has its most values";
        let mut family = family(out, "headcount_metrics_series_folded", help, MetricType::Counter)?;
        for label in Label::ALL {
            count(&mut family, &[("label", label.as_str())], book.folded(label))?;
        }
        Ok(())
    }
}

fn family<'a>(
    out: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
    kind: MetricType,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    out.encode_descriptor(name, &format!("{help}."), None, kind)
}

fn count<L: EncodeLabelSet>(family: &mut MetricEncoder<'_>, labels: &L, events: u64) -> fmt::Result {
    family
        .encode_family(labels)?
        .encode_counter::<NoLabelSet, _, u64>(&events, None)
}

/// celery-exporter's labels of one cell.
type CeleryLabels<'a> = [(&'static str, &'a str); 3];

fn each_cell(book: &Book, mut each: impl FnMut(CeleryLabels<'_>, &Cell) -> fmt::Result) -> fmt::Result {
    for (hostname, source) in book.sources() {
        for (name, series) in source.tasks() {
            for (queue, cell) in series.queues() {
                each([("name", name), ("hostname", hostname), ("queue_name", queue)], cell)?;
            }
        }
    }
    Ok(())
}

fn failures(out: &mut DescriptorEncoder<'_>, book: &Book) -> fmt::Result {
    let help = "Tasks that failed, by the class of the exception";
    let mut family = family(out, "celery_task_failed", help, MetricType::Counter)?;
    each_cell(book, |[name, hostname, queue], cell| {
        if !cell.is_at_worker() {
            return Ok(());
        }
        // The one without a class is there from the start, at zero, as at celery-exporter's: a part of failures can then be
        // computed before there is one.
        let none = std::iter::once(("", 0)).filter(|_| cell.failures().all(|(class, _)| !class.is_empty()));
        for (exception, failures) in none.chain(cell.failures()) {
            count(
                &mut family,
                &[name, hostname, queue, ("exception", exception)],
                failures,
            )?;
        }
        Ok(())
    })
}

fn histograms(
    out: &mut DescriptorEncoder<'_>,
    book: &Book,
    name: &str,
    help: &str,
    of: impl Fn(&Cell) -> (&Buckets, &'static Bounds),
) -> fmt::Result {
    let mut family = family(out, name, help, MetricType::Histogram)?;
    each_cell(book, |labels, cell| {
        let (buckets, bounds) = of(cell);
        histogram(&mut family, &labels, buckets, bounds)
    })
}

fn histogram<L: EncodeLabelSet>(
    family: &mut MetricEncoder<'_>,
    labels: &L,
    buckets: &Buckets,
    bounds: &Bounds,
) -> fmt::Result {
    match buckets.count() {
        0 => Ok(()),
        count => {
            let mut one = family.encode_family(labels)?;
            one.encode_histogram::<NoLabelSet>(buckets.sum(), count, &buckets.each(bounds), None)
        }
    }
}

/// Flower's labels of one task at one worker.
type FlowerLabels<'a> = [(&'static str, &'a str); 2];

fn each_task(book: &Book, mut each: impl FnMut(FlowerLabels<'_>, &TaskSeries) -> fmt::Result) -> fmt::Result {
    for (worker, source) in book.sources() {
        for (task, series) in source.tasks() {
            // Flower has no word for a task that it knows no name of.
            let task = if task == UNKNOWN_TASK { "" } else { task };
            each([("worker", worker), ("task", task)], series)?;
        }
    }
    Ok(())
}

fn flower(out: &mut DescriptorEncoder<'_>, book: &Book, status: &Status) -> fmt::Result {
    let help = "Events of tasks, by type; of those that Celery does not have, `task-custom` is all";
    let mut events = family(out, "flower_events", help, MetricType::Counter)?;
    each_task(book, |[worker, task], series| {
        for kind in TaskKind::ALL {
            let of_kind: u64 = series.queues().map(|(_, cell)| cell.of(kind)).sum();
            if of_kind > 0 {
                let kind = format!("task-{}", kind.word());
                count(&mut events, &[worker, ("type", kind.as_str()), task], of_kind)?;
            }
        }
        Ok(())
    })?;
    let help = "How long tasks ran that ended well";
    let mut runtime = family(out, "flower_task_runtime_seconds", help, MetricType::Histogram)?;
    each_task(book, |labels, series| {
        let mut all = Buckets::default();
        series.queues().for_each(|(_, cell)| all.merge(&cell.runtime));
        histogram(&mut runtime, &labels, &all, &RUNTIME)
    })?;
    let help = "How long the task that was begun last waited in its worker; 0 once one has ended";
    let mut prefetch = family(out, "flower_task_prefetch_time_seconds", help, MetricType::Gauge)?;
    each_task(book, |labels, series| match series.prefetch() {
        Some(seconds) => prefetch.encode_family(&labels)?.encode_gauge(&seconds),
        None => Ok(()),
    })?;
    let help = "Tasks that the worker has received and could begin";
    let mut held = family(out, "flower_worker_prefetched_tasks", help, MetricType::Gauge)?;
    // What a worker had that is gone, others will get.
    let gone = |worker: &&WorkerStatus| matches!(worker.state, WorkerState::Down | WorkerState::Offline);
    let gone: BTreeSet<&str> = status
        .workers
        .iter()
        .filter(gone)
        .map(|worker| worker.hostname.as_str())
        .collect();
    each_task(book, |labels, series| match series.held() {
        Some(tasks) => {
            let [(_, worker), _] = labels;
            let tasks = if gone.contains(worker) { 0 } else { tasks };
            held.encode_family(&labels)?.encode_gauge(&tasks)
        }
        None => Ok(()),
    })
}
