//! Tasks from Python to the node, and from the node to Python.

use std::time::Duration;

use headcount_testkit::{
    Broker, Headcount, Worker, WorkerOptions, celery, control, poll_until, run_script, start_script, wait_until,
};
use serde_json::{Value, json};

use super::{HEADCOUNT, NODE, PATIENCE, backend, call, config, joined, start};

#[test]
fn from_python_on_redis() {
    from_python(&Broker::redis());
}

#[test]
fn from_python_on_rabbitmq() {
    from_python(&Broker::rabbitmq());
}

/// More than any node reads, in bytes, and no more than that.
const TOO_LARGE: usize = 17 << 20;
const LARGE: usize = 2 << 20;

/// The most of it is waiting: for times to come, for limits to be over, for the next try. All of that passes at once.
fn from_python(broker: &Broker) {
    let nowhere = format!(
        "[[broker]]\nname = \"nowhere\"\nurl = \"redis://127.0.0.1:{}\"\n",
        headcount_testkit::free_port()
    );
    let node = config(broker, "broker = \"main\"\nconcurrency = 8");
    let headcount = Headcount::launch(HEADCOUNT, &(node + URGENT + &nowhere));
    for node in [NODE, "urgent@test"] {
        let line = format!("the node has joined\",\"broker\":\"main\",\"node\":\"{node}\"");
        headcount.process().wait_line(&line, PATIENCE);
    }
    std::thread::scope(|scope| {
        scope.spawn(|| the_most_urgent_is_next(broker, &headcount));
        every_kind_of_call(broker, &headcount);
    });
    nothing_can_follow(broker, &headcount);
    many_for_later(broker, &headcount);
    revoked(broker);
    broken_bodies(broker, &headcount);
    assert!(headcount.sigterm().success());
}

fn every_kind_of_call(broker: &Broker, headcount: &Headcount) {
    let none = json!({});
    let told = call(
        broker,
        &backend(broker),
        &[
            ("headcount.ping", json!([]), none.clone()),
            ("headcount.echo", json!(["größe",]), none.clone()),
            ("headcount.echo", json!([1, 2]), none.clone()),
            ("headcount.status", json!([]), none.clone()),
            ("headcount.probe", json!([null, 5]), none.clone()),
            ("headcount.echo", json!(["later"]), json!({"countdown": 1})),
            (
                "headcount.echo",
                json!(["never"]),
                json!({"countdown": 2, "expires": 1}),
            ),
            ("headcount.echo", json!(["first"]), json!({"priority": 9})),
            ("headcount.sleep", json!([30]), json!({"time_limit": 1})),
            ("headcount.sleep", json!([30]), json!({"soft_time_limit": 1})),
            ("headcount.sleep", json!([-1]), none.clone()),
            ("headcount.ping", json!([7]), none.clone()),
            ("headcount.status", json!(["none"]), none.clone()),
            ("no.such.task", json!([]), none.clone()),
            ("headcount.probe", json!(["nowhere"]), none.clone()),
            ("headcount.ping", json!([]), json!({"headers": {"retries": -1}})),
            ("headcount.echo", json!([]), json!({"fill": TOO_LARGE})),
            ("headcount.echo", json!([]), json!({"fill": LARGE})),
        ],
    );
    let ok: Vec<&Value> = told.iter().map(|one| &one["ok"]).collect();
    assert_eq!(*ok[0], "pong");
    assert_eq!(*ok[1], "größe");
    assert_eq!(*ok[2], json!({"args": [1, 2], "kwargs": {}}));
    assert_eq!(*ok[3], json!([]));
    assert!(ok[4][NODE].is_f64(), "{}", told[4]);
    assert_eq!(*ok[5], "later");
    assert!(told[5]["seconds"].as_f64().unwrap() >= 1.0, "{}", told[5]);
    assert_eq!(*ok[7], "first");
    for (place, module, kind, state) in [
        (6, "celery.exceptions", "TaskRevokedError", "REVOKED"),
        (8, "billiard.exceptions", "TimeLimitExceeded", "FAILURE"),
        (9, "billiard.exceptions", "SoftTimeLimitExceeded", "FAILURE"),
        (10, "builtins", "ValueError", "FAILURE"),
        (11, "builtins", "TypeError", "FAILURE"),
        (12, "builtins", "LookupError", "FAILURE"),
        (13, "celery.exceptions", "NotRegistered", "FAILURE"),
        (14, "builtins", "ConnectionError", "FAILURE"),
        (15, "celery.exceptions", "InvalidTaskError", "FAILURE"),
        (16, "celery.exceptions", "InvalidTaskError", "FAILURE"),
    ] {
        let one = &told[place];
        assert_eq!(
            (&one["module"], &one["type"], &one["state"]),
            (&json!(module), &json!(kind), &json!(state)),
            "{one}"
        );
    }
    assert_eq!(ok[17].as_str().map(str::len), Some(LARGE));
    let metric = |task: &str, state: &str| {
        let labels = format!("broker=\"main\",task=\"{task}\",state=\"{state}\"");
        headcount.metric("headcount_node_tasks_total", &labels)
    };
    assert_eq!(metric("headcount.ping", "SUCCESS"), Some(1.0));
    assert_eq!(metric("headcount.sleep", "FAILURE"), Some(3.0));
    assert_eq!(
        headcount.metric("headcount_node_refused_total", "broker=\"main\""),
        Some(3.0)
    );
    let refused = headcount
        .process()
        .wait_line("a task that Headcount does not have", PATIENCE);
    assert!(
        refused.contains("no.such.task") && refused.contains("\"WARN\""),
        "{refused}"
    );
    // A broker that is not there is tried again, later each time, and then it fails.
    let seconds = told[14]["seconds"].as_f64().unwrap();
    assert!(seconds >= 7.0, "after 1, 2 and 4 s: {seconds}");
    assert_eq!(metric("headcount.probe", "RETRY"), Some(3.0));
}

