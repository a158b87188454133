//! The node on a virtual clock.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::celery::result::{Failure, State};
use crate::celery::task::{Asker, Delivered, NotATask, Pattern, Route, Routes, TaskMessage, Why};
use crate::celery::{Command, Publication, To, Where};
use crate::time::{Mono, Now, Wall};

const ECHO: &str = "headcount.echo";
const LATE: &str = "headcount.late";

/// A node, its clock, and what it last said.
struct World {
    node: Node,
    now: Now,
    tags: u64,
    session: u64,
    out: Vec<Output>,
}

impl World {
    fn new(change: impl FnOnce(&mut NodeSpec)) -> Self {
        let mut spec = NodeSpec {
            hostname: "headcount@h".into(),
            queue: "headcount".into(),
            concurrency: 2,
            prefetch_multiplier: 4,
            max_priority: None,
            task_events: true,
            obeys_shutdown: false,
            tasks: vec![
                TaskSpec::new(ECHO),
                TaskSpec {
                    acks_late: true,
                    ..TaskSpec::new(LATE)
                },
            ],
            routes: Routes::default(),
            about: About {
                pid: 7,
                version: "1".into(),
                system: "Linux".into(),
                ..About::default()
            },
        };
        change(&mut spec);
        let now = Now {
            mono: Mono::from_micros(1_000_000),
            wall: Wall::from_micros(1_795_000_000_000_000),
        };
        let mut world = Self {
            node: Node::new(spec, now),
            now,
            tags: 0,
            session: 1,
            out: Vec::new(),
        };
        world.step(Input::Opened { session: 1 });
        let opened = std::mem::take(&mut world.out);
        world.meet(&[]);
        // What the tests look at is what came of joining.
        world.out = opened;
        world
    }

    fn step(&mut self, input: Input) -> &[Output] {
        self.out.clear();
        self.node.step(self.now, input, &mut self.out);
        &self.out
    }

    /// The others have told what they have as revoked.
    fn meet(&mut self, revoked: &[&str]) {
        let revoked = revoked.iter().map(|id| (*id).to_owned()).collect();
        self.step(Input::Met { clock: 40, revoked });
    }

    fn pass(&mut self, span: Duration) -> &[Output] {
        self.now.mono = self.now.mono + span;
        self.now.wall = self.now.wall + span;
        self.step(Input::Tick)
    }

    fn deliver(&mut self, task: TaskMessage) -> Tag {
        self.tags += 1;
        let tag = Tag {
            session: self.session,
            number: self.tags,
        };
        let delivered = Delivered {
            task,
            routing_key: "headcount".into(),
            ..Delivered::default()
        };
        self.step(Input::Message {
            tag,
            message: Ok(Box::new(delivered)),
        });
        tag
    }

    /// The run ends, and all that follows is done at once.
    fn end(&mut self, run: RunId, outcome: Outcome) {
        self.step(Input::Ended { run, outcome });
        let mut out = std::mem::take(&mut self.out);
        let keeps = |output: &&Output| matches!(output, Output::Conclude(end) if end.keeps_slot);
        for _ in 0..out.iter().filter(keeps).count() {
            self.node.step(self.now, Input::Concluded, &mut out);
        }
        self.out = out;
    }

    fn ask(&mut self, method: &str, arguments: Value) -> Value {
        self.answer(method, arguments).unwrap()
    }

    /// What is answered, if anything is.
    fn answer(&mut self, method: &str, arguments: Value) -> Option<Value> {
        let Value::Object(arguments) = arguments else {
            panic!("arguments are an object")
        };
        let answer_to = Where {
            to: To::exchange("reply.celery.pidbox", "oid"),
            ticket: json!("t"),
        };
        self.step(Input::Command(Command {
            method: method.into(),
            arguments,
            answer_to: Some(answer_to),
            clock: 0,
        }));
        let answer = self
            .publications()
            .into_iter()
            .find(|sent| sent.to != To::Events(String::new()) && sent.headers.contains_key("ticket"));
        let body: Value = serde_json::from_slice(&answer?.body).unwrap();
        Some(body["headcount@h"].clone())
    }

    fn started(&self) -> Vec<RunId> {
        let started = |output: &Output| match output {
            Output::Start { run, .. } => Some(*run),
            _ => None,
        };
        self.out.iter().filter_map(started).collect()
    }

    fn conclusions(&self) -> Vec<&Conclusion> {
        self.out
            .iter()
            .filter_map(|output| match output {
                Output::Conclude(conclusion) => Some(&**conclusion),
                _ => None,
            })
            .collect()
    }

