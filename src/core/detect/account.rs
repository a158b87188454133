//! A worker's account of itself: what the API shows of it, and the evidence behind its verdict.

use std::time::Duration;

use super::fleet::FleetSpec;
use super::observed::Seen;
use super::rules::CHECKS;
use super::state::{Signal, WorkerState};
use super::worker::{Spoke, Worker};
use crate::alert::Evidence;
use crate::alert::text::Moment;
use crate::celery::inspect::Pool;
use crate::names;
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
            active: self.work.active(),
            processed: self.work.processed(),
            software: self.software.clone(),
            queues: self.work.queues().map(<[_]>::to_vec).unwrap_or_default(),
            slots: self.work.slots(),
        }
    }

    /// What each signal says; nothing, where Headcount does not see, or the worker has left.
    fn signals(&self, sees: bool, t: Seen, now: Now) -> Signals {
        let signals = Signals {
            presence: self.presence_status(now),
            heartbeat: self.heartbeat_status(t),
            answer: self.answer_status(),
            work: self.work_status(t),
        };
        let silenced = |why: &str, work_too: Option<String>| {
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
                work: SignalStatus {
                    ok: None,
                    detail: work_too.unwrap_or_else(|| why.to_owned()),
                    ..work
                },
            }
        };
        if !sees {
            silenced("its broker cannot be heard", None)
        } else if self.offline_since().is_some() {
            silenced("it said goodbye", self.draining())
        } else {
            signals
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
            .map(|(signal, status)| (signal, status.detail))
            .chain(self.work_evidence(t).map(|says| (Signal::Work, says)))
            .map(|(signal, says)| Evidence {
                at: now.wall,
                subject: self.hostname().clone(),
                signal: Some(signal),
                says,
            })
            .collect()
    }

    /// Of a worker that has said goodbye: that it still runs what it had begun. Without task events it is not heard when
    /// those end, and only what it said last is known.
    fn draining(&self) -> Option<String> {
        if let Some(unfinished) = self.unfinished.as_ref().filter(|_| self.tells_tasks) {
            let (count, names) = unfinished.in_words();
            return (unfinished.total > 0).then(|| format!("draining, {count}{names}"));
        }
        match self.work.active()? {
            0 => None,
            1 => Some("draining, 1 task".to_owned()),
            more => Some(format!("draining, {more} tasks")),
        }
    }

    /// What its work adds to the evidence: why it is stalled, or what it left behind.
    fn work_evidence(&self, t: Seen) -> Option<String> {
        let stalled = self.work.account(t).filter(|_| self.is_stalled());
        stalled.or_else(|| self.left_behind())
    }

    /// The tasks that it had begun when it was last heard, if it is gone.
    fn left_behind(&self) -> Option<String> {
        let gone = self.diagnosis().is_some() || self.offline_since().is_some();
        let unfinished = self
            .unfinished
            .as_ref()
            .filter(|unfinished| gone && unfinished.total > 0)?;
        let (count, names) = unfinished.in_words();
        Some(format!("left {count} behind{names}"))
    }

    fn heartbeat_status(&self, t: Seen) -> SignalStatus {
        let Some(beat) = self.beat else {
            // Whose life shows otherwise for so long does not beat at all.
            let silent = self.is_alive() && self.has_been_seen_for(t) >= NO_BEAT_FOR;
            let (last, detail) = match self.last_seen() {
                _ if silent && self.has_answered() => (
                    None,
                    "it does not beat (--without-heartbeat?), and is judged by its answers",
                ),
                _ if silent => (None, "it does not beat (--without-heartbeat?)"),
                Some(_) => (self.last_seen(), "no beat since Headcount started; it was seen before"),
                None => (None, "no beat heard"),
            };
            return SignalStatus {
                ok: None,
                last,
                detail: detail.to_owned(),
            };
        };
        let interval = seconds(self.rhythm.interval());
        let late = t.since(beat.seen) > self.rhythm.patience();
        let mut detail = if late {
            format!(
                "no beat for {}, one is due every {interval}",
                seconds(t.since(beat.seen))
            )
        } else {
            format!("every {interval}")
        };
        if self.shares_name {
            detail += "; two processes share this name";
        }
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
            // While it gives signs of life, what was seen last stands.
            (None, Some(_)) if (self.is_alive() && !self.is_suspect()) || self.is_present() => SignalStatus {
                ok: Some(true),
                last,
                detail: "connected".to_owned(),
            },
            (None, Some(seen)) => SignalStatus {
                ok: None,
                last,
                detail: format!("its connection has not been seen since {}", Moment(seen.wall)),
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
            (None, missed) if missed >= CHECKS && !self.has_answered() && self.is_alive() => SignalStatus {
                ok: None,
                last: None,
                detail: "it has never answered (remote control off?): it is judged by its beats".to_owned(),
            },
            (_, missed) if missed > 0 => {
                let pings = if missed == 1 { "ping" } else { "pings in a row" };
                // A mailbox on a connection of its own can die alone (gevent): deaf to commands until it reconnects.
                let deaf = missed >= CHECKS && self.state() == WorkerState::Up && self.beat.is_some();
                let though = if deaf {
                    ", though its beats come: it is deaf to commands"
                } else if self.pool == Some(Pool::Solo) {
                    "; its pool is solo, which is silent while a task runs"
                } else {
                    ""
                };
                SignalStatus {
                    ok: Some(false),
                    last,
                    detail: format!("{missed} {pings} unanswered{though}"),
                }
            }
            _ => SignalStatus {
                ok: None,
                last,
                detail: "not asked yet".to_owned(),
            },
        }
    }

    fn work_status(&self, t: Seen) -> SignalStatus {
        if let Some(detail) = self.work.account(t).filter(|_| self.is_stalled()) {
            return SignalStatus {
                ok: Some(false),
                last: None,
                detail,
            };
        }
        let queues = self.work.queues();
        let consumes = if self.diagnosis().is_some() {
            "consumed"
        } else {
            "consumes"
        };
        let detail = match queues {
            None => "its queues are not known yet".to_owned(),
            Some([]) => "consumes no queue".to_owned(),
            Some(queues) => format!("{consumes} {}", names::first(queues, SHOWN_QUEUES)),
        };
        let detail = match self.left_behind() {
            Some(left) => format!("{detail}; {left}"),
            // It has taken tasks, and told of none.
            None if self.is_alive() && !self.tells_tasks && self.accepted >= TASKS_UNTOLD => {
                format!("{detail}; sends no task events (-E)")
            }
            None => detail,
        };
        // The dead consume nothing, whatever they said last.
        let ok = queues
            .filter(|_| self.diagnosis().is_none())
            .map(|queues| !queues.is_empty());
        SignalStatus { ok, last: None, detail }
    }
}

/// A worker that has shown other signs of life for so long, and has not beaten, does not beat: Celery's default is 2 s.
const NO_BEAT_FOR: Duration = Duration::from_secs(15);
/// So many tasks have to be accepted without an event of any, to say that it sends none: the first beat that counts them
/// and their events come by different ways.
const TASKS_UNTOLD: u64 = 5;
/// So many queues are named in a worker's detail.
const SHOWN_QUEUES: usize = 5;

/// Seconds for a person: one decimal below ten.
pub(super) fn seconds(span: Duration) -> String {
    let secs = span.as_secs_f64();
    if secs < 10.0 && secs.fract() >= 0.05 {
        format!("{secs:.1} s")
    } else {
        format!("{secs:.0} s")
    }
}