/// What is to follow leads nowhere, has no name that the broker could take, or one that is something else there: the task
/// has succeeded all the same, and so does the next.
fn nothing_can_follow(broker: &Broker, headcount: &Headcount) {
    let link = |options: Value| json!({"link": {"task": "follows", "args": [], "kwargs": {}, "options": options}});
    let ping = |options: Value| ("headcount.ping", json!([]), link(options));
    let nowhere = || ping(json!({"exchange": "nowhere", "routing_key": "at.all"}));
    let mut calls: Vec<_> = (0..8).map(|_| nowhere()).collect();
    calls.push(ping(json!({"queue": "q".repeat(300)})));
    // There is an exchange of this name, of another kind.
    calls.push(ping(json!({"queue": "celeryev"})));
    calls.push(("headcount.ping", json!([]), json!({})));
    let told = call(broker, &backend(broker), &calls);
    assert!(told.iter().all(|one| one["ok"] == "pong"), "{told:?}");
    let lost = match broker {
        // A list may have any name.
        Broker::Redis(_) => 8.0,
        Broker::RabbitMq(_) => 10.0,
    };
    assert_eq!(
        headcount.metric("headcount_node_unsent_total", "broker=\"main\""),
        Some(lost)
    );
}

/// More than a thousand that wait for their time keep nobody from being served, and all of them are the node's.
fn many_for_later(broker: &Broker, headcount: &Headcount) {
    const MANY: usize = 1_100;
    let told = run_script(
        &broker.url(),
        "later.py",
        &[&broker.url(), &backend(broker), &MANY.to_string()],
    );
    assert_eq!(told["ok"], "pong");
    let waiting = |expected: f64| {
        wait_until("so many wait", PATIENCE, || {
            let waiting = headcount.metric("headcount_node_waiting", "broker=\"main\"");
            (waiting == Some(expected)).then_some(())
        });
    };
    waiting(MANY as f64);
    control(&broker.url(), NODE, "revoke", &json!({"task_id": told["ids"]}));
    waiting(0.0);
}