    /// The signals, by their names in Celery.
    fn signals(&self) -> Vec<&'static str> {
        let signal = |output: &Output| match output {
            Output::Signal(signal) => Some(match signal {
                // None of Celery's.
                Signal::Waiting { .. } => return None,
                Signal::WorkerReady => "worker_ready",
                Signal::WorkerShutdown => "worker_shutdown",
                Signal::TaskReceived(_) => "task_received",
                Signal::TaskPrerun(_) => "task_prerun",
                Signal::TaskPostrun { .. } => "task_postrun",
                Signal::TaskSuccess { .. } => "task_success",
                Signal::TaskFailure { .. } => "task_failure",
                Signal::TaskRetry { .. } => "task_retry",
                Signal::TaskRevoked { .. } => "task_revoked",
                Signal::TaskRejected(_) => "task_rejected",
                Signal::TaskUnknown { .. } => "task_unknown",
                Signal::TaskInternalError { .. } => "task_internal_error",
            }),
            _ => None,
        };
        self.out.iter().filter_map(signal).collect()
    }

    fn settled(&self) -> Vec<(Tag, Settle)> {
        self.conclusions()
            .iter()
            .filter_map(|conclusion| conclusion.settle)
            .collect()
    }

    fn publications(&self) -> Vec<&Publication> {
        let concluded = self.conclusions();
        let concluded = concluded.into_iter().flat_map(|conclusion| conclusion.events.iter());
        let plain = self.out.iter().filter_map(|output| match output {
            Output::Publish(publication) => Some(publication),
            _ => None,
        });
        plain.chain(concluded).collect()
    }

    /// The events, in the order of their clocks: (type, body).
    fn events(&self) -> Vec<(String, Value)> {
        let mut events: Vec<(String, Value)> = self
            .publications()
            .into_iter()
            .filter(|sent| matches!(sent.to, To::Events(_)))
            .map(|sent| {
                let body: Value = serde_json::from_slice(&sent.body).unwrap();
                (body["type"].as_str().unwrap().to_owned(), body)
            })
            .collect();
        events.sort_by_key(|(_, body)| body["clock"].as_u64());
        events
    }

    fn kinds(&self) -> Vec<String> {
        self.events().into_iter().map(|(kind, _)| kind).collect()
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn task(id: &str, name: &str) -> TaskMessage {
    TaskMessage::new(id, name)
}

#[test]
fn it_says_that_it_lives_every_two_seconds_and_says_goodbye() {
    let mut world = World::new(|_| ());
    assert_eq!(world.kinds(), ["worker-online"]);
    assert!(world.out.iter().any(|output| matches!(output, Output::Prefetch(8))));
    world.pass(seconds(1));
    assert!(world.kinds().is_empty());
    world.pass(seconds(1));
    assert_eq!(world.kinds(), ["worker-heartbeat"]);
    // A long pause is not made up for.
    world.pass(seconds(60));
    assert_eq!(world.kinds(), ["worker-heartbeat"]);
    assert!(world.node.rest(world.now) <= seconds(2));
    world.step(Input::Leave);
    assert_eq!(world.kinds(), ["worker-offline"]);
    world.pass(seconds(5));
    assert!(world.kinds().is_empty());
}

#[test]
fn a_task_is_acknowledged_when_it_begins_or_if_late_when_it_ends() {
    let mut world = World::new(|_| ());
    let tag = world.deliver(task("1", ECHO));
    assert_eq!(world.settled(), [(tag, Settle::Ack)]);
    assert_eq!(world.kinds(), ["task-received", "task-started"]);
    let run = world.started()[0];
    world.now.mono = world.now.mono + seconds(3);
    world.end(run, Outcome::Success(json!("hi")));
    assert!(world.settled().is_empty());
    let events = world.events();
    let (kind, body) = events.iter().find(|(kind, _)| kind.starts_with("task")).unwrap();
    assert_eq!(
        (kind.as_str(), &body["result"], &body["runtime"]),
        ("task-succeeded", &json!("'hi'"), &json!(3.0))
    );
    let result = world.conclusions()[0].result.as_ref().unwrap();
    assert_eq!((result.state, &result.value), (State::Success, &Ok(json!("hi"))));

    let tag = world.deliver(task("2", LATE));
    assert!(world.settled().is_empty());
    let run = world.started()[0];
    world.end(run, Outcome::Success(Value::Null));
    assert_eq!(world.settled(), [(tag, Settle::Ack)]);
}

/// As `celery.app.trace` sends them: `task_postrun` is last, whatever came of the task.
#[test]
fn signals_come_in_the_order_of_celery() {
    let failure = || Failure::builtin("ValueError", "no");
    let ends = [
        (Outcome::Success(Value::Null), "task_success"),
        (Outcome::Failure(failure()), "task_failure"),
        (
            Outcome::Retry {
                failure: failure(),
                after: None,
            },
            "task_retry",
        ),
    ];
    let mut world = World::new(|_| ());
    assert_eq!(world.signals(), ["worker_ready"]);
    for (n, (outcome, name)) in ends.into_iter().enumerate() {
        world.deliver(task(&n.to_string(), ECHO));
        assert_eq!(world.signals(), ["task_received", "task_prerun"]);
        let run = world.started()[0];
        world.end(run, outcome);
        assert_eq!(world.signals(), [name, "task_postrun"]);
    }
    let mut limited = task("limited", ECHO);
    limited.time_limit = Some(seconds(1));
    world.deliver(limited);
    world.pass(seconds(1));
    assert_eq!(world.signals(), ["task_failure", "task_postrun"]);
    world.deliver(task("ended", ECHO));
    world.ask("revoke", json!({"task_id": "ended", "terminate": true}));
    assert_eq!(world.signals(), ["task_revoked", "task_postrun"]);
    // What never ran has no end of a run.
    world.ask("revoke", json!({"task_id": "never"}));
    world.deliver(task("never", ECHO));
    assert_eq!(world.signals(), ["task_revoked"]);
    world.step(Input::Leave);
    assert_eq!(world.signals(), ["worker_shutdown"]);
}

#[test]
fn no_more_run_than_there_are_slots_and_the_next_follows() {
    let mut world = World::new(|_| ());
    world.deliver(task("1", ECHO));
    let first = world.started()[0];
    world.deliver(task("2", ECHO));
    world.deliver(task("3", ECHO));
    assert!(world.started().is_empty());
    assert_eq!(world.ask("reserved", json!({}))[0]["id"], "3");
    assert_eq!(world.ask("active", json!({})).as_array().unwrap().len(), 2);
    world.end(first, Outcome::Success(Value::Null));
    assert_eq!(world.started().len(), 1);
    assert_eq!(world.ask("reserved", json!({})), json!([]));
}

#[test]
fn an_eta_is_waited_for_and_does_not_keep_others_from_coming() {
    let mut world = World::new(|_| ());
    let mut later = task("1", ECHO);
    later.eta = Some(world.now.wall + seconds(30));
    world.deliver(later);
    assert!(world.started().is_empty());
    assert!(world.out.iter().any(|output| matches!(output, Output::Prefetch(9))));
    assert_eq!(world.ask("scheduled", json!({}))[0]["request"]["id"], "1");
    world.pass(seconds(29));
    assert!(world.started().is_empty());
    assert!(world.node.rest(world.now) <= seconds(1));
    world.pass(seconds(1));
    assert_eq!(world.started().len(), 1);
    assert!(world.out.iter().any(|output| matches!(output, Output::Prefetch(8))));
}

/// So many as a year's worth of reminders may be: each of them lets the broker hand out one more, up to what AMQP can count.
#[test]
fn far_more_than_a_thousand_wait_and_others_still_come() {
    let mut world = World::new(|_| ());
    let mut prefetch = 0;
    for number in 0..MAX_SCHEDULED {
        let mut later = task(&number.to_string(), ECHO);
        later.eta = Some(world.now.wall + seconds(86_400));
        world.deliver(later);
        let widened = world.out.iter().filter_map(|output| match output {
            Output::Prefetch(count) => Some(*count),
            _ => None,
        });
        prefetch = widened.max().unwrap_or(prefetch);
        let expected = number + 1 == MAX_SCHEDULED;
        let told = world.out.iter().find_map(|output| match output {
            Output::Signal(Signal::Waiting { tasks, full }) => Some((*tasks, *full)),
            _ => None,
        });
        assert_eq!(told, Some((number + 1, expected)));
    }
    assert_eq!(usize::from(prefetch), MAX_SCHEDULED + 8);
    world.deliver(task("now", ECHO));
    assert_eq!(world.started().len(), 1);
    // An answer that names all of them would be larger than a broker may take.
    let shown = world.ask("scheduled", json!({}));
    assert!((10_000..MAX_SCHEDULED).contains(&shown.as_array().unwrap().len()));
    assert!(shown.to_string().len() < 9 << 20);
}

/// What waits is in memory up to a bound; of the latest beyond it no more is known than when they are due, and the broker hands them
/// out again then. They can be revoked all the same.
#[test]
fn what_waits_is_in_memory_up_to_a_bound() {
    const EACH: usize = 8 << 20;
    let mut world = World::new(|_| ());
    let mut tags = Vec::new();
    // The latest comes first.
    for hour in (1..=10).rev() {
        let mut later = task(&hour.to_string(), ECHO);
        later.eta = Some(world.now.wall + seconds(3600 * hour));
        later.args = vec!["x".repeat(EACH).into()];
        tags.push(world.deliver(later));
        assert!(world.settled().is_empty(), "it is still this node's");
    }
    tags.reverse();
    assert_eq!(world.node.prefetch(), 18);
    let shown = world.ask("scheduled", json!({}));
    let shown: Vec<&str> = shown
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["request"]["id"].as_str().unwrap())
        .collect();
    assert_eq!(shown, ["1", "2", "3", "4", "5", "6", "7"], "those that are held");
    assert!(shown.len() * EACH < MAX_SCHEDULED_BYTES);
    world.ask("revoke", json!({"task_id": ["9"]}));
    assert_eq!(
        world.settled(),
        [(tags[8], Settle::Requeue)],
        "it comes again, and then is known"
    );
    for hour in 1..=7 {
        world.pass(seconds(3600));
        let [run] = world.started()[..] else {
            panic!("hour {hour}: {:?}", world.out)
        };
        assert_eq!(world.settled(), [(tags[hour - 1], Settle::Ack)]);
        world.end(run, Outcome::Success(Value::Null));
    }
    world.pass(seconds(3600));
    assert_eq!(
        (world.started().len(), world.settled()),
        (0, vec![(tags[7], Settle::Requeue)])
    );
    assert_eq!(world.node.prefetch(), 9);
    // Who leaves gives back these as well.
    world.step(Input::Leave);
    assert_eq!(world.settled(), [(tags[9], Settle::Requeue)]);
}

