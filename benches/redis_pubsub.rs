//! Why there is a reader of our own for what Redis pushes: `cargo bench --bench redis_pubsub`.
//!
//! The same load is heard once by our listening session, once by the redis crate's subscriber, each in a process of its own
//! that looks at no message and only counts.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]

// Only the part for Redis is used of the generator.
#[allow(dead_code)]
#[path = "event_lane/amqp.rs"]
mod amqp;
#[allow(dead_code)]
#[path = "event_lane/generator.rs"]
mod generator;
#[path = "event_lane/heartbeat.rs"]
mod heartbeat;
#[path = "event_lane/tasks.rs"]
mod tasks;
#[allow(dead_code)]
#[path = "event_lane/usage.rs"]
mod usage;
#[allow(dead_code)]
#[path = "event_lane/wire.rs"]
mod wire;

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use generator::{Done, Events, Order, Until};
use headcount_actors::ports::Lane;
use headcount_core::celery::RawMessage;
use headcount_edge::brokers::{Config, open};
use headcount_testkit::Redis;

/// Events a second: what both carry, and what the event lane promises.
const RATES: [u64; 2] = [40_000, 150_000];
const SECONDS: u64 = 5;

/// When none has come for so long, none will.
const QUIET: Duration = Duration::from_secs(1);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["generate", ..] => println!("{}", generator::generate(&Order::parse(&arguments[1..]))),
        [reader @ ("ours" | "crate"), url] => hear(reader, url),
        _ if words.contains(&"--bench") => compare(),
        _ => println!("nothing measured: cargo bench --bench redis_pubsub"),
    }
}

fn compare() {
    let redis = Redis::start();
    println!("| reader | sent /s | sent | heard | µs of processor a message |\n|---|---|---|---|---|");
    for rate in RATES.into_iter().flat_map(|rate| [rate; 3]) {
        for (reader, name) in [("ours", "our session"), ("crate", "the redis crate's `PubSub`")] {
            let listening = again(&[reader.to_owned(), redis.url()]);
            redis_has_a_subscriber(&redis);
            let order = Order {
                url: redis.url(),
                workers: 1_000,
                events: Events::Heartbeats,
                rate,
                until: Until::Seconds(SECONDS),
            };
            let done: Done = said(again(&[vec!["generate".to_owned()], order.arguments()].concat()))
                .parse()
                .unwrap();
            let heard = said(listening);
            let (heard, processor_s) = heard.split_once(' ').unwrap();
            let (heard, processor_s): (u64, f64) = (heard.parse().unwrap(), processor_s.parse().unwrap());
            println!(
                "| {name} | {:.0} | {} | {heard} | {:.2} |",
                done.sent as f64 / done.seconds,
                done.sent,
                processor_s * 1e6 / heard as f64
            );
        }
    }
}

fn again(arguments: &[String]) -> Child {
    let program = std::env::current_exe().unwrap();
    Command::new(program)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn said(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn redis_has_a_subscriber(redis: &Redis) {
    let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    headcount_testkit::wait_until("a subscriber", Duration::from_secs(10), || {
        let patterns: u64 = redis::cmd("PUBSUB").arg("NUMPAT").query(&mut connection).unwrap();
        (patterns > 0).then_some(())
    });
}

/// Hears until it is quiet, and prints how many came and what that cost.
fn hear(reader: &str, url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let (reader, url) = (reader.to_owned(), url.to_owned());
    let hearing = async move {
        if reader == "ours" {
            let broker = open(Config::new("bench", url)).unwrap();
            broker.listen(&mut Counting(counted)).await;
        } else {
            let client = redis::Client::open(url).unwrap();
            let mut events = client.get_async_pubsub().await.unwrap();
            events.psubscribe("/0.celeryev/*").await.unwrap();
            let mut messages = events.into_on_message();
            while let Some(message) = messages.next().await {
                std::hint::black_box(message.get_payload_bytes());
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    runtime.block_on(async move {
        tokio::select! {
            // Redis closes a subscriber that does not keep up.
            () = hearing => {}
            () = quiet(&count) => {}
        }
        println!("{} {}", count.load(Ordering::Relaxed), usage::processor_s("self"));
    });
}

async fn quiet(count: &AtomicU64) {
    let mut before = 0;
    loop {
        tokio::time::sleep(QUIET).await;
        let now = count.load(Ordering::Relaxed);
        if now > 0 && now == before {
            return;
        }
        before = now;
    }
}

struct Counting(Arc<AtomicU64>);

impl Lane for Counting {
    fn opened(&mut self) {}

    fn message(&mut self, message: RawMessage<'_>) {
        std::hint::black_box(&message);
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn batch_end(&mut self) {}

    fn canary(&mut self, _: Duration) {}

    fn blocked(&mut self, _: bool) {}
}
