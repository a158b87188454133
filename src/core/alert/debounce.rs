//! What is owed to people about an incident, and when: at once, but for a moment in which more may be found.

use std::time::Duration;

use super::incident::{Incident, Severity, Told};
use super::notice::Turn;
use crate::time::{Mono, Wall};

/// How long a message may wait for the rest of what happened in one moment. Workers beat every 2 s, so those that die
/// together are found up to 2 s apart. Raising it delays the first message by as much, when workers are suspected.
pub const HOLD: Duration = Duration::from_secs(2);

/// The same for workers that are alive and of no use: their work is looked at every 3 s, so those that ceased together
/// are found as far apart. Those that are stuck, which is found after minutes, are always waited for. Raising it delays
/// the message by as much.
pub const WORK_HOLD: Duration = Duration::from_secs(4);

/// How long a partial improvement must stand before it is told: workers that return do so one after the other, and the
/// recovery that follows says it all. Raising it leaves the first message of a thread behind for as long.
pub const EASE_HOLD: Duration = Duration::from_secs(10);

/// What to do about an incident now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// All has been said.
    Nothing,
    /// More may be found within moments.
    Hold,
    /// Say it.
    Tell(Turn),
}

/// Compares an incident with what has been told of it. Level-triggered: asked again after a crash it decides the same,
/// so nothing is lost and nothing is said twice.
pub fn decide(now: Mono, incident: &Incident, unsettled: bool, waiting_since: Mono) -> Decision {
    let Some(turn) = turn(incident) else {
        return Decision::Nothing;
    };
    let of_no_use = match incident.severity {
        Severity::Stuck => true,
        Severity::Stalled => unsettled,
        _ => false,
    };
    let hold = match turn {
        Turn::Opened | Turn::Worsened if of_no_use => WORK_HOLD,
        Turn::Opened | Turn::Worsened if unsettled => HOLD,
        Turn::Eased | Turn::Shifted => EASE_HOLD,
        _ => Duration::ZERO,
    };
    if now.since(waiting_since) < hold {
        Decision::Hold
    } else {
        Decision::Tell(turn)
    }
}

/// Which turn of the incident is not told yet.
pub fn turn(incident: &Incident) -> Option<Turn> {
    let Some(told) = &incident.told else {
        // What was over before anybody was told is in the history, and disturbs nobody.
        return incident.is_open().then_some(Turn::Opened);
    };
    if !incident.is_open() {
        return (!told.recovered).then_some(Turn::Recovered);
    }
    let missing = incident.scene.missing_count();
    if incident.severity == Severity::Flapping {
        // Said once; who comes and goes is then no news, and the count of those who do says nothing.
        return if !told.flapped {
            Some(Turn::Worsened)
        } else if told.shown_severity == Severity::Flapping {
            None
        } else {
            Some(Turn::Eased)
        };
    }
    if incident.severity > told.severity || missing > told.missing {
        Some(Turn::Worsened)
    } else if incident.severity > told.shown_severity || missing > told.shown_missing {
        Some(Turn::Relapsed)
    } else if (incident.severity, missing) != (told.shown_severity, told.shown_missing) {
        Some(Turn::Eased)
    } else if incident.scene.named() != told.shown {
        Some(Turn::Shifted)
    } else {
        None
    }
}