#[test]
fn what_comes_too_late_or_is_revoked_is_not_run_and_its_sender_is_told() {
    let mut world = World::new(|_| ());
    let mut late = task("1", ECHO);
    late.expires = Some(world.now.wall - seconds(1));
    let tag = world.deliver(late);
    assert!(world.started().is_empty());
    assert_eq!(world.settled(), [(tag, Settle::Ack)]);
    assert_eq!(world.events()[0].1["expired"], true);
    let result = world.conclusions()[0].result.clone().unwrap();
    assert_eq!(
        (result.state, result.value),
        (State::Revoked, Err(Failure::revoked("expired")))
    );

    let answered = world.ask("revoke", json!({"task_id": ["2", "3"]}));
    assert_eq!(answered, json!({"ok": "tasks {'2', '3'} flagged as revoked"}));
    world.deliver(task("2", ECHO));
    assert!(world.started().is_empty());
    assert_eq!(world.events()[0].1["expired"], false);
    // One that expires while it waits for its time.
    let mut waits = task("4", ECHO);
    waits.eta = Some(world.now.wall + seconds(10));
    waits.expires = Some(world.now.wall + seconds(5));
    world.deliver(waits);
    world.pass(seconds(10));
    assert!(world.started().is_empty());
    assert_eq!(world.kinds(), ["worker-heartbeat", "task-revoked"]);
    assert_eq!(world.ask("revoked", json!({})), json!(["2", "3"]));
}

