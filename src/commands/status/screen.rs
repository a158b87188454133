//! The daemon's answers as one page of text.

use std::time::Duration;

use headcount_core::alert::text::Span;
use headcount_core::names;
use jiff::Timestamp;
use serde::Deserialize;

use crate::commands::table::{Cell, Columns, Tone, clean, paint};

/// What the daemon answered.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) fleets: Vec<Fleet>,
    pub(super) workers: Vec<Worker>,
    pub(super) incidents: Vec<Incident>,
    pub(super) ready: Ready,
    pub(super) health: Health,
}

/// From `/api/v1/fleets`.
#[derive(Debug, Deserialize)]
pub(super) struct Fleet {
    name: String,
    broker: String,
    state: String,
    /// A daemon of an earlier version does not tell.
    #[serde(default = "not_told")]
    seen: bool,
    expected: u32,
    minimum: u32,
    up: u32,
    since: Timestamp,
    queues: Vec<Queue>,
}

/// What is not told is no cause for a warning.
const fn not_told() -> bool {
    true
}

/// One queue of a fleet.
#[derive(Debug, Deserialize)]
struct Queue {
    name: String,
    length: u64,
}

/// From `/api/v1/workers`.
#[derive(Debug, Deserialize)]
pub(super) struct Worker {
    hostname: String,
    fleet: String,
    state: String,
    diagnosis: Option<String>,
    since: Timestamp,
    signals: Signals,
    active: Option<u64>,
    processed: Option<u64>,
}

/// A worker's signals.
#[derive(Debug, Deserialize)]
struct Signals {
    presence: Signal,
    heartbeat: Signal,
    answer: Signal,
    work: Signal,
}

/// One signal.
#[derive(Debug, Deserialize)]
struct Signal {
    ok: Option<bool>,
}

/// From `/api/v1/incidents`.
#[derive(Debug, Deserialize)]
pub(super) struct Incident {
    id: String,
    kind: String,
    subject: String,
    diagnosis: Option<String>,
    opened_at: Timestamp,
}

/// From `/readyz`.
#[derive(Debug, Deserialize)]
pub(super) struct Ready {
    brokers: Vec<Broker>,
}

/// One broker.
#[derive(Debug, Deserialize)]
struct Broker {
    name: String,
    address: String,
    state: String,
    since: Timestamp,
    error: Option<String>,
    retry_at: Option<Timestamp>,
    /// A daemon of an earlier version does not tell.
    #[serde(default)]
    unmatched: u64,
}

/// From `/healthz`.
#[derive(Debug, Deserialize)]
pub(super) struct Health {
    /// None where the daemon is of an earlier version.
    store: Option<Store>,
}

/// The store; `since` is there only while it fails.
#[derive(Debug, Deserialize)]
struct Store {
    state: String,
    since: Option<Timestamp>,
    error: Option<String>,
    meanwhile: Vec<String>,
    alerts_wait: bool,
}

impl Picture {
    pub(super) fn render(&self, url: &str, now: Timestamp, colours: bool) -> String {
        let mut parts = vec![self.headline(url, now, colours) + &self.strangers(colours)];
        if let Some((store, since)) = self.failing_store() {
            parts.push(store.render(since, now).render(colours));
        }
        if !self.incidents.is_empty() {
            parts.push(self.incidents(now).render(colours));
        }
        if !self.ready.brokers.is_empty() {
            parts.push(self.brokers(now).render(colours));
        }
        if !self.fleets.is_empty() {
            parts.push(self.fleets(now).render(colours));
        }
        if !self.workers.is_empty() {
            parts.push(self.workers(now).render(colours));
        }
        parts.join("\n")
    }

    /// The store, where it fails, and since when.
    fn failing_store(&self) -> Option<(&Store, Timestamp)> {
        let store = self.health.store.as_ref()?;
        Some((store, store.since?))
    }

