//! The book of incidents: verdicts go in, incidents come out. One trouble of one subject is one incident.

use std::collections::BTreeMap;

use compact_str::{CompactString, format_compact};

use super::incident::{Evidence, Incident, IncidentId, Kind, Scene, Severity};
use crate::detect::{BrokerState, Diagnosis, Finding, FleetVerdict};
use crate::status::BrokerStatus;
use crate::time::Wall;

/// All open incidents.
#[derive(Clone, Debug, Default)]
pub struct IncidentBook {
    open: BTreeMap<(Kind, CompactString), Incident>,
    /// The last moment that an id was made from: ids never repeat.
    last_id: i64,
}

impl IncidentBook {
    /// A book that goes on where an earlier one ended.
    pub fn resume(remembered: impl IntoIterator<Item = Incident>) -> Self {
        let mut last_id = 0;
        let open = remembered.into_iter().filter(|incident| {
            // The wall clock may have been set back since.
            last_id = incident.opened_at.as_micros().max(last_id);
            incident.is_open()
        });
        Self {
            open: open
                .map(|incident| ((incident.kind, incident.subject.clone()), incident))
                .collect(),
            last_id,
        }
    }

    /// The open incidents, the oldest first.
    pub fn open(&self) -> Vec<Incident> {
        let mut open: Vec<_> = self.open.values().cloned().collect();
        open.sort_by_key(|incident| incident.opened_at);
        open
    }

    /// The open incident of a subject.
    pub fn find(&self, kind: Kind, subject: &CompactString) -> Option<&Incident> {
        self.open.get(&(kind, subject.clone()))
    }

    /// Takes a fleet's verdict; returns its incident if that has changed. A fleet that cannot be seen changes nothing.
    pub fn fleet(&mut self, now: Wall, verdict: &FleetVerdict) -> Option<Incident> {
        let fleet = &verdict.fleet;
        let (severity, up) = match verdict.finding {
            Finding::Unknown => return None,
            Finding::Well => (None, fleet.up),
            Finding::Trouble { severity, up } => (Some(severity), up),
        };
        let idle = matches!(severity, Some(Severity::Stalled | Severity::Stuck));
        let waiting = || {
            fleet
                .queues
                .iter()
                .map(|queue| queue.length)
                .fold(0, u64::saturating_add)
        };
        let scene = Scene {
            up,
            expected: fleet.expected,
            minimum: fleet.minimum,
            missing: verdict.missing.clone(),
            shared: verdict.shared.clone(),
            waiting: idle.then(waiting).filter(|waiting| *waiting > 0),
            ..Scene::default()
        };
        let diagnosis = shared(verdict.missing.iter().map(|missing| missing.diagnosis));
        self.judge(
            now,
            Kind::Fleet,
            &fleet.name,
            &fleet.broker,
            severity,
            scene,
            diagnosis,
            verdict.evidence.clone(),
        )
    }

    /// Takes what several fleets of a broker have lost together; returns their incident if that has changed.
    pub(super) fn fleets(
        &mut self,
        now: Wall,
        broker: &CompactString,
        severity: Option<Severity>,
        scene: Scene,
        evidence: Vec<Evidence>,
    ) -> Option<Incident> {
        let diagnosis = shared(scene.missing.iter().map(|missing| missing.diagnosis));
        self.judge(now, Kind::Fleets, broker, broker, severity, scene, diagnosis, evidence)
    }

