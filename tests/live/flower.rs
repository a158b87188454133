//! A fleet whose broker cannot be reached is watched through a Flower that can: a real one, in front of a real broker.

use std::process::Command;
use std::time::{Duration, Instant};

use headcount_testkit::{
    Broker, Flower, Headcount, Message, SlackStandIn, Worker, WorkerOptions, run_once, wait_until,
};

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const UP_WITHIN: Duration = Duration::from_secs(30);
/// Longer than what is promised, so that a late message shows how late it is.
const PATIENCE: Duration = Duration::from_secs(90);
/// A silence is believed after 15 s of it; the rest is the way through Flower, and a machine that does something else.
const TOLD_WITHIN: Duration = Duration::from_secs(25);
/// Where Headcount says that it is struggling, as on a machine that stalls, that silence is up to four times as long.
const TOLD_IN_DOUBT_WITHIN: Duration = Duration::from_secs(70);
/// After the return of Flower, longer than any verdict takes.
const AFTERWARDS: Duration = Duration::from_secs(20);

#[test]
fn on_redis() {
    watched(&Broker::redis());
}

#[test]
fn on_rabbitmq() {
    watched(&Broker::rabbitmq());
}

fn watched(broker: &Broker) {
    let slack = SlackStandIn::start();
    let names = ["sms@host1", "sms@host2", "sms@host3"];
    let mut workers = Worker::start_all(&broker.url(), &names, &WorkerOptions::default());
    let mut flower = Flower::start_with_login(&broker.url(), "me", "hunter2");
    let fleet = "[[fleet]]\nname = \"sms\"\nbroker = \"far\"\n\n";
    let headcount = Headcount::start(HEADCOUNT, &(flower.config("far") + fleet + &slack.webhook_config()));
    for name in names {
        headcount.wait_worker(name, "up", UP_WITHIN);
    }
    // Their pools have been learned: one that is not known might be solo, and is given a minute.
    wait_until("it is known what they consume", PATIENCE, || {
        let learned = |name: &&str| {
            headcount
                .worker(name)
                .is_some_and(|worker| worker["signals"]["work"]["ok"] == true)
        };
        names.iter().all(learned).then_some(())
    });
    let alive = headcount.worker("sms@host1").unwrap();
    let presence = &alive["signals"]["presence"];
    assert!(presence["ok"].is_null(), "{alive}");
    assert!(
        presence["detail"].as_str().unwrap().contains("through Flower"),
        "{alive}"
    );
    assert!(
        alive["software"].as_str().unwrap().starts_with("py-celery 5"),
        "{alive}"
    );

    // A worker is killed, and comes back.
    let killed = workers[1].sigkill();
    let opened = slack.next_text("DEGRADED sms", PATIENCE);
    report(broker, "one of three killed", killed, &opened);
    assert!(opened.text().contains("sms@host2 unreachable"), "{}", opened.text());
    assert!(opened.rendered().contains("through Flower"), "{}", opened.rendered());
    assert_eq!(headcount.worker("sms@host2").unwrap()["diagnosis"], "unreachable");
    let back = workers[1].restart();
    let recovered = slack.next_text("RECOVERED sms", PATIENCE);
    report(broker, "it is back", back, &recovered);
    headcount.wait_worker("sms@host2", "up", UP_WITHIN);

    // A worker that says goodbye is none that is missing.
    assert!(workers[2].warm_shutdown(PATIENCE).success());
    headcount.wait_worker("sms@host3", "offline", UP_WITHIN);
    workers[2].restart();
    headcount.wait_worker("sms@host3", "up", UP_WITHIN);

    // Flower is killed, and comes back.
    let killed = flower.kill();
    let down = slack.next_text("BROKER DOWN far", PATIENCE);
    report(broker, "Flower killed", killed, &down);
    headcount.wait_fleet("sms", "unknown", UP_WITHIN);
    flower.restart();
    let back = Instant::now();
    let recovered = slack.next_text("RECOVERED far", PATIENCE);
    report(broker, "Flower is back", back, &recovered);
    for name in names {
        headcount.wait_worker(name, "up", UP_WITHIN);
    }
    slack.silent_for(AFTERWARDS);

    // All workers are killed. Flower shows that it reaches a Redis, so they are what has gone; of a RabbitMQ it does not.
    let killed = Worker::sigkill_together(&workers);
    let expected = match broker {
        Broker::Redis(_) => "DOWN sms",
        Broker::RabbitMq(_) => "BROKER DOWN",
    };
    let last = slack.next_text(expected, PATIENCE);
    report(broker, "all killed", killed, &last);
    headcount.wait_fleet(
        "sms",
        if expected == "DOWN sms" { "down" } else { "unknown" },
        UP_WITHIN,
    );

    assert!(headcount.sigterm().success());
    let mut words: Vec<String> = slack.texts().iter().map(|text| first_two(text)).collect();
    // Their last beats were up to 2 s apart, and so are their deadlines: it may begin as DEGRADED.
    if words.get(4).is_some_and(|word| word == "DEGRADED sms") {
        words.remove(4);
    }
    let told = [
        "DEGRADED sms",
        "RECOVERED sms",
        "BROKER DOWN",
        "RECOVERED far",
        expected,
    ];
    assert_eq!(words, told, "{:#?}", slack.texts());
    let all = format!(
        "{:?}{:?}{:?}",
        slack.requests(),
        headcount.process().stdout(),
        headcount.process().stderr()
    );
    assert!(!all.contains("hunter2"), "a password was shown");
}

