//! Broker URLs against the table of kombu's own readings.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::data;
use crate::celery::broker_url::{Amqp, BrokerUrl, Login, RedisAddress, Tls, UrlError, Verify};

fn tls(tls: Option<&Tls>) -> Value {
    tls.map_or(Value::Null, |tls| {
        json!({
            "verify": if tls.verify == Verify::Nothing { "none" } else { "required" },
            "check_hostname": if tls.verify == Verify::Chain { json!(false) } else { Value::Null },
            "ca_certs": tls.ca_certs,
            "certfile": tls.certfile,
            "keyfile": tls.keyfile,
        })
    })
}

/// kombu's default of 5 s is left to whoever connects.
fn timeout(timeout: Option<Duration>) -> f64 {
    timeout.map_or(5.0, |timeout| timeout.as_secs_f64())
}

fn password(login: &Login) -> Option<&str> {
    login.password.as_ref().map(|password| password.expose())
}

fn reading(url: &BrokerUrl) -> Value {
    match url {
        BrokerUrl::Amqp(amqp) => json!({
            "kind": "amqp",
            "host": amqp.host,
            "port": amqp.port,
            "user": amqp.user,
            "password": amqp.password.expose(),
            "vhost": amqp.vhost,
            "login_method": amqp.login_method,
            "heartbeat": amqp.heartbeat.map(|beat| beat.as_secs_f64()),
            "connect_timeout": timeout(amqp.connect_timeout),
            "tls": tls(amqp.tls.as_ref()),
        }),
        BrokerUrl::Redis(redis) => {
            let (host, port, path) = match &redis.at {
                RedisAddress::Tcp { host, port } => (Some(host), Some(port), None),
                RedisAddress::Unix { path } => (None, None, Some(path)),
            };
            json!({
                "kind": "redis",
                "host": host,
                "port": port,
                "path": path,
                "user": redis.login.user,
                "password": password(&redis.login),
                "db": redis.db,
                "connect_timeout": timeout(redis.timeouts.connect),
                "tls": tls(redis.tls.as_ref()),
            })
        }
        BrokerUrl::Sentinel(sentinel) => json!({
            "kind": "sentinel",
            "user": sentinel.login.user,
            "password": password(&sentinel.login),
            "db": sentinel.db,
            "connect_timeout": timeout(sentinel.timeouts.connect),
            "tls": tls(sentinel.tls.as_ref()),
            "sentinels": sentinel.hosts,
        }),
    }
}

/// kombu has the master's name from elsewhere, Headcount from the first URL.
fn with_master(url: &str) -> String {
    if !url.starts_with("sentinel://") {
        return url.to_owned();
    }
    let (first, others) = url
        .split_once(';')
        .map_or((url, String::new()), |(a, b)| (a, format!(";{b}")));
    let join = if first.contains('?') { '&' } else { '?' };
    format!("{first}{join}master_name=mymaster{others}")
}

#[test]
fn as_kombu_reads_them() {
    let table: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(data("broker_urls.json")).unwrap()).unwrap();
    assert!(table.len() > 60);
    for row in table {
        let url = row["url"].as_str().unwrap();
        let ours = BrokerUrl::parse(&with_master(url));
        match &row["reading"] {
            Value::Null => assert!(ours.is_err(), "{url}: kombu refuses it, {ours:?}"),
            theirs => assert_eq!(reading(&ours.unwrap()), *theirs, "{url}"),
        }
    }
}