    /// Takes a broker's state; `down` once it has been lost for long enough. Returns its incident if that has changed.
    pub fn broker(
        &mut self,
        now: Wall,
        broker: &BrokerStatus,
        down: bool,
        fleets: &[CompactString],
    ) -> Option<Incident> {
        if !down && broker.state != BrokerState::Heard {
            return None;
        }
        let evidence = Evidence {
            // People want to know since when it is away, not since when that is sure.
            at: if down { broker.since.min(now) } else { now },
            subject: broker.name.clone(),
            signal: None,
            says: match &broker.error {
                Some(error) => format!("{}: {error}", broker.address),
                None => format!("{}: heard again", broker.address),
            },
        };
        let fleets = fleets.iter().take(Scene::MAX_FLEETS).cloned().collect();
        let scene = Scene {
            fleets,
            blocked: broker.blocked,
            refused: broker.refused,
            ..Scene::default()
        };
        let severity = down.then_some(Severity::BrokerDown);
        self.judge(
            now,
            Kind::Broker,
            &broker.name,
            &broker.name,
            severity,
            scene,
            None,
            vec![evidence],
        )
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one private meeting point of the two kinds of verdict"
    )]
    fn judge(
        &mut self,
        now: Wall,
        kind: Kind,
        subject: &CompactString,
        broker: &CompactString,
        severity: Option<Severity>,
        scene: Scene,
        diagnosis: Option<Diagnosis>,
        evidence: Vec<Evidence>,
    ) -> Option<Incident> {
        let key = (kind, subject.clone());
        match (severity, self.open.get_mut(&key)) {
            (None, None) => None,
            (None, Some(_)) => {
                let mut incident = self.open.remove(&key)?;
                incident.scene = scene;
                incident.changed_at = now;
                incident.resolved_at = Some(now.max(incident.opened_at));
                Some(incident)
            }
            (Some(severity), Some(incident)) => {
                if incident.severity == severity && incident.scene.is_same(&scene) {
                    return None;
                }
                // Of those who were missing before, and for the same reason, everything has been said.
                let before = std::mem::replace(&mut incident.scene, scene);
                let known = |evidence: &Evidence| {
                    let of = |scene: &Scene| {
                        scene
                            .missing
                            .iter()
                            .find(|m| m.hostname == evidence.subject)
                            .map(|m| m.diagnosis)
                    };
                    of(&before).is_some_and(|diagnosis| of(&incident.scene) == Some(diagnosis))
                };
                let news = evidence.into_iter().filter(|evidence| !known(evidence)).collect();
                incident.severity = severity;
                incident.diagnosis = diagnosis;
                incident.changed_at = now;
                incident.witness(news);
                Some(incident.clone())
            }
            (Some(severity), None) => {
                let mut incident = Incident {
                    id: self.next_id(kind, now),
                    kind,
                    subject: subject.clone(),
                    broker: broker.clone(),
                    severity,
                    diagnosis,
                    opened_at: now,
                    changed_at: now,
                    resolved_at: None,
                    unwatched: false,
                    began: first_sign(&scene, &evidence),
                    scene,
                    evidence: Vec::new(),
                    told: None,
                };
                incident.witness(evidence);
                self.open.insert(key, incident.clone());
                Some(incident)
            }
        }
    }

    /// Made of the moment, so that ids sort by age, and of the kind, for the eye: `f-…` is a fleet's, `g-…` that
    /// of a group of fleets.
    fn next_id(&mut self, kind: Kind, now: Wall) -> IncidentId {
        self.last_id = now.as_micros().max(self.last_id + 1);
        let initial = match kind {
            Kind::Fleet => "f",
            Kind::Worker => "w",
            Kind::Broker => "b",
            Kind::Fleets => "g",
        };
        IncidentId(format_compact!("{initial}-{}", base36(self.last_id)))
    }
}

impl Incident {
    /// Adds what was observed, and keeps the newest.
    fn witness(&mut self, evidence: Vec<Evidence>) {
        self.evidence.extend(evidence);
        let surplus = self.evidence.len().saturating_sub(Self::MAX_EVIDENCE);
        self.evidence.drain(..surplus);
    }
}

/// The earliest moment that an incident rests on.
fn first_sign(scene: &Scene, evidence: &[Evidence]) -> Option<Wall> {
    let lost = scene.missing.iter().filter_map(|one| one.last_seen.or(one.since));
    lost.chain(evidence.iter().map(|evidence| evidence.at)).min()
}

/// The diagnosis that all share.
fn shared(mut diagnoses: impl Iterator<Item = Option<Diagnosis>>) -> Option<Diagnosis> {
    let first = diagnoses.next()??;
    diagnoses.all(|other| other == Some(first)).then_some(first)
}

