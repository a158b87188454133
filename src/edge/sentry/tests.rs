//! Sentry from both ends: what is traced, and what comes out at a stand-in.

use std::sync::Arc;
use std::time::Duration;

use headcount_core::glob::Glob;
use headcount_core::span::Span;
use headcount_core::time::Mono;
use headcount_testkit::{Mood, SentryStandIn};
use secrecy::SecretString;
use sentry::{Hub, Scope};
use serde_json::Value;
use tracing_subscriber::layer::SubscriberExt;

use super::config::Config;
use super::line::Sentry;
use super::post::QUEUE;
use super::repeats::{MAX_ERRORS, Repeats};
use super::report::Report;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn config(stand_in: &SentryStandIn) -> Config {
    Config {
        dsn: stand_in.dsn().parse().unwrap(),
        environment: "test".to_owned(),
        release: "headcount@1.2.3".to_owned(),
        server_name: "here".to_owned(),
        traces_sample_rate: 0.0,
        error_window: Span::from_secs(3_600),
        task_failures: vec![Glob::of_any("sms*").unwrap()],
    }
}

async fn opened(config: Config, secrets: &[SecretString]) -> Sentry {
    let sentry = Sentry::new();
    sentry.open(Some(config), secrets, PATIENCE).await.unwrap();
    sentry
}

/// Does something whose traces this one sees.
fn seen<R>(sentry: &Sentry, act: impl FnOnce() -> R) -> R {
    tracing::subscriber::with_default(tracing_subscriber::registry().with(sentry.layer()), act)
}

fn messages(items: &[Value]) -> Vec<(&str, u64)> {
    items
        .iter()
        .map(|item| {
            (
                item["message"].as_str().unwrap_or_default(),
                item["extra"]["times"].as_u64().unwrap_or_default(),
            )
        })
        .collect()
}

#[test]
fn the_same_error_is_sent_once_in_a_window_and_then_how_often_it_was() {
    let at = |seconds: u64| Mono::from_micros(seconds * 1_000_000);
    let mut repeats = Repeats::new(Duration::from_secs(600));
    let fault = || Report::new("headcount_edge::store", "cannot write 17 rows: the disk is full");
    let first = repeats.note(at(0), fault(), 1);
    assert_eq!(first, Some((fault(), 1)));
    for second in 0..9_999 {
        assert_eq!(repeats.note(at(second * 599 / 9_999), fault(), 1), None);
        // What is the same of it each time: neither its numbers nor the reason.
        let other = Report::new("headcount_edge::store", format!("cannot write {second} rows: no idea"));
        assert_eq!(repeats.note(at(1), other, 1), None);
    }
    assert_eq!(repeats.close(at(599)), []);
    assert_eq!(repeats.close(at(600)), [(fault(), 2 * 9_999)]);
    // Another window has begun with it.
    assert_eq!(repeats.note(at(700), fault(), 3), None);
    assert_eq!(repeats.close(at(1_199)), []);
    assert_eq!(repeats.close(at(1_200)), [(fault(), 3)]);
    // Nothing since: it is forgotten, and new when it comes again.
    assert_eq!(repeats.close(at(1_800)), []);
    assert_eq!(repeats.note(at(1_801), fault(), 1), Some((fault(), 1)));
    // Nobody has looked since its window was over.
    assert_eq!(repeats.note(at(1_802), fault(), 5), None);
    assert_eq!(repeats.note(at(9_000), fault(), 1), Some((fault(), 6)));
    assert_eq!(repeats.close_all(), []);
}

#[test]
fn errors_are_told_apart_by_who_says_it_and_for_whom_and_so_many_at_a_time() {
    let now = Mono::default();
    let mut repeats = Repeats::new(Duration::from_secs(600));
    let mut sent = 0;
    for fleet in 0..3 * MAX_ERRORS {
        let mut report = Report::new("headcount_actors::x", "the same");
        report.tag("fleet", &format!("fleet-{fleet}"));
        sent += usize::from(repeats.note(now, report, 1).is_some());
    }
    assert_eq!((sent, repeats.len()), (MAX_ERRORS + 1, MAX_ERRORS + 1));
    let [(others, times)] = &repeats.close_all()[..] else {
        panic!("one place for all the others");
    };
    assert_eq!(*times, 2 * MAX_ERRORS as u64 - 1);
    assert!(others.message.contains("more kinds of errors"));
}

#[tokio::test]
async fn ten_thousand_repeats_are_two_events_and_what_is_no_error_is_none() {
    let stand_in = SentryStandIn::start();
    let sentry = Sentry::new();
    let act = || {
        for number in 0..10_000 {
            tracing::warn!(broker = "main", "trying again: {number}");
            tracing::error!(
                fleet = "sms",
                broker = "main",
                rows = number,
                "cannot write {number} rows"
            );
            tracing::error!(target: "lapin::channel", "a client's own opinion");
            tracing::error!(panic = true, actor = "Debouncer", "actor panicked");
            tracing::debug!("a detail");
        }
    };
    // While it is closed nothing is even kept.
    seen(&sentry, act);
    sentry.open(Some(config(&stand_in)), &[], PATIENCE).await.unwrap();
    seen(&sentry, act);
    sentry.close(PATIENCE).await;
    seen(&sentry, act);
    let items = stand_in.items();
    assert_eq!(
        messages(&items),
        [("cannot write 0 rows", 1), ("cannot write 0 rows", 9_999)]
    );
    let event = &items[0];
    assert_eq!(event["release"], "headcount@1.2.3");
    assert_eq!(event["environment"], "test");
    assert_eq!(event["server_name"], "here");
    assert_eq!(event["tags"], serde_json::json!({"broker": "main", "fleet": "sms"}));
    assert_eq!(event["extra"]["rows"], 0);
    assert_eq!(event["logger"], module_path!());
    assert!(event.get("user").is_none() && event.get("request").is_none(), "{event}");
    let crumbs = event["breadcrumbs"]["values"].as_array().unwrap();
    assert_eq!((crumbs.len(), &crumbs[0]["message"]), (1, &"trying again".into()));
    assert_eq!(crumbs[0]["data"], serde_json::json!({"broker": "main"}));
}

