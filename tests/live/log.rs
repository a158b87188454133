//! The log of a running Headcount: what a flapping broker leaves in it, its filter, its limit, and the journal.

use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use headcount_testkit::{Broker, Headcount, free_port};
use serde_json::Value;

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const TOKEN: &str = "correct-horse";
const WITHIN: Duration = Duration::from_secs(30);
/// So often the broker is killed, and comes back.
const FLAPS: usize = 6;
/// Lines of one message about one subject before they are counted.
const BURST: usize = 10;
/// Lines of one message that are a storm.
const STORM: usize = 30;

/// All lines so far, each an object.
fn lines(headcount: &Headcount) -> Vec<Value> {
    let lines = headcount.process().stderr();
    let read = |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    lines.iter().map(read).collect()
}

#[test]
fn each_warning_of_a_flapping_broker_says_which_broker() {
    let mut broker = Broker::redis();
    let headcount = Headcount::start(HEADCOUNT, &broker.config(&["sms"]));
    let count = |part: &str| {
        let said = |line: &Value| {
            line["message"]
                .as_str()
                .is_some_and(|message| message.starts_with(part))
        };
        lines(&headcount).iter().filter(|line| said(line)).count()
    };
    // The first is said of each attempt, and no more than ten times a minute: where Redis is slow to start, only the second may be.
    let gone = || count("the broker cannot be heard") + count("the broker is not heard any more");
    let back = || count("listening to events again");
    let more = |what: &str, said: &dyn Fn() -> usize, before: usize| {
        headcount
            .process()
            .wait(what, WITHIN * 2, || (said() > before).then_some(()));
    };
    for _ in 0..FLAPS {
        let before = (gone(), back());
        broker.kill();
        more("word that the broker is gone", &gone, before.0);
        broker.restart();
        more("word that it is back", &back, before.1);
    }
    assert!(headcount.sigterm().success());

    let lines = lines(&headcount);
    for line in &lines {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "{field}: {line}");
        }
        assert_ne!(line["level"], "ERROR", "nothing is lost, and nobody has to act: {line}");
    }
    let bad: Vec<&Value> = lines.iter().filter(|line| line["level"] == "WARN").collect();
    println!(
        "{} lines, {} of them warnings, of {FLAPS} outages",
        lines.len(),
        bad.len()
    );
    assert!(!bad.is_empty());
    for line in &bad {
        let named = line["broker"] == "main" || line["fleet"] == "sms" || line["subject"] == "main";
        assert!(named, "{line}");
    }
}

#[test]
fn what_is_logged_changes_while_it_runs() {
    let broker = Broker::redis();
    let config = broker.config(&["sms"]);
    let headcount = Headcount::launch(HEADCOUNT, &config);
    let refused = headcount.ask(&["log-level", "debug", "--token", TOKEN]);
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains("set `token` in [server]"), "{words}");
    assert!(headcount.sigterm().success());

    let headcount = Headcount::launch_with(HEADCOUNT, &config, &[("HEADCOUNT__SERVER__TOKEN", TOKEN)]);
    let ask = |args: &[&str]| {
        let output = headcount.ask(&[&["log-level", "--token", TOKEN], args].concat());
        let (out, err) = (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        );
        (output.status.code(), out + &err)
    };
    assert_eq!(ask(&[]), (Some(0), "info ([log] level)\n".to_owned()));
    let (code, words) = ask(&["headcount_actors=loud"]);
    assert_eq!(code, Some(1));
    assert!(
        words.contains("the directive `headcount_actors=loud` is wrong"),
        "{words}"
    );

    let is_debug = |line: &Value| line["level"] == "DEBUG";
    assert!(!lines(&headcount).iter().any(is_debug));
    // Longer than anybody stalls, so that something is said meanwhile.
    let (code, words) = ask(&["trace", "--for", "10s"]);
    assert!(code == Some(0) && words.starts_with("trace until "), "{words}");
    headcount.process().wait("more than before", WITHIN, || {
        headcount.try_get("/healthz");
        lines(&headcount)
            .iter()
            .any(|line| line["level"] == "TRACE" || is_debug(line))
            .then_some(())
    });
    headcount
        .process()
        .wait_line("was set for a while, which is over", WITHIN);
    assert_eq!(ask(&[]).1, "info ([log] level)\n");

    // The configuration, read again.
    headcount.reconfigure(&(config.clone() + "[log]\nlevel = \"headcount_actors=debug,headcount_edge=debug\"\n"));
    headcount.process().wait("the new filter", WITHIN, || {
        (ask(&[]).1 == "info,headcount_actors=debug,headcount_edge=debug ([log] level)\n").then_some(())
    });
    // What docs/observability.md says that a filter shows is there, of a broker in which nothing is wrong.
    for said in [
        "opening a session of events",
        "the session of events stands",
        "the connection for questions stands",
        "all workers were asked whether they live",
    ] {
        headcount.process().wait_line(said, WITHIN);
    }

    // A storm of what that says itself: the first are there, and the rest is counted.
    for _ in 0..STORM {
        assert_eq!(ask(&["--reset"]).0, Some(0));
    }
    assert!(headcount.sigterm().success());
    let lines = lines(&headcount);
    let resets = lines
        .iter()
        .filter(|line| line["message"] == "what is logged is again what is configured");
    let written = resets.count();
    let more: Vec<&Value> = lines
        .iter()
        .filter(|line| {
            let words = line["message"].as_str().unwrap_or_default();
            words.starts_with("… and ") && words.ends_with(": what is logged is again what is configured")
        })
        .collect();
    let counted: u64 = more.iter().filter_map(|line| line["suppressed"].as_u64()).sum();
    assert_eq!(written as u64 + counted, STORM as u64, "{more:#?}");
    // Each minute that it takes longer than one shows one more.
    assert!((BURST..STORM / 2).contains(&written), "{written} lines");
}

