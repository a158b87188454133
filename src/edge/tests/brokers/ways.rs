//! The other ways to Redis: TLS, a Unix socket, Sentinels.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use headcount_actors::ports::BrokerError;
use headcount_testkit::{Process, free_port};

use crate::conformance::broker;
use crate::listener::{Listener, PATIENCE};

fn server(arguments: &[&str]) -> Process {
    let mut command = Command::new("redis-server");
    command.args(arguments);
    let process = Process::start("redis", &mut command);
    process.wait_line("eady to accept connections", PATIENCE);
    process
}

async fn hears(url: &str) {
    let broker = broker(url);
    let mut listener = Listener::start(&broker).await;
    listener.until("a canary", |heard| !heard.canaries.is_empty()).await;
    assert_eq!(broker.queues(&["q".into()]).await.unwrap()[0].length, 0);
}

async fn why_not(url: &str) -> String {
    match broker(url).queues(&["q".into()]).await.unwrap_err() {
        BrokerError::Connect(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_by_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("redis.sock");
    let socket = socket.to_str().unwrap();
    let _redis = server(&[
        "--port",
        "0",
        "--unixsocket",
        socket,
        "--save",
        "",
        "--requirepass",
        "secret",
    ]);
    hears(&format!("redis+socket://:secret@{socket}?virtual_host=3")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_behind_sentinels() {
    let dir = tempfile::tempdir().unwrap();
    let (port, watching, dead) = (free_port(), free_port(), free_port());
    let _redis = server(&["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    let config = dir.path().join("sentinel.conf");
    let lines =
        format!("port {watching}\nbind 127.0.0.1\nrequirepass guarded\nsentinel monitor main 127.0.0.1 {port} 1\n");
    std::fs::write(&config, lines).unwrap();
    let mut sentinel = Command::new("redis-server");
    sentinel.arg(&config).arg("--sentinel");
    let sentinel = Process::start("sentinel", &mut sentinel);
    sentinel.wait_line("+monitor master main", PATIENCE);
    // The first of them is dead.
    let url = |options: &str| format!("sentinel://127.0.0.1:{dead}/0?{options};sentinel://127.0.0.1:{watching}");
    hears(&url("master_name=main&sentinel_password=guarded")).await;
    let why = why_not(&url("master_name=other&sentinel_password=guarded")).await;
    assert!(why.contains("no master named other"), "{why}");
    let unguarded = broker(&url("master_name=main"))
        .queues(&["q".into()])
        .await
        .unwrap_err();
    assert!(matches!(unguarded, BrokerError::Refused(_)), "{unguarded:?}");
}

/// A certificate for `localhost` that is its own authority, and its key.
fn certificate(dir: &Path) -> (String, String) {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path("cert.pem"), path("key.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]);
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE", "-days", "30"]);
    openssl.args(["-out", &certificate, "-keyout", &key]);
    let process = Process::start("openssl", &mut openssl);
    assert!(process.wait_exit(PATIENCE).success(), "{}", process.last_lines());
    (certificate, key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_by_tls() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(dir.path());
    let port = free_port().to_string();
    let _redis = server(&[
        "--port",
        "0",
        "--tls-port",
        &port,
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &certificate,
    ]);
    let url = |host: &str, options: &str| {
        format!("rediss://{host}:{port}/0?ssl_certfile={certificate}&ssl_keyfile={key}&{options}")
    };
    let trusting = format!("ssl_ca_certs={certificate}");
    hears(&url("localhost", &trusting)).await;
    hears(&url("127.0.0.1", &format!("{trusting}&ssl_check_hostname=false"))).await;
    hears(&url("127.0.0.1", "ssl_cert_reqs=none")).await;
    let another_name = why_not(&url("127.0.0.1", &trusting)).await;
    assert!(another_name.contains("certificate"), "{another_name}");
    let unknown = why_not(&url("localhost", "ssl_cert_reqs=required")).await;
    assert!(unknown.contains("certificate"), "{unknown}");
    let plain = broker(&format!("redis://localhost:{port}/0?connect_timeout=5"));
    let refused = tokio::time::timeout(Duration::from_secs(30), plain.queues(&["q".into()]))
        .await
        .unwrap();
    assert!(
        matches!(refused, Err(BrokerError::Connect(_) | BrokerError::Lost(_))),
        "{refused:?}"
    );
}
