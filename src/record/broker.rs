//! A broker that is another one, and writes down all that comes from it.

use std::time::Duration;

use async_trait::async_trait;
use compact_str::{CompactString, ToCompactString};
use headcount_actors::ports::{
    Broker, BrokerError, Connection, Inspect, Lane, Presence, Probe, Queue, Reply, SessionEnd, SharedBroker,
};
use headcount_core::celery::decode::Decoder;
use headcount_core::celery::{Event, RawMessage, inspect};
use headcount_core::detect::Means;
use headcount_core::status::QueueStatus;
use headcount_simulate::trace::{Answer, Record, Told};
use serde_json::Value;

use super::tape::Tape;

/// The broker. What is asked of it, and when, is the daemon's own actors' doing.
pub(crate) struct RecordingBroker {
    broker: SharedBroker,
    tape: Tape,
}

impl RecordingBroker {
    pub(crate) fn new(broker: SharedBroker, tape: Tape) -> Self {
        Self { broker, tape }
    }
}

#[async_trait]
impl Broker for RecordingBroker {
    fn name(&self) -> &str {
        self.broker.name()
    }

    fn address(&self) -> String {
        self.broker.address()
    }

    async fn listen(&self, lane: &mut (dyn Lane + Send)) -> SessionEnd {
        let mut recording = RecordingLane {
            lane,
            tape: &self.tape,
            decoder: Decoder::new(),
        };
        let end = self.broker.listen(&mut recording).await;
        let (SessionEnd::NotOpened(error) | SessionEnd::Broke(error)) = &end;
        self.tape.write(&Record::Ended(error.to_compact_string()));
        end
    }

    async fn probe(&self, targets: &[CompactString], timeout: Duration) -> Result<Vec<Probe>, BrokerError> {
        let probed = self.broker.probe(targets, timeout).await;
        match &probed {
            Ok(probes) => self.tape.write(&Record::Probed(probes.iter().map(answer).collect())),
            Err(_) => self.tape.write(&Record::Unprobed),
        }
        probed
    }

    async fn inspect(&self, ask: Inspect) -> Result<Vec<Reply>, BrokerError> {
        let method = ask.method;
        let to_all = ask.destination.is_none();
        let replies = self.broker.inspect(ask).await;
        if let Ok(replies) = &replies {
            if to_all && method == "ping" {
                let found = replies.iter().map(|reply| (reply.hostname.clone(), reply.latency));
                self.tape.write(&Record::Found(found.collect()));
            }
            let mut all = Vec::new();
            for reply in replies {
                told(method, &reply.body, |told| all.push((reply.hostname.clone(), told)));
            }
            if !all.is_empty() {
                self.tape.write(&Record::Told(all));
            }
        }
        replies
    }

    async fn queues(&self, names: &[CompactString]) -> Result<Vec<Queue>, BrokerError> {
        let queues = self.broker.queues(names).await;
        if let Ok(queues) = &queues {
            let status = |queue: &Queue| QueueStatus {
                name: queue.name.clone(),
                length: queue.length,
                consumers: queue.consumers,
            };
            self.tape.write(&Record::Queues(queues.iter().map(status).collect()));
        }
        queues
    }

    fn hides_presence(&self) -> Option<&'static str> {
        self.broker.hides_presence()
    }

    fn may_ask_all(&self) -> bool {
        self.broker.may_ask_all()
    }

    async fn connections(&self) -> Result<Option<Vec<Connection>>, BrokerError> {
        let connections = self.broker.connections().await;
        if let Ok(Some(connections)) = &connections {
            let ids = connections.iter().map(|connection| connection.id);
            self.tape.write(&Record::Connections(ids.collect()));
        }
        connections
    }

    async fn takers(&self) -> Result<Option<u32>, BrokerError> {
        let takers = self.broker.takers().await;
        if let Ok(takers) = &takers {
            self.tape.write(&Record::Takers(*takers));
        }
        takers
    }

    async fn close(&self) {
        self.broker.close().await;
    }
}

fn answer(probe: &Probe) -> Answer {
    Answer {
        hostname: probe.hostname.clone(),
        answer: probe.answer,
        answers: probe.answers,
        present: match probe.presence {
            Presence::Here => Some(true),
            Presence::Gone => Some(false),
            Presence::Unknown => None,
        },
    }
}

/// Hands on what a reply says that the detector can use. `active`, `reserved` and `scheduled` list whole tasks, with their
/// arguments: only how many they are goes to the trace.
fn told(method: &str, body: &Value, mut tell: impl FnMut(Told)) {
    let count = || inspect::active(body).and_then(|count| u32::try_from(count).ok());
    let told = match method {
        "stats" => {
            let Some(stats) = inspect::Stats::read(body) else {
                return;
            };
            tell(Told::Means(Means {
                slots: stats.slots,
                prefetch: stats.prefetch_count,
                time_limit: stats.time_limit,
                slowest_rate: None,
                serves_one: None,
            }));
            stats.pool.map(Told::Pool)
        }
        "registered" => inspect::slowest_rate(body).map(|rate| {
            Told::Means(Means {
                slowest_rate: Some(rate),
                ..Means::default()
            })
        }),
        "active_queues" => {
            if let Some(serves_one) = inspect::serves_one(body) {
                tell(Told::Means(Means {
                    serves_one: Some(serves_one),
                    ..Means::default()
                }));
            }
            inspect::active_queues(body).map(Told::Queues)
        }
        "active" => count().map(Told::Running),
        "reserved" => count().map(Told::Reserved),
        "scheduled" => count().map(Told::Scheduled),
        _ => None,
    };
    told.into_iter().for_each(tell);
}

/// A lane that is another one, and writes down what it hears.
struct RecordingLane<'a> {
    lane: &'a mut (dyn Lane + Send),
    tape: &'a Tape,
    decoder: Decoder,
}

impl Lane for RecordingLane<'_> {
    fn opened(&mut self) {
        self.tape.write(&Record::Opened);
        self.lane.opened();
    }

    fn message(&mut self, message: RawMessage<'_>) {
        let mut pen = self.tape.pen();
        let decoded = self.decoder.decode(message, |event| match event {
            Event::Worker(event) => pen.write(&Record::Worker(event)),
            Event::Task(event) => pen.write(&Record::Task(event)),
            Event::Other => {}
        });
        if decoded.malformed > 0 {
            pen.write(&Record::Malformed(decoded.malformed as u64));
        }
        drop(pen);
        self.lane.message(message);
    }

    fn batch_end(&mut self) {
        self.lane.batch_end();
    }

    fn canary(&mut self, round_trip: Duration) {
        self.tape.write(&Record::Canary(round_trip));
        self.lane.canary(round_trip);
    }

    fn blocked(&mut self, blocked: bool) {
        self.tape.write(&Record::Blocked(blocked));
        self.lane.blocked(blocked);
    }
}
