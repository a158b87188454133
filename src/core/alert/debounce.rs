//! What is owed to people about an incident, and when: at once, but for a moment in which more may be found.

use std::time::Duration;

use super::incident::{Incident, Severity, Told};
use super::notice::Turn;
use crate::time::{Mono, Wall};

/// How long a message may wait for the rest of what happened in one moment. Workers beat every 2 s, so those that die
/// together are found up to 2 s apart. Raising it delays the first message by as much, when workers are suspected.
pub const HOLD: Duration = Duration::from_millis(2_500);

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
    let may_wait = matches!(turn, Turn::Opened | Turn::Worsened);
    if may_wait && unsettled && now.since(waiting_since) < HOLD {
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
    if incident.severity > told.severity || missing > told.missing {
        Some(Turn::Worsened)
    } else if (incident.severity, missing) != (told.shown_severity, told.shown_missing) {
        Some(Turn::Eased)
    } else {
        None
    }
}

/// What has been told once `turn` is in the outbox.
pub fn told(incident: &Incident, turn: Turn, at: Wall) -> Told {
    let missing = incident.scene.missing_count();
    let (worst, most) = incident
        .told
        .as_ref()
        .map_or((Severity::Stalled, 0), |told| (told.severity, told.missing));
    Told {
        severity: incident.severity.max(worst),
        missing: missing.max(most),
        shown_severity: incident.severity,
        shown_missing: missing,
        recovered: turn == Turn::Recovered,
        at,
    }
}
