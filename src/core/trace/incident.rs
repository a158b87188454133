//! The spans of an alert, from the last sign of life to the message in Slack. Each is made by whoever ends the piece of work
//! that it tells, after the fact; all hang on one root (see the module above).
//!
//! ```text
//! incident                     the last sign of life … put into the outbox
//!   worker.silent              the last sign of life … suspected
//!   worker.suspect             suspected … found to be down
//!     worker.check             asked … answered, or not
//!   incident.judge             the worker found to be down … the incident opened
//!   incident.store             opened, changed or resolved … written down
//!   incident.hold              opened, changed or resolved … decided that it is told
//!   outbox.write               decided … in the outbox
//!   notify                     one attempt to tell one channel, each
//!   outbox.wait                decided … accepted by the channel
//!   worker.down                found to be down … back, once it is over
//! ```

use std::time::Duration;

use compact_str::CompactString;

use super::{Span, SpanId, SpanKind, TraceId};
use crate::alert::{Incident, Notice, Turn};
use crate::time::Wall;

/// A root does not begin longer than this before its incident was opened: who restarts a Headcount after a weekend shall not
/// get a trace that is a weekend long, and backends refuse what is too old. Raising it shows longer silences whole.
const LOOK_BACK: Duration = Duration::from_secs(3600);

/// Checks of one suspect that are told: the newest.
pub const MAX_CHECKS: usize = 8;

/// Workers of one incident whose way down is told; Slack names no more of them either.
pub const MAX_WORKERS: usize = 10;

/// One question to a suspect that brought no sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// When it was asked.
    pub began: Wall,
    /// When the answer was no longer waited for.
    pub ended: Wall,
    /// Whether the broker saw its connection; none where it cannot tell.
    pub present: Option<bool>,
}

/// How a worker went down, as far as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fall {
    /// The whole node name.
    pub hostname: CompactString,
    /// Its last sign of life.
    pub last_seen: Option<Wall>,
    /// When it was suspected; none where a restart has forgotten that.
    pub suspected_at: Option<Wall>,
    /// When it was found to be down.
    pub down_at: Wall,
    /// The checks meanwhile, at most [`MAX_CHECKS`].
    pub checks: Vec<Check>,
}

/// When the trace of an incident begins: with the first thing that it rests on, whatever it looks like by now.
pub fn began(incident: &Incident) -> Wall {
    let first = incident.began.unwrap_or(incident.opened_at);
    first.clamp(incident.opened_at - LOOK_BACK, incident.opened_at)
}

/// The span that all others hang on: made when the first message is in the outbox, or when it is clear that there will be none.
pub fn root(incident: &Incident, ended: Wall, told: bool) -> Span {
    let trace = TraceId::of_incident(&incident.id);
    let root = Span {
        parent: None,
        ..Span::part(trace, SpanId::root(trace), "incident", (began(incident), ended))
    };
    let scene = &incident.scene;
    about(root, incident)
        .with("headcount.up", scene.up)
        .with("headcount.expected", scene.expected)
        .with("headcount.told", told)
}

/// What one worker's fall was like.
pub fn fall(incident: &Incident, fall: &Fall) -> Vec<Span> {
    let trace = TraceId::of_incident(&incident.id);
    let worker = fall.hostname.as_str();
    let id = |what: &str| SpanId::of(trace, &[what, worker]);
    let of_worker = |name: &'static str, times: (Wall, Wall)| {
        about(Span::part(trace, id(name), name, times), incident).with("headcount.worker", worker)
    };
    let mut spans = Vec::new();
    let earliest = began(incident);
    let suspected_at = fall.suspected_at.map(|at| at.max(earliest));
    if let (Some(last_seen), Some(suspected_at)) = (fall.last_seen, suspected_at) {
        spans.push(of_worker("worker.silent", (last_seen.max(earliest), suspected_at)));
    }
    if let Some(suspected_at) = suspected_at {
        let suspect = of_worker("worker.suspect", (suspected_at, fall.down_at));
        for check in fall.checks.iter().filter(|check| check.began >= suspected_at) {
            let began = check.began.as_micros().to_string();
            let id = SpanId::of(trace, &["worker.check", worker, &began]);
            let mut span = Span::part(trace, id, "worker.check", (check.began, check.ended));
            span.parent = Some(suspect.id);
            span.kind = SpanKind::Client;
            span = about(span, incident).with("headcount.worker", worker);
            if let Some(present) = check.present {
                span = span.with("headcount.connected", present);
            }
            span.failed = Some("no answer".to_owned());
            spans.push(span);
        }
        spans.push(suspect);
    }
    // Of one that was down long before this incident, nothing is to be judged any more.
    if fall.down_at >= earliest && fall.down_at <= incident.changed_at {
        spans.push(of_worker("incident.judge", (fall.down_at, incident.changed_at)));
    }
    spans
}

