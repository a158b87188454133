//! What a scenario plays on: a broker with fleets of real workers, and a Headcount that has just begun to watch them.

use std::time::{Duration, Instant};

use headcount_testkit::{Broker, Headcount, Message, Pool, Proxy, SlackStandIn, Worker, WorkerOptions, poll_until};

/// Many workers start at the same time, beside as many of the other broker.
const UP_WITHIN: Duration = Duration::from_secs(120);
/// So many fleets' workers start at once: each worker is more than a second of processor time.
const START_AT_ONCE: usize = 4;
/// After all are up: the cold start is over (`COLD_START` in `src/core/detect/rules.rs`), and what each worker has is
/// known, as in a daemon that has run for long.
const SETTLE: Duration = Duration::from_secs(15);

/// Which workers each fleet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Two, the first of them behind a proxy.
    Pairs,
    /// One.
    Singles,
    /// One with a solo pool.
    Solos,
    /// Two that have the same name; on RabbitMQ, which refuses the second, one.
    Twins,
}

/// One fleet: a run of its own.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) name: String,
    /// The broker's, not the proxy's.
    pub(crate) url: String,
    pub(crate) workers: Vec<Worker>,
    /// Between the first worker and the broker.
    pub(crate) proxy: Option<Proxy>,
}

impl Fleet {
    fn launch(broker: &Broker, shape: Shape, run: usize) -> Self {
        let (name, url) = (format!("fleet{run}"), broker.url());
        let proxy = (shape == Shape::Pairs).then(|| Proxy::start(broker.port()));
        let through = proxy.as_ref().map_or_else(|| url.clone(), |proxy| proxy.through(&url));
        let second = match (shape, broker) {
            (Shape::Pairs, _) => Some("b"),
            (Shape::Twins, Broker::Redis(_)) => Some("a"),
            _ => None,
        };
        let options = WorkerOptions {
            pool: if shape == Shape::Solos {
                Pool::Solo
            } else {
                Pool::Threads
            },
            ..WorkerOptions::default()
        };
        // Hosts of their own: what happens to one run is no sign for another.
        let launch = |url: &str, host: &str| Worker::launch(url, &format!("{name}@{host}{run}"), options.clone());
        let workers = std::iter::once(launch(&through, "a"))
            .chain(second.map(|host| launch(&url, host)))
            .collect();
        Fleet {
            name,
            url,
            workers,
            proxy,
        }
    }

    /// The first worker, which is the one that suffers.
    pub(crate) fn victim(&mut self) -> &mut Worker {
        self.workers.first_mut().expect("a fleet has a worker")
    }

    /// The network of the first worker.
    pub(crate) fn network(&self) -> &Proxy {
        self.proxy.as_ref().expect("the first worker of a pair has a proxy")
    }
}

/// A broker and its fleets.
#[derive(Debug)]
pub(crate) struct Crew {
    pub(crate) broker: Broker,
    pub(crate) fleets: Vec<Fleet>,
}

impl Crew {
    /// Starts so many fleets; returns when their workers are ready.
    pub(crate) fn start(broker: Broker, shape: Shape, fleets: usize) -> Self {
        let mut started: Vec<Fleet> = Vec::new();
        for run in 0..fleets {
            started.push(Fleet::launch(&broker, shape, run));
            if let Some(before) = (run + 1).checked_sub(START_AT_ONCE) {
                started[before].workers.iter().for_each(Worker::wait_ready);
            }
        }
        started
            .iter()
            .flat_map(|fleet| &fleet.workers)
            .for_each(Worker::wait_ready);
        Crew {
            broker,
            fleets: started,
        }
    }
}

/// A Headcount with default settings and a memory of its own, and what people are told by it.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) headcount: Headcount,
    slack: SlackStandIn,
}

impl Watch {
    /// Begins to watch; returns when all workers are up and known.
    pub(crate) fn begin(crew: &Crew) -> Self {
        let slack = SlackStandIn::start();
        let names: Vec<&str> = crew.fleets.iter().map(|fleet| fleet.name.as_str()).collect();
        let config = crew.broker.config(&names) + &slack.webhook_config();
        let headcount = Headcount::start(env!("CARGO_BIN_EXE_headcount"), &config);
        for worker in crew.fleets.iter().flat_map(|fleet| &fleet.workers) {
            headcount.wait_worker(worker.hostname(), "up", UP_WITHIN);
        }
        std::thread::sleep(SETTLE);
        Watch { headcount, slack }
    }

    /// All that people were told so far.
    pub(crate) fn told(&self) -> Vec<Message> {
        self.slack.told()
    }

    /// Waits for the first message since a moment that begins with one of these words and then this name.
    pub(crate) fn wait_told(&self, words: &[&str], subject: &str, since: Instant, within: Duration) -> Option<Message> {
        let is_it = |message: &Message| {
            let begins = |word: &&str| about(message.text(), word) == Some(subject);
            message.at >= since && words.iter().any(begins)
        };
        poll_until(within, || self.told().into_iter().find(is_it))
    }

    /// The diagnosis of the open incident of this name.
    pub(crate) fn diagnosis(&self, subject: &str) -> Option<String> {
        let open = self.headcount.get("/api/v1/incidents?state=open");
        let own = open.as_array()?.iter().find(|incident| {
            incident["subject"] == subject || incident["subject"].as_str().and_then(fleet_of) == Some(subject)
        })?;
        Some(own["diagnosis"].as_str().unwrap_or("none").to_owned())
    }
}

/// The fleet that a worker's name belongs to, by the way in which fleets are named here.
fn fleet_of(hostname: &str) -> Option<&str> {
    hostname.split_once('@').map(|(fleet, _)| fleet)
}

/// The name after this word, if a message's text begins with it.
pub(crate) fn about<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(word)?.strip_prefix(' ')?;
    rest.split([':', ',', ' ']).next()
}
