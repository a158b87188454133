//! A broker is recorded, and the trace replayed: what happened is what comes out, whatever happened to the recorder.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headcount_core::celery::WorkerKind;
use headcount_core::time::Wall;
use headcount_simulate::trace::{Ending, Reader, Record};
use headcount_testkit::{Broker, Headcount, Process, Worker, WorkerOptions, run_once, send_tasks, wait_until};
use serde_json::{Value, json};

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const PATIENCE: Duration = Duration::from_secs(90);
/// A replay reads a file, and nothing else.
const REPLAYED_WITHIN: Duration = Duration::from_secs(30);
const NAMES: [&str; 3] = ["sms@host1", "sms@host2", "sms@host3"];
/// The detector observes for ten seconds before it misses anybody.
const KNOWN_AFTER: Duration = Duration::from_secs(15);
/// A crash is found after 6 s of silence, a freeze after 15 s.
const CRASH_SHOWS_IN: Duration = Duration::from_secs(15);
const FREEZE_SHOWS_IN: Duration = Duration::from_secs(22);
/// In the arguments, the results and the errors of tasks, and nowhere else.
const MARKER: &str = "swordfish";

/// A recorder at work.
struct Recorder {
    process: Process,
    path: PathBuf,
    folder: tempfile::TempDir,
}

