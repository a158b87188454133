//! How many events one listening session drains: a generator floods a real broker with the heartbeats of many workers,
//! a session hears and decodes them, and every loss shows in the workers' clocks.
//!
//! ```text
//! cargo run --release -p headcount-edge --example lane_load -- drain redis|rabbitmq|URL [--workers N] [--seconds S] [--rate R]
//! ```
//!
//! The generator is a process of its own, so that its memory and processor time are not counted as the session's.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headcount_actors::ports::Lane;
use headcount_core::celery::{Decoder, Event, RawMessage};
use headcount_edge::brokers::{Config, open};
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ConnectionProperties};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Commands that are sent to Redis before their answers are read.
const PIPELINE: u64 = 500;

/// Publishing connections: one channel of RabbitMQ's does not take 50 k messages a second.
const PUBLISHERS: u64 = 2;

#[derive(Clone)]
struct Load {
    url: String,
    workers: u64,
    seconds: u64,
    /// Events a second; 0 is as fast as it goes.
    rate: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, usual: u64| {
        let place = arguments.iter().position(|argument| argument == name);
        place
            .and_then(|place| arguments.get(place + 1))
            .map_or(usual, |value| value.parse().expect(name))
    };
    let (Some(what), Some(url)) = (arguments.first(), arguments.get(1)) else {
        eprintln!("lane_load drain redis|rabbitmq|URL [--workers N] [--seconds S] [--rate R]");
        std::process::exit(2);
    };
    let load = Load {
        url: url.clone(),
        workers: number("--workers", 1000),
        seconds: number("--seconds", 10),
        rate: number("--rate", 0),
    };
    // One thread for the session, as in the daemon, where actors live on one arbiter.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    match what.as_str() {
        "drain" => drain_at(load, &runtime),
        "generate" => runtime.block_on(generate(load)),
        other => panic!("what is {other}?"),
    }
}

fn drain_at(mut load: Load, runtime: &tokio::runtime::Runtime) {
    match load.url.as_str() {
        "redis" => {
            let redis = headcount_testkit::Redis::start();
            load.url = redis.url();
            runtime.block_on(drain(load));
        }
        "rabbitmq" => {
            let rabbit = headcount_testkit::RabbitMq::start();
            load.url = rabbit.url();
            runtime.block_on(drain(load));
        }
        _ => runtime.block_on(drain(load)),
    }
}

/// What the session has heard, for the eyes of the reporting task.
#[derive(Default)]
struct Counters {
    events: AtomicU64,
    malformed: AtomicU64,
    lost: AtomicU64,
    batches: AtomicU64,
    largest_batch: AtomicU64,
    worst_canary_us: AtomicU64,
    opened: AtomicU64,
}

struct Counting {
    decoder: Decoder,
    clocks: HashMap<String, u64>,
    in_batch: u64,
    counters: Arc<Counters>,
}

impl Lane for Counting {
    fn opened(&mut self) {
        self.counters.opened.store(1, Ordering::Relaxed);
    }

    fn message(&mut self, message: RawMessage<'_>) {
        self.in_batch += 1;
        let (clocks, counters) = (&mut self.clocks, &self.counters);
        let decoded = self.decoder.decode(message, |event| {
            let Event::Worker(worker) = event else { return };
            let clock = worker.clock.unwrap_or(0);
            match clocks.get_mut(worker.hostname) {
                Some(last) => {
                    counters
                        .lost
                        .fetch_add(clock.saturating_sub(*last + 1), Ordering::Relaxed);
                    *last = clock;
                }
                None => {
                    counters.lost.fetch_add(clock.saturating_sub(1), Ordering::Relaxed);
                    clocks.insert(worker.hostname.to_owned(), clock);
                }
            }
        });
        counters.events.fetch_add(decoded.events as u64, Ordering::Relaxed);
        counters
            .malformed
            .fetch_add(decoded.malformed as u64, Ordering::Relaxed);
    }

    fn batch_end(&mut self) {
        self.counters.batches.fetch_add(1, Ordering::Relaxed);
        self.counters.largest_batch.fetch_max(self.in_batch, Ordering::Relaxed);
        self.in_batch = 0;
    }

