//! The generator: a process of its own, so that neither its memory nor its processor time is counted as Headcount's.
//! Every message is made once and sent again and again; what a beat has of its own (clock, timestamp) is not looked at by
//! whoever counts from outside.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::str::FromStr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::usage;
use crate::{amqp, heartbeat};

/// How often a paced generator writes. Shorter costs more switches between processes, longer makes bursts.
const WRITE_EVERY: Duration = Duration::from_millis(2);

/// Messages of one write when it goes as fast as it can: some 300 KiB.
const BURST: usize = 512;

/// What is asked of it.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) url: String,
    pub(crate) workers: usize,
    /// Events a second; 0 is as fast as it goes.
    pub(crate) rate: u64,
    pub(crate) until: Until,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Seconds(u64),
    Events(u64),
}

/// What it has done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) sent: u64,
    pub(crate) seconds: f64,
    pub(crate) processor_s: f64,
}

impl Order {
    /// As arguments of the process.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let (what, number) = match self.until {
            Until::Seconds(seconds) => ("seconds", seconds),
            Until::Events(events) => ("events", events),
        };
        let numbers = [self.workers as u64, self.rate].map(|number| number.to_string());
        let [workers, rate] = numbers;
        vec![self.url.clone(), workers, rate, what.into(), number.to_string()]
    }

    pub(crate) fn parse(arguments: &[String]) -> Self {
        let [url, workers, rate, what, number] = arguments else {
            panic!("not a generator's arguments: {arguments:?}")
        };
        let number = number.parse().expect("a number");
        Order {
            url: url.clone(),
            workers: workers.parse().expect("workers"),
            rate: rate.parse().expect("a rate"),
            until: match what.as_str() {
                "seconds" => Until::Seconds(number),
                _ => Until::Events(number),
            },
        }
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.sent, self.seconds, self.processor_s)
    }
}

impl FromStr for Done {
    type Err = std::num::ParseFloatError;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let mut words = line.split(' ').map(f64::from_str);
        let mut next = || words.next().unwrap_or_else(|| f64::from_str(""));
        Ok(Done {
            sent: next()? as u64,
            seconds: next()?,
            processor_s: next()?,
        })
    }
}

/// Publishes as ordered, and returns when the broker has taken everything.
pub(crate) fn generate(order: &Order) -> Done {
    let address = address(&order.url);
    if order.url.starts_with("redis") {
        let stream = Redis::connect(address);
        publish(order, &messages(order, heartbeat::redis), stream)
    } else {
        let stream = amqp::Publisher::connect(address);
        publish(order, &messages(order, heartbeat::rabbitmq), stream)
    }
}

/// Host and port of a URL of the test kit.
fn address(url: &str) -> &str {
    let place = url.rsplit('@').next().unwrap_or_default();
    let place = place.rsplit("//").find(|part| !part.is_empty()).unwrap_or_default();
    place.split('/').next().unwrap_or_default()
}

/// Encoded messages one after the other, and where each ends.
struct Messages {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

fn messages(order: &Order, encode: impl Fn(usize, usize) -> Vec<u8>) -> Messages {
    // Each worker's beat twice at least, and enough for bursts.
    let count = (2 * order.workers).max(4 * BURST);
    let mut messages = Messages {
        bytes: Vec::new(),
        ends: Vec::new(),
    };
    for number in 0..count {
        messages
            .bytes
            .extend(encode(number % order.workers, 1_000_000 + number));
        messages.ends.push(messages.bytes.len());
    }
    messages
}

trait Stream {
    fn send(&mut self, messages: &[u8]);
    fn finish(self);
}

impl Stream for amqp::Publisher {
    fn send(&mut self, messages: &[u8]) {
        self.send(messages);
    }

    fn finish(self) {
        self.finish();
    }
}

fn publish(order: &Order, messages: &Messages, mut stream: impl Stream) -> Done {
    let (began, used) = (Instant::now(), usage::processor_s("self"));
    let (mut sent, mut place) = (0_u64, 0_usize);
    loop {
        let due = match order.rate {
            0 => BURST as u64,
            rate => ((began.elapsed().as_secs_f64() * rate as f64) as u64).saturating_sub(sent),
        };
        let left = match order.until {
            Until::Seconds(seconds) if began.elapsed().as_secs() >= seconds => 0,
            Until::Seconds(_) => u64::MAX,
            Until::Events(events) => events - sent,
        };
        if left == 0 {
            break;
        }
        let from = place.checked_sub(1).map_or(0, |before| messages.ends[before]);
        let count = (due.min(left) as usize).min(BURST).min(messages.ends.len() - place);
        if count > 0 {
            stream.send(&messages.bytes[from..messages.ends[place + count - 1]]);
            sent += count as u64;
            place = (place + count) % messages.ends.len();
        }
        if due < BURST as u64 {
            std::thread::sleep(WRITE_EVERY);
        }
    }
    stream.finish();
    Done {
        sent,
        seconds: began.elapsed().as_secs_f64(),
        processor_s: usage::processor_s("self") - used,
    }
}

/// A connection to Redis; its answers are read beside it, so that both directions are always busy.
struct Redis {
    stream: TcpStream,
    answers: JoinHandle<()>,
}

impl Redis {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("connect to Redis");
        let mut reading = stream.try_clone().expect("clone a socket");
        let answers = std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            loop {
                match reading.read(&mut buffer).expect("read Redis' answers") {
                    0 => break,
                    read => assert!(!buffer[..read].contains(&b'-'), "Redis refused a message"),
                }
            }
        });
        Redis { stream, answers }
    }
}

impl Stream for Redis {
    fn send(&mut self, messages: &[u8]) {
        self.stream.write_all(messages).expect("publish to Redis");
    }

    fn finish(mut self) {
        // Answered, and closed by Redis, when all before it has been published.
        self.stream.write_all(b"QUIT\r\n").expect("leave Redis");
        self.answers.join().expect("no message was refused");
    }
}
