//! Sentry from both ends: what is traced, and what comes out at a stand-in.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime};

use headcount_actors::meters::sentry::NotSent;
use headcount_core::glob::Glob;
use headcount_core::span::Span;
use headcount_core::time::Mono;
use headcount_testkit::{Mood, SentryStandIn, wait_until};
use reqwest::StatusCode;
use secrecy::SecretString;
use sentry::{Hub, Scope};
use serde_json::Value;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use super::again::MAX_TRIES;
use super::config::Config;
use super::courier::TRACES;
use super::line::Sentry;
use super::repeats::{Books, Due, MAX_ERRORS, Order};
use super::report::{Class, Report};
use super::rest::Pace;
use super::way::Way;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn config(stand_in: &SentryStandIn) -> Config {
    config_of(&stand_in.dsn())
}

fn config_of(dsn: &str) -> Config {
    Config {
        dsn: dsn.parse().unwrap(),
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

/// Waits until so many were left at the end. A courier whose thread had no turn in time counts them later: who closes it does
/// not wait for ever.
fn until_stopped(sentry: &Sentry, count: u64) {
    wait_until("the end of the courier", PATIENCE, || {
        let stopped = sentry.meters().count_dropped(NotSent::Stopped);
        assert!(stopped <= count, "{stopped}");
        (stopped == count).then_some(())
    });
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

fn due(report: Report, times: u64) -> Due {
    Due {
        report,
        times,
        at: SystemTime::UNIX_EPOCH,
    }
}

/// All that is to be sent now, by its message.
fn fetch_all(books: &mut Books, order: Order) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    while let Some(due) = books.fetch(order) {
        all.push((due.report.message, due.times));
    }
    all
}

#[test]
fn the_same_error_is_sent_once_in_a_window_and_then_how_often_it_was() {
    let at = |seconds: u64| Mono::from_micros(seconds * 1_000_000);
    let mut books = Books::new(Duration::from_secs(600));
    let fault = |rows: u64| Report::new("headcount_edge::store", format!("cannot write {rows} rows: no idea"));
    let said = |rows: u64, times| vec![(fault(rows).message, times)];
    let fetch = |books: &mut Books, now| {
        books.turn(now);
        fetch_all(books, Order::Oldest)
    };
    assert!(books.note(at(0), due(fault(17), 1)));
    // What is the same of it each time: neither its numbers nor the reason.
    for second in 0..9_999 {
        assert!(!books.note(at(second * 599 / 9_999), due(fault(second), 1)));
    }
    // The first is sent as it was, however late it is fetched.
    assert_eq!(fetch(&mut books, at(599)), said(17, 1));
    // With what is told of the last of them.
    assert_eq!(fetch(&mut books, at(600)), said(9_998, 9_999));
    // Another window has begun with it.
    assert!(!books.note(at(700), due(fault(1), 3)));
    assert_eq!(fetch(&mut books, at(1_199)), []);
    assert_eq!(fetch(&mut books, at(1_200)), said(1, 3));
    // Nothing since: it is forgotten, and new when it comes again.
    assert_eq!(fetch(&mut books, at(1_800)), []);
    assert!(books.note(at(1_801), due(fault(2), 1)));
    assert_eq!(fetch(&mut books, at(1_801)), said(2, 1));
    // Nobody has looked since its window was over, or fetched it.
    assert!(!books.note(at(1_802), due(fault(3), 5)));
    assert!(books.note(at(9_000), due(fault(4), 1)));
    assert!(!books.note(at(9_001), due(fault(5), 2)));
    books.turn(at(9_600));
    assert_eq!(books.waiting(), 1);
    assert_eq!(fetch(&mut books, at(9_600)), said(5, 8));
    // What nobody will fetch any more is still there.
    assert!(!books.note(at(9_601), due(fault(6), 2)));
    books.close();
    assert_eq!(fetch_all(&mut books, Order::MostFrequent), said(6, 2));
}

#[test]
fn errors_are_told_apart_by_who_says_it_and_for_whom_and_so_many_at_a_time() {
    let now = Mono::default();
    let mut books = Books::new(Duration::from_secs(600));
    for fleet in 0..3 * MAX_ERRORS as u64 {
        let mut report = Report::new("headcount_actors::x", "the same");
        report.tag("fleet", &format!("fleet-{fleet}"));
        books.note(now, due(report, 1 + fleet % 2));
    }
    assert_eq!(books.waiting(), MAX_ERRORS as u64 + 1);
    books.close();
    let all = fetch_all(&mut books, Order::MostFrequent);
    assert_eq!(all.len(), MAX_ERRORS + 1);
    assert_eq!(
        all.iter().map(|(_, times)| times).sum::<u64>(),
        3 * MAX_ERRORS as u64 * 3 / 2
    );
    assert!(all.is_sorted_by(|(_, a), (_, b)| a >= b));
    assert!(all[0].0.contains("more kinds of errors"), "{:?}", all[0]);
}

#[test]
fn a_storm_of_one_class_leaves_the_others_their_room() {
    let now = Mono::default();
    let mut books = Books::new(Duration::from_secs(600));
    let mut storm = |class: Class, kinds: usize| {
        for kind in 0..kinds {
            let mut report = Report::new("headcount_actors::x", "the same");
            report.class = class;
            report.tag("task", &format!("task-{kind}"));
            books.note(now, due(report, 1_000));
        }
    };
    storm(Class::Watched, 2 * MAX_ERRORS);
    storm(Class::Own, 2 * MAX_ERRORS);
    assert!(books.note(now, due(Report::fatal("no idea"), 1)));
    assert!(books.note(now, due(Report::panic("a.rs:1", "no idea", || None), 1)));
    for order in [Order::MostFrequent, Order::Oldest] {
        let next = books.fetch(order).unwrap();
        assert_eq!(next.report.class, Class::Grave);
    }
    assert_eq!(books.fetch(Order::Oldest).unwrap().report.class, Class::Own);
}

#[tokio::test]
async fn ten_thousand_repeats_are_two_events_and_what_is_no_error_is_none() {
    let stand_in = SentryStandIn::start();
    let sentry = Sentry::new();
    let act = |numbers: std::ops::Range<u64>| {
        for number in numbers {
            tracing::warn!(
                broker = "main",
                attempt = number,
                error = "of no use",
                "trying again: {number}"
            );
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
    seen(&sentry, || act(0..100));
    sentry.open(Some(config(&stand_in)), &[], PATIENCE).await.unwrap();
    seen(&sentry, || act(0..1));
    stand_in.wait("the first", PATIENCE, |_| true);
    seen(&sentry, || act(1..10_000));
    sentry.close(PATIENCE).await;
    seen(&sentry, || act(0..100));
    let items = stand_in.items();
    assert_eq!(
        messages(&items),
        [("cannot write 0 rows", 1), ("cannot write 9999 rows", 9_999)]
    );
    assert_eq!(items[1]["extra"]["rows"], 9_999, "of the last of them");
    let event = &items[0];
    assert_eq!(event["release"], "headcount@1.2.3");
    assert_eq!(event["environment"], "test");
    assert_eq!(event["server_name"], "here");
    assert_eq!(event["tags"], serde_json::json!({"broker": "main", "fleet": "sms"}));
    assert_eq!(event["extra"]["rows"], 0);
    assert_eq!(event["logger"], module_path!());
    assert!(event.get("user").is_none() && event.get("request").is_none(), "{event}");
    let crumbs = event["breadcrumbs"]["values"].as_array().unwrap();
    assert_eq!((crumbs.len(), &crumbs[0]["message"]), (1, &"trying again: 0".into()));
    assert_eq!(crumbs[0]["data"], serde_json::json!({"broker": "main", "attempt": 0}));
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
            failures("", "NotRegistered", 1),
            failures("sms.purge", "", 1),
        ],
    );
    stand_in.wait("the first", PATIENCE, |event| {
        event["message"] == "sms.send failed: ValueError"
    });
    book.failed("main", vec![failures("sms.send", "ValueError", 4)]);
    sentry.close(PATIENCE).await;
    let items = stand_in.items();
    assert_eq!(
        messages(&items).into_iter().collect::<std::collections::BTreeSet<_>>(),
        [
            ("sms.send failed: ValueError", 3),
            ("sms.send failed: KeyError", 1),
            ("a task whose name was not heard failed: NotRegistered", 1),
            ("sms.purge failed", 1),
            ("sms.send failed: ValueError", 4),
        ]
        .into()
    );
    let fingerprints: std::collections::BTreeSet<String> =
        items.iter().map(|item| item["fingerprint"].to_string()).collect();
    assert_eq!(fingerprints.len(), 4, "{fingerprints:?}");
}

#[tokio::test]
async fn a_sentry_that_does_not_answer_holds_up_nobody_and_one_that_is_busy_is_left_alone() {
    const FLEETS: usize = 300;
    let stand_in = SentryStandIn::start();
    stand_in.set_mood(Mood::Hang);
    let sentry = opened(config(&stand_in), &[]).await;
    let storm = |of: &str| {
        seen(&sentry, || {
            for fleet in 0..FLEETS {
                tracing::error!(fleet = format!("{of}{fleet}"), "a fault");
            }
        });
    };
    storm("a");
    sentry.close(Duration::from_millis(100)).await;
    assert!(stand_in.requests() <= 1);
    until_stopped(&sentry, FLEETS as u64);

    let busy = SentryStandIn::start();
    busy.set_mood(Mood::TooMany(3_600));
    sentry.open(Some(config(&busy)), &[], PATIENCE).await.unwrap();
    storm("b");
    sentry.close(PATIENCE).await;
    assert_eq!(busy.requests(), 1, "it was told to wait for an hour");
    until_stopped(&sentry, 2 * FLEETS as u64);
    assert_eq!(sentry.meters().count_sent(), 0);
}

#[tokio::test]
async fn what_sentry_refuses_is_counted_and_what_it_has_trouble_with_is_sent_again() {
    for (mood, refused, messages_sent) in [
        (Mood::Refuse(401), 1, vec![("another", 1)]),
        (Mood::Refuse(413), 1, vec![("another", 1)]),
        (Mood::Refuse(503), 0, vec![("another", 1), ("one", 1)]),
        (Mood::TooMany(1), 0, vec![("another", 1), ("one", 1)]),
    ] {
        let stand_in = SentryStandIn::start();
        stand_in.set_mood(mood);
        let sentry = opened(config(&stand_in), &[]).await;
        sentry.tell(Report::new("headcount", "one"), 1);
        stand_in.wait_request(PATIENCE);
        stand_in.set_mood(Mood::Accept);
        sentry.tell(Report::new("headcount", "another"), 1);
        stand_in.wait("the other", PATIENCE, |event| event["message"] == "another");
        sentry.close(PATIENCE).await;
        // In what order they come is the next test's: here a stall may have the first meet with the same trouble once more.
        let items = stand_in.items();
        let mut came = messages(&items);
        came.sort_unstable();
        assert_eq!(came, messages_sent, "{mood:?}");
        let meters = sentry.meters();
        assert_eq!(meters.count_dropped(NotSent::Refused), refused, "{mood:?}");
        assert_eq!(meters.count_sent(), messages_sent.len() as u64, "{mood:?}");
        let all: u64 = NotSent::ALL.iter().map(|reason| meters.count_dropped(*reason)).sum();
        assert_eq!(all, refused, "{mood:?}");
    }
}

/// A server that answers each request with what it is told to, or ends the connection where that is nothing.
struct Rude {
    dsn: String,
    /// The bodies of the requests as they come.
    came: mpsc::Receiver<String>,
}

impl Rude {
    fn start(mut answer: impl FnMut(&str) -> Option<&'static str> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dsn = format!("http://key@{}/7", listener.local_addr().unwrap());
        let (tell, came) = mpsc::channel();
        // It ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let body = body(&stream);
                if let Some(answer) = answer(&body) {
                    let head = "connection: close\r\ncontent-length: 0\r\n\r\n";
                    let _ = write!(stream, "HTTP/1.1 {answer}\r\n{head}");
                }
                drop(stream);
                let _ = tell.send(body);
            }
        });
        Self { dsn, came }
    }

    /// The next request.
    fn next(&self) -> String {
        self.came.recv_timeout(PATIENCE).expect("a request")
    }
}