#[test]
fn who_waits_is_named_when_it_is_terminated() {
    let mut world = World::new(|spec| spec.concurrency = 1);
    world.deliver(task("runs", LATE));
    world.deliver(task("reserved", LATE));
    let mut later = task("scheduled", ECHO);
    later.eta = Some(world.now.wall + seconds(3600));
    world.deliver(later);
    let ids = json!({"task_id": ["reserved", "scheduled", "runs", "nobody"], "terminate": true});
    let answered = world.ask("revoke", ids);
    assert_eq!(answered, json!({"ok": "terminate: reserved, scheduled, runs"}));
    assert!(world.started().is_empty());
    for list in ["active", "reserved", "scheduled"] {
        assert_eq!(world.ask(list, json!({})), json!([]), "{list}");
    }
}

#[test]
fn a_time_limit_that_is_set_by_command_is_kept_by_what_runs_later() {
    let mut world = World::new(|_| ());
    world.ask("time_limit", json!({"task_name": ECHO, "hard": 5.0, "soft": 2.0}));
    world.deliver(task("1", ECHO));
    let run = world.started()[0];
    world.pass(seconds(2));
    assert!(
        world
            .out
            .iter()
            .any(|output| matches!(output, Output::Hurry(hurried) if *hurried == run))
    );
    assert!(world.conclusions().is_empty());
    world.pass(seconds(3));
    assert!(
        world
            .out
            .iter()
            .any(|output| matches!(output, Output::Stop(stopped) if *stopped == run))
    );
    let result = world.conclusions()[0].result.clone().unwrap();
    assert_eq!(
        (result.state, result.value),
        (State::Failure, Err(Failure::time_limit(5.0)))
    );
}

#[test]
fn one_that_waits_for_its_time_is_revoked_at_once() {
    let mut world = World::new(|_| ());
    let mut later = task("1", ECHO);
    later.eta = Some(world.now.wall + seconds(3600));
    let tag = world.deliver(later);
    world.ask("revoke", json!({"task_id": "1"}));
    assert_eq!(world.settled(), [(tag, Settle::Ack)]);
    assert_eq!(world.ask("scheduled", json!({})), json!([]));
}

#[test]
fn a_running_task_is_terminated_and_its_late_end_changes_nothing() {
    let mut world = World::new(|_| ());
    let tag = world.deliver(task("1", LATE));
    let run = world.started()[0];
    let answered = world.ask(
        "revoke",
        json!({"task_id": "1", "terminate": true, "signal": "SIGTERM"}),
    );
    assert_eq!(answered, json!({"ok": "terminate: 1"}));
    assert!(
        world
            .out
            .iter()
            .any(|output| matches!(output, Output::Stop(stopped) if *stopped == run))
    );
    assert_eq!(world.settled(), [(tag, Settle::Ack)]);
    world.end(run, Outcome::Success(json!(1)));
    assert!(world.conclusions().is_empty());
    assert_eq!(
        world.ask("revoke", json!({"task_id": "1", "terminate": true})),
        json!({"ok": "terminate: tasks unknown"})
    );
}

