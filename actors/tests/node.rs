//! A Celery node at a broker that does not take everything.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use headcount_core::celery::result::{Failure, State, TaskResult};
use headcount_core::celery::task::{Delivered, Embed, Routes, TaskMessage};
use headcount_core::celery::{Publication, To};
use headcount_core::node::{About, NodeSpec, Outcome, Settle, TaskSpec};
use serde_json::{Map, Value, json};

use super::support::house::Watch;
use super::support::{age, live, lock, secs, until};
use crate::celery_node::CeleryNode;
use crate::meters::BrokerLabel;
use crate::node::hooks::Count;
use crate::node::{Joined, Results};
use crate::ports::node::{Call, Heard, Joining, Link, NodeBroker, Order, ResultStore, Task};
use crate::ports::{BrokerError, SessionEnd};

/// What the broker says of a message.
type Says = fn(&To) -> Result<(), BrokerError>;

/// A broker with some messages, one session long, and the results.
struct Site {
    messages: Mutex<Vec<TaskMessage>>,
    says: Says,
    sent: Mutex<Vec<Publication>>,
    settled: Mutex<Vec<Settle>>,
    results: Mutex<Vec<TaskResult>>,
}

impl Site {
    fn states(&self) -> Vec<(String, State)> {
        let results = lock(&self.results);
        results.iter().map(|result| (result.id.clone(), result.state)).collect()
    }
}

#[async_trait]
impl NodeBroker for Site {
    fn name(&self) -> &'static str {
        "main"
    }

    fn address(&self) -> String {
        "nowhere".to_owned()
    }

    fn shown(&self) -> Map<String, Value> {
        Map::new()
    }

    async fn serve(&self, _: &Joining, mut link: Link) -> Result<(), SessionEnd> {
        link.heard.send(Heard::Opened).await.unwrap();
        let messages = std::mem::take(&mut *lock(&self.messages));
        for (number, task) in (1..).zip(messages) {
            let delivered = Delivered {
                task,
                exchange: "feeds".to_owned(),
                routing_key: "feed.tasks".to_owned(),
                redelivered: false,
            };
            let message = Ok(Box::new(delivered));
            link.heard.send(Heard::Message { number, message }).await.unwrap();
        }
        while let Some(order) = link.orders.recv().await {
            match order {
                Order::Settle { how, .. } => lock(&self.settled).push(how),
                Order::Publish {
                    publication,
                    sent: Some(sent),
                } => {
                    let said = (self.says)(&publication.to);
                    if said.is_ok() {
                        lock(&self.sent).push(publication);
                    }
                    let _ = sent.send(said);
                }
                Order::Leave => return Ok(()),
                Order::Publish { .. } | Order::Prefetch(_) | Order::TakeNoMore => {}
            }
        }
        Ok(())
    }
}

#[async_trait]
impl ResultStore for Site {
    async fn store(&self, result: &TaskResult) -> Result<(), BrokerError> {
        lock(&self.results).push(result.clone());
        Ok(())
    }
}