#[test]
fn flower_that_loses_its_broker_blames_no_worker() {
    let mut broker = Broker::redis();
    let slack = SlackStandIn::start();
    let names = ["sms@host1", "sms@host2"];
    let _workers = Worker::start_all(&broker.url(), &names, &WorkerOptions::default());
    let flower = Flower::start(&broker.url());
    // Without a configuration: the fleet is discovered.
    let config = flower.config("far") + &slack.webhook_config();
    let headcount = Headcount::start(HEADCOUNT, &config);
    for name in names {
        headcount.wait_worker(name, "up", UP_WITHIN);
    }
    let killed = broker.kill();
    let down = slack.next_text("BROKER DOWN far", PATIENCE);
    report(&broker, "the broker behind Flower killed", killed, &down);
    assert!(
        down.rendered().contains("Flower answers, and has heard no event"),
        "{}",
        down.rendered()
    );
    broker.restart();
    let back = Instant::now();
    let recovered = slack.next_text("RECOVERED far", PATIENCE);
    println!(
        "RECOVERED {:.1} s after its return",
        recovered.at.saturating_duration_since(back).as_secs_f64()
    );
    for name in names {
        headcount.wait_worker(name, "up", PATIENCE);
    }
    slack.silent_for(AFTERWARDS);
    assert_eq!(slack.texts().len(), 2, "{:#?}", slack.texts());
    assert!(headcount.sigterm().success());
}

#[test]
fn commands_take_a_flower_for_a_broker() {
    let broker = Broker::redis();
    let _workers = Worker::start_all(&broker.url(), &["sms@h1", "sms@h2"], &WorkerOptions::default());
    let flower = Flower::start_with_login(&broker.url(), "me", "hunter2");
    let run = |args: &[&str]| {
        let output = run_once(HEADCOUNT, args, PATIENCE);
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!text.contains("hunter2"), "{text}");
        (output.status.code(), text)
    };
    // A worker has a second or two to answer, and one that is busy takes longer: then they are asked again.
    let comes_to = |code: i32, args: &[&str], parts: &[&str]| {
        wait_until(&format!("{code} of {args:?}"), PATIENCE, || {
            let (ended, text) = run(args);
            assert!(code == 0 || ended != Some(0), "never well: {text}");
            let right = ended == Some(code) && parts.iter().all(|part| text.contains(part));
            if !right {
                println!("{args:?}: {ended:?}\n{text}");
            }
            right.then_some(())
        });
    };
    let url = flower.url();
    let parts = ["sms@h1", "sms@h2", "thread"];
    comes_to(0, &["probe", "--broker", &url, "--expect", "2"], &parts);
    comes_to(1, &["probe", "--broker", &url, "--expect", "3"], &[]);

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("headcount.toml");
    let store = format!("[store]\nurl = \"sqlite:{}\"\n", dir.path().join("h.db").display());
    std::fs::write(&file, flower.config("far") + &store).unwrap();
    let check = ["check", file.to_str().unwrap(), "--connect"];
    comes_to(0, &check, &["workers that answer: 2"]);
    flower.kill();
    assert_eq!(run(&check).0, Some(1));
    assert_eq!(run(&["probe", "--broker", &url]).0, Some(3));
}

#[test]
fn by_tls_its_certificate_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| dir.path().join(name).display().to_string());
    let mut openssl = Command::new("openssl");
    openssl.args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost".split(' '));
    openssl.args("-addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE".split(' '));
    let made = openssl
        .args(["-days", "30", "-out", &certificate, "-keyout", &key])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let broker = Broker::redis();
    let _worker = Worker::start(&broker.url(), "sms@h1", WorkerOptions::default());
    let flower = Flower::start_with_tls(&broker.url(), &certificate, &key);
    let probe = |trusted: &str| {
        let mut probe = Command::new(HEADCOUNT);
        // The system's authorities, for a program that asks for them.
        probe
            .args(["probe", "--broker", &flower.url()])
            .env("SSL_CERT_FILE", trusted);
        let output = probe.output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    // Flower may not serve yet, nor know its worker, and a look is soon over: then it is looked again.
    let comes_to = |code: i32, trusted: &str, part: &str| {
        wait_until(&format!("{code} and `{part}`, trusting {trusted}"), PATIENCE, || {
            let (ended, text) = probe(trusted);
            assert!(code == 0 || ended != Some(0), "never trusted: {text}");
            let right = ended == Some(code) && text.contains(part);
            if !right {
                println!("{ended:?}: {text}");
            }
            right.then_some(())
        });
    };
    comes_to(0, &certificate, "sms@h1");
    comes_to(3, "/dev/null", "certificate");
}

fn first_two(text: &str) -> String {
    text.split([' ', ':']).take(2).collect::<Vec<_>>().join(" ")
}

fn report(broker: &Broker, what: &str, since: Instant, message: &Message) {
    let took = message.at.saturating_duration_since(since);
    println!(
        "{}: {what}: told after {:.1} s: {}",
        broker.kind(),
        took.as_secs_f64(),
        message.text()
    );
    let promised = if message.rendered().contains("itself is struggling") {
        TOLD_IN_DOUBT_WITHIN
    } else {
        TOLD_WITHIN
    };
    assert!(took <= promised, "{what}: {took:?}, and {promised:?} are promised");
}
