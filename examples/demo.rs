//! The demo (`make demo`): two fleets of real Celery workers, one on RabbitMQ and one on Redis, a stand-in for Slack, and
//! Headcount. Kills a fleet with SIGKILL, shows what Slack is told, starts it again, shows that Slack is told so.
//!
//! Stays up until Ctrl-C, and goes on showing what Slack is told; with `ONCE=1` in the environment it ends by itself.
//! Ends with 0 only if both messages were seen. Leaves no process behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a demo that cannot go on says why and ends"
)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use headcount_testkit::{Headcount, Message, RabbitMq, Redis, SlackStandIn, Worker, WorkerOptions, reaper};
use tokio::signal::unix::{SignalKind, signal};

/// Long enough for a machine that does something else too; the demo shows how long it really took.
const PATIENCE: Duration = Duration::from_secs(60);
/// A year: nobody waits longer for Ctrl-C.
const UNTIL_CTRL_C: Duration = Duration::from_secs(365 * 86_400);
const SMS: [&str; 3] = ["sms@host1", "sms@host2", "sms@host3"];
const TRACKER: [&str; 2] = ["tracker@host1", "tracker@host2"];

/// Both messages were seen: from now on Ctrl-C is the regular end.
static SEEN: AtomicBool = AtomicBool::new(false);
/// Somebody asked the demo to end, so that whatever breaks now breaks because of that.
static STOPPING: AtomicBool = AtomicBool::new(false);

fn main() {
    one_line_on_failure();
    stop_on_signals();
    let once = std::env::var("ONCE").is_ok_and(|value| !matches!(value.as_str(), "" | "0"));

    say("a private RabbitMQ (its start takes about ten seconds)");
    let rabbitmq = timed(RabbitMq::start);
    note(&format!("on 127.0.0.1:{}", rabbitmq.port()));
    say("a private Redis");
    let redis = timed(Redis::start);
    note(&format!("on 127.0.0.1:{}", redis.port()));
    say("real Celery workers: fleet sms on RabbitMQ, fleet tracker on Redis");
    let options = WorkerOptions::default();
    let (mut sms, tracker) = timed(|| {
        (
            Worker::start_all(&rabbitmq.url(), &SMS, &options),
            Worker::start_all(&redis.url(), &TRACKER, &options),
        )
    });
    for worker in sms.iter().chain(&tracker) {
        note(&format!("{} (pid {})", worker.hostname(), worker.process().pid()));
    }
    say("a stand-in for Slack, and Headcount");
    let slack = SlackStandIn::start();
    let headcount = timed(|| Headcount::start(&program(), &config(&rabbitmq, &redis, &slack)));
    note(&format!("Slack at {}", slack.api_url()));
    note(&format!("Headcount at {}", headcount.url()));
    for hostname in SMS.iter().chain(&TRACKER) {
        headcount.wait_worker(hostname, "up", PATIENCE);
    }
    status(&headcount);

    say("kill -9 for all workers of the fleet sms");
    let killed = Instant::now();
    for worker in &sms {
        worker.sigkill();
    }
    let down = slack.next_text("DOWN sms", PATIENCE);
    show(&down, "the kill", killed);
    status(&headcount);

    say("starting them again");
    sms.iter_mut().for_each(Worker::relaunch);
    sms.iter().for_each(Worker::wait_ready);
    let ready = Instant::now();
    let recovered = slack.next_text("RECOVERED sms", PATIENCE);
    show(&recovered, "the last of them was ready", ready);
    for hostname in SMS {
        headcount.wait_worker(hostname, "up", PATIENCE);
    }
    status(&headcount);
    println!(
        "\ndemo: DOWN was told {:.1} s after the kill, RECOVERED {:.1} s after the fleet was ready again.",
        seconds(killed, &down),
        seconds(ready, &recovered)
    );
    SEEN.store(true, Ordering::Relaxed);
    if !once {
        stay(&slack, &headcount, &sms);
    }
    println!("demo: stopping everything");
    assert!(headcount.sigterm().success(), "Headcount did not end well");
}