    /// What matters, in one line.
    fn headline(&self, url: &str, now: Timestamp, colours: bool) -> String {
        let bad = self.fleets.iter().filter(|fleet| fleet.state != "healthy").count();
        let unheard = self
            .ready
            .brokers
            .iter()
            .filter(|broker| broker.state != "heard")
            .count();
        let open = self.incidents.len();
        let store = self.failing_store();
        let unseen: Vec<&str> = self.unseen().collect();
        let (says, tone) = if self.ready.brokers.is_empty() && store.is_none() {
            (
                "the daemon has only just started, and knows nothing yet".to_owned(),
                Tone::Warning,
            )
        } else if self.fleets.is_empty() && unheard == 0 && store.is_none() {
            ("no fleet has been seen yet".to_owned(), Tone::Warning)
        } else if (bad, unheard, open) == (0, 0, 0) && store.is_none() && !unseen.is_empty() {
            (format!("nothing is down, but {}", not_seen(&unseen)), Tone::Warning)
        } else if (bad, unheard, open) == (0, 0, 0) && store.is_none() {
            (
                format!(
                    "all is well: {}, {}",
                    count(self.fleets.len(), "fleet"),
                    count(self.workers.len(), "worker")
                ),
                Tone::Good,
            )
        } else {
            let parts = [
                store.map(|(store, since)| store.headline(since, now)),
                (open > 0).then(|| format!("{} open", count(open, "incident"))),
                (bad > 0).then(|| format!("{bad} of {} not healthy", count(self.fleets.len(), "fleet"))),
                (unheard > 0).then(|| format!("{} not heard", count(unheard, "broker"))),
            ];
            (parts.into_iter().flatten().collect::<Vec<_>>().join(", "), Tone::Bad)
        };
        format!("{}  ({url})\n", paint(&says, tone, colours))
    }

    /// Fleets of which nobody has ever been seen: they may be new, or have a mistake in their patterns.
    fn unseen(&self) -> impl Iterator<Item = &str> {
        let unseen = self.fleets.iter().filter(|fleet| !fleet.seen);
        unseen.map(|fleet| fleet.name.as_str())
    }

    /// One line for each broker that has workers of no fleet.
    fn strangers(&self, colours: bool) -> String {
        let some = self.ready.brokers.iter().filter(|broker| broker.unmatched > 0);
        let lines = some.map(|broker| {
            let says = format!(
                "on broker {}, {} no fleet; `headcount check FILE --connect` names {}",
                clean(&broker.name),
                match broker.unmatched {
                    1 => "1 worker matches".to_owned(),
                    n => format!("{n} workers match"),
                },
                if broker.unmatched == 1 { "it" } else { "them" }
            );
            paint(&says, Tone::Warning, colours) + "\n"
        });
        lines.collect()
    }

    fn incidents(&self, now: Timestamp) -> Columns {
        let mut columns = Columns::new(&["OPEN INCIDENT", "OF", "DIAGNOSIS", "FOR"]);
        for incident in &self.incidents {
            columns.row(vec![
                Cell::new(&incident.id, Tone::Bad),
                format!("{} {}", incident.kind, incident.subject).into(),
                incident.diagnosis.as_deref().unwrap_or("-").into(),
                ago(incident.opened_at, now).into(),
            ]);
        }
        columns
    }

    fn brokers(&self, now: Timestamp) -> Columns {
        let mut columns = Columns::new(&["BROKER", "STATE", "FOR", "ADDRESS", "WHY NOT"]);
        for broker in &self.ready.brokers {
            let tone = if broker.state == "heard" { Tone::Good } else { Tone::Bad };
            let mut why = broker.error.clone().unwrap_or_default();
            if let Some(retry) = broker.retry_at {
                why.push_str(&format!("; next try in {}", ago(now, retry)));
            }
            columns.row(vec![
                (&broker.name).into(),
                Cell::new(&broker.state, tone),
                ago(broker.since, now).into(),
                (&broker.address).into(),
                why.trim_start_matches("; ").into(),
            ]);
        }
        columns
    }

