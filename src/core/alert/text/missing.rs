//! Who is missing, and why, in a few words.

use std::time::Duration;

use super::{NAMED, Span, name, named};
use crate::alert::incident::{Incident, Missing, Scene, Shared};
use crate::detect::{Diagnosis, WorkerState};
use crate::time::Wall;

/// Silences that differ by no more are told as one: workers that fell together were last heard within one heartbeat
/// interval of each other. Raising it hides that they fell one after the other.
const TOGETHER: Duration = Duration::from_secs(5);

/// What happened to one worker, as of `now`: `crashed 8 s ago`.
pub fn plight(missing: &Missing, now: Wall) -> String {
    Plight::of(missing).since(&silences(std::slice::from_ref(missing), now))
}

/// `sms@h1 and sms@h2 crashed 9 s ago, sms@h3 frozen for 40 s, and 4 more`; none where nobody is named.
pub(super) fn clause(incident: &Incident, now: Wall) -> Option<String> {
    let missing = incident.scene.missing.as_slice();
    let first = Plight::of(missing.first()?);
    let all = missing
        .len()
        .max(usize::try_from(incident.scene.missing_count()).unwrap_or(usize::MAX));

    // Whom the list leaves out shares the reason only where the incident as a whole says so, and the list is full: otherwise
    // they are workers of whom nothing was ever heard.
    let full = missing.len() >= Scene::MAX_MISSING;
    let complete = all == missing.len() || (full && first.diagnosis.is_some() && incident.diagnosis == first.diagnosis);
    if complete && missing.iter().all(|m| Plight::of(m) == first) {
        let who = match &incident.scene.shared {
            Some(shared) if all > 1 => together(shared, all),
            _ => named(missing.iter().map(|m| &m.hostname), all),
        };
        return Some(format!("{who} {}", first.since(&silences(missing, now))));
    }

    let shown = missing.get(..NAMED).unwrap_or(missing);
    let mut parts: Vec<String> = shown
        .chunk_by(|a, b| Plight::of(a) == Plight::of(b))
        .filter_map(|group| {
            let who = named(group.iter().map(|m| &m.hostname), group.len());
            Some(format!(
                "{who} {}",
                Plight::of(group.first()?).since(&silences(group, now))
            ))
        })
        .collect();
    if all > shown.len() {
        let more = all - shown.len();
        parts.push(if shown.len() < missing.len() || full {
            format!("and {more} more")
        } else {
            format!("and {more} not seen")
        });
    }
    Some(parts.join(", "))
}

/// `all 3 on host web3`: what they share says more than their names.
fn together(shared: &Shared, all: usize) -> String {
    match shared {
        Shared::Host(host) => format!("all {all} on host {}", name(host)),
        Shared::Software(software) => format!("all {all} with {}", name(software)),
        Shared::Queue(queue) => format!("all {all} that consumed {}", name(queue)),
    }
}

fn silences(missing: &[Missing], now: Wall) -> Vec<Duration> {
    let since = |m: &Missing| m.since.or(m.last_seen);
    missing.iter().filter_map(|m| Some(now.since(since(m)?))).collect()
}

/// What is told of a worker apart from its name and the time.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Plight {
    state: WorkerState,
    diagnosis: Option<Diagnosis>,
}

impl Plight {
    fn of(missing: &Missing) -> Self {
        // A diagnosis is of a worker that is down, or alive without working; what is left of it in another state says
        // nothing.
        let lame = matches!(missing.state, WorkerState::Down | WorkerState::Stalled);
        let diagnosis = missing.diagnosis.filter(|_| lame);
        Self {
            state: missing.state,
            diagnosis,
        }
    }

    /// The same words for one worker and for many.
    fn since(self, silences: &[Duration]) -> String {
        let (word, ago) = match (self.state, self.diagnosis) {
            (_, Some(Diagnosis::Crashed)) => ("crashed", true),
            (_, Some(Diagnosis::Frozen)) => ("frozen", false),
            (_, Some(Diagnosis::Unreachable)) => ("unreachable", false),
            (WorkerState::Offline, None) => ("said goodbye", true),
            (_, Some(Diagnosis::Flapping)) => return "down and up again and again".to_owned(),
            (_, Some(Diagnosis::Stalled)) => ("alive but consuming nothing", false),
            (_, Some(Diagnosis::Stuck)) => ("alive but stuck in what it has taken", false),
            (WorkerState::Stalled, None) => return "alive but consuming nothing".to_owned(),
            (WorkerState::Up | WorkerState::Starting, None) => return self.state.as_str().to_owned(),
            (WorkerState::Down, None) => ("down", false),
            (WorkerState::Suspect, None) => ("silent", false),
            (WorkerState::Unknown, None) => ("not seen", false),
        };
        let (Some(shortest), Some(longest)) = (silences.iter().min(), silences.iter().max()) else {
            return if word == "not seen" {
                "not seen yet".to_owned()
            } else {
                word.to_owned()
            };
        };
        let span = if longest.saturating_sub(*shortest) <= TOGETHER {
            Span(*longest).to_string()
        } else {
            format!("{} to {}", Span(*shortest), Span(*longest))
        };
        if ago {
            format!("{word} {span} ago")
        } else {
            format!("{word} for {span}")
        }
    }
}
