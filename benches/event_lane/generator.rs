//! The generator: a process of its own, so that neither its memory nor its processor time is counted as Headcount's.
//! Every message is made once and sent again and again; what it has of its own (clock, timestamp) is not looked at by whoever
//! counts from outside.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::str::FromStr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::wire::Message;
use crate::{amqp, heartbeat, tasks, usage, wire};

/// How often a paced generator writes. Shorter costs more switches between processes, longer makes bursts.
const WRITE_EVERY: Duration = Duration::from_millis(2);

/// Messages of one write when it goes as fast as it can: some 300 KiB.
const BURST: usize = 512;

/// What is asked of it.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) url: String,
    pub(crate) workers: usize,
    pub(crate) events: Events,
    /// Events a second; 0 is as fast as it goes.
    pub(crate) rate: u64,
    pub(crate) until: Until,
}

/// What is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Events {
    Heartbeats,
    Tasks,
}

impl Events {
    fn as_str(self) -> &'static str {
        match self {
            Self::Heartbeats => "heartbeats",
            Self::Tasks => "tasks",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Seconds(u64),
    /// So many, or what is left of a burst more.
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
        vec![
            self.url.clone(),
            workers,
            self.events.as_str().into(),
            rate,
            what.into(),
            number.to_string(),
        ]
    }

    pub(crate) fn parse(arguments: &[String]) -> Self {
        let [url, workers, events, rate, what, number] = arguments else {
            panic!("not a generator's arguments: {arguments:?}")
        };
        let number = number.parse().expect("a number");
        Order {
            url: url.clone(),
            workers: workers.parse().expect("workers"),
            events: match events.as_str() {
                "tasks" => Events::Tasks,
                _ => Events::Heartbeats,
            },
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
        publish(order, &Messages::new(order, wire::redis), stream)
    } else {
        let stream = amqp::Publisher::connect(address);
        publish(order, &Messages::new(order, wire::rabbitmq), stream)
    }
}

/// Host and port of a URL of the test kit.
fn address(url: &str) -> &str {
    let place = url.rsplit('@').next().unwrap_or_default();
    let place = place.rsplit("//").find(|part| !part.is_empty()).unwrap_or_default();
    place.split('/').next().unwrap_or_default()
}

/// Encoded messages one after the other, where each ends, and how many events there are up to there.
struct Messages {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    events: Vec<u64>,
}

impl Messages {
    fn new(order: &Order, encode: impl Fn(&Message, usize) -> Vec<u8>) -> Self {
        let all = match order.events {
            Events::Heartbeats => {
                // Each worker's beat twice at least, and enough for bursts.
                let count = (2 * order.workers).max(4 * BURST);
                let beat = |number| heartbeat::heartbeat(number % order.workers, 1_000_000 + number);
                (0..count).map(beat).collect()
            }
            Events::Tasks => tasks::tasks(order.workers),
        };
        let (mut bytes, mut ends, mut events) = (Vec::new(), Vec::new(), Vec::new());
        let mut so_far = 0;
        for (number, message) in all.iter().enumerate() {
            bytes.extend(encode(message, number));
            ends.push(bytes.len());
            so_far += message.events;
            events.push(so_far);
        }
        Self { bytes, ends, events }
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of some messages, and how many events these are.
    fn part(&self, from: usize, count: usize) -> (&[u8], u64) {
        let before = from.checked_sub(1);
        let (start, events) = before.map_or((0, 0), |before| (self.ends[before], self.events[before]));
        let last = from + count - 1;
        (&self.bytes[start..self.ends[last]], self.events[last] - events)
    }
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
            Until::Events(events) => events.saturating_sub(sent),
        };
        if left == 0 {
            break;
        }
        let count = (due.min(left) as usize).min(BURST).min(messages.len() - place);
        if count > 0 {
            let (bytes, events) = messages.part(place, count);
            stream.send(bytes);
            sent += events;
            place = (place + count) % messages.len();
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