    fn fleets(&self, now: Timestamp) -> Columns {
        let mut columns = Columns::new(&["FLEET", "STATE", "FOR", "UP", "MINIMUM", "BROKER", "QUEUES"]);
        for fleet in &self.fleets {
            let queues = fleet
                .queues
                .iter()
                .map(|queue| format!("{} {}", clean(&queue.name), queue.length));
            columns.row(vec![
                (&fleet.name).into(),
                fleet.stands(),
                ago(fleet.since, now).into(),
                format!("{} of {}", fleet.up, fleet.expected).into(),
                fleet.minimum.into(),
                (&fleet.broker).into(),
                queues.collect::<Vec<_>>().join(", ").into(),
            ]);
        }
        columns
    }

    fn workers(&self, now: Timestamp) -> Columns {
        let mut columns = Columns::new(&["WORKER", "FLEET", "STATE", "FOR", "SIGNALS", "ACTIVE", "PROCESSED"]);
        for worker in &self.workers {
            let state = match &worker.diagnosis {
                Some(diagnosis) => format!("{} ({diagnosis})", worker.state),
                None => worker.state.clone(),
            };
            columns.row(vec![
                (&worker.hostname).into(),
                (&worker.fleet).into(),
                Cell::new(state, tone(&worker.state)),
                ago(worker.since, now).into(),
                worker.signals.in_words().into(),
                number(worker.active).into(),
                number(worker.processed).into(),
            ]);
        }
        columns
    }
}

impl Store {
    fn headline(&self, since: Timestamp, now: Timestamp) -> String {
        // Who only cannot delete what is old is told of still; but what an alert needs may be the next that fails.
        let wait = if self.alerts_wait { "wait" } else { "may wait" };
        format!(
            "the store has failed for {} (alerts {wait} until it works)",
            ago(since, now)
        )
    }

    fn render(&self, since: Timestamp, now: Timestamp) -> Columns {
        let mut columns = Columns::new(&["STORE", "FOR", "SINCE", "WHY", "MEANWHILE"]);
        columns.row(vec![
            Cell::new(&self.state, Tone::Bad),
            ago(since, now).into(),
            format!("{since:.0}").into(),
            self.error.as_deref().unwrap_or("-").into(),
            self.meanwhile.join("; ").into(),
        ]);
        columns
    }
}

impl Fleet {
    /// A fleet of which nobody has been seen lacks nobody, and is healthy by that; it must not look so.
    fn stands(&self) -> Cell {
        if self.seen {
            Cell::new(&self.state, tone(&self.state))
        } else {
            Cell::new(format!("{} (not seen yet)", self.state), Tone::Warning)
        }
    }
}

impl Signals {
    /// Which signals speak for the worker, and which against it; those that it does not have are left out.
    fn in_words(&self) -> String {
        let all = [
            ("presence", &self.presence),
            ("heartbeat", &self.heartbeat),
            ("answer", &self.answer),
            ("work", &self.work),
        ];
        let said = |wanted: bool| {
            all.iter()
                .filter(move |(_, signal)| signal.ok == Some(wanted))
                .map(|(name, _)| *name)
        };
        let (good, bad) = (
            said(true).collect::<Vec<_>>().join("+"),
            said(false).collect::<Vec<_>>(),
        );
        match (good.is_empty(), bad.is_empty()) {
            (true, true) => "none yet".to_owned(),
            (false, true) => good,
            (true, false) => format!("no {}", bad.join(", no ")),
            (false, false) => format!("{good}, no {}", bad.join(", no ")),
        }
    }
}

fn tone(state: &str) -> Tone {
    match state {
        "healthy" | "up" => Tone::Good,
        "down" => Tone::Bad,
        "offline" => Tone::Plain,
        _ => Tone::Warning,
    }
}