/// The program is built beside the examples.
fn program() -> String {
    let demo = std::env::current_exe().expect("the demo knows where it is");
    let program: PathBuf = demo
        .ancestors()
        .nth(2)
        .expect("it is in target/PROFILE/examples")
        .join("headcount");
    assert!(program.exists(), "{} is not built; run `make demo`", program.display());
    program.display().to_string()
}

fn config(rabbitmq: &RabbitMq, redis: &Redis, slack: &SlackStandIn) -> String {
    format!(
        r#"[[broker]]
name = "rabbit"
url = "{}"

[[broker]]
name = "redis"
url = "{}"

[[fleet]]
name = "sms"
broker = "rabbit"
hostnames = ["sms@*"]
queues = ["sms"]
minimum = 1

[[fleet]]
name = "tracker"
broker = "redis"
hostnames = ["tracker@*"]
queues = ["tracker"]
minimum = 1

{}"#,
        rabbitmq.url(),
        redis.url(),
        slack.token_config()
    )
}

fn stay(slack: &SlackStandIn, headcount: &Headcount, sms: &[Worker]) {
    println!("\ndemo: everything stays up until Ctrl-C. What Slack is told is shown here. Try, in another terminal:");
    println!("    kill -9 {}        # {}", sms[0].process().pid(), sms[0].hostname());
    println!("    {} status --url {}", program(), headcount.url());
    loop {
        let message = slack.next("anything", UNTIL_CTRL_C, |message| message.accepted);
        show(&message, "", message.at);
    }
}

fn say(what: &str) {
    println!("\ndemo: {what}");
}

fn note(what: &str) {
    println!("    {what}");
}

fn timed<T>(act: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let made = act();
    println!("    ready after {:.1} s", began.elapsed().as_secs_f64());
    made
}

fn seconds(since: Instant, message: &Message) -> f64 {
    message.at.saturating_duration_since(since).as_secs_f64()
}

/// A message as it came: its text, then what its blocks say.
fn show(message: &Message, after: &str, since: Instant) {
    let when = if after.is_empty() {
        String::new()
    } else {
        format!(", {:.1} s after {after}", seconds(since, message))
    };
    println!("\n  ┌ Slack ({:?}){when}", message.call);
    println!("  │ {}", message.text());
    for line in message.rendered().lines() {
        println!("  │   {line}");
    }
    println!("  └");
}

fn status(headcount: &Headcount) {
    println!("\n  $ headcount status");
    let output = headcount.ask(&["status"]);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        println!("  {line}");
    }
    assert!(
        output.status.success(),
        "headcount status: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What a panic says.
fn said(payload: &(dyn std::any::Any + Send)) -> &str {
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    owned
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("something went wrong")
}

/// What the kit reports by panicking becomes one clear line, after what led to it.
fn one_line_on_failure() {
    std::panic::set_hook(Box::new(|info| {
        if STOPPING.load(Ordering::Relaxed) {
            return;
        }
        let message = said(info.payload());
        let (first, rest) = message.split_once('\n').unwrap_or((message, ""));
        eprintln!("{rest}\ndemo: FAILED: {first}");
    }));
}

/// Ctrl-C, or the end of the terminal: everything is killed, and the demo ends.
fn stop_on_signals() {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let code = runtime.block_on(async {
            let mut int = signal(SignalKind::interrupt()).expect("SIGINT can be caught");
            let mut term = signal(SignalKind::terminate()).expect("SIGTERM can be caught");
            let mut hup = signal(SignalKind::hangup()).expect("SIGHUP can be caught");
            tokio::select! {
                _ = int.recv() => if SEEN.load(Ordering::Relaxed) { 0 } else { 130 },
                _ = term.recv() => 143,
                _ = hup.recv() => 129,
            }
        });
        STOPPING.store(true, Ordering::Relaxed);
        reaper::end_everything();
        // Not println!, which panics where the reader has gone.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"\ndemo: stopped\n");
        std::process::exit(code);
    });
}