/// How long a worker was down, once it is over.
pub fn down(incident: &Incident, worker: &str, (from, to): (Wall, Wall)) -> Span {
    let trace = TraceId::of_incident(&incident.id);
    let id = SpanId::of(trace, &["worker.down", worker]);
    let from = from.max(began(incident));
    about(Span::part(trace, id, "worker.down", (from, to)), incident).with("headcount.worker", worker)
}

/// The moment of the change that an incident shows.
fn changed(incident: &Incident) -> Wall {
    incident.resolved_at.unwrap_or(incident.changed_at)
}

/// That a change was written down.
pub fn stored(incident: &Incident, at: Wall) -> Span {
    step(incident, "incident.store", (changed(incident), at), "")
}

/// What was decided: that a turn is told, which was then in the outbox at a moment.
pub fn told(notice: &Notice, written: Wall) -> [Span; 2] {
    let incident = &notice.incident;
    let turn = turn(notice.turn);
    [
        step(incident, "incident.hold", (changed(incident), notice.at), turn),
        step(incident, "outbox.write", (notice.at, written), turn),
    ]
}

fn step(incident: &Incident, name: &'static str, times: (Wall, Wall), turn: &'static str) -> Span {
    let trace = TraceId::of_incident(&incident.id);
    let at = times.0.as_micros().to_string();
    let span = about(
        Span::part(trace, SpanId::of(trace, &[name, turn, &at]), name, times),
        incident,
    );
    if turn.is_empty() {
        span
    } else {
        span.with("headcount.turn", turn)
    }
}

/// To whom a notice goes, and how.
#[derive(Clone, Copy, Debug)]
pub struct Errand<'a> {
    /// The notifier's name.
    pub notifier: &'a str,
    /// The number of what is owed: unique in a store.
    pub debt: i64,
    /// `post` or `refresh`.
    pub act: &'static str,
}

/// One attempt to tell a channel. `failed` says why it was not accepted.
pub fn attempt(notice: &Notice, errand: Errand<'_>, number: u32, times: (Wall, Wall), failed: Option<String>) -> Span {
    let began = times.0.as_micros().to_string();
    let mut span = to_channel(notice, errand, "notify", times, &began);
    span.kind = SpanKind::Client;
    span.failed = failed;
    span.with("headcount.attempt", number)
}

/// How long a notice waited in the outbox, until the channel had accepted it.
pub fn waited(notice: &Notice, errand: Errand<'_>, accepted: Wall) -> Span {
    to_channel(notice, errand, "outbox.wait", (notice.at, accepted), "")
}

fn to_channel(notice: &Notice, errand: Errand<'_>, name: &'static str, times: (Wall, Wall), at: &str) -> Span {
    let trace = TraceId::of_incident(&notice.incident.id);
    let debt = errand.debt.to_string();
    let id = SpanId::of(trace, &[name, errand.notifier, &debt, at]);
    about(Span::part(trace, id, name, times), &notice.incident)
        .with("headcount.notifier", errand.notifier)
        .with("headcount.act", errand.act)
        .with("headcount.turn", turn(notice.turn))
}

fn about(span: Span, incident: &Incident) -> Span {
    let span = span
        .with("headcount.incident", incident.id.0.as_str())
        .with("headcount.kind", incident.kind.as_str())
        .with("headcount.subject", incident.subject.as_str())
        .with("headcount.broker", incident.broker.as_str())
        .with("headcount.severity", incident.severity.headline());
    match incident.diagnosis {
        Some(diagnosis) => span.with("headcount.diagnosis", diagnosis.as_str()),
        None => span,
    }
}