impl Recorder {
    fn start(broker: &Broker) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.trace");
        let mut command = Command::new(HEADCOUNT);
        command.args(["record", "--broker", &broker.url(), "--out"]).arg(&path);
        let process = Process::start("record", &mut command);
        process.wait_line("recording", PATIENCE);
        Self { process, path, folder }
    }

    /// Waits until the trace in the file says so.
    fn wait(&self, what: &str, condition: impl Fn(&Trace) -> bool) {
        self.process
            .wait(what, PATIENCE, || condition(&Trace::read(&self.path)).then_some(()));
    }

    /// Waits until so much has been recorded since a moment.
    fn wait_past(&self, moment: Wall, span: Duration) {
        self.wait("time in the trace", |trace| {
            trace.to.is_some_and(|to| to.since(moment) >= span)
        });
    }

    /// Waits until the detector knows all workers, and has seen them for long enough to miss one.
    fn wait_known(&self) {
        self.wait("beats and answers of all workers", |trace| {
            NAMES
                .iter()
                .all(|name| trace.beats.contains_key(*name) && trace.answers.contains_key(*name))
        });
        self.wait_past(wall(), KNOWN_AFTER);
    }

    /// Waits until the incidents of what is in the file so far are so. How soon that is depends on the machine: a recorder that was
    /// stalled doubts itself, and waits up to four times as long for a silent worker.
    fn wait_incidents(&self, what: &str, are: impl Fn(&[Value]) -> bool) {
        wait_until(what, PATIENCE, || are(&incidents(&self.path, &[])).then_some(()));
    }

    fn stop(&self) {
        self.process.sigterm();
        let status = self.process.wait_exit(PATIENCE);
        assert!(status.success(), "{status}\n{}", self.process.last_lines());
        let last = self.process.stderr().pop().unwrap();
        assert!(last.contains("recorded") && last.contains("events"), "{last}");
    }

    fn config(&self, text: &str) -> PathBuf {
        let path = self.folder.path().join("headcount.toml");
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// What a test wants to know of a trace.
#[derive(Default)]
struct Trace {
    to: Option<Wall>,
    beats: BTreeMap<String, Vec<Wall>>,
    answers: BTreeMap<String, Vec<Wall>>,
    tasks: u64,
    /// All frames, unpacked.
    bytes: Vec<u8>,
    ending: Option<Ending>,
}

impl Trace {
    fn read(path: &Path) -> Self {
        let mut trace = Trace::default();
        let mut reader = Reader::new(File::open(path).unwrap()).unwrap();
        let mut frames = 0;
        loop {
            let next = reader.next().unwrap();
            let Some((now, record)) = next else { break };
            trace.to = Some(now.wall);
            match record {
                Record::Worker(event) if event.kind != WorkerKind::Offline => {
                    trace.beats.entry(event.hostname.to_owned()).or_default().push(now.wall);
                }
                Record::Task(_) => trace.tasks += 1,
                Record::Probed(answers) => {
                    for answer in answers.iter().filter(|answer| answer.answer.is_some()) {
                        trace
                            .answers
                            .entry(answer.hostname.to_string())
                            .or_default()
                            .push(now.wall);
                    }
                }
                _ => {}
            }
            if reader.size().0 > frames {
                frames = reader.size().0;
                trace.bytes.extend_from_slice(reader.frame());
            }
        }
        trace.ending = Some(reader.ending());
        trace
    }

    fn holds(&self, text: &str) -> bool {
        self.bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Wall::from_micros(since.as_micros() as i64)
}

/// What `headcount replay` prints, and what it says.
fn replay(path: &Path, args: &[&str]) -> (String, String) {
    let args: Vec<&str> = ["replay", path.to_str().unwrap()].iter().chain(args).copied().collect();
    let output = run_once(HEADCOUNT, &args, REPLAYED_WITHIN);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{out}{err}");
    (out, err)
}

fn incidents(path: &Path, args: &[&str]) -> Vec<Value> {
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    let (out, _) = replay(path, &args);
    let parsed: Value = serde_json::from_str(&out).unwrap();
    parsed["incidents"].as_array().unwrap().clone()
}

fn all_over(incidents: &[Value]) -> bool {
    incidents.iter().all(|one| one["resolved_at"].is_string())
}

fn the_one(incidents: &[Value]) -> &Value {
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    &incidents[0]
}

#[test]
fn a_kill_on_redis() {
    a_kill(Broker::redis());
}

#[test]
fn a_kill_on_rabbitmq() {
    a_kill(Broker::rabbitmq());
}

/// A worker is killed and comes back: one incident, whichever way it is replayed, and no secret of a task's.
fn a_kill(broker: Broker) {
    let mut workers = Worker::start_all(&broker.url(), &NAMES, &WorkerOptions::default());
    // Beside it, what the trace will be held against.
    let daemon = Headcount::start(HEADCOUNT, &broker.config(&["sms"]));
    let recorder = Recorder::start(&broker);
    recorder.wait_known();
    send_tasks(
        &broker.url(),
        &[
            ("sms", "add", json!([MARKER, MARKER])),
            ("sms", "add", json!([MARKER, ""])),
            ("sms", "fail", json!([MARKER])),
        ],
    );
    // Sent, received, started and ended, of each.
    recorder.wait("the events of three tasks", |trace| trace.tasks >= 12);

    workers[1].sigkill();
    recorder.wait_past(wall(), CRASH_SHOWS_IN);
    recorder.wait_incidents("the crash", |incidents| !incidents.is_empty());
    wait_until("the crash, by the daemon", PATIENCE, || {
        (daemon.get("/api/v1/incidents") != json!([])).then_some(())
    });
    workers[1].restart();
    let back = wall();
    recorder.wait("four beats of the one that is back", |trace| {
        trace.beats[NAMES[1]].iter().filter(|at| **at > back).count() >= 4
    });
    // Three in a row, none of them late.
    recorder.wait_incidents("the end of it", all_over);
    recorder.stop();

    let trace = Trace::read(&recorder.path);
    assert_eq!(trace.ending, Some(Ending::Whole));
    assert!(trace.holds("sms@host2"), "names can be found");
    assert!(!trace.holds(MARKER), "no argument, result or error is in a trace");

    let found = incidents(&recorder.path, &[]);
    let one = the_one(&found);
    assert_eq!(one["kind"], "fleet");
    assert_eq!(one["subject"], "sms");
    assert_eq!(one["diagnosis"], "crashed", "{one:#}");
    let time = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
    assert!(time("opened_at") < time("resolved_at"), "{one:#}");
    let keys: Vec<&String> = one.as_object().unwrap().keys().collect();
    let mut expected = ["id", "kind", "subject", "diagnosis", "opened_at", "resolved_at"];
    expected.sort_unstable();
    assert_eq!(keys, expected);

    let (text, said) = replay(&recorder.path, &[]);
    println!("{}: {text}{said}", broker.kind());
    assert!(
        text.contains("DEGRADED sms: 2 of 3") && text.contains("RECOVERED sms"),
        "{text}"
    );
    assert_eq!(replay(&recorder.path, &[]).0, text, "the same again");

    let live = daemon.get("/api/v1/incidents");
    let live = the_one(live.as_array().unwrap());
    for key in ["kind", "subject", "diagnosis"] {
        assert_eq!(one[key], live[key], "the daemon said otherwise: {live:#}");
    }
    println!("{}: the daemon opened it at {}", broker.kind(), live["opened_at"]);
    assert!(daemon.sigterm().success());

    // A configuration, on a machine that has none of its secrets.
    let config = recorder.config(
        "[[broker]]\nname = \"main\"\nurl = \"env:NOT_SET_ANYWHERE\"\n\n\
         [[fleet]]\nname = \"text\"\nbroker = \"main\"\nhostnames = [\"sms@*\"]\nexpected = 3\nminimum = 3\n\n\
         [[notify]]\nkind = \"slack\"\nwebhook_url = \"env:NOT_SET_ANYWHERE\"\n",
    );
    let found = incidents(&recorder.path, &["--config", config.to_str().unwrap()]);
    let one = the_one(&found);
    assert_eq!(
        (&one["subject"], &one["diagnosis"]),
        (&json!("text"), &json!("crashed"))
    );
    let (text, _) = replay(&recorder.path, &["--config", config.to_str().unwrap()]);
    assert!(text.contains("DOWN text: 2 of 3"), "{text}");
}

#[test]
fn a_freeze_on_redis() {
    a_freeze(Broker::redis());
}

#[test]
fn a_freeze_on_rabbitmq() {
    a_freeze(Broker::rabbitmq());
}

/// A worker stands still for a while: whether that is an incident, the configuration says.
fn a_freeze(broker: Broker) {
    let workers = Worker::start_all(&broker.url(), &NAMES, &WorkerOptions::default());
    let recorder = Recorder::start(&broker);
    recorder.wait_known();
    workers[2].sigstop();
    recorder.wait_past(wall(), FREEZE_SHOWS_IN);
    recorder.wait_incidents("the freeze", |incidents| !incidents.is_empty());
    workers[2].sigcont();
    let back = wall();
    recorder.wait("four beats of the one that goes on", |trace| {
        trace.beats[NAMES[2]].iter().filter(|at| **at > back).count() >= 4
    });
    recorder.wait_incidents("the end of it", all_over);
    recorder.stop();

    let found = incidents(&recorder.path, &[]);
    let one = the_one(&found);
    assert_eq!(one["diagnosis"], "frozen", "{one:#}");
    assert!(one["resolved_at"].is_string(), "{one:#}");

    let patient = recorder.config(&format!(
        "[detect]\ndown_after = \"120s\"\n\n{}",
        broker.config(&["sms"])
    ));
    assert_eq!(
        incidents(&recorder.path, &["--config", patient.to_str().unwrap()]),
        Vec::<Value>::new()
    );
}

#[test]
fn an_outage_on_redis() {
    an_outage(Broker::redis());
}

#[test]
fn an_outage_on_rabbitmq() {
    an_outage(Broker::rabbitmq());
}

/// The broker is out, and the recorder stands still for a while: the one is the broker's incident, the other nobody's.
fn an_outage(mut broker: Broker) {
    /// After a return nobody is judged for up to 15 s, and everybody is back by then.
    const SETTLED_AFTER: Duration = Duration::from_secs(25);
    /// Longer than any silence that the detector lets pass.
    const STANDS_STILL: Duration = Duration::from_secs(20);
    let _workers = Worker::start_all(&broker.url(), &NAMES, &WorkerOptions::default());
    let recorder = Recorder::start(&broker);
    recorder.wait_known();
    broker.kill();
    recorder.wait_past(wall(), Duration::from_secs(6));
    broker.restart();
    let back = wall();
    recorder.wait("beats of all workers after the outage", |trace| {
        NAMES.iter().all(|name| trace.beats[*name].iter().any(|at| *at > back))
    });
    recorder.wait_past(wall(), SETTLED_AFTER);

    let stopped = recorder.process.sigstop();
    wait_until("the end of the pause", STANDS_STILL * 2, || {
        (stopped.elapsed() >= STANDS_STILL).then_some(())
    });
    recorder.process.sigcont();
    recorder.wait_past(wall(), SETTLED_AFTER);
    recorder.stop();

    let found = incidents(&recorder.path, &[]);
    let one = the_one(&found);
    assert_eq!(one["kind"], "broker", "{one:#}");
    assert!(one["resolved_at"].is_string(), "{one:#}");
    let (text, said) = replay(&recorder.path, &[]);
    println!("{}: {text}{said}", broker.kind());
    assert!(text.contains("BROKER DOWN") && text.contains("RECOVERED"), "{text}");
    // All pauses together: a busy machine may have made others.
    let paused = said.split_once("stood still for ").and_then(|(_, rest)| {
        let (seconds, _) = rest.split_once(" s in all")?;
        seconds.parse::<u64>().ok()
    });
    assert!(paused.is_some_and(|paused| paused >= STANDS_STILL.as_secs()), "{said}");
}

#[test]
fn a_killed_recorder_on_redis() {
    a_killed_recorder(Broker::redis());
}

#[test]
fn a_killed_recorder_on_rabbitmq() {
    a_killed_recorder(Broker::rabbitmq());
}

/// SIGKILL to the recorder: all but its last second is there.
fn a_killed_recorder(broker: Broker) {
    /// What is promised, and what a machine may take that is busy with other things: it may have stalled the recorder for
    /// seconds before its end.
    const LOST_AT_MOST: Duration = Duration::from_secs(1).saturating_add(Duration::from_secs(5));
    let _workers = Worker::start_all(&broker.url(), &NAMES, &WorkerOptions::default());
    let recorder = Recorder::start(&broker);
    recorder.wait_known();
    recorder.wait("some beats of all workers", |trace| {
        NAMES.iter().all(|name| trace.beats[*name].len() >= 5)
    });
    let killed = wall();
    recorder.process.sigkill();
    let trace = Trace::read(&recorder.path);
    let lost = killed.since(trace.to.unwrap());
    println!("{}: lost {lost:?}, {:?}", broker.kind(), trace.ending);
    assert!(lost < LOST_AT_MOST, "{lost:?}");
    assert_ne!(trace.ending, Some(Ending::Whole));
    assert!(NAMES.iter().all(|name| trace.beats[*name].len() >= 5));
    let (text, said) = replay(&recorder.path, &[]);
    assert_eq!(text, "no incidents\n");
    assert!(said.contains("the recording"), "{said}");
}

#[test]
fn what_cannot_be_done_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.trace");
    std::fs::write(&path, "precious").unwrap();
    let shown = path.to_str().unwrap();
    let several = folder.path().join("several.toml");
    let brokers = "[[broker]]\nname = \"a\"\nurl = \"redis://a\"\n[[broker]]\nname = \"b\"\nurl = \"redis://b\"\n";
    std::fs::write(&several, brokers).unwrap();
    let said = |args: &[&str], code: i32| {
        let output = run_once(HEADCOUNT, args, REPLAYED_WITHIN);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        said
    };
    let record = |out| ["record", "--broker", "redis://127.0.0.1:1", "--out", out];
    assert!(said(&record(shown), 2).contains("exists already"));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    let full = said(&[&record("/dev/full")[..], &["--force"]].concat(), 1);
    assert!(full.contains("No space left"), "{full}");
    assert!(said(&record("/not/there/a.trace"), 1).contains("/not/there"));
    assert!(said(&["record", "--broker", "ftp://x", "--out", "x"], 2).contains("--broker"));
    assert!(said(&record("-"), 2).contains("not to standard output"));
    assert!(said(&["replay", shown], 1).contains("no trace"));
    let head = folder.path().join("head.trace");
    std::fs::write(&head, headcount_simulate::trace::HEAD).unwrap();
    let empty = said(&["replay", head.to_str().unwrap()], 1);
    assert!(empty.contains("head.trace: nothing was recorded in it"), "{empty}");
    assert!(said(&["replay", "/not/there"], 1).contains("cannot open"));
    assert!(said(&["replay", shown, "--config", "/not/there"], 2).contains("cannot read"));

    // A recorder whose broker is not there says so in its trace, and ends when it is told to.
    let out = folder.path().join("unreached.trace");
    let mut command = Command::new(HEADCOUNT);
    command.args(record(out.to_str().unwrap()));
    let recorder = Process::start("record", &mut command);
    wait_until("the failure in the trace", PATIENCE, || {
        let mut reader = Reader::new(File::open(&out).ok()?).ok()?;
        while let Some((_, record)) = reader.next().unwrap() {
            if matches!(record, Record::Ended(_)) {
                return Some(());
            }
        }
        None
    });
    recorder.sigterm();
    assert!(recorder.wait_exit(PATIENCE).success());
    assert_eq!(Trace::read(&out).ending, Some(Ending::Whole));
    assert!(
        said(
            &["replay", out.to_str().unwrap(), "--config", several.to_str().unwrap()],
            2
        )
        .contains("several brokers")
    );
    assert_eq!(incidents(&out, &[]), Vec::<Value>::new());
}
