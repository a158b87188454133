//! What gets through the gate, and what becomes of it.

use headcount_actors::meters::otlp::{OtlpMeters, Signal};
use headcount_core::alert::IncidentId;
use headcount_core::trace::SpanId;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;

use super::meters::Drops;
use super::queue::Limits;
use super::*;

/// Opens the gate, with nobody behind it who sends.
fn opened(level: LevelFilter, rate: f64) -> (Otlp, Arc<Waiting>) {
    let (otlp, meters) = (Otlp::default(), OtlpMeters::default());
    let limits = Limits {
        items: 100,
        bytes: 1 << 20,
        batch: 100,
        batch_bytes: 1 << 20,
    };
    let waiting = Arc::new(Waiting {
        spans: Queue::new(limits, Drops::of(&meters, Signal::Traces)),
        logs: Queue::new(limits, Drops::of(&meters, Signal::Logs)),
        rate,
    });
    otlp.set(Some((waiting.clone(), level)));
    (otlp, waiting)
}

/// Does something while the layer listens.
fn heard(otlp: &Otlp, act: impl FnOnce()) {
    let subscriber = tracing_subscriber::registry().with(otlp.layer(None));
    tracing::subscriber::with_default(subscriber, act);
}

fn bodies(lines: &[wire::Line]) -> Vec<String> {
    let body = |line: &wire::Line| match line.record.body.as_ref().and_then(|body| body.value.clone()) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    };
    lines.iter().map(body).collect()
}

#[test]
fn a_line_bears_the_trace_of_what_it_speaks_of() {
    let (otlp, waiting) = opened(LevelFilter::INFO, 1.0);
    let uuid = "6f1d2c86-53a4-5b0e-9d57-c1e80a7b94f3";
    heard(&otlp, || {
        tracing::warn!(incident = %"f-1", "of an incident");
        tracing::info!(job = "purge", id = uuid, "of a run");
        tracing::info!(id = uuid, "of nothing that is known");
        tracing::debug!("not wanted");
        tracing::error!(target: "hyper::client", "of the HTTP client");
    });
    let lines = waiting.logs.take();
    assert_eq!(
        bodies(&lines),
        ["of an incident", "of a run", "of nothing that is known"]
    );
    let incident = TraceId::of_incident(&IncidentId("f-1".into()));
    assert_eq!(lines[0].record.trace_id, incident.bytes());
    assert_eq!(lines[0].record.span_id, SpanId::root(incident).bytes());
    assert_eq!(lines[0].record.flags, 1);
    assert_eq!(lines[1].record.trace_id, TraceId::of_task(uuid).bytes());
    assert!(lines[2].record.trace_id.is_empty());
    assert_eq!(lines[0].record.severity_text, "WARN");
    assert!(lines.iter().all(|line| line.target.starts_with("headcount_edge")));
}

#[test]
fn a_closed_gate_lets_nothing_through_and_can_be_opened_again() {
    let (otlp, waiting) = opened(LevelFilter::INFO, 1.0);
    heard(&otlp, || {
        let say = |what: &str| tracing::info!("{what}");
        say("open");
        otlp.set(None);
        say("closed");
        otlp.set(Some((waiting.clone(), LevelFilter::WARN)));
        say("less is wanted");
        otlp.set(Some((waiting.clone(), LevelFilter::INFO)));
        say("open again");
    });
    assert_eq!(bodies(&waiting.logs.take()), ["open", "open again"]);
}

#[test]
fn what_the_exporter_writes_does_not_come_back_to_it() {
    let (otlp, waiting) = opened(LevelFilter::TRACE, 1.0);
    std::thread::scope(|scope| {
        let exporter = scope.spawn(|| {
            layer::this_thread_exports();
            heard(&otlp, || tracing::warn!("the collector is away"));
        });
        exporter.join().unwrap();
    });
    assert!(waiting.logs.take().is_empty());
}

#[tokio::test]
async fn a_task_hangs_where_its_message_says() {
    let (otlp, waiting) = opened(LevelFilter::INFO, 1.0);
    let task = |id: &'static str,
                root: &'static str,
                parent: Option<&'static str>,
                sent: Option<&'static str>,
                retries: u32| {
        let state = tracing::field::Empty;
        tracing::info_span!(
            "task",
            name = "t",
            id,
            root_id = root,
            parent_id = parent,
            retries,
            traceparent = sent,
            state
        )
    };
    let (first, second) = (
        "6f1d2c86-53a4-4b0e-9d57-c1e80a7b94f3",
        "7f1d2c86-53a4-4b0e-9d57-c1e80a7b94f3",
    );
    let sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let unwanted = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let subscriber = tracing_subscriber::registry().with(otlp.layer(None));
    let _here = tracing::subscriber::set_default(subscriber);
    async {
        tracing::info!("inside");
        tracing::Span::current().record("state", "FAILURE");
    }
    .instrument(task(first, first, None, None, 0))
    .await;
    drop(task(second, first, Some(first), None, 0));
    drop(task(first, first, None, None, 1));
    drop(task(second, second, None, Some(sent), 0));
    drop(task(second, second, None, Some(unwanted), 0));
    drop(task(second, second, None, Some("nonsense"), 0));

    let spans = waiting.spans.take();
    let own = |id: &str| SpanId::of_task(id).bytes().to_vec();
    let trace = |id: &str| TraceId::of_task(id).bytes().to_vec();
    assert_eq!(spans.len(), 5, "one was not wanted by who sent it");
    assert_eq!((&spans[0].trace_id, &spans[0].span_id), (&trace(first), &own(first)));
    assert!(spans[0].parent_span_id.is_empty());
    assert_eq!(spans[0].status.as_ref().unwrap().code, 2);
    assert_eq!(
        (&spans[1].trace_id, &spans[1].parent_span_id),
        (&trace(first), &own(first))
    );
    assert_ne!(spans[2].span_id, spans[0].span_id, "a retry is a span of its own");
    assert_eq!(spans[2].parent_span_id, own(first));
    assert_eq!(
        spans[3].parent_span_id,
        [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]
    );
    assert_eq!(spans[3].trace_id[..2], [0x0a, 0xf7]);
    assert_eq!((&spans[4].trace_id, spans[4].parent_span_id.len()), (&trace(second), 0));
    let inside = waiting.logs.take();
    assert_eq!(inside[0].record.span_id, own(first));
    assert!(!format!("{spans:?}").contains("traceparent"));
}