fn body(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.to_ascii_lowercase().split_once("content-length: ") {
            Some((_, said)) => length = said.trim().parse().unwrap(),
            None if line.trim().is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

/// It rests for next to nothing.
async fn brisk(rude: &Rude) -> Sentry {
    let moment = Duration::from_millis(1);
    paced(rude, moment).await
}

async fn paced(rude: &Rude, rest: Duration) -> Sentry {
    let sentry = Sentry::with_pace(Pace {
        look_every: Duration::from_millis(1),
        first_rest: rest,
        longest_rest: rest,
    });
    sentry.open(Some(config_of(&rude.dsn)), &[], PATIENCE).await.unwrap();
    sentry
}

#[tokio::test]
async fn what_met_with_trouble_lets_the_other_go_first_and_what_came_too_soon_does_not() {
    for (answer, order) in [
        ("503 Service Unavailable", ["one", "another", "one"]),
        ("429 Too Many Requests\r\nretry-after: 1", ["one", "one", "another"]),
    ] {
        let (tell, told) = mpsc::channel();
        let mut first = true;
        let rude = Rude::start(move |_| {
            if !std::mem::take(&mut first) {
                return Some("200 OK");
            }
            // Not before the other waits too, however late that is told.
            told.recv_timeout(PATIENCE).unwrap();
            Some(answer)
        });
        let sentry = brisk(&rude).await;
        sentry.tell(Report::new("headcount", "one"), 1);
        sentry.tell(Report::new("headcount", "another"), 1);
        tell.send(()).unwrap();
        for message in order {
            let body = rude.next();
            assert!(body.contains(&format!("\"{message}\"")), "{message}: {body}");
        }
        sentry.close(PATIENCE).await;
        assert_eq!(sentry.meters().count_sent(), 2, "{answer}");
    }
}

#[tokio::test]
async fn a_sentry_that_is_not_there_loses_nothing_however_long() {
    let away = 3 * MAX_TRIES;
    for status in ["502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"] {
        let mut left = away;
        let rude = Rude::start(move |_| {
            let is_back = left == 0;
            left = left.saturating_sub(1);
            Some(if is_back { "200 OK" } else { status })
        });
        let sentry = brisk(&rude).await;
        sentry.tell(Report::new("headcount", "one"), 1);
        for _ in 0..=away {
            assert!(rude.next().contains("\"one\""));
        }
        sentry.close(PATIENCE).await;
        let meters = sentry.meters();
        assert_eq!(meters.count_sent(), 1, "{status}");
        let lost: u64 = NotSent::ALL.iter().map(|reason| meters.count_dropped(*reason)).sum();
        assert_eq!(lost, 0, "{status}");
    }
}

#[tokio::test]
async fn an_event_that_is_never_answered_lets_the_others_go_first_and_is_given_up() {
    for answer in [None, Some("500 Internal Server Error")] {
        let rude = Rude::start(move |body| {
            if body.contains("poison") {
                answer
            } else {
                Some("200 OK")
            }
        });
        let sentry = brisk(&rude).await;
        sentry.tell(Report::new("headcount", "poison"), 1);
        assert!(rude.next().contains("poison"));
        let mut tries = 1;
        for message in ["one", "two"] {
            sentry.tell(Report::new("headcount", message), 1);
            while rude.next().contains("poison") {
                tries += 1;
                assert!(tries <= MAX_TRIES, "{message} waits");
            }
        }
        while tries < MAX_TRIES {
            assert!(rude.next().contains("poison"));
            tries += 1;
        }
        // What is on its way is waited for.
        sentry.close(PATIENCE).await;
        let meters = sentry.meters();
        assert_eq!((meters.count_sent(), meters.count_dropped(NotSent::Failed)), (2, 1));
        assert_eq!(meters.count_dropped(NotSent::Stopped), 0);
        assert_eq!(rude.came.try_iter().count(), 0);
    }
}

#[tokio::test]
async fn a_sentry_that_asks_to_be_left_alone_for_no_time_is_left_alone_all_the_same() {
    let at_once = "429 Too Many Requests\r\nretry-after: 0";
    let with_else = "429 Too Many Requests\r\nx-sentry-rate-limits: 60:attachment:key";
    for answer in [at_once, with_else] {
        let rude = Rude::start(move |_| Some(answer));
        let sentry = paced(&rude, PATIENCE).await;
        sentry.tell(Report::new("headcount", "one"), 1);
        rude.next();
        sentry.close(Duration::from_millis(100)).await;
        // Once more, because it was closed.
        assert!(rude.came.try_iter().count() <= 1, "{answer}");
        until_stopped(&sentry, 1);

        let mut left = 2 * MAX_TRIES;
        let rude = Rude::start(move |_| {
            left = left.saturating_sub(1);
            Some(if left == 0 { "200 OK" } else { answer })
        });
        let sentry = brisk(&rude).await;
        sentry.tell(Report::new("headcount", "one"), 1);
        for _ in 0..2 * MAX_TRIES {
            rude.next();
        }
        sentry.close(PATIENCE).await;
        assert_eq!(sentry.meters().count_sent(), 1, "{answer}");
    }
}

#[tokio::test]
async fn when_it_is_closed_the_gravest_and_the_most_frequent_are_sent_first() {
    let stand_in = SentryStandIn::start();
    stand_in.set_mood(Mood::TooMany(1));
    let sentry = opened(config(&stand_in), &[]).await;
    // Sentry asks to be left alone for a second, in which the rest happens.
    sentry.tell(Report::new("headcount", "first"), 1);
    stand_in.wait_request(PATIENCE);
    for fault in 0..40 {
        sentry.tell(
            Report::new("headcount", format!("fault {}", "x".repeat(fault))),
            fault as u64 + 1,
        );
    }
    sentry.fatal("no idea");
    stand_in.set_mood(Mood::Accept);
    stand_in.wait("anything", PATIENCE, |_| true);
    sentry.close(PATIENCE).await;
    let items = stand_in.items();
    let (place, _) = items
        .iter()
        .enumerate()
        .find(|(_, item)| item["level"] == "fatal")
        .unwrap();
    // It is fetched right after what had been begun, yet eight are sent at once where it was closed before: whichever of those
    // comes first.
    assert!(place <= 8, "after what had been begun: {place}");
    assert_eq!(items.len(), 42);
    assert_eq!(sentry.meters().count_sent(), 42);
}

/// What a layer is told, as level and message.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(tracing::Level, String)>>>);

impl<S: tracing::Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        self.0.lock().unwrap().push((*event.metadata().level(), message.0));
    }
}

