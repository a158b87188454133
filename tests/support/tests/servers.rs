//! The kit's servers and workers do what the live tests rely on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use headcount_testkit::{Pool, RabbitMq, Redis, Worker, WorkerOptions, poll_until, send_tasks, wait_until};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);

/// Listens to a Redis' publish/subscribe channels as a plain client.
fn subscribe(redis: &Redis, pattern: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
        .write_all(format!("PSUBSCRIBE {pattern}\r\n").as_bytes())
        .unwrap();
    let mut reader = BufReader::new(stream);
    read_until(&mut reader, "psubscribe");
    reader
}

fn read_until(reader: &mut impl BufRead, part: &str) {
    let mut line = String::new();
    while !line.contains(part) {
        line.clear();
        assert_ne!(
            reader.read_line(&mut line).unwrap(),
            0,
            "the connection ended before `{part}`"
        );
    }
}

fn connects(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[test]
fn a_redis_dies_and_returns_on_its_port() {
    let mut redis = Redis::start();
    redis.kill();
    assert!(!connects(redis.port()));
    redis.restart();
    assert!(connects(redis.port()));
    redis.pause();
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    assert!(
        reader.read_line(&mut String::new()).is_err(),
        "a paused server must not answer"
    );
    redis.resume();
    reader.get_ref().set_read_timeout(Some(SOON)).unwrap();
    read_until(&mut reader, "+PONG");
}

#[test]
fn workers_of_each_pool_say_what_they_do_and_die_whole() {
    let redis = Redis::start();
    for (pool, hostname) in [
        (Pool::Prefork, "prefork@h1"),
        (Pool::Threads, "threads@h1"),
        (Pool::Gevent, "gevent@h1"),
        (Pool::Solo, "solo@h1"),
    ] {
        let options = WorkerOptions {
            pool,
            ..WorkerOptions::default()
        };
        // Anew for each: the one before has said that it is online too, when it was started again.
        let mut events = subscribe(&redis, "/0.celeryev/*");
        let mut worker = Worker::start(&redis.url(), hostname, options);
        read_until(&mut events, "worker.online");
        let queue = hostname.split('@').next().unwrap();
        send_tasks(
            &redis.url(),
            &[(queue, "add", json!([1, 2])), (queue, "sleep", json!([600]))],
        );
        worker.wait_received(2, SOON);
        let group = worker.process().pid();
        worker.sigkill();
        wait_until("the whole group's end", SOON, || (members(group) == 0).then_some(()));
        worker.restart();
        worker.sigstop();
        worker.sigcont();
        // Freshly started and idle (the long task died with its worker, acknowledged): it can end warmly.
        assert!(worker.warm_shutdown(SOON).success());
    }
}

/// How many processes of a group run.
fn members(group: u32) -> usize {
    let group = group.to_string();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| {
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            fields.get(2) == Some(&group.as_str()) && fields.first() != Some(&"Z")
        })
        .count()
}

#[test]
fn a_rabbitmq_has_its_virtual_hosts_and_returns_with_them() {
    let mut rabbitmq = RabbitMq::start_with(&["one", "two"]);
    for vhost in ["/", "one", "two"] {
        let worker = Worker::start(&rabbitmq.vhost_url(vhost), "sms@h1", WorkerOptions::default());
        assert!(worker.warm_shutdown(SOON).success());
    }
    rabbitmq.kill();
    assert!(!connects(rabbitmq.port()));
    rabbitmq.restart();
    let worker = Worker::start(&rabbitmq.vhost_url("two"), "sms@h1", WorkerOptions::default());
    worker.sigkill();
    assert!(poll_until(Duration::ZERO, || worker.process().ended()).is_some());
}