fn base36(number: i64) -> CompactString {
    let mut rest = number.unsigned_abs();
    let mut digits = Vec::new();
    loop {
        digits.push(char::from_digit(u32::try_from(rest % 36).unwrap_or(0), 36).unwrap_or('0'));
        rest /= 36;
        if rest == 0 {
            break;
        }
    }
    digits.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Missing;
    use crate::detect::{FleetState, Signal, WorkerState};
    use crate::status::FleetStatus;

    fn verdict(state: FleetState, missing: &[&str]) -> FleetVerdict {
        let lost = u32::try_from(missing.len()).unwrap();
        let one = |name: &&str| Missing {
            hostname: (*name).into(),
            state: WorkerState::Down,
            diagnosis: Some(Diagnosis::Crashed),
            last_seen: None,
            since: None,
        };
        let finding = match state {
            FleetState::Unknown => Finding::Unknown,
            FleetState::Healthy => Finding::Well,
            FleetState::Degraded => Finding::Trouble {
                severity: Severity::Degraded,
                up: 3 - lost,
            },
            FleetState::Down => Finding::Trouble {
                severity: Severity::Down,
                up: 3 - lost,
            },
        };
        let seen = |name: &&str| Evidence {
            at: Wall::default(),
            subject: (*name).into(),
            signal: Some(Signal::Heartbeat),
            says: "no beat".to_owned(),
        };
        FleetVerdict {
            fleet: FleetStatus {
                name: "sms".into(),
                broker: "main".into(),
                state,
                seen: true,
                expected: 3,
                minimum: 1,
                up: 3 - lost,
                suspect: 0,
                down: lost,
                stalled: 0,
                since: Wall::default(),
                queues: Vec::new(),
            },
            finding,
            shared: None,
            missing: missing.iter().map(one).collect(),
            evidence: missing.iter().map(seen).collect(),
            unsettled: false,
            may_follow: false,
        }
    }

    fn broker(state: BrokerState) -> BrokerStatus {
        BrokerStatus {
            name: "main".into(),
            address: "redis://h".to_owned(),
            state,
            blocked: false,
            refused: false,
            since: at(5),
            error: None,
            retry_at: None,
            unmatched: 0,
        }
    }

    fn at(second: i64) -> Wall {
        Wall::from_micros(second * 1_000_000)
    }

    #[test]
    fn one_trouble_is_one_incident_from_degraded_to_down_to_its_end() {
        let mut book = IncidentBook::default();
        assert_eq!(book.fleet(at(1), &verdict(FleetState::Healthy, &[])), None);
        let opened = book.fleet(at(2), &verdict(FleetState::Degraded, &["a"])).unwrap();
        assert_eq!(
            (opened.severity, opened.diagnosis),
            (Severity::Degraded, Some(Diagnosis::Crashed))
        );
        assert_eq!(
            book.fleet(at(3), &verdict(FleetState::Degraded, &["a"])),
            None,
            "nothing new"
        );
        assert_eq!(
            book.fleet(at(4), &verdict(FleetState::Unknown, &[])),
            None,
            "nothing is known"
        );
        let worse = book.fleet(at(5), &verdict(FleetState::Down, &["a", "b", "c"])).unwrap();
        assert_eq!((&worse.id, worse.severity), (&opened.id, Severity::Down));
        assert_eq!(worse.evidence.len(), 3, "what was said of `a` is not said again");
        let over = book.fleet(at(9), &verdict(FleetState::Healthy, &[])).unwrap();
        assert_eq!((&over.id, over.resolved_at), (&opened.id, Some(at(9))));
        assert!(book.open().is_empty());
        let next = book.fleet(at(9), &verdict(FleetState::Degraded, &["a"])).unwrap();
        assert_ne!(next.id, opened.id);
    }

    #[test]
    fn ids_never_repeat_even_in_one_moment() {
        let mut book = IncidentBook::default();
        let mut ids = std::collections::BTreeSet::new();
        for _ in 0..100 {
            ids.insert(book.fleet(at(1), &verdict(FleetState::Degraded, &["a"])).unwrap().id);
            book.fleet(at(1), &verdict(FleetState::Healthy, &[])).unwrap();
        }
        assert_eq!(ids.len(), 100);
    }

    #[test]
    fn a_broker_is_an_incident_of_its_own_with_the_fleets_behind_it() {
        let mut book = IncidentBook::default();
        let fleets = ["sms".into(), "tracker".into()];
        assert_eq!(book.broker(at(6), &broker(BrokerState::Lost), false, &fleets), None);
        let down = book.broker(at(8), &broker(BrokerState::Lost), true, &fleets).unwrap();
        assert_eq!((down.severity, down.scene.fleets.len()), (Severity::BrokerDown, 2));
        assert_eq!(down.evidence[0].at, at(5), "since when it is away");
        let over = book
            .broker(at(20), &broker(BrokerState::Heard), false, &fleets)
            .unwrap();
        assert_eq!((over.id, over.resolved_at), (down.id, Some(at(20))));
    }

    #[test]
    fn a_book_resumes_where_it_ended() {
        let mut book = IncidentBook::default();
        let opened = book.fleet(at(2), &verdict(FleetState::Degraded, &["a"])).unwrap();
        let mut again = IncidentBook::resume([opened.clone()]);
        assert_eq!(again.fleet(at(3), &verdict(FleetState::Degraded, &["a"])), None);
        assert_eq!(
            again.fleet(at(4), &verdict(FleetState::Healthy, &[])).unwrap().id,
            opened.id
        );
    }
}