#[derive(Default)]
struct Message(String);

impl tracing::field::Visit for Message {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[tokio::test]
async fn the_log_says_once_that_sentry_fails_and_once_that_it_works_and_sentry_hears_of_neither() {
    let stand_in = SentryStandIn::start();
    let sentry = opened(config(&stand_in), &[]).await;
    let log = Log::default();
    let subscriber = tracing_subscriber::registry().with(log.clone()).with(sentry.layer());
    tracing::subscriber::with_default(subscriber, || {
        let mut way = Way::new("sentry.example.org".to_owned());
        let refused = |way: &mut Way, status: u16| way.refused(StatusCode::from_u16(status).unwrap());
        way.taken();
        for _ in 0..100 {
            way.away("cannot connect: refused");
        }
        for _ in 0..100 {
            refused(&mut way, 403);
        }
        way.taken();
        way.taken();
        for _ in 0..100 {
            way.failed(StatusCode::BAD_GATEWAY);
        }
        way.taken();
        refused(&mut way, 413);
        way.closed(0);
        way.closed(3);
        // So that there is something to look at.
        tracing::error!("the end");
    });
    sentry.close(PATIENCE).await;
    let said = log.0.lock().unwrap().clone();
    let expected = [
        (tracing::Level::WARN, "Sentry cannot be reached: "),
        (tracing::Level::WARN, "Sentry does not accept the key: "),
        (tracing::Level::INFO, "Sentry takes what"),
        (tracing::Level::WARN, "Sentry has trouble of its own: "),
        (tracing::Level::INFO, "Sentry takes what"),
        (tracing::Level::WARN, "an error was too large for Sentry"),
        (tracing::Level::WARN, "not everything could be told to Sentry"),
        (tracing::Level::ERROR, "the end"),
    ];
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for ((level, message), (wanted, begins)) in said.iter().zip(expected) {
        assert!(*level == wanted && message.starts_with(begins), "{level} {message}");
    }
    let items = stand_in.items();
    assert_eq!(messages(&items), [("the end", 1)]);
    assert!(items[0].get("breadcrumbs").is_none(), "{}", items[0]);
}

#[tokio::test]
async fn what_finds_no_room_is_counted() {
    use headcount_actors::ports::TaskFailures;
    let stand_in = SentryStandIn::start();
    stand_in.set_mood(Mood::Hang);
    let config = config(&stand_in);
    let sentry = opened(config.clone(), &[]).await;
    sentry.tell(Report::new("headcount", "one"), 1);
    stand_in.wait_request(PATIENCE);
    // Traces wait behind it; failures are in the books at once, and are only counted.
    for _ in 0..3 * TRACES {
        sentry.client().send_envelope(sentry::Envelope::new());
    }
    assert_eq!(sentry.meters().count_dropped(NotSent::Queue), 2 * TRACES as u64);
    let book = sentry.failures(Some(&config)).unwrap();
    for count in 1..=10 {
        book.failed(
            "main",
            vec![TaskFailures {
                fleet: "sms".into(),
                task: "sms.send".into(),
                exception: "ValueError".into(),
                count,
            }],
        );
    }
    sentry.close(Duration::from_millis(100)).await;
    assert_eq!(sentry.meters().count_dropped(NotSent::Queue), 2 * TRACES as u64);
}
