//! SIGHUP: a right configuration takes over, a wrong one is refused and the old one stays.

use std::net::TcpListener;
use std::time::Duration;

use headcount_testkit::{Broker, Headcount, SlackStandIn, Worker, WorkerOptions, wait_until};

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const WITHIN: Duration = Duration::from_secs(30);
/// Who was seen for the first time after a reload is not missed for ten seconds, and then no sooner than his silence is long enough.
const DOWN_WITHIN: Duration = Duration::from_secs(90);

#[test]
fn a_right_one_takes_over_and_a_wrong_one_does_not() {
    let (broker, slack) = (Broker::redis(), SlackStandIn::start());
    let mut workers = Worker::start_all(&broker.url(), &["sms@h1", "tracker@h1"], &WorkerOptions::default());
    let one = broker.config(&["sms"]) + &slack.webhook_config();
    let headcount = Headcount::start(HEADCOUNT, &one);
    headcount.wait_worker("sms@h1", "up", WITHIN);
    assert!(headcount.worker("tracker@h1").is_none(), "not in the configuration yet");

    // Not a configuration at all, and one that reads well and cannot be started.
    headcount.reconfigure(&(one.clone() + "[detect]\nprobe_evry = \"5s\"\n"));
    headcount.process().wait_line("the old one stays", WITHIN);
    let no_such_file = "\n[[broker]]\nname = \"tls\"\nurl = \"rediss://h/0?ssl_ca_certs=/no/such/file\"\n";
    headcount.reconfigure(&(one.clone() + no_such_file));
    headcount
        .process()
        .wait_line("cannot be started; the old one stays", WITHIN);
    headcount.wait_ready();
    headcount.wait_worker("sms@h1", "up", WITHIN);

    // A right one.
    headcount.reconfigure(&(broker.config(&["sms", "tracker"]) + &slack.webhook_config()));
    headcount.wait_worker("tracker@h1", "up", WITHIN);
    headcount.wait_worker("sms@h1", "up", WITHIN);
    headcount.wait_fleet("tracker", "healthy", WITHIN);

    // And it is watched: what was said in all this is nothing, until its worker dies.
    assert_eq!(slack.texts(), Vec::<String>::new());
    workers.remove(1).sigkill();
    slack.next_text("DOWN tracker", DOWN_WITHIN);
    assert!(headcount.sigterm().success());
}

/// Said when a message was not answered for as long as an end may take for it.
const UNANSWERED: &str = "it may be sent again after the next start";
const BEGINS_ANEW: &str = "starting with the new one";
/// So long is waited for an answer; nothing begins anew before.
const FINISHES_WITHIN: Duration = Duration::from_secs(3);

#[test]
fn an_end_that_is_asked_for_during_a_reload_begins_nothing_anew() {
    let on_time = (0..3).any(|_| {
        // It takes a message and never answers, which holds up the end of what runs.
        let channel = TcpListener::bind("127.0.0.1:0").unwrap();
        let broker = Broker::redis();
        let worker = Worker::start_all(&broker.url(), &["sms@h1"], &WorkerOptions::default()).remove(0);
        let port = channel.local_addr().unwrap().port();
        let config = broker.config(&["sms"])
            + &format!("[[notify]]\nkind = \"slack\"\nwebhook_url = \"http://127.0.0.1:{port}/services/T/B/x\"\n");
        let headcount = Headcount::start(HEADCOUNT, &config);
        headcount.wait_worker("sms@h1", "up", WITHIN);
        worker.sigkill();
        let _message = channel.accept().unwrap();

        let reloaded = headcount.process().sighup();
        // HTTP is the first that ends, and notifiers come late. Who looks too seldom finds it there again.
        wait_until("it ends what runs", WITHIN, || {
            (headcount.try_get("/healthz").is_none() || says(&headcount, UNANSWERED)).then_some(())
        });
        headcount.process().sigterm();
        // By the time: what it has written need not be read yet.
        let late = reloaded.elapsed() >= FINISHES_WITHIN;
        assert!(headcount.process().wait_exit(WITHIN).success());
        if !late {
            assert!(says(&headcount, UNANSWERED), "{}", headcount.process().last_lines());
            assert!(!says(&headcount, BEGINS_ANEW), "{}", headcount.process().last_lines());
        }
        !late
    });
    assert!(on_time, "the machine was too slow each time");
}

fn says(headcount: &Headcount, part: &str) -> bool {
    headcount.process().stderr().iter().any(|line| line.contains(part))
}