/// One that runs is terminated, one that waits for its time is dropped.
fn revoked(broker: &Broker) {
    let calls = json!([
        ["headcount.sleep", [600], {}, {"task_id": "runs"}],
        ["headcount.echo", [1], {}, {"task_id": "waits", "countdown": 600}],
    ]);
    let waiting = start_script(
        &broker.url(),
        "call.py",
        &[&broker.url(), &backend(broker), &calls.to_string()],
    );
    run_script(&broker.url(), "revoke.py", &[NODE, "runs", "waits"]);
    let told = headcount_testkit::finish_script(&waiting);
    let why: Vec<&Value> = told.as_array().unwrap().iter().map(|one| &one["args"][0]).collect();
    assert_eq!(why, ["terminated", "revoked"], "{told}");
}

/// What is no task is out of the way of the next, said and counted.
fn broken_bodies(broker: &Broker, headcount: &Headcount) {
    let before = headcount
        .metric("headcount_node_refused_total", "broker=\"main\"")
        .unwrap();
    run_script(&broker.url(), "raw.py", &[&broker.url(), "headcount"]);
    let told = call(
        broker,
        &backend(broker),
        &[("headcount.echo", json!(["next"]), json!({}))],
    );
    assert_eq!(told[0]["ok"], "next");
    let (_, said) = celery(&broker.url(), &["inspect", "ping", "-d", NODE, "--timeout", "10"]);
    assert!(said.contains("pong"), "it still answers: {said}");
    let log = headcount.process().stderr();
    assert!(
        !log.iter().any(|line| line.contains("the node has not joined")),
        "nothing of that cost it its session"
    );
    let sent = match broker {
        Broker::Redis(_) => 9 + 6,
        Broker::RabbitMq(_) => 9,
    };
    wait_until("all of them are counted", PATIENCE, || {
        let now = headcount
            .metric("headcount_node_refused_total", "broker=\"main\"")
            .unwrap();
        (now >= before + f64::from(sent)).then_some(())
    });
    nothing_is_on_the_books(broker);
}

/// Of what was taken from Redis and is settled nothing is left.
fn nothing_is_on_the_books(broker: &Broker) {
    let Broker::Redis(redis) = broker else { return };
    let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    wait_until("all of it is settled", PATIENCE, || {
        let left: (u64, u64) = redis::pipe()
            .hlen("unacked")
            .zcard("unacked_index")
            .query(&mut connection)
            .unwrap();
        (left == (0, 0)).then_some(())
    });
}

/// A chain from Headcount's task to a Python worker's: what the node sends is run there, and its result comes to who waits.
pub(crate) fn to_python(broker: &Broker) {
    let routes = "[[broker.routes]]\ntask = \"ad*\"\nexchange = \"feeds\"\nrouting_key = \"feed.tasks\"\n";
    let headcount = Headcount::start(HEADCOUNT, &(config(broker, "") + routes));
    joined(&headcount);
    // What follows a task finds no queue yet: it is made, and nothing is lost.
    let witness = json!({"task": "witness", "args": [], "kwargs": {}, "options": {"queue": "fresh"}});
    let told = call(
        broker,
        &backend(broker),
        &[("headcount.echo", json!(["early"]), json!({"link": witness}))],
    );
    assert_eq!(told[0]["ok"], "early");
    run_script(&broker.url(), "bind.py", &[&broker.url(), "sms", "feeds", "feed.#"]);

    let options = WorkerOptions {
        queues: vec!["sms".into(), "fresh".into()],
        extra: vec!["--".into(), format!("result_backend={}", backend(broker))],
        ..WorkerOptions::default()
    };
    let worker = Worker::start(&broker.url(), "sms@h1", options);
    let told = run_script(&broker.url(), "chain.py", &[&broker.url(), &backend(broker)]);
    assert_eq!(
        told,
        json!({"chain": 42, "routed": 43, "back": 21, "failed": "TypeError"})
    );
    // A callback gets the result before its own arguments, and an errback the id of what failed.
    for args in [r#"["early"]"#, r#"["done", "linked"]"#, r#"["failed", "missed"]"#] {
        worker
            .process()
            .wait_line(&format!("WITNESS {{\"args\": {args}"), PATIENCE);
    }
    assert!(headcount.sigterm().success());
}