#[test]
fn without_a_rate_there_are_no_spans() {
    let (otlp, waiting) = opened(LevelFilter::INFO, 0.0);
    heard(&otlp, || drop(tracing::info_span!("task", id = "1")));
    assert!(!Tracer::is_open(&otlp) && waiting.spans.take().is_empty());
}

#[test]
fn neither_a_secret_nor_the_words_of_a_tasks_exception_are_sent() {
    use super::scrub::Scrub;
    use crate::secrets::Secrets;
    let (otlp, waiting) = opened(LevelFilter::INFO, 1.0);
    heard(&otlp, || {
        tracing::warn!(error = "no way to amqp://u:hunter22@h/v", "said no to NRAK-0123456789");
        tracing::info!(password = "a b", host = "h", "of a secret's name");
        tracing::error!(
            task = "sms.send",
            error = "ValueError('+49 151 4111')",
            exception = "ValueError",
            "task failed"
        );
        let why = "KeyError: '+49 151 4111'";
        tracing::error!(job = "purge", id = "1", %why, reason = ?why, "a job has failed");
        drop(tracing::info_span!("task", id = "1", name = "NRAK-0123456789"));
    });
    let secrets = Secrets::new(&["NRAK-0123456789".to_owned().into()]);
    let (mut lines, mut spans) = (waiting.logs.take(), waiting.spans.take());
    lines.iter_mut().for_each(|line| line.scrub(&secrets));
    spans.iter_mut().for_each(|span| span.scrub(&secrets));
    assert_eq!(
        bodies(&lines),
        [
            "said no to [secret]",
            "of a secret's name",
            "task failed",
            "a job has failed"
        ]
    );
    let all = format!(
        "{:?} {spans:?}",
        lines.iter().map(|line| &line.record).collect::<Vec<_>>()
    );
    for hidden in ["hunter22", "NRAK", "a b", "4111"] {
        assert!(!all.contains(hidden), "{hidden} in {all}");
    }
    for shown in ["amqp://h/v", "ValueError", "sms.send", "purge", "\"h\""] {
        assert!(all.contains(shown), "no {shown} in {all}");
    }
}

/// Something whose text is made by code that writes to the log.
struct Talks;

impl std::fmt::Debug for Talks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        tracing::info!("while it is shown");
        f.write_str("FAILURE")
    }
}

#[test]
fn what_writes_to_the_log_while_it_is_recorded_holds_up_nobody() {
    let (otlp, waiting) = opened(LevelFilter::INFO, 1.0);
    let (done, is_done) = std::sync::mpsc::channel();
    // A thread that may hang for ever.
    std::thread::spawn(move || {
        heard(&otlp, || {
            let span = tracing::info_span!("task", id = "1", state = tracing::field::Empty);
            span.in_scope(|| span.record("state", tracing::field::debug(Talks)));
        });
        done.send(())
    });
    is_done.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    assert_eq!(waiting.spans.take()[0].status.as_ref().unwrap().code, 2);
    let lines = waiting.logs.take();
    assert_eq!(bodies(&lines), ["while it is shown"]);
    assert_eq!(lines[0].record.span_id, SpanId::of_task("1").bytes());
}

#[test]
fn no_part_of_a_secret_is_left_where_the_layer_cuts() {
    use super::scrub::Scrub;
    use super::wire::{MAX_LINE, MAX_TEXT};
    use crate::secrets::Secrets;
    const SECRET: &str = "0123-hunter22";
    let secrets = Secrets::new(&[SECRET.to_owned().into()]);
    let (otlp, waiting) = opened(LevelFilter::INFO, 1.0);
    let offsets = 0..=SECRET.len() + 2;
    heard(&otlp, || {
        for offset in offsets.clone() {
            let text = |most: usize| format!("{}{SECRET} and more", ".".repeat(most - offset));
            tracing::info!(of = text(MAX_TEXT), shown = ?format_args!("{}", text(MAX_TEXT)), "{}", text(MAX_LINE));
        }
    });
    let mut lines = waiting.logs.take();
    assert_eq!(lines.len(), offsets.count());
    for line in &mut lines {
        line.scrub(&secrets);
        let attributes = line.record.attributes.iter();
        let texts: Vec<_> = attributes
            .filter_map(|attribute| attribute.value.as_ref())
            .chain(&line.record.body)
            .map(|value| match &value.value {
                Some(Value::StringValue(text)) => text,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(texts.len(), 3);
        for text in texts {
            assert!(text.len() > MAX_TEXT - 20 && !text.contains("0123"), "{text}");
        }
    }
}
