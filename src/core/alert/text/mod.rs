//! The one line of plain text that a phone shows, and the pieces of it that richer channels lay out in their own way.

mod clean;
mod missing;
mod span;

pub use clean::{MAX_NAME, MAX_SAYS, name, says};
pub use missing::plight;
pub use span::{Moment, Span};

use compact_str::CompactString;

use super::incident::{Cover, Incident, Kind, Severity};
use super::notice::{Notice, Turn};

/// How many names one line gives; the rest is counted.
pub const NAMED: usize = 3;

/// See [`Notice::title`].
pub(super) fn title(notice: &Notice) -> String {
    let word = match notice.turn {
        Turn::Test => "TEST",
        Turn::Recovered | Turn::OpenedAndRecovered => "RECOVERED",
        Turn::Opened | Turn::Worsened | Turn::Relapsed | Turn::Eased | Turn::Shifted => {
            notice.incident.severity.headline()
        }
    };
    format!("{word} {}", name(&notice.incident.subject))
}

/// See [`Notice::text`].
pub(super) fn line(notice: &Notice) -> String {
    let incident = &notice.incident;
    let says = match notice.turn {
        Turn::Test => "this is a test of a notifier, nothing happened".to_owned(),
        Turn::Recovered => {
            format!(
                "{}; incident {}, lasted {}",
                whole(incident),
                name(&incident.id.0),
                lasted(notice)
            )
        }
        Turn::OpenedAndRecovered => format!(
            "{}; was {} for {} (told late: it began at {}); incident {}",
            whole(incident),
            incident.severity.headline(),
            lasted(notice),
            Moment(incident.opened_at),
            name(&incident.id.0)
        ),
        Turn::Opened | Turn::Worsened | Turn::Relapsed | Turn::Eased | Turn::Shifted => trouble(notice),
    };
    format!("{}: {says}", title(notice))
}

/// How long the incident lasted; how long it has lasted so far, while it is open.
fn lasted(notice: &Notice) -> Span {
    let incident = &notice.incident;
    Span(incident.resolved_at.unwrap_or(notice.at).since(incident.opened_at))
}

/// What is wrong.
fn trouble(notice: &Notice) -> String {
    let incident = &notice.incident;
    let again = if notice.turn == Turn::Eased { " again" } else { "" };
    if incident.kind == Kind::Broker {
        let lost_for = Span(notice.at.since(lost_at(incident)));
        let mut says = if incident.scene.blocked {
            format!("blocks publishers (its memory or disk is short), nothing heard for {lost_for}")
        } else if incident.scene.refused {
            format!("refuses Headcount (user, password or permissions), nothing heard for {lost_for}")
        } else {
            format!("unreachable for {lost_for}")
        };
        let fleets = &incident.scene.fleets;
        if let [one] = fleets.as_slice() {
            says.push_str(&format!("; fleet {} unknown", name(one)));
        } else if !fleets.is_empty() {
            says.push_str(&format!("; fleets {} unknown", named(fleets.iter(), fleets.len())));
        }
        return says;
    }
    let mut says = Vec::new();
    if incident.scene.expected > 0 {
        says.push(format!("{}{again}", count(incident)));
    }
    says.extend(missing::clause(incident, notice.at));
    says.extend(incident.scene.waiting.map(|tasks| match tasks {
        1 => "1 task waits".to_owned(),
        tasks => format!("{tasks} tasks wait"),
    }));
    if incident.severity == Severity::Flapping && !says.is_empty() {
        says.push("told again only when that ends, or if it stays down".to_owned());
    }
    says.extend(covered(incident));
    if says.is_empty() {
        // Nothing is counted and nobody is named: the newest observation is the best that there is.
        says.push(match incident.evidence.last() {
            Some(newest) => self::says(&newest.says).into_owned(),
            None => match incident.severity {
                Severity::Stalled => "alive but consuming nothing".to_owned(),
                _ => format!("in trouble for {}", lasted(notice)),
            },
        });
    }
    says.join("; ")
}

/// What is well again.
fn whole(incident: &Incident) -> String {
    if incident.unwatched {
        return "no longer watched".to_owned();
    }
    match incident.kind {
        Kind::Broker => "reachable again".to_owned(),
        Kind::Worker if incident.scene.expected == 0 => "working again".to_owned(),
        Kind::Fleet if incident.scene.expected == 0 => "no worker is expected any more".to_owned(),
        // Its workers were up at most turns before, and nobody was told.
        _ if incident.severity == Severity::Flapping => format!("{}, and steady again", count(incident)),
        Kind::Fleet | Kind::Worker | Kind::Fleets => count(incident),
    }
}

/// `2 of 3 workers up`: always in this form, so that a script can read it.
fn count(incident: &Incident) -> String {
    format!("{} of {} workers up", incident.scene.up, incident.scene.expected)
}

/// Which fleets an incident of several is about, and which of them are under their minimum.
fn covered(incident: &Incident) -> Option<String> {
    let fleets = incident.scene.covers.iter().filter(|cover| cover.lost > 0);
    let (down, others): (Vec<_>, Vec<_>) = fleets.partition(|cover| cover.down);
    let list = |what: &str, fleets: Vec<&Cover>| {
        let word = if fleets.len() == 1 { "fleet" } else { "fleets" };
        let names = named(fleets.iter().map(|cover| &cover.fleet), fleets.len());
        (!fleets.is_empty()).then(|| format!("{word} {names} {what}"))
    };
    let parts: Vec<_> = [list("down", down), list("degraded", others)]
        .into_iter()
        .flatten()
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// When the broker was lost: at the first observation of it, if that came before the incident was opened.
fn lost_at(incident: &Incident) -> crate::time::Wall {
    let observed = incident
        .evidence
        .iter()
        .filter(|e| e.signal.is_none() && e.subject == incident.subject);
    observed
        .map(|e| e.at)
        .min()
        .map_or(incident.opened_at, |first| first.min(incident.opened_at))
}

/// `a`, `a and b`, `a, b and c`, `a, b, c and 4 more`: at most [`NAMED`] names of `all`.
fn named<'a>(names: impl Iterator<Item = &'a CompactString>, all: usize) -> String {
    let mut parts: Vec<String> = names.take(NAMED).map(|n| name(n).into_owned()).collect();
    if all > parts.len() {
        parts.push(format!("{} more", all - parts.len()));
    }
    match parts.split_last() {
        None => String::new(),
        Some((one, [])) => one.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests;