/// The other backend: results in a Redis, while the broker is a RabbitMQ.
pub(crate) fn results_in_another_redis(broker: &Broker) {
    let mut results = Broker::redis();
    let elsewhere = format!("queue = \"elsewhere\"\nresult_backend = \"{}\"", results.url());
    let headcount = start(broker, &elsewhere);
    joined(&headcount);
    let told = call(
        broker,
        &results.url(),
        &[
            (
                "headcount.ping",
                json!([]),
                json!({"queue": "elsewhere", "task_id": "kept"}),
            ),
            ("headcount.ping", json!([1]), json!({"queue": "elsewhere"})),
        ],
    );
    assert_eq!(
        (&told[0]["ok"], &told[1]["type"]),
        (&json!("pong"), &json!("TypeError"))
    );
    let mut connection = redis::Client::open(results.url()).unwrap().get_connection().unwrap();
    let ttl: i64 = redis::cmd("TTL")
        .arg("celery-task-meta-kept")
        .query(&mut connection)
        .unwrap();
    assert!((86_000..=86_400).contains(&ttl), "{ttl}");
    drop(connection);
    // While the results cannot be stored the task waits with its end, and then it is told all the same.
    results.kill();
    let pending = start_script(&broker.url(), "send.py", &[r#"[["elsewhere", "headcount.ping", []]]"#]);
    assert!(pending.wait_exit(PATIENCE).success());
    let line = headcount
        .process()
        .wait_line("could not be stored; trying again", PATIENCE);
    for whose in ["\"broker\":\"main\"", "\"node\":\"", "\"task\":\"headcount.ping\""] {
        assert!(line.contains(whose), "{whose}: {line}");
    }
    results.restart();
    let mut connection = redis::Client::open(results.url()).unwrap().get_connection().unwrap();
    wait_until("the result is there", PATIENCE, || {
        let keys: Vec<String> = redis::cmd("KEYS")
            .arg("celery-task-meta-*")
            .query(&mut connection)
            .unwrap();
        (keys.len() == 1).then_some(())
    });
    assert!(headcount.sigterm().success());
}

/// A queue that is there already, of a type that somebody chose, is taken as it is: a quorum queue, which has no prefetch
/// count for a whole channel. And RabbitMQ refuses a second node of the name; that is said in words.
pub(crate) fn a_quorum_queue_and_two_of_one_name(broker: &Broker) {
    run_script(&broker.url(), "quorum.py", &[&broker.url(), "headcount"]);
    let first = start(broker, "");
    joined(&first);
    let second = start(broker, "");
    second
        .process()
        .wait_line("another node is called headcount@test already", PATIENCE);
    let told = run_script(
        &broker.url(),
        "call.py",
        &[
            &broker.url(),
            "rpc://",
            r#"[["headcount.ping", [], {}, {}], ["headcount.echo", [1], {}, {"countdown": 1}]]"#,
            "quorum=1",
        ],
    );
    assert_eq!((&told[0]["ok"], &told[1]["ok"]), (&json!("pong"), &json!(1)), "{told}");
    assert!(first.sigterm().success());
    joined(&second);
    assert!(second.sigterm().success());
}

/// Who meets the other at all does so within a second of joining, and then says it; this is for the saying.
const MEETS_WITHIN: Duration = Duration::from_secs(10);

/// Redis refuses nobody. What one of them holds the other leaves alone, however long it takes, and none runs twice; that there
/// are two is said. And what was revoked before the second one was there is not run by it.
pub(crate) fn two_of_one_name(broker: &Broker) {
    // Longer than any of the two is stalled for, and shorter than the tasks take.
    let lines = "queue = \"shared\"\nvisibility_timeout = \"6s\"\nconcurrency = 1\nprefetch_multiplier = 1";
    let other = "[[node]]\nname = \"other@test\"\nqueue = \"other\"";
    let first = start(broker, &format!("{lines}\n{other}"));
    for node in [NODE, "other@test"] {
        let line = format!("the node has joined\",\"broker\":\"main\",\"node\":\"{node}\"");
        first.process().wait_line(&line, PATIENCE);
    }
    control(&broker.url(), "other@test", "revoke", &json!({"task_id": ["unwanted"]}));
    // It asks once, and waits for a second: one that was stalled meanwhile meets nobody, and the next does.
    let second = (0..3).find_map(|_| {
        let second = start(broker, lines);
        joined(&second);
        let says = |line: &String| line.contains("another node is called headcount@test already");
        let met = poll_until(MEETS_WITHIN, || {
            second.process().stderr().iter().any(says).then_some(())
        });
        if met.is_none() {
            assert!(second.sigterm().success());
        }
        met.map(|()| second)
    });
    let second = second.expect("the second one meets the first");
    let ids = ["a", "b", "c", "d"].map(|id| format!("held {id}"));
    let of = |id: &String| json!(["headcount.sleep", [8], {}, {"queue": "shared", "task_id": id}]);
    let calls: Vec<Value> = ids.iter().map(of).collect();
    let told = run_script(
        &broker.url(),
        "call.py",
        &[&broker.url(), &backend(broker), &Value::from(calls).to_string()],
    );
    assert!(told.as_array().unwrap().iter().all(|one| one["ok"] == 8.0), "{told}");
    let logs = [&first, &second].map(|headcount| headcount.process().stderr());
    for id in &ids {
        let began = |line: &&String| line.contains("task begins") && line.contains(id.as_str());
        assert_eq!(logs.iter().flatten().filter(began).count(), 1, "{id} {logs:#?}");
    }
    assert!(
        logs.iter()
            .all(|log| !log.iter().any(|line| line.contains("are back in the queue")))
    );
    nothing_is_on_the_books(broker);
    // The second one learned at its start what another one had been told.
    assert!(first.sigterm().success());
    let calls = [(
        "headcount.ping",
        json!([]),
        json!({"queue": "shared", "task_id": "unwanted"}),
    )];
    let told = call(broker, &backend(broker), &calls);
    assert_eq!(told[0]["state"], "REVOKED", "{told:?}");
    assert!(second.sigterm().success());
}

/// A node with one slot.
const URGENT: &str = "[[node]]\nbroker = \"main\"\nname = \"urgent@test\"\nqueue = \"urgent\"\nconcurrency = 1\n\
                      prefetch_multiplier = 1\nmax_priority = 10\n";

/// While the only slot is taken three wait at the broker, and the most urgent of them is the next: 9 on RabbitMQ, 0 on Redis.
fn the_most_urgent_is_next(broker: &Broker, headcount: &Headcount) {
    let expected = match broker {
        Broker::Redis(_) => ["of 0", "of 4", "of 9"],
        Broker::RabbitMq(_) => ["of 9", "of 4", "of 0"],
    };
    let options = |id: &str, priority: u8| json!({"queue": "urgent", "priority": priority, "task_id": id});
    let echo = |priority: u8| {
        json!([
            "headcount.echo",
            [priority],
            {},
            options(&format!("of {priority}"), priority)
        ])
    };
    let calls = json!([
        ["headcount.sleep", [5], {}, options("first", 0)],
        echo(4),
        echo(0),
        echo(9)
    ]);
    let arguments = [
        &broker.url(),
        &backend(broker),
        &calls.to_string(),
        "task_queue_max_priority=10",
    ];
    let told = run_script(&broker.url(), "call.py", &arguments);
    assert!(
        told.as_array().unwrap().iter().all(|one| one["state"] == "SUCCESS"),
        "{told}"
    );
    let log = headcount.process().stderr();
    let began: Vec<&str> = log
        .iter()
        .filter(|line| line.contains("task begins"))
        .filter_map(|line| expected.into_iter().find(|one| line.contains(one)))
        .collect();
    assert_eq!(began, expected);
}