const fn turn(turn: Turn) -> &'static str {
    match turn {
        Turn::Opened => "opened",
        Turn::Worsened => "worsened",
        Turn::Eased => "eased",
        Turn::Relapsed => "relapsed",
        Turn::Shifted => "shifted",
        Turn::Recovered => "recovered",
        Turn::OpenedAndRecovered => "opened_and_recovered",
        Turn::Test => "test",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::alert::{IncidentId, Kind, Missing, Scene, Severity};
    use crate::detect::{Diagnosis, WorkerState};

    fn at(second: i64) -> Wall {
        Wall::from_micros(second * 1_000_000)
    }

    fn incident() -> Incident {
        let missing = Missing {
            hostname: "sms@h1".into(),
            state: WorkerState::Down,
            diagnosis: Some(Diagnosis::Crashed),
            last_seen: Some(at(10_000)),
            since: None,
        };
        Incident {
            id: IncidentId("f-1".into()),
            kind: Kind::Fleet,
            subject: "sms".into(),
            broker: "main".into(),
            severity: Severity::Down,
            diagnosis: Some(Diagnosis::Crashed),
            opened_at: at(10_009),
            changed_at: at(10_009),
            resolved_at: None,
            unwatched: false,
            began: Some(at(10_000)),
            scene: Scene {
                missing: vec![missing],
                expected: 1,
                minimum: 1,
                ..Scene::default()
            },
            evidence: Vec::new(),
            told: None,
        }
    }

    fn whole() -> Vec<Span> {
        let incident = incident();
        let check = |began| Check {
            began: at(began),
            ended: at(began + 1),
            present: Some(false),
        };
        let worker = Fall {
            hostname: "sms@h1".into(),
            last_seen: Some(at(10_000)),
            suspected_at: Some(at(10_004)),
            down_at: at(10_008),
            checks: vec![check(10_001), check(10_005), check(10_006)],
        };
        let notice = Notice {
            turn: Turn::Opened,
            at: at(10_010),
            incident: incident.clone(),
            link: None,
        };
        let errand = Errand {
            notifier: "slack",
            debt: 7,
            act: "post",
        };
        let mut spans = fall(&incident, &worker);
        spans.push(stored(&incident, at(10_010)));
        spans.extend(told(&notice, at(10_011)));
        spans.push(root(&incident, at(10_011), true));
        spans.push(attempt(
            &notice,
            errand,
            1,
            (at(10_011), at(10_012)),
            Some("HTTP 500".into()),
        ));
        spans.push(attempt(&notice, errand, 2, (at(10_013), at(10_014)), None));
        spans.push(waited(&notice, errand, at(10_014)));
        spans.push(down(&incident, "sms@h1", (at(10_008), at(10_100))));
        spans
    }

    #[test]
    fn all_spans_of_an_alert_hang_on_one_root_and_none_is_before_it() {
        let spans = whole();
        let ids: BTreeSet<_> = spans.iter().map(|span| span.id).collect();
        assert_eq!(ids.len(), spans.len(), "each has an id of its own");
        let roots: Vec<_> = spans.iter().filter(|span| span.parent.is_none()).collect();
        assert_eq!(roots.len(), 1);
        let parents = spans.iter().filter_map(|span| span.parent);
        parents.for_each(|parent| assert!(ids.contains(&parent)));
        for span in &spans {
            assert_eq!(span.trace, roots[0].trace, "{}", span.name);
            assert!(span.began >= roots[0].began && span.ended >= span.began, "{span:?}");
        }
        let checks = spans.iter().filter(|span| span.name == "worker.check").count();
        assert_eq!(
            checks, 2,
            "what was asked before it was suspected was no check of a suspect"
        );
    }

    #[test]
    fn a_restart_makes_the_same_spans_again() {
        assert_eq!(whole(), whole());
    }

    #[test]
    fn a_long_silence_before_a_restart_does_not_make_a_long_trace() {
        let mut incident = incident();
        incident.began = Some(at(1));
        assert_eq!(began(&incident), at(10_009 - 3_600));
        incident.began = Some(at(99_999));
        assert_eq!(began(&incident), at(10_009), "a clock that was set back");
    }
}