    fn canary(&mut self, round_trip: Duration) {
        self.counters
            .worst_canary_us
            .fetch_max(round_trip.as_micros() as u64, Ordering::Relaxed);
    }

    fn blocked(&mut self, _blocked: bool) {}
}

async fn drain(load: Load) {
    let counters = Arc::new(Counters::default());
    let mut lane = Counting {
        decoder: Decoder::new(),
        clocks: HashMap::new(),
        in_batch: 0,
        counters: Arc::clone(&counters),
    };
    let broker = open(Config::new("load", load.url.clone())).unwrap();
    let session = tokio::spawn(async move { broker.listen(&mut lane).await });
    while counters.opened.load(Ordering::Relaxed) == 0 {
        assert!(!session.is_finished(), "{:?}", session.await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let before = Usage::now();
    println!("listening at {}; memory {} KiB", load.url, before.memory_kib);
    let [workers, seconds, rate] = [load.workers, load.seconds, load.rate].map(|number| number.to_string());
    let mut generator = Command::new(std::env::current_exe().unwrap())
        .args([
            "generate",
            &load.url,
            "--workers",
            &workers,
            "--seconds",
            &seconds,
            "--rate",
            &rate,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let (mut last, mut still) = (0, 0);
    // Until it is quiet for a second after the generator's end.
    while still < 2 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let events = counters.events.load(Ordering::Relaxed);
        still = if events == last && generator.try_wait().unwrap().is_some() {
            still + 1
        } else {
            0
        };
        if events != last {
            println!(
                "{:>5.1} s {:>9} events {:>8} /s, lost {}, memory {} KiB, canary at worst {:.1} ms",
                began.elapsed().as_secs_f64(),
                events,
                (events - last) * 2,
                counters.lost.load(Ordering::Relaxed),
                Usage::now().memory_kib,
                counters.worst_canary_us.load(Ordering::Relaxed) as f64 / 1000.0,
            );
        }
        last = events;
        if session.is_finished() {
            println!("the session ended: {:?}", session.await);
            break;
        }
    }
    let mut said = String::new();
    std::io::Read::read_to_string(&mut generator.stdout.take().unwrap(), &mut said).unwrap();
    generator.wait().unwrap();
    let (sent, took) = said.trim().split_once(' ').expect("what was sent, and in how long");
    let (sent, took): (u64, f64) = (sent.parse().unwrap(), took.parse().unwrap());
    let after = Usage::now();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let events = count(&counters.events);
    println!(
        "sent {sent} in {took:.1} s; heard {events}, {:.0} /s; not heard {}, gaps in clocks {}, malformed {}\n\
         batches {}, {:.0} events each, the largest {}; processor {:.2} s, {:.2} us an event; memory {} -> {} KiB",
        events as f64 / took,
        sent - events.min(sent),
        count(&counters.lost),
        count(&counters.malformed),
        count(&counters.batches),
        events as f64 / count(&counters.batches).max(1) as f64,
        count(&counters.largest_batch),
        after.processor_s - before.processor_s,
        (after.processor_s - before.processor_s) * 1e6 / events.max(1) as f64,
        before.memory_kib,
        after.memory_kib,
    );
}

/// What this process has used, as Linux tells.
struct Usage {
    memory_kib: u64,
    processor_s: f64,
}

impl Usage {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // utime and stime, in ticks of 10 ms.
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Usage {
            memory_kib: memory.trim().trim_end_matches(" kB").parse().unwrap(),
            processor_s: ticks as f64 / 100.0,
        }
    }
}

async fn generate(load: Load) {
    let began = Instant::now();
    let publishers = if load.url.starts_with("redis") { 1 } else { PUBLISHERS };
    let share = |number: u64, of: u64| number / of;
    let tasks: Vec<_> = (0..publishers)
        .map(|publisher| {
            let part = Load {
                workers: share(load.workers, publishers).max(1),
                rate: share(load.rate, publishers),
                ..load.clone()
            };
            tokio::spawn(async move {
                if part.url.starts_with("redis") {
                    to_redis(part).await
                } else {
                    to_rabbitmq(part, publisher).await
                }
            })
        })
        .collect();
    let mut sent = 0;
    for task in tasks {
        sent += task.await.unwrap();
    }
    println!("{sent} {}", began.elapsed().as_secs_f64());
}

fn heartbeat(publisher: u64, worker: u64, clock: u64) -> String {
    format!(
        "{{\"hostname\": \"sms@host{publisher}-{worker:05}\", \"utcoffset\": 0, \"pid\": {}, \"clock\": {clock}, \"freq\": 2.0, \
         \"active\": 3, \"processed\": {clock}, \"loadavg\": [0.53, 0.71, 0.82], \"sw_ident\": \"py-celery\", \
         \"sw_ver\": \"5.7.0\", \"sw_sys\": \"Linux\", \"timestamp\": 1760000000.{:06}, \"type\": \"worker-heartbeat\"}}",
        1000 + worker,
        clock % 1_000_000
    )
}

/// Waits until `sent` events are due.
async fn paced(began: Instant, sent: u64, rate: u64) {
    if rate > 0 {
        let due = Duration::from_secs_f64(sent as f64 / rate as f64);
        tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
    }
}

async fn to_redis(load: Load) -> u64 {
    let place = load.url.trim_start_matches("redis://").trim_end_matches("/0");
    let mut stream = tokio::net::TcpStream::connect(place).await.unwrap();
    let (began, mut sent) = (Instant::now(), 0);
    let (mut commands, mut answers) = (Vec::new(), vec![0; 64 << 10]);
    while began.elapsed().as_secs() < load.seconds {
        commands.clear();
        for number in sent..sent + PIPELINE {
            let (worker, clock) = (number % load.workers, number / load.workers + 1);
            let body = STANDARD.encode(heartbeat(0, worker, clock));
            let payload = format!(
                "{{\"body\": \"{body}\", \"content-encoding\": \"utf-8\", \"content-type\": \"application/json\", \
                 \"headers\": {{\"hostname\": \"sms@host0-{worker:05}\"}}, \"properties\": {{\"delivery_mode\": 1, \
                 \"delivery_info\": {{\"exchange\": \"celeryev\", \"routing_key\": \"worker.heartbeat\"}}, \"priority\": 0, \
                 \"body_encoding\": \"base64\", \"delivery_tag\": \"7d3f1c1e-3f7c-4a0e-8a54-{number:012}\"}}}}"
            );
            let channel = "/0.celeryev/worker.heartbeat";
            let command = format!(
                "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{channel}\r\n${}\r\n{payload}\r\n",
                channel.len(),
                payload.len()
            );
            commands.extend_from_slice(command.as_bytes());
        }
        stream.write_all(&commands).await.unwrap();
        let mut answered = 0;
        while answered < PIPELINE {
            let read = stream.read(&mut answers).await.unwrap();
            assert!(read > 0, "Redis closed the connection");
            answered += answers[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        sent += PIPELINE;
        paced(began, sent, load.rate).await;
    }
    sent
}

async fn to_rabbitmq(load: Load, publisher: u64) -> u64 {
    let url = load.url.trim_end_matches("//").to_owned() + "/%2f";
    let connection = lapin::Connection::connect(&url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut headers = FieldTable::default();
    headers.insert("hostname".into(), AMQPValue::LongString("sms@host".into()));
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_delivery_mode(1)
        .with_priority(0)
        .with_headers(headers);
    let (began, mut sent) = (Instant::now(), 0_u64);
    while began.elapsed().as_secs() < load.seconds {
        let mut last = None;
        // Handed to the client without waiting for each to be written; RabbitMQ holds the socket back where it must.
        let batch = (sent..sent + PIPELINE).map(|number| {
            let body = heartbeat(publisher, number % load.workers, number / load.workers + 1);
            let (channel, properties) = (channel.clone(), properties.clone());
            async move {
                let options = BasicPublishOptions::default();
                channel
                    .basic_publish(
                        "celeryev".into(),
                        "worker.heartbeat".into(),
                        options,
                        body.as_bytes(),
                        properties,
                    )
                    .await
            }
        });
        for published in futures_util::future::join_all(batch).await {
            last = Some(published.unwrap());
        }
        drop(last);
        sent += PIPELINE;
        paced(began, sent, load.rate).await;
    }
    connection.close(200, "done".into()).await.unwrap();
    sent
}
