//! Whatever a broker brings is counted and stops nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use headcount_testkit::{Broker, Headcount, SlackStandIn, Worker, WorkerOptions, wait_until};
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Connection, ConnectionProperties};

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const UP_WITHIN: Duration = Duration::from_secs(30);
/// A deadline of silence is a minute where Headcount doubts itself, as on a machine that stalls.
const PATIENCE: Duration = Duration::from_secs(120);
/// No key that the workers listen to themselves (`worker.*`): the garbage is for Headcount alone.
const KEY: &str = "task.multi";
const JSON: &str = "application/json";
const PICKLE: &str = "application/x-python-serialize";

#[test]
fn on_redis() {
    let broker = Broker::redis();
    garbage(&broker);
    long_names(&broker);
}

#[test]
fn on_rabbitmq() {
    let broker = Broker::rabbitmq();
    garbage(&broker);
    long_names(&broker);
}

/// Bodies that are no events, each with the content type that it claims.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let huge = [b"[\"".to_vec(), vec![b'x'; 16 * 1024 * 1024], b"\"]".to_vec()].concat();
    vec![
        (JSON, Vec::new()),
        (JSON, b"not json".to_vec()),
        (
            JSON,
            b"{\"type\": \"worker-heartbeat\", \"hostname\": \"sms@h1\", \"timest".to_vec(),
        ),
        (
            JSON,
            b"{\"type\": \"worker-heartbeat\", \"hostname\": \"sms\xff\xfe@h1\", \"timestamp\": 1.0}".to_vec(),
        ),
        (JSON, b"null".to_vec()),
        (JSON, b"42".to_vec()),
        (JSON, b"\"text\"".to_vec()),
        (JSON, b"{}".to_vec()),
        (
            JSON,
            b"{\"type\": 7, \"hostname\": [], \"timestamp\": \"soon\"}".to_vec(),
        ),
        (
            JSON,
            b"{\"type\": \"worker-heartbeat\", \"hostname\": null, \"timestamp\": 1e999}".to_vec(),
        ),
        (JSON, vec![b'['; 200_000]),
        (JSON, huge),
        (
            PICKLE,
            b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x04type\x94N.".to_vec(),
        ),
        ("application/x-no-such-thing", b"{}".to_vec()),
    ]
}

/// What is wrong already around the body; only Redis has such an envelope.
fn envelopes() -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        b"not json".to_vec(),
        b"\xff\xfe\xfd".to_vec(),
        b"{\"body\": \"e30=\", \"content-type\": \"application/json\", \"proper".to_vec(),
        b"{\"body\": 5, \"content-type\": 6, \"properties\": 7, \"headers\": 8}".to_vec(),
        b"{\"body\": \"***\", \"content-type\": \"application/json\", \"properties\": {\"body_encoding\": \"base64\"}}"
            .to_vec(),
        vec![b'{'; 200_000],
    ]
}

fn garbage(broker: &Broker) {
    let slack = SlackStandIn::start();
    let worker = Worker::start(&broker.url(), "sms@h1", WorkerOptions::default());
    let headcount = Headcount::start(HEADCOUNT, &(broker.config(&["sms"]) + &slack.webhook_config()));
    headcount.wait_worker("sms@h1", "up", UP_WITHIN);
    let malformed = || {
        headcount
            .metric("headcount_events_malformed_total", "broker=\"main\"")
            .unwrap_or_default()
    };
    let received = || {
        headcount
            .metric("headcount_events_received_total", "broker=\"main\"")
            .unwrap_or_default()
    };
    assert_eq!(malformed() as u64, 0, "nothing that a real worker sends is malformed");

    let further = if matches!(broker, Broker::Redis(_)) {
        envelopes()
    } else {
        Vec::new()
    };
    let sent = publish(broker, &bodies(), further);
    wait_until("all that was wrong to be counted", PATIENCE, || {
        (malformed() >= sent as f64).then_some(())
    });
    assert_eq!(malformed() as usize, sent, "each once");

    // The stream goes on, with what it brought known to be right.
    let before = received();
    wait_until("further events", PATIENCE, || {
        (received() >= before + 3.0).then_some(())
    });
    // A beat that comes late makes it suspect for a moment.
    headcount.wait_worker("sms@h1", "up", UP_WITHIN);
    assert_eq!(
        headcount.get("/api/v1/workers").as_array().unwrap().len(),
        1,
        "garbage makes no worker"
    );
    worker.sigkill();
    slack.next_text("DOWN sms", PATIENCE);
    assert!(headcount.sigterm().success());
    let errors = headcount.process().stderr().join("\n");
    assert!(!errors.contains("panicked"), "{errors}");
}