fn amqp(url: &str) -> Amqp {
    match BrokerUrl::parse(url) {
        Ok(BrokerUrl::Amqp(amqp)) => amqp,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_shows_a_password() {
    for url in [
        "amqp://us%40er:hunter2@host/v%2Fh",
        "redis://:hunter2@host/1",
        "redis://me:hunter2@[::1]:6380/1",
        "redis+socket://:hunter2@/run/redis.sock",
        "sentinel://:hunter2@a/2?master_name=m&sentinel_password=hunter2;sentinel://b:1",
    ] {
        let parsed = BrokerUrl::parse(url).unwrap();
        for shown in [
            format!("{parsed:?}"),
            parsed.to_string(),
            parsed.redacted(),
            parsed.address(),
        ] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
    let amqp = BrokerUrl::parse("amqp://us%40er:hunter2@host/v%2Fh").unwrap();
    assert_eq!(amqp.redacted(), "amqp://us%40er:**@host:5672/v%2Fh");
    assert_eq!(amqp.address(), "amqp://host:5672/v%2Fh");
    let redis = BrokerUrl::parse("redis://me:hunter2@[::1]:6380/1").unwrap();
    assert_eq!(redis.redacted(), "redis://me:**@[::1]:6380/1");
    assert_eq!(redis.address(), "redis://[::1]:6380/1");
    let sentinel = "sentinel://:hunter2@a/2?master_name=m;sentinel://b:1";
    assert_eq!(
        BrokerUrl::parse(sentinel).unwrap().address(),
        "sentinel://a:26379;b:1/2?master_name=m"
    );
}

/// A password with a character that should have been encoded falls apart into other parts: none of them is told.
#[test]
fn no_error_shows_a_piece_of_a_password() {
    for url in [
        "redis://:hun/ter2@host:6379/0",
        "redis://:hun?ter2@host:6379/0",
        "redis://:hun?t=er2@host:6379/0",
        "redis://:hun#ter2@host:6379/0",
        "redis://:hun;ter2@host:6379/0",
        "amqp://user:12/hunter2@host/vh",
        "amqp://user:12?x=hunter2@host/vh",
        "amqp://user:[hunter2@host/vh]",
        "hunter2",
        "redis://host/hunter2",
    ] {
        if let Ok(parsed) = BrokerUrl::parse(url) {
            let shown = format!("{parsed:?} {parsed} {}", parsed.address());
            assert!(!shown.contains("hun") && !shown.contains("ter2"), "{url}: {shown}");
        }
        if let Err(error) = BrokerUrl::parse(url) {
            let shown = format!("{error:?} {error}");
            assert!(!shown.contains("hun") && !shown.contains("ter2"), "{url}: {shown}");
        }
    }
}

#[test]
fn what_is_ours_alone() {
    let sentinel = BrokerUrl::parse(
        "sentinel://:pw@a?master_name=my%20master&sentinel_username=u&sentinel_password=p&socket_timeout=1.5",
    );
    let Ok(BrokerUrl::Sentinel(sentinel)) = sentinel else {
        panic!("{sentinel:?}")
    };
    assert_eq!(sentinel.master_name, "my master");
    assert_eq!(
        sentinel.sentinel_login,
        Login {
            user: Some("u".into()),
            password: Some("p".into())
        }
    );
    assert_eq!(sentinel.timeouts.socket, Some(Duration::from_millis(1500)));

    let tls = amqp("amqps://host/?ssl_check_hostname=false&ssl_ca_certs=/ca.pem")
        .tls
        .unwrap();
    assert_eq!((tls.verify, tls.ca_certs.as_deref()), (Verify::Chain, Some("/ca.pem")));
    assert_eq!(amqp("amqps://host").tls.unwrap().verify, Verify::ChainAndName);
}

#[test]
fn errors_say_what_was_expected() {
    for (url, expected) in [
        ("localhost", UrlError::Scheme),
        ("http://localhost", UrlError::Scheme),
        ("sentinel://a", UrlError::MasterName),
        ("sentinel://a?master_name=m;redis://b", UrlError::Scheme),
        ("sentinel://a?master_name=m;sentinel://", UrlError::Host),
        ("redis://a;redis://b", UrlError::Several),
        ("redis://a/-1", UrlError::Database),
        ("redis://a/x", UrlError::Database),
        ("redis+socket://", UrlError::SocketPath),
        ("redis://[::1/0", UrlError::Host),
        ("redis://host:x", UrlError::Port),
        ("redis://:a/b@host", UrlError::At),
    ] {
        match BrokerUrl::parse(url) {
            Err(error) if std::mem::discriminant(&error) == std::mem::discriminant(&expected) => {}
            other => panic!("{url}: {other:?}"),
        }
    }
    let unknown = BrokerUrl::parse("redis://host/0?prefix=x").unwrap_err().to_string();
    assert!(
        unknown.starts_with("the option \"prefix\" is not known here; known are connect_timeout"),
        "{unknown}"
    );
    let wrong = BrokerUrl::parse("amqp://host?heartbeat=soon").unwrap_err().to_string();
    assert_eq!(wrong, "the option heartbeat must be a number of seconds, at most a day");
}
