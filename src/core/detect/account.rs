//! A worker's account of itself: what the API shows of it, and the evidence behind its verdict.

use std::time::Duration;

use compact_str::CompactString;

use super::fleet::FleetSpec;
use super::observed::Seen;
use super::state::{Signal, WorkerState};
use super::worker::{Spoke, Worker};
use crate::alert::{Evidence, Missing};
use crate::status::{SignalStatus, Signals, WorkerStatus};
use crate::time::Now;

impl Worker {
    /// The worker as the API shows it.
    pub(super) fn status(&self, spec: &FleetSpec, sees: bool, t: Seen, now: Now) -> WorkerStatus {
        // Whoever was alive when Headcount ceased to see may be anything now.
        let unknown = !sees && self.is_alive();
        WorkerStatus {
            hostname: self.hostname().clone(),
            fleet: spec.name.clone(),
            state: if unknown { WorkerState::Unknown } else { self.state() },
            diagnosis: self.diagnosis(),
            since: self.since(),
            signals: self.signals(sees, t, now),
            active: self.active,
            processed: self.processed,
            software: self.software.clone(),
        }
    }

    /// What each signal says; nothing, where Headcount does not see, or the worker has left.
    fn signals(&self, sees: bool, t: Seen, now: Now) -> Signals {
        let signals = Signals {
            presence: self.presence_status(now),
            heartbeat: self.heartbeat_status(t),
            answer: self.answer_status(),
            work: self.work_status(),
        };
        let silenced = |why: &str| {
            let silence = |signal: SignalStatus| SignalStatus {
                ok: None,
                detail: why.to_owned(),
                ..signal
            };
            let Signals {
                presence,
                heartbeat,
                answer,
                work,
            } = signals.clone();
            let (presence, heartbeat) = (silence(presence), silence(heartbeat));
            Signals {
                presence,
                heartbeat,
                answer: silence(answer),
                work: silence(work),
            }
        };
        if !sees {
            silenced("its broker cannot be heard")
        } else if self.offline_since().is_some() {
            silenced("it said goodbye")
        } else {
            signals
        }
    }

    /// The worker as an alert names it.
    pub(super) fn missing(&self) -> Missing {
        Missing {
            hostname: self.hostname().clone(),
            state: self.state(),
            diagnosis: self.diagnosis(),
            last_seen: self.last_seen(),
        }
    }

    /// What its verdict rests on, one observation for each signal that it has.
    pub(super) fn evidence(&self, t: Seen, now: Now) -> Vec<Evidence> {
        let signals = [
            (Signal::Heartbeat, self.heartbeat_status(t)),
            (Signal::Presence, self.presence_status(now)),
            (Signal::Answer, self.answer_status()),
        ];
        signals
            .into_iter()
            .filter(|(_, status)| !status.detail.is_empty())
            .map(|(signal, status)| Evidence {
                at: now.wall,
                subject: self.hostname().clone(),
                signal: Some(signal),
                says: status.detail,
            })
            .collect()
    }

    /// When it was last asked, for taking turns.
    pub(super) fn last_asked(&self) -> Option<Seen> {
        let answered = self.answer.map(|(spoke, _)| spoke.seen);
        answered.max(self.presence.map(|spoke| spoke.seen))
    }

    fn heartbeat_status(&self, t: Seen) -> SignalStatus {
        let Some(beat) = self.beat else {
            let detail = match self.last_seen() {
                Some(_) => "no beat since Headcount started; it was seen before".to_owned(),
                None => "no beat heard".to_owned(),
            };
            return SignalStatus {
                ok: None,
                last: self.last_seen(),
                detail,
            };
        };
        let interval = seconds(self.rhythm.interval());
        let late = t.since(beat.seen) > self.rhythm.patience();
        let detail = if late {
            format!(
                "no beat for {}, one is due every {interval}",
                seconds(t.since(beat.seen))
            )
        } else {
            format!("every {interval}")
        };
        SignalStatus {
            ok: Some(!late),
            last: Some(beat.wall),
            detail,
        }
    }

    fn presence_status(&self, now: Now) -> SignalStatus {
        let last = self.presence.map(|spoke: Spoke| spoke.wall);
        match (self.gone, self.presence) {
            (Some(gone), _) => SignalStatus {
                ok: Some(false),
                last,
                detail: format!(
                    "the broker has not seen its connection for {} ({} checks)",
                    seconds(now.wall.since(gone.first.wall)),
                    gone.checks
                ),
            },
            (None, Some(_)) => SignalStatus {
                ok: Some(true),
                last,
                detail: "connected".to_owned(),
            },
            (None, None) => SignalStatus {
                ok: None,
                last: None,
                detail: "the broker does not show its connection".to_owned(),
            },
        }
    }

    fn answer_status(&self) -> SignalStatus {
        let last = self.answer.map(|(spoke, _)| spoke.wall);
        match (self.answer, self.missed_pings) {
            (Some((_, latency)), 0) => SignalStatus {
                ok: Some(true),
                last,
                detail: format!("answered in {:.1} ms", latency.as_secs_f64() * 1e3),
            },
            (_, missed) if missed > 0 => SignalStatus {
                ok: Some(false),
                last,
                detail: format!(
                    "{missed} {} unanswered",
                    if missed == 1 { "ping" } else { "pings in a row" }
                ),
            },
            _ => SignalStatus {
                ok: None,
                last,
                detail: "not asked yet".to_owned(),
            },
        }
    }

    fn work_status(&self) -> SignalStatus {
        let Some(queues) = &self.queues else {
            return SignalStatus {
                ok: None,
                last: None,
                detail: "its queues are not known yet".to_owned(),
            };
        };
        let detail = match queues.len() {
            _ if self.diagnosis().is_some() => format!("consumed {} queues", queues.len()),
            0 => "consumes no queue".to_owned(),
            1..=SHOWN_QUEUES => format!("consumes {}", join(queues)),
            more => format!(
                "consumes {} and {} more",
                join(&queues[..SHOWN_QUEUES]),
                more - SHOWN_QUEUES
            ),
        };
        // The dead consume nothing, whatever they said last.
        let ok = if self.diagnosis().is_some() {
            None
        } else {
            Some(!queues.is_empty())
        };
        SignalStatus { ok, last: None, detail }
    }
}

/// So many queues are named in a worker's detail.
const SHOWN_QUEUES: usize = 5;

fn join(queues: &[CompactString]) -> String {
    queues.join(", ")
}

/// Seconds for a person: one decimal below ten.
fn seconds(span: Duration) -> String {
    let secs = span.as_secs_f64();
    if secs < 10.0 && secs.fract() >= 0.05 {
        format!("{secs:.1} s")
    } else {
        format!("{secs:.0} s")
    }
}