#[test]
fn the_event_of_a_task_that_was_terminated_tells_the_signal() {
    for (signal, number) in [
        (json!("SIGKILL"), 9),
        (json!("term"), 15),
        (json!(2), 2),
        (Value::Null, 15),
    ] {
        let mut world = World::new(|_| ());
        world.deliver(task("1", ECHO));
        world.ask("terminate", json!({"task_id": "1", "signal": signal}));
        let event: Value = serde_json::from_slice(&world.conclusions()[0].events[0].body).unwrap();
        assert_eq!(
            (&event["type"], &event["signum"], &event["terminated"]),
            (&json!("task-revoked"), &json!(number), &json!(true)),
            "{signal}"
        );
    }
    let mut world = World::new(|_| ());
    world.deliver(task("1", ECHO));
    for signal in [json!("SIGSTOP"), json!(0), json!(1.5), json!([])] {
        let answered = world.ask("revoke", json!({"task_id": "1", "terminate": true, "signal": signal}));
        assert!(
            answered["error"].as_str().unwrap().starts_with("ValueError("),
            "{answered}"
        );
    }
    assert!(world.node.is_busy(), "what was not understood has changed nothing");
}

#[test]
fn a_retry_goes_back_by_the_way_it_came_later_each_time_and_then_fails() {
    let mut world = World::new(|_| ());
    let why = Failure::builtin("ConnectionError", "no broker");
    let mut current = task("1", LATE);
    for (retry, rest) in [(0, 1), (1, 2), (2, 4)] {
        let tag = world.deliver(current.clone());
        if retry > 0 {
            world.pass(seconds(rest / 2));
        }
        let run = world.started()[0];
        world.end(
            run,
            Outcome::Retry {
                failure: why.clone(),
                after: None,
            },
        );
        let conclusion = world.conclusions()[0].clone();
        assert_eq!(conclusion.settle, Some((tag, Settle::Ack)));
        assert_eq!(conclusion.result.unwrap().state, State::Retry);
        assert_eq!(conclusion.send[0].to, To::Queue("headcount".into()));
        assert_eq!(conclusion.send[0].headers["retries"], json!(retry + 1));
        current.retries = retry + 1;
        current.eta = Some(world.now.wall + seconds(rest));
        assert!(world.kinds().contains(&"task-retried".to_owned()));
    }
    world.deliver(current);
    world.pass(seconds(4));
    let run = world.started()[0];
    world.end(
        run,
        Outcome::Retry {
            failure: why,
            after: None,
        },
    );
    let conclusion = world.conclusions()[0];
    assert!(conclusion.send.is_empty());
    assert_eq!(conclusion.result.as_ref().unwrap().state, State::Failure);
}

#[test]
fn the_soft_limit_hurries_and_the_hard_limit_ends() {
    let mut world = World::new(|_| ());
    let mut slow = task("1", ECHO);
    (slow.soft_time_limit, slow.time_limit) = (Some(seconds(5)), Some(seconds(8)));
    world.deliver(slow);
    let run = world.started()[0];
    world.pass(seconds(5));
    assert!(
        world
            .out
            .iter()
            .any(|output| matches!(output, Output::Hurry(it) if *it == run))
    );
    world.pass(seconds(1));
    assert!(!world.out.iter().any(|output| matches!(output, Output::Hurry(_))));
    world.pass(seconds(2));
    assert!(
        world
            .out
            .iter()
            .any(|output| matches!(output, Output::Stop(it) if *it == run))
    );
    let result = world.conclusions()[0].result.clone().unwrap();
    assert_eq!(result.value, Err(Failure::time_limit(8.0)));
}

#[test]
fn a_rate_limit_spaces_the_tasks_of_its_kind_and_no_others() {
    let mut world = World::new(|spec| spec.concurrency = 10);
    assert_eq!(
        world.ask("rate_limit", json!({"task_name": ECHO, "rate_limit": "6/m"})),
        json!({"ok": "new rate limit set successfully"})
    );
    world.deliver(task("1", ECHO));
    assert_eq!(world.started().len(), 1);
    world.deliver(task("2", ECHO));
    assert!(world.started().is_empty());
    world.deliver(task("3", LATE));
    assert_eq!(world.started().len(), 1);
    world.pass(seconds(9));
    assert!(world.started().is_empty());
    world.pass(seconds(1));
    assert_eq!(world.started().len(), 1);
    assert_eq!(
        world.ask("registered", json!({})),
        json!(["headcount.echo [rate_limit=6/m]", "headcount.late"])
    );
    for (arguments, answer) in [
        (
            json!({"task_name": "none", "rate_limit": "1/s"}),
            json!({"error": "unknown task"}),
        ),
        (
            json!({"task_name": ECHO, "rate_limit": ""}),
            json!({"ok": "rate limit disabled successfully"}),
        ),
        (
            json!({"task_name": ECHO, "rate_limit": "often"}),
            json!({"error": "Invalid rate limit string: expected a rate such as 5/s, 100/m or 2/h"}),
        ),
    ] {
        assert_eq!(world.ask("rate_limit", arguments), answer);
    }
}

