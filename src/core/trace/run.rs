//! The spans of a job's run: due, sent, taken by a worker, ended. Its trace bears the id of its task, so the spans of the task
//! itself join it wherever it runs: a node of Headcount's own knows it by its root id, and a worker with OpenTelemetry's
//! instrumentation for Celery by the header `traceparent`.

use super::{Context, Span, SpanId, SpanKind, TraceId};
use crate::schedule::{Run, RunState};

/// Where a task hangs that a job sends.
pub fn context(id: &str, rate_kept: bool) -> Context {
    let trace = TraceId::of_task(id);
    Context {
        trace,
        span: SpanId::root(trace),
        sampled: rate_kept,
    }
}

/// Its spans, once it has ended; none before, and none of a slot that was passed over.
pub fn spans(run: &Run, task: Option<&str>) -> Vec<Span> {
    let Some(ended) = run
        .ended_at
        .filter(|_| !run.state.is_open() && run.state != RunState::Skipped)
    else {
        return Vec::new();
    };
    let trace = TraceId::of_task(&run.id);
    let part = |name: &'static str, times| {
        let span = Span::part(trace, SpanId::of(trace, &[name]), name, times)
            .with("headcount.job", run.job.as_str())
            .with("celery.task_id", run.id.as_str());
        match task {
            Some(task) => span.with("celery.task_name", task),
            None => span,
        }
    };
    let mut root = part("job", (run.due.min(run.claimed_at), ended)).with("celery.state", run.state.as_str());
    (root.id, root.parent) = (SpanId::root(trace), None);
    if let Some(worker) = &run.worker {
        root = root.with("headcount.worker", worker.as_str());
    }
    // Not why: an exception's text may hold what the task was called with.
    root.failed = failed(run.state).then(|| run.state.as_str().to_owned());
    let mut spans = vec![root];
    if let Some(sent) = run.sent_at {
        let mut send = part("job.send", (run.claimed_at, sent));
        send.kind = SpanKind::Producer;
        spans.push(send);
    }
    if let Some(started) = run.started_at {
        let taken = run.sent_at.unwrap_or(run.claimed_at);
        spans.push(part("job.wait", (taken, started)));
        spans.push(part("job.run", (started, ended)));
    }
    spans
}

const fn failed(state: RunState) -> bool {
    matches!(
        state,
        RunState::Failed | RunState::Rejected | RunState::Lost | RunState::Expired
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    fn at(second: i64) -> Wall {
        Wall::from_micros(second * 1_000_000)
    }

    fn run() -> Run {
        Run {
            job: "purge".into(),
            slot: at(10),
            id: "6f1d2c86-53a4-5b0e-9d57-c1e80a7b94f3".into(),
            due: at(10),
            own: false,
            state: RunState::Failed,
            claimed_at: at(11),
            sent_at: Some(at(12)),
            started_at: Some(at(14)),
            ended_at: Some(at(20)),
            heard_at: at(20),
            worker: Some("sms@h1".into()),
            runtime: Some(6.0),
            why: Some("ValueError('4111 1111 1111 1111')".into()),
        }
    }

    #[test]
    fn a_run_that_has_ended_is_one_trace_that_bears_its_tasks_id() {
        let spans = spans(&run(), Some("sms.purge"));
        let names: Vec<_> = spans.iter().map(|span| span.name).collect();
        assert_eq!(names, ["job", "job.send", "job.wait", "job.run"]);
        let root = context(&run().id, true);
        assert_eq!(root.trace.to_string(), "6f1d2c8653a45b0e9d57c1e80a7b94f3");
        assert_eq!((spans[0].id, spans[0].parent), (root.span, None));
        for span in &spans[1..] {
            assert_eq!((span.trace, span.parent), (root.trace, Some(root.span)));
        }
        let text = format!("{spans:?}");
        assert!(
            !text.contains("4111"),
            "an exception's text may hold an argument: {text}"
        );
    }

    #[test]
    fn one_that_goes_on_has_none_yet() {
        let open = Run {
            state: RunState::Started,
            ended_at: None,
            ..run()
        };
        assert!(spans(&open, None).is_empty());
        let skipped = Run {
            state: RunState::Skipped,
            ..run()
        };
        assert!(spans(&skipped, None).is_empty());
    }
}