#[tokio::test]
async fn no_secret_and_no_argument_of_a_task_is_in_any_byte() {
    let stand_in = SentryStandIn::start();
    let secrets: Vec<SecretString> = vec![
        "hunter2-of-the-config".to_owned().into(),
        stand_in.key().to_owned().into(),
    ];
    let traced = Config {
        traces_sample_rate: 1.0,
        ..config(&stand_in)
    };
    let sentry = opened(traced, &secrets).await;
    let hub = Arc::new(Hub::new(Some(sentry.client()), Arc::new(Scope::default())));
    Hub::run(hub, || {
        seen(&sentry, || {
            let span = tracing::info_span!(
                "task",
                name = "headcount.ping",
                id = "1-2",
                args = "arg-secret",
                count = 3
            );
            span.in_scope(|| {
                tracing::info!(
                    url = "amqp://bob:pass-secret@h//",
                    "going to amqp://bob:pass-secret@h//"
                )
            });
            drop(span);
            let error = "amqp://bob:pass-secret@mq:5672// says hunter2-of-the-config";
            tracing::error!(broker = "main", error, "cannot reach it");
            tracing::error!(broker = "main", "cannot reach {error}");
            tracing::error!(
                task = "sms.send",
                id = "1-2",
                error = "ValueError('arg-secret')",
                exception = "ValueError",
                "task failed"
            );
            tracing::error!(
                job = "purge",
                why = Some("ValueError: arg-secret"),
                "a job has failed: arg-secret"
            );
            tracing::error!(dsn = stand_in.dsn(), token = "Bearer pass-secret", "all of it");
        });
    });
    sentry.close(PATIENCE).await;
    let items = stand_in.items();
    let all: Vec<String> = stand_in
        .envelopes()
        .iter()
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .collect();
    for secret in ["arg-secret", "pass-secret", "hunter2", stand_in.key(), "bob"] {
        assert!(
            !all.iter().any(|text| text.contains(secret)),
            "{secret} is in\n{all:#?}"
        );
    }
    let (traces, errors): (Vec<Value>, Vec<Value>) = items
        .into_iter()
        .partition(|item| item["type"] == "transaction" || item.get("start_timestamp").is_some());
    assert_eq!(errors.len(), 5, "{errors:#?}");
    let [trace] = &traces[..] else {
        panic!("one trace: {traces:#?}")
    };
    assert_eq!(trace["transaction"], "task");
    assert_eq!(trace["release"], "headcount@1.2.3");
    let data = &trace["contexts"]["trace"]["data"];
    assert_eq!(
        (&data["name"], &data["count"]),
        (&"headcount.ping".into(), &3.into()),
        "{trace:#}"
    );
    let failed = errors.iter().find(|event| event["message"] == "task failed").unwrap();
    assert_eq!(
        failed["tags"],
        serde_json::json!({"exception": "ValueError", "task": "sms.send"})
    );
    assert!(
        errors.iter().any(|event| event["message"] == "a job has failed"),
        "{errors:#?}"
    );
}

#[tokio::test]
async fn failures_of_watched_tasks_are_issues_of_their_name_and_exception() {
    use headcount_actors::ports::TaskFailures;
    let stand_in = SentryStandIn::start();
    let config = config(&stand_in);
    let sentry = opened(config.clone(), &[]).await;
    let book = sentry.failures(Some(&config)).unwrap();
    assert!(book.wants("sms-1") && !book.wants("mail"));
    let failures = |task: &str, exception: &str, count| TaskFailures {
        fleet: "sms".into(),
        task: task.into(),
        exception: exception.into(),
        count,
    };
    book.failed(
        "main",
        vec![
            failures("sms.send", "ValueError", 3),
            failures("sms.send", "KeyError", 1),
        ],
    );
    book.failed("main", vec![failures("sms.send", "ValueError", 4)]);
    sentry.close(PATIENCE).await;
    let items = stand_in.items();
    assert_eq!(
        messages(&items),
        [
            ("sms.send failed: ValueError", 3),
            ("sms.send failed: KeyError", 1),
            ("sms.send failed: ValueError", 4),
        ]
    );
    assert_eq!(items[0]["fingerprint"], items[2]["fingerprint"]);
    assert_ne!(items[0]["fingerprint"], items[1]["fingerprint"]);
}

#[tokio::test]
async fn a_sentry_that_does_not_answer_holds_up_nobody_and_one_that_is_busy_is_left_alone() {
    let stand_in = SentryStandIn::start();
    stand_in.set_mood(Mood::Hang);
    let sentry = opened(config(&stand_in), &[]).await;
    let storm = |of: &str| {
        seen(&sentry, || {
            for fleet in 0..3 * QUEUE {
                tracing::error!(fleet = format!("{of}{fleet}"), "a fault");
            }
        });
    };
    // More than its queue takes: whoever waited for room would wait for ever.
    storm("a");
    sentry.close(Duration::from_millis(100)).await;
    assert!(stand_in.requests() <= 1);

    let busy = SentryStandIn::start();
    busy.set_mood(Mood::TooMany(3_600));
    sentry.open(Some(config(&busy)), &[], PATIENCE).await.unwrap();
    storm("b");
    sentry.close(PATIENCE).await;
    assert_eq!(busy.requests(), 1, "it was told to wait for an hour");
}