#[test]
fn what_is_not_registered_is_rejected_and_its_sender_is_told() {
    let mut world = World::new(|_| ());
    let tag = world.deliver(task("1", "no.such"));
    assert_eq!(world.settled(), [(tag, Settle::Reject)]);
    let result = world.conclusions()[0].result.clone().unwrap();
    assert_eq!(result.value, Err(Failure::not_registered("no.such")));
    let (kind, body) = &world.events()[0];
    assert_eq!(
        (kind.as_str(), &body["exception"]),
        ("task-failed", &json!("NotRegistered('no.such')"))
    );

    let refused = |why, acknowledged, ignore_result| NotATask {
        id: Some("2".into()),
        name: Some(ECHO.into()),
        asker: Box::new(Asker {
            reply_to: Some("oid".into()),
            correlation_id: Some("c".into()),
            ignore_result,
            ..Asker::default()
        }),
        why,
        acknowledged,
    };
    for (why, acknowledged, how) in [(Why::Body, false, Settle::Reject), (Why::NoTask, true, Settle::Ack)] {
        let tag = Tag { session: 1, number: 50 };
        world.step(Input::Message {
            tag,
            message: Err(refused(why.clone(), acknowledged, false)),
        });
        assert_eq!(world.settled(), [(tag, how)]);
        // Celery tells nobody of these, and whoever asked waits for ever.
        let result = world.conclusions()[0].result.clone().unwrap();
        assert_eq!((result.id.as_str(), result.reply_to.as_deref()), ("2", Some("oid")));
        assert_eq!((result.state, result.correlation_id.as_str()), (State::Failure, "c"));
        assert_eq!(result.value, Err(Failure::invalid(&why.to_string())));
        world.step(Input::Message {
            tag,
            message: Err(refused(why, acknowledged, true)),
        });
        assert!(world.conclusions()[0].result.is_none(), "nobody asks");
    }
    // And the next one is not held up.
    world.deliver(task("3", ECHO));
    assert_eq!(world.started().len(), 1);
}

#[test]
fn after_a_lost_session_a_running_task_answers_for_its_message_that_comes_again() {
    let mut world = World::new(|_| ());
    world.deliver(task("1", LATE));
    let run = world.started()[0];
    world.deliver(task("2", LATE));
    world.deliver(task("3", LATE));
    world.step(Input::Lost);
    assert_eq!(world.ask("reserved", json!({})), json!([]), "it comes again");
    world.session = 2;
    world.step(Input::Opened { session: 2 });
    assert_eq!(world.kinds(), ["worker-online"]);
    world.meet(&[]);
    let again = world.deliver(task("1", LATE));
    assert!(world.started().is_empty(), "it runs already");
    world.end(run, Outcome::Success(Value::Null));
    assert_eq!(world.settled(), [(again, Settle::Ack)]);
}

#[test]
fn no_task_begins_before_the_others_have_told_what_is_revoked() {
    let mut world = World::new(|_| ());
    world.ask("revoke", json!({"task_id": "9"}));
    world.step(Input::Lost);
    world.session = 2;
    let out = world.step(Input::Opened { session: 2 });
    let told = |output: &Output| matches!(output, Output::Meet { revoked } if revoked == &["9"]);
    assert!(out.iter().any(told), "{out:?}");
    world.deliver(task("1", ECHO));
    world.deliver(task("2", ECHO));
    world.pass(seconds(1));
    assert!(world.started().is_empty());
    world.meet(&["1"]);
    let started = world.started();
    assert_eq!(started.len(), 1, "the other one is revoked");
    assert!(world.ask("clock", json!({}))["clock"].as_u64() > Some(40));
}

#[test]
fn who_leaves_gives_back_what_waits_and_in_the_end_what_runs() {
    let mut world = World::new(|_| ());
    let late = world.deliver(task("1", LATE));
    world.deliver(task("2", ECHO));
    let waits = world.deliver(task("3", ECHO));
    let mut scheduled = task("4", ECHO);
    scheduled.eta = Some(world.now.wall + seconds(60));
    let scheduled = world.deliver(scheduled);
    world.step(Input::Leave);
    assert_eq!(
        world.settled(),
        [(waits, Settle::Requeue), (scheduled, Settle::Requeue)]
    );
    assert!(world.node.is_busy());
    let refused = world.deliver(task("5", ECHO));
    assert_eq!(world.settled(), [(refused, Settle::Requeue)]);
    world.step(Input::Abandon);
    assert_eq!(world.settled(), [(late, Settle::Requeue)]);
    let told: Vec<_> = world
        .conclusions()
        .iter()
        .filter_map(|conclusion| conclusion.result.as_ref())
        .map(|result| (result.id.clone(), result.state))
        .collect();
    assert_eq!(told, [("2".to_owned(), State::Failure)]);
    assert!(!world.node.is_busy());
}