/// One that answers, and one that asks to be tried again; both are settled at their end, so that each holds its slot until then.
struct Late(&'static str);

#[async_trait]
impl Task for Late {
    fn spec(&self) -> TaskSpec {
        TaskSpec {
            acks_late: true,
            ..TaskSpec::new(self.0)
        }
    }

    async fn run(&self, _: Call) -> Outcome {
        match self.0 {
            "answers" => Outcome::Success(json!("pong")),
            _ => Outcome::Retry {
                failure: Failure::builtin("ConnectionError", "not now"),
                after: None,
            },
        }
    }
}

fn start(messages: Vec<TaskMessage>, says: Says) -> (Arc<Site>, Watch) {
    let site = Arc::new(Site {
        messages: Mutex::new(messages),
        says,
        sent: Mutex::default(),
        settled: Mutex::default(),
        results: Mutex::default(),
    });
    let watch = Watch::new();
    let joined = Joined {
        broker: site.clone(),
        neighbours: None,
        spec: NodeSpec {
            hostname: "headcount@test".to_owned(),
            queue: "headcount".to_owned(),
            concurrency: 1,
            prefetch_multiplier: 1,
            max_priority: None,
            task_events: false,
            obeys_shutdown: false,
            tasks: Vec::new(),
            routes: Routes::default(),
            about: About::default(),
        },
        results: Results::Store(site.clone()),
        tasks: vec![Arc::new(Late("answers")), Arc::new(Late("waits"))],
        hooks: vec![Arc::new(Count::new(watch.meters.clone(), "main"))],
    };
    drop(watch.start("CeleryNode", move || CeleryNode::new(joined)));
    (site, watch)
}

/// One that is followed by another one.
fn linked(id: &str) -> TaskMessage {
    let link = json!({"task": "follows", "args": [], "options": {"exchange": "x", "routing_key": "y"}});
    TaskMessage {
        embed: Embed {
            callbacks: Some(vec![link]),
            ..Embed::default()
        },
        ..TaskMessage::new(id, "answers")
    }
}

fn unsent(watch: &Watch) -> u64 {
    let broker = "main".to_owned();
    watch.meters.node.unsent.get_or_create(&BrokerLabel { broker }).get()
}

#[test]
fn what_follows_and_is_refused_holds_up_nobody() {
    live(async {
        let messages = vec![linked("first"), linked("second"), TaskMessage::new("third", "answers")];
        let (site, watch) = start(messages, |_| Err(BrokerError::Refused("no such exchange".into())));
        until("each has its end", || lock(&site.settled).len() == 3).await;
        let mut states = site.states();
        states.sort_by(|one, other| one.0.cmp(&other.0));
        let expected = ["first", "second", "third"].map(|id| (id.to_owned(), State::Success));
        assert_eq!(states, expected, "they have succeeded, whatever was to follow");
        assert!(lock(&site.settled).iter().all(|how| *how == Settle::Ack));
        assert_eq!(unsent(&watch), 2);
    });
}

#[test]
fn what_follows_and_fails_is_given_up_in_the_end() {
    live(async {
        let (site, watch) = start(vec![linked("first")], |_| Err(BrokerError::Protocol("no room".into())));
        super::support::pass(secs(50)).await;
        assert!(site.states().is_empty(), "a fault may pass: {:?}", age());
        until("it has its end", || lock(&site.settled).len() == 1).await;
        assert_eq!(site.states(), [("first".to_owned(), State::Success)]);
        assert_eq!(unsent(&watch), 1);
    });
}

#[test]
fn a_retry_that_cannot_go_by_its_way_goes_to_the_own_queue() {
    live(async {
        let own = |to: &To| match to {
            To::Queue(queue) if queue == "headcount" => Ok(()),
            _ => Err(BrokerError::Refused("no such exchange".into())),
        };
        let (site, watch) = start(vec![TaskMessage::new("again", "waits")], own);
        until("it is settled", || lock(&site.settled).len() == 1).await;
        let sent: Vec<To> = lock(&site.sent)
            .iter()
            .map(|publication| publication.to.clone())
            .collect();
        assert_eq!(sent, [To::Queue("headcount".to_owned())]);
        assert_eq!(site.states(), [("again".to_owned(), State::Retry)]);
        assert_eq!(unsent(&watch), 0);
    });
    live(async {
        let nowhere: Says = |_| Err(BrokerError::Refused("no permission".into()));
        let (site, watch) = start(vec![TaskMessage::new("again", "waits")], nowhere);
        until("it is settled", || lock(&site.settled).len() == 1).await;
        assert_eq!(
            site.states(),
            [("again".to_owned(), State::Failure)],
            "nobody waits for ever"
        );
        assert_eq!(unsent(&watch), 1);
    });
}