fn count(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

/// Some of these fleets, and that they have not been seen yet.
fn not_seen(fleets: &[&str]) -> String {
    let named: Vec<String> = fleets.iter().take(UNSEEN_NAMED).map(|name| clean(name)).collect();
    let have = if fleets.len() == 1 { "has" } else { "have" };
    format!("{} {have} not been seen yet", names::and_more(&named, fleets.len()))
}

/// So many fleets that have not been seen are named.
const UNSEEN_NAMED: usize = 3;

fn number(n: Option<u64>) -> String {
    n.map_or_else(|| "-".to_owned(), |n| n.to_string())
}

/// From one moment to a later one; clocks of two machines may make it negative, which is shown as none.
fn ago(from: Timestamp, to: Timestamp) -> String {
    Span(Duration::try_from(to.duration_since(from)).unwrap_or_default()).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SINCE: &str = "2026-01-31T12:00:00.000Z";

    fn picture(fleet: &str, worker: &str, broker: &str) -> Picture {
        let signal = |ok: Option<bool>| json!({"ok": ok, "last": null, "detail": ""});
        let bad = worker == "down";
        let read = |value| serde_json::from_value(value).unwrap();
        Picture {
            fleets: serde_json::from_value(
                json!([{"name": "sms", "broker": "main", "state": fleet, "seen": true, "expected": 3, "minimum": 1,
                "up": 2, "suspect": 0, "down": 1, "stalled": 0, "since": SINCE,
                "queues": [{"name": "sms", "length": 7, "consumers": 2}]}]),
            )
            .unwrap(),
            workers: serde_json::from_value(json!([{"hostname": "sms@host2", "fleet": "sms", "state": worker,
                "diagnosis": bad.then_some("crashed"), "since": SINCE, "signals": {"presence": signal(Some(!bad)),
                "heartbeat": signal(Some(!bad)), "answer": signal(bad.then_some(false)), "work": signal(None)},
                "active": 1, "processed": null, "software": null}]))
            .unwrap(),
            incidents: if bad {
                serde_json::from_value(
                    json!([{"id": "k3x9", "kind": "fleet", "subject": "sms", "state": "open",
                    "diagnosis": "crashed", "opened_at": SINCE, "resolved_at": null, "evidence": [],
                    "notifications": []}]),
                )
                .unwrap()
            } else {
                vec![]
            },
            health: serde_json::from_value(json!({"status": "ok", "actors": []})).unwrap(),
            ready: read(
                json!({"status": "x", "brokers": [{"name": "main", "address": "redis://h", "state": broker,
                "since": SINCE, "error": (broker != "heard").then_some("cannot connect"), "retry_at": null, "unmatched": 0}]}),
            ),
        }
    }

    fn shown(picture: &Picture) -> String {
        picture.render("http://h", "2026-01-31T12:02:10Z".parse().unwrap(), false)
    }

    #[test]
    fn trouble_is_the_first_thing_that_is_said() {
        let text = shown(&picture("degraded", "down", "heard"));
        assert!(
            text.starts_with("1 incident open, 1 of 1 fleet not healthy  (http://h)\n"),
            "{text}"
        );
        for words in [
            "k3x9",
            "down (crashed)",
            "2 min 10 s",
            "2 of 3",
            "no presence, no heartbeat, no answer",
            "sms 7",
        ] {
            assert!(text.contains(words), "{words} is not in\n{text}");
        }
        let deaf = shown(&picture("unknown", "unknown", "lost"));
        assert!(
            deaf.contains("1 broker not heard") && deaf.contains("cannot connect"),
            "{deaf}"
        );
    }

    #[test]
    fn a_store_that_fails_is_said_first_and_that_alerts_wait_for_it() {
        let mut failing = picture("healthy", "up", "heard");
        let health = |alerts_wait: bool| {
            json!({"status": "ok", "actors": [], "store": {"state": "failing", "since": SINCE, "error": "disk full",
                "meanwhile": ["nothing new is told", "counts are kept"], "alerts_wait": alerts_wait}})
        };
        failing.health = serde_json::from_value(health(true)).unwrap();
        let text = shown(&failing);
        let first = "the store has failed for 2 min 10 s (alerts wait until it works)";
        assert!(text.starts_with(&format!("{first}  (http://h)\n")), "{text}");
        for words in [
            "2026-01-31T12:00:00Z",
            "disk full",
            "nothing new is told; counts are kept",
        ] {
            assert!(text.contains(words), "{words} is not in\n{text}");
        }
        failing.health = serde_json::from_value(health(false)).unwrap();
        assert!(shown(&failing).contains("(alerts may wait until it works)"));
        failing.fleets.clear();
        assert!(shown(&failing).starts_with("the store has failed for"));
        failing.ready.brokers.clear();
        assert!(shown(&failing).starts_with("the store has failed for"));

        let well = json!({"status": "ok", "actors": [], "store": {"state": "ok", "since": null, "error": null,
            "meanwhile": [], "alerts_wait": false}});
        let mut working = picture("healthy", "up", "heard");
        working.health = serde_json::from_value(well).unwrap();
        assert!(shown(&working).starts_with("all is well"));
        assert!(!shown(&working).contains("STORE"));
    }

    #[test]
    fn nothing_known_is_not_called_well() {
        let mut none = picture("healthy", "up", "heard");
        none.fleets.clear();
        none.workers.clear();
        assert!(shown(&none).starts_with("no fleet has been seen yet"));
        none.ready.brokers.clear();
        assert!(shown(&none).starts_with("the daemon has only just started"));
    }

    #[test]
    fn a_daemon_of_an_earlier_version_is_read() {
        let fleet = json!({"name": "sms", "broker": "main", "state": "healthy", "expected": 3, "minimum": 1, "up": 3,
                           "since": SINCE, "queues": []});
        let fleet: Fleet = serde_json::from_value(fleet).unwrap();
        assert!(fleet.seen, "it would be warned of");
        let broker = json!({"name": "main", "address": "redis://h", "state": "heard", "since": SINCE, "error": null,
                            "retry_at": null});
        let broker: Broker = serde_json::from_value(broker).unwrap();
        assert_eq!(broker.unmatched, 0);
    }

    #[test]
    fn a_fleet_of_which_nobody_was_seen_is_not_called_well() {
        let mut typo = picture("healthy", "up", "heard");
        typo.fleets[0].seen = false;
        typo.workers.clear();
        typo.ready.brokers[0].unmatched = 2;
        let text = shown(&typo);
        let first = "nothing is down, but sms has not been seen yet  (http://h)\n\
                     on broker main, 2 workers match no fleet; `headcount check FILE --connect` names them\n";
        assert!(text.starts_with(first), "{text}");
        assert!(text.contains("healthy (not seen yet)"), "{text}");
        typo.incidents = picture("down", "down", "heard").incidents;
        assert!(shown(&typo).starts_with("1 incident open"), "trouble comes first");
    }

    #[test]
    fn of_many_fleets_that_were_not_seen_some_are_named() {
        assert_eq!(not_seen(&["a", "b"]), "a, b have not been seen yet");
        assert_eq!(
            not_seen(&["a", "b", "c", "d"]),
            "a, b, c and 1 more have not been seen yet"
        );
    }

    #[test]
    fn workers_of_no_fleet_are_counted_where_all_is_well() {
        let mut picture = picture("healthy", "up", "heard");
        picture.ready.brokers[0].unmatched = 1;
        let text = shown(&picture);
        assert!(text.starts_with("all is well: "), "{text}");
        assert!(text.contains("\non broker main, 1 worker matches no fleet; "), "{text}");
    }

    #[test]
    fn when_all_is_well_that_is_said() {
        let text = shown(&picture("healthy", "up", "heard"));
        assert!(
            text.starts_with("all is well: 1 fleet, 1 worker  (http://h)\n"),
            "{text}"
        );
        assert!(text.contains("presence+heartbeat"), "{text}");
        assert!(!text.contains("OPEN INCIDENT"));
    }
}