/// What has been told once `turn` is in the outbox.
pub fn told(incident: &Incident, turn: Turn, at: Wall) -> Told {
    let missing = incident.scene.missing_count();
    let flaps = incident.severity == Severity::Flapping;
    let before = incident.told.as_ref();
    let flapped = before.is_some_and(|told| told.flapped);
    // With the news that it flaps all is reckoned anew: what is lost for good afterwards is worse than that.
    let (worst, most) = match before {
        Some(told) if !flaps || flapped => (told.severity, told.missing),
        _ => (Severity::LEAST, 0),
    };
    Told {
        severity: incident.severity.max(worst),
        missing: missing.max(most),
        shown_severity: incident.severity,
        shown_missing: missing,
        shown: incident.scene.named(),
        recovered: turn == Turn::Recovered,
        flapped: flapped || flaps,
        at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{IncidentId, Kind, Missing, Scene};
    use crate::detect::{Diagnosis, WorkerState};

    fn incident(severity: Severity, up: u32, told: Option<Told>) -> Incident {
        Incident {
            id: IncidentId("f-1".into()),
            kind: Kind::Fleet,
            subject: "sms".into(),
            broker: "main".into(),
            severity,
            diagnosis: None,
            opened_at: Wall::default(),
            changed_at: Wall::default(),
            resolved_at: None,
            unwatched: false,
            began: None,
            scene: Scene {
                up,
                expected: 3,
                minimum: 1,
                ..Scene::default()
            },
            evidence: Vec::new(),
            told,
        }
    }

    fn at(ms: u64) -> Mono {
        Mono::from_micros(ms * 1000)
    }

    /// Tells an incident's turn, as the debouncer does.
    fn tell(incident: &mut Incident, expected: Turn) {
        assert_eq!(turn(incident), Some(expected));
        incident.told = Some(told(incident, expected, Wall::default()));
        assert_eq!(turn(incident), None, "and asks for nothing more");
    }

    #[test]
    fn from_the_opening_to_the_end() {
        let mut one = incident(Severity::Degraded, 2, None);
        tell(&mut one, Turn::Opened);
        one.scene.up = 1;
        tell(&mut one, Turn::Worsened);
        (one.severity, one.scene.up) = (Severity::Down, 0);
        tell(&mut one, Turn::Worsened);
        (one.severity, one.scene.up) = (Severity::Degraded, 2);
        tell(&mut one, Turn::Eased);
        (one.severity, one.scene.up) = (Severity::Down, 0);
        tell(&mut one, Turn::Relapsed);
        one.resolved_at = Some(Wall::from_micros(1));
        tell(&mut one, Turn::Recovered);
    }

    #[test]
    fn others_for_other_reasons_are_shown_and_no_news_to_who_counts() {
        let missing = |name: &str, diagnosis| Missing {
            hostname: name.into(),
            state: WorkerState::Down,
            diagnosis: Some(diagnosis),
            last_seen: None,
            since: None,
        };
        let mut one = incident(Severity::Degraded, 2, None);
        one.scene.missing = vec![missing("a", Diagnosis::Frozen)];
        tell(&mut one, Turn::Opened);
        one.scene.missing = vec![missing("a", Diagnosis::Crashed)];
        tell(&mut one, Turn::Shifted);
        one.scene.missing = vec![missing("b", Diagnosis::Crashed)];
        tell(&mut one, Turn::Shifted);
    }

    #[test]
    fn that_it_flaps_is_told_once_and_a_loss_for_good_again() {
        let mut one = incident(Severity::Degraded, 2, None);
        tell(&mut one, Turn::Opened);
        one.severity = Severity::Flapping;
        tell(&mut one, Turn::Worsened);
        one.scene.up = 1;
        assert_eq!(turn(&one), None, "another that flaps is no news");
        (one.severity, one.scene.up) = (Severity::Degraded, 2);
        tell(&mut one, Turn::Worsened);
        one.severity = Severity::Flapping;
        tell(&mut one, Turn::Eased);
        one.severity = Severity::Degraded;
        tell(&mut one, Turn::Relapsed);
        one.resolved_at = Some(Wall::from_micros(1));
        tell(&mut one, Turn::Recovered);
    }

    #[test]
    fn what_was_over_before_it_was_told_disturbs_nobody() {
        let mut one = incident(Severity::Degraded, 2, None);
        one.resolved_at = Some(Wall::from_micros(1));
        assert_eq!(turn(&one), None);
    }

    #[test]
    fn an_opening_waits_only_while_more_may_be_found() {
        let one = incident(Severity::Degraded, 2, None);
        assert_eq!(decide(at(0), &one, false, at(0)), Decision::Tell(Turn::Opened));
        assert_eq!(decide(at(1_999), &one, true, at(0)), Decision::Hold);
        assert_eq!(decide(at(2_000), &one, true, at(0)), Decision::Tell(Turn::Opened));
    }

    #[test]
    fn of_those_that_are_of_no_use_more_are_waited_for() {
        for (severity, unsettled) in [(Severity::Stalled, true), (Severity::Stuck, false)] {
            let one = incident(severity, 2, None);
            assert_eq!(decide(at(3_999), &one, unsettled, at(0)), Decision::Hold);
            assert_eq!(decide(at(4_000), &one, unsettled, at(0)), Decision::Tell(Turn::Opened));
        }
        let one = incident(Severity::Stalled, 2, None);
        assert_eq!(decide(at(0), &one, false, at(0)), Decision::Tell(Turn::Opened));
    }

    #[test]
    fn an_improvement_waits_for_the_recovery_that_may_follow() {
        let mut one = incident(Severity::Down, 0, None);
        tell(&mut one, Turn::Opened);
        (one.severity, one.scene.up) = (Severity::Degraded, 2);
        assert_eq!(decide(at(9_999), &one, false, at(0)), Decision::Hold);
        assert_eq!(decide(at(10_000), &one, false, at(0)), Decision::Tell(Turn::Eased));
        one.resolved_at = Some(Wall::from_micros(1));
        assert_eq!(decide(at(1), &one, false, at(0)), Decision::Tell(Turn::Recovered));
    }
}