/// A valid heartbeat, of a worker whose name is as long as names may be: longer than the name of a queue in RabbitMQ.
fn heartbeat(hostname: &str) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    serde_json::json!({
        "type": "worker-heartbeat", "hostname": hostname, "timestamp": now, "utcoffset": 0, "pid": 4711, "clock": 11,
        "freq": 2.0, "active": 0, "processed": 7, "loadavg": [0.1, 0.2, 0.3], "sw_ident": "py-celery",
        "sw_ver": "5.7.0", "sw_sys": "Linux"
    })
    .to_string()
    .into_bytes()
}

/// Names that RabbitMQ has no mailbox for are asked in vain, and stop no actor and no other worker's probes.
fn long_names(broker: &Broker) {
    let slack = SlackStandIn::start();
    let worker = Worker::start(&broker.url(), "sms@h2", WorkerOptions::default());
    let long = "[[fleet]]\nname = \"long\"\nbroker = \"main\"\nhostnames = [\"long*@h1\"]\nqueues = [\"long\"]\n\n";
    let headcount = Headcount::start(HEADCOUNT, &(broker.config(&["sms"]) + long + &slack.webhook_config()));
    headcount.wait_worker(worker.hostname(), "up", UP_WITHIN);

    // It may be up by its answers before events are listened to, and what follows is sent once.
    wait_until("heartbeats are heard", PATIENCE, || {
        let worker = headcount.worker(worker.hostname())?;
        (worker["signals"]["heartbeat"]["ok"] == true).then_some(())
    });

    let names = [250, 500].map(|length| format!("long{}@h1", "g".repeat(length - "long@h1".len())));
    let heartbeats: Vec<_> = names.iter().map(|name| (JSON, heartbeat(name))).collect();
    publish(broker, &heartbeats, Vec::new());
    // Each has been asked, and its fleet's prober has lived to tell.
    for name in &names {
        wait_until("an unanswered probe", PATIENCE, || {
            let answer = headcount.worker(name)?["signals"]["answer"].clone();
            // One that has been asked often, and has never answered, is judged by its beats: `ok` is false but for moments.
            (answer["ok"] != true && answer["detail"] != "not asked yet").then_some(())
        });
    }
    headcount.wait_worker(worker.hostname(), "up", UP_WITHIN);
    let restarts = headcount.metric("headcount_actor_restarts_total", "");
    assert_eq!(
        restarts.unwrap_or_default() as u64,
        0,
        "{}",
        headcount.get_text("/metrics")
    );
    assert!(headcount.sigterm().success());
    let errors = headcount.process().stderr().join("\n");
    assert!(!errors.contains("panicked"), "{errors}");
}

/// Publishes bodies, and on Redis whole payloads too. Returns how many that were.
fn publish(broker: &Broker, bodies: &[(&'static str, Vec<u8>)], payloads: Vec<Vec<u8>>) -> usize {
    match broker {
        Broker::Redis(redis) => publish_redis(&redis.url(), bodies, payloads),
        Broker::RabbitMq(rabbitmq) => tokio::runtime::Runtime::new()
            .unwrap()
            .block_on(publish_rabbitmq(&rabbitmq.vhost_url("%2f"), bodies)),
    }
}

fn publish_redis(url: &str, bodies: &[(&'static str, Vec<u8>)], payloads: Vec<Vec<u8>>) -> usize {
    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    let wrapped = bodies.iter().map(|(content_type, body)| {
        serde_json::json!({
            "body": STANDARD.encode(body),
            "content-encoding": "utf-8",
            "content-type": content_type,
            "headers": {"hostname": "sms@h1"},
            "properties": {
                "delivery_mode": 1,
                "delivery_info": {"exchange": "celeryev", "routing_key": KEY},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": "d6ee0a0f-7e2b-4b0e-9a54-6b9c7f3b8f10"
            }
        })
        .to_string()
        .into_bytes()
    });
    let all: Vec<Vec<u8>> = wrapped.chain(payloads).collect();
    for payload in &all {
        let heard: u32 = redis::cmd("PUBLISH")
            .arg(format!("/0.celeryev/{KEY}"))
            .arg(payload)
            .query(&mut connection)
            .unwrap();
        assert!(heard >= 1, "Headcount listens");
    }
    all.len()
}

async fn publish_rabbitmq(url: &str, bodies: &[(&'static str, Vec<u8>)]) -> usize {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    for (content_type, body) in bodies {
        let properties = BasicProperties::default()
            .with_content_type((*content_type).into())
            .with_content_encoding("utf-8".into())
            .with_delivery_mode(1);
        channel
            .basic_publish(
                "celeryev".into(),
                KEY.into(),
                BasicPublishOptions::default(),
                body,
                properties,
            )
            .await
            .unwrap();
    }
    connection.close(200, "done".into()).await.unwrap();
    bodies.len()
}