#[test]
fn callbacks_and_chains_are_called_and_what_cannot_be_is_refused_at_once() {
    let mut world = World::new(|_| ());
    let signature = |name: &str, options: Value| json!({"task": name, "args": [2], "kwargs": {"k": 1}, "options": options, "subtask_type": null, "immutable": false});
    let mut first = task("1", ECHO);
    first.embed.callbacks = Some(vec![signature("app.linked", json!({"queue": "q"}))]);
    first.embed.errbacks = Some(vec![signature("app.failed", json!({}))]);
    first.embed.chain = Some(vec![
        signature("app.last", json!({})),
        signature("app.next", json!({"task_id": "n"})),
    ]);
    world.deliver(first.clone());
    let run = world.started()[0];
    world.end(run, Outcome::Success(json!("r")));
    let sent = world.conclusions()[0].send.clone();
    let shown: Vec<_> = sent
        .iter()
        .map(|sent| {
            (
                sent.headers["task"].as_str().unwrap(),
                sent.to.clone(),
                sent.headers["parent_id"].clone(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("app.linked", To::Queue("q".into()), json!("1")),
            ("app.next", To::Queue("celery".into()), json!("1")),
        ]
    );
    let body: Value = serde_json::from_slice(&sent[1].body).unwrap();
    assert_eq!(body[0], json!(["r", 2]));
    assert_eq!(body[2]["chain"][0]["task"], "app.last");
    assert_eq!(sent[1].headers["id"], "n");

    world.deliver(first.clone());
    let run = world.started()[0];
    world.end(run, Outcome::Failure(Failure::builtin("ValueError", "no")));
    let sent = &world.conclusions()[0].send;
    assert_eq!((sent.len(), &sent[0].headers["task"]), (1, &json!("app.failed")));
    let body: Value = serde_json::from_slice(&sent[0].body).unwrap();
    assert_eq!(body[0], json!(["1", 2]));

    for change in [
        |task: &mut TaskMessage| task.embed.chord = Some(json!({"task": "x"})),
        |task: &mut TaskMessage| {
            task.embed.callbacks = Some(vec![json!({"task": "celery.group", "subtask_type": "group"})])
        },
        |task: &mut TaskMessage| task.embed.chain = Some(vec![json!(7)]),
    ] {
        let mut refused = task("9", ECHO);
        change(&mut refused);
        world.deliver(refused);
        assert!(world.started().is_empty());
        let result = world.conclusions()[0].result.clone().unwrap();
        assert_eq!(result.value.unwrap_err().exc_type, "NotImplementedError");
    }
}

#[test]
fn what_follows_goes_where_routes_lead() {
    let mut world = World::new(|spec| {
        let routes = [
            (
                "app.keyed",
                Route {
                    exchange: Some("feeds".into()),
                    routing_key: Some("feed.tasks".into()),
                    priority: Some(3),
                    ..Route::default()
                },
            ),
            ("app.*", Route::to("apps")),
        ];
        spec.routes = Routes::new(
            routes
                .map(|(task, route)| (Pattern::parse(task).unwrap(), route))
                .to_vec(),
        );
    });
    let mut first = task("1", ECHO);
    let names = ["app.keyed", "app.other", "other"];
    let mut signatures = names.map(|name| json!({"task": name})).to_vec();
    signatures.push(json!({"task": "app.other", "options": {"queue": "said", "priority": 7}}));
    first.embed.callbacks = Some(signatures);
    world.deliver(first);
    let run = world.started()[0];
    world.end(run, Outcome::Success(json!(1)));
    let sent: Vec<_> = world.conclusions()[0]
        .send
        .iter()
        .map(|sent| (sent.to.clone(), sent.priority))
        .collect();
    assert_eq!(
        sent,
        [
            (To::exchange("feeds", "feed.tasks"), 3),
            (To::Queue("apps".into()), 0),
            (To::Queue("celery".into()), 0),
            (To::Queue("said".into()), 7),
        ]
    );
}

#[test]
fn commands_are_answered_as_by_a_worker() {
    let mut world = World::new(|_| ());
    for (method, arguments, answer) in [
        ("ping", json!({}), json!({"ok": "pong"})),
        ("ping", json!({"odd": 1}), json!({"ok": "pong"})),
        ("active", json!({}), json!([])),
        ("active", json!({"safe": true}), json!([])),
        ("registered", json!({}), json!([ECHO, LATE])),
        ("query_task", json!({"ids": ["none"]}), json!({})),
        ("nosuch", json!({}), json!({"error": "KeyError('nosuch')"})),
        ("heartbeat", json!({}), Value::Null),
        (
            "heartbeat",
            json!({"zzz": 1}),
            json!({"error": "TypeError(\"heartbeat() got an unexpected keyword argument 'zzz'\")"}),
        ),
        (
            "revoke",
            json!({}),
            json!({"error": "TypeError(\"revoke() missing 1 required positional argument: 'task_id'\")"}),
        ),
        (
            "time_limit",
            json!({"task_name": ECHO, "soft": 1, "hard": 2}),
            json!({"ok": "time limits set successfully"}),
        ),
        (
            "time_limit",
            json!({"task_name": "none"}),
            json!({"error": "unknown task"}),
        ),
        ("disable_events", json!({}), json!({"ok": "task events disabled"})),
        (
            "disable_events",
            json!({}),
            json!({"ok": "task events already disabled"}),
        ),
        ("enable_events", json!({}), json!({"ok": "task events enabled"})),
        ("pool_grow", json!({"n": 3}), json!({"ok": "pool will grow"})),
        ("pool_shrink", json!({"n": 9999}), json!({"ok": "pool will shrink"})),
        ("election", json!({"id": "1", "topic": "t"}), Value::Null),
        (
            "autoscale",
            json!({"max": 1}),
            json!({"error": "ValueError('Autoscale not enabled')"}),
        ),
        (
            "pool_restart",
            json!({}),
            json!({"error": "ValueError('Pool restarts not enabled')"}),
        ),
        (
            "add_consumer",
            json!({"queue": "q"}),
            json!({"error": "Headcount consumes the queue of its [[node]], and no other: change its configuration"}),
        ),
        (
            "cancel_consumer",
            json!({"queue": "headcount"}),
            json!({"error": "Headcount consumes the queue of its [[node]], and no other: change its configuration"}),
        ),
        ("memsample", json!({}), json!({"error": "KeyError('memsample')"})),
        ("hello", json!({"from_node": "headcount@h"}), Value::Null),
    ] {
        assert_eq!(world.ask(method, arguments.clone()), answer, "{method} {arguments}");
    }
    assert_eq!(world.ask("stats", json!({}))["pool"]["max-concurrency"], 1);
    assert_eq!(world.ask("active_queues", json!({}))[0]["name"], "headcount");
    let hello = world.ask("hello", json!({"from_node": "sms@h", "revoked": ["x"]}));
    assert_eq!(hello["revoked"], json!(["x"]));
    world.deliver(task("x", ECHO));
    assert!(world.started().is_empty(), "others have revoked it");
    let refused = world.ask("shutdown", json!({}));
    assert!(
        refused["error"].as_str().unwrap().contains("obey_shutdown"),
        "{refused}"
    );
    assert!(!world.out.iter().any(|output| matches!(output, Output::Shutdown)));
    let mut obeys = World::new(|spec| spec.obeys_shutdown = true);
    assert_eq!(obeys.answer("shutdown", json!({})), None, "a worker does not answer");
    assert!(obeys.out.iter().any(|output| matches!(output, Output::Shutdown)));
}

#[test]
fn the_clock_is_later_than_all_that_was_heard() {
    let mut world = World::new(|_| ());
    world.step(Input::Command(Command {
        method: "ping".into(),
        arguments: serde_json::Map::new(),
        answer_to: None,
        clock: 1_000,
    }));
    assert!(world.publications().is_empty(), "nobody waits for an answer");
    assert!(world.ask("clock", json!({}))["clock"].as_u64().unwrap() > 1_000);
    world.pass(seconds(2));
    assert!(world.events()[0].1["clock"].as_u64().unwrap() > 1_000);
}

#[test]
fn without_e_only_the_node_itself_is_heard_of() {
    let mut world = World::new(|spec| spec.task_events = false);
    world.deliver(task("1", ECHO));
    assert!(world.kinds().is_empty());
    let run = world.started()[0];
    world.end(run, Outcome::Success(Value::Null));
    assert!(world.kinds().is_empty());
    assert!(world.conclusions()[0].result.is_some());
    let mut ignored = task("2", ECHO);
    ignored.ignore_result = true;
    world.deliver(ignored);
    let run = world.started()[0];
    world.end(run, Outcome::Failure(Failure::builtin("ValueError", "no")));
    assert!(world.conclusions()[0].result.is_none());
}

#[test]
fn ends_that_are_not_through_keep_their_slots() {
    let mut world = World::new(|spec| spec.concurrency = 1);
    world.deliver(task("1", ECHO));
    let run = world.started()[0];
    world.deliver(task("2", ECHO));
    world.step(Input::Ended {
        run,
        outcome: Outcome::Success(Value::Null),
    });
    assert!(world.conclusions()[0].keeps_slot);
    assert!(world.started().is_empty(), "the result of the first is not stored");
    world.step(Input::Concluded);
    assert_eq!(world.started().len(), 1);
}