/// Ends it, however the test ends.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// With a mount namespace of its own, in which the journal's socket is the test's.
#[test]
fn under_systemd_the_journal_gets_fields() {
    let may = |flags: &str| {
        Command::new("unshare")
            .args([flags, "true"])
            .stderr(Stdio::null())
            .status()
    };
    let Some(flags) = ["-m", "-rm"]
        .into_iter()
        .find(|flags| may(flags).is_ok_and(|status| status.success()))
    else {
        println!("left out: mount namespaces are not permitted here");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let journal = UnixDatagram::bind(dir.path().join("socket")).unwrap();
    journal.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut error = tempfile::tempfile().unwrap();
    let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && mount --bind \"$1\" /run/systemd/journal || exit 9
        export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)
        cd \"$1\" && exec \"$2\" run --broker redis://127.0.0.1:1/0";
    let child = Command::new("unshare")
        .args([flags, "sh", "-c", script, "sh"])
        .args([dir.path().as_os_str(), HEADCOUNT.as_ref()])
        .env("HEADCOUNT__SERVER__LISTEN", format!("127.0.0.1:{}", free_port()))
        .stdout(Stdio::null())
        .stderr(error.try_clone().unwrap())
        .spawn()
        .unwrap();
    let mut child = Ended(child);
    let began = Instant::now();
    let entry = loop {
        assert!(began.elapsed() < WITHIN, "nothing in the journal");
        assert_eq!(child.0.try_wait().unwrap(), None, "it has ended");
        let mut datagram = [0; 65_536];
        let Ok(length) = journal.recv(&mut datagram) else {
            continue;
        };
        let fields = fields(&datagram[..length]);
        if value(&fields, "MESSAGE").is_some_and(|message| message.starts_with("the broker cannot be heard")) {
            break fields;
        }
    };
    for (name, wanted) in [
        ("PRIORITY", "4"),
        ("SYSLOG_IDENTIFIER", "headcount"),
        ("F_BROKER", "redis"),
    ] {
        assert_eq!(value(&entry, name), Some(wanted), "{entry:?}");
    }
    assert_eq!(value(&entry, "TARGET"), Some("headcount_actors::broker_listener"));
    assert!(
        value(&entry, "F_ERROR").unwrap().contains("cannot connect"),
        "{entry:?}"
    );
    drop(child);
    let mut text = String::new();
    std::io::Seek::rewind(&mut error).unwrap();
    error.read_to_string(&mut text).unwrap();
    assert_eq!(text, "", "what the journal gets is not written twice");
}

/// The journal's native protocol: `NAME=value`, or `NAME`, the length in eight bytes, and the value.
fn fields(mut bytes: &[u8]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let line = String::from_utf8(bytes[..end].to_vec()).unwrap();
        bytes = &bytes[end + 1..];
        match line.split_once('=') {
            Some((name, value)) => fields.push((name.to_owned(), value.to_owned())),
            None => {
                let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
                let (value, rest) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
                fields.push((line, String::from_utf8(value.to_vec()).unwrap()));
                bytes = rest.strip_prefix(b"\n").unwrap();
            }
        }
    }
    fields
}

fn value<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields
        .iter()
        .find(|(own, _)| own == name)
        .map(|(_, value)| value.as_str())
}
