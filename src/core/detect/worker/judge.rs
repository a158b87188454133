//! How a worker is judged: its silence, its work, and what excuses either.

use std::time::Duration;

use super::{Stage, Worker};
use crate::alert::debounce::HOLD;
use crate::celery::inspect::Pool;
use crate::detect::observed::Seen;
use crate::detect::own_health::Doubt;
use crate::detect::periods::TELL_EVERY;
use crate::detect::rules::{self, Rules};
use crate::detect::state::Diagnosis;
use crate::time::Now;

impl Worker {
    /// Judges its silence. Whoever is unknown is not judged before `grace` has passed.
    pub(in crate::detect) fn judge(&mut self, t: Seen, now: Now, rules: &Rules, doubt: Doubt, in_grace: bool) {
        if let Some(left) = self.leaving {
            if t.since(left) >= rules::GOODBYE_BELIEVED_AFTER {
                self.leaving = None;
                self.enter(Stage::Offline { at: t }, now);
            }
            return;
        }
        let answers_only = self.beat.is_none() && self.ever_answered;
        self.rhythm.answers_only(answers_only.then_some(rules.probe_every));
        match self.stage {
            Stage::Starting | Stage::Up if self.silent(t) > self.rhythm.patience() => self.enter(Stage::Suspect, now),
            Stage::Suspect => {
                if let Some(diagnosis) = self.verdict(t, rules, doubt) {
                    self.enter(Stage::Down { diagnosis, signs: 0 }, now);
                }
            }
            Stage::Unknown if !in_grace => {
                if let Some(diagnosis) = self.verdict(t, rules, doubt) {
                    self.enter(Stage::Down { diagnosis, signs: 0 }, now);
                } else if self.tells_tasks_only() {
                    // While it is idle nothing more will ever be known.
                    self.enter(Stage::Suspect, now);
                }
            }
            // Once its connection has gone, what seemed frozen has crashed or was killed.
            Stage::Down {
                diagnosis: Diagnosis::Frozen | Diagnosis::Unreachable,
                signs: 0,
            } if self.is_gone(t, rules) => {
                self.stage = Stage::Down {
                    diagnosis: Diagnosis::Crashed,
                    signs: 0,
                };
            }
            _ => {}
        }
    }

    /// Judges its work, if it is well otherwise.
    pub(in crate::detect) fn judge_work(&mut self, t: Seen, now: Now, rules: &Rules) {
        let solo = self.pool == Some(Pool::Solo);
        if self.works() && self.work.judge(t, rules, self.ever_answered, solo) {
            self.since = now.wall;
        }
    }

    /// Another of its fleet has just crashed: if the broker has not seen this one either since it missed its beat, they
    /// fell together, and it need not wait until its own beat is as long overdue. One that is used to being late, and is not even
    /// suspected yet, falls with them if the broker has said so as often as of any that has crashed.
    pub(in crate::detect) fn judge_in_company(&mut self, t: Seen, now: Now, rules: &Rules) {
        let overdue = rules.reconnects_within().saturating_sub(self.rhythm.interval());
        let checks = match self.stage {
            Stage::Suspect => rules::CHECKS_IN_COMPANY,
            Stage::Up => rules::CHECKS,
            _ => return,
        };
        let unseen = self.gone.is_some_and(|gone| gone.checks >= checks);
        if unseen && self.leaving.is_none() && self.overdue(t) >= overdue {
            let diagnosis = Diagnosis::Crashed;
            self.enter(Stage::Down { diagnosis, signs: 0 }, now);
        }
    }

    /// Whether the silence suffices for a verdict, and which.
    fn verdict(&self, t: Seen, rules: &Rules, doubt: Doubt) -> Option<Diagnosis> {
        let silent = self.silent(t);
        // What is heard of its return may wait for the next flush.
        if self.is_gone(t, rules) && self.overdue(t) >= rules.reconnects_within() + TELL_EVERY {
            return Some(Diagnosis::Crashed);
        }
        let deadline = self.silent_deadline(rules, doubt);
        if silent <= deadline || self.excuse(t, rules).is_some() {
            return None;
        }
        // The broker has just begun to say that its connection is gone: whether it has crashed, or reconnects after a
        // long task, shows within moments, and then there is a better word for it.
        if self
            .gone
            .is_some_and(|gone| t.since(gone.first.seen) < rules.gone_for() * 2)
        {
            return None;
        }
        // Pings that could not even be sent were not missed; a silence of twice the length needs none.
        let asked_lately = self.probed.is_some_and(|at| t.since(at) < rules.silent_after(doubt));
        let waits_for_pings = self.ever_answered && self.missed_pings < rules::CHECKS;
        if waits_for_pings && (asked_lately || silent <= deadline.max(rules.unasked_after(doubt))) {
            return None;
        }
        Some(if self.is_gone(t, rules) {
            Diagnosis::Crashed
        } else if self.is_present() {
            Diagnosis::Frozen
        } else {
            Diagnosis::Unreachable
        })
    }

    /// Until when nothing that it does can change by time alone, if nothing is heard of it; none if it might at any moment.
    pub(in crate::detect) fn rests_until(&self, t: Seen, rules: &Rules, doubt: Doubt) -> Option<Seen> {
        if let Some(left) = self.leaving {
            return Some(left + rules::GOODBYE_BELIEVED_AFTER);
        }
        match self.stage {
            // It may be about to have crashed.
            Stage::Down {
                diagnosis: Diagnosis::Frozen | Diagnosis::Unreachable,
                signs: 0,
            } if self.gone.is_some() => None,
            Stage::Down { .. } | Stage::Offline { .. } => Some(t + rules::JUDGED_EVERY),
            _ if self.gone.is_some() => None,
            Stage::Starting | Stage::Up => Some(self.life + self.rhythm.patience()),
            Stage::Suspect if self.excuse(t, rules).is_some() => Some(t + rules::JUDGED_EVERY),
            // From then on others of its fleet are waited for (`may_fall`), and from its deadline on it is judged all the time.
            Stage::Suspect => {
                let nearly = self.life + self.silent_deadline(rules, doubt).saturating_sub(HOLD);
                (t < nearly).then_some(nearly)
            }
            Stage::Unknown => None,
        }
    }

    /// After how long a silence it is down although its connection stands, or nobody can tell.
    pub(super) fn silent_deadline(&self, rules: &Rules, doubt: Doubt) -> Duration {
        rules.silent_after(doubt).max(self.rhythm.patience() + rules.gone_for())
    }

    /// For how long its connection must have been gone by now. While it stood it beat: so it cannot have gone later than
    /// the first beat that was due after the last sign of life, and did not come. A sign shortly before a beat is due says
    /// nothing of that one, which may be on its way.
    fn overdue(&self, t: Seen) -> Duration {
        let Some(beat) = self.beat else {
            // Who does not beat last answered up to a whole turn of questions before.
            let unseen = self.gone.map_or(Duration::ZERO, |gone| t.since(gone.first.seen));
            return unseen.saturating_sub(rules::DEFAULT_INTERVAL);
        };
        let interval = self.rhythm.interval();
        let heard_until = self.life.since(beat.seen) + rules::BEAT_LEAD;
        let beats = heard_until.as_micros() / interval.as_micros().max(1) + 1;
        let due = interval.saturating_mul(u32::try_from(beats).unwrap_or(u32::MAX));
        t.since(beat.seen).saturating_sub(due)
    }

    /// Whether the broker has said often and long enough that its connection is gone.
    fn is_gone(&self, t: Seen, rules: &Rules) -> bool {
        // Measured to the last check, not to now: where probes fail nothing more has been said since.
        self.gone.is_some_and(|gone| {
            gone.checks >= rules::CHECKS
                && gone.last.since(gone.first.seen) >= rules.gone_for().mul_f64(0.6)
                && t >= gone.last
        })
    }

    /// Whether the broker has said of its silence that its connection stands through it. What was said before its sign of
    /// life was overdue says nothing of that: it may have been killed a moment later, and nothing have been known since.
    pub(in crate::detect) fn is_present(&self) -> bool {
        let overdue = self.life + self.rhythm.patience();
        self.gone.is_none() && self.presence.is_some_and(|presence| presence.seen > overdue)
    }

    /// Whether nothing but task events has ever been heard of it.
    pub(in crate::detect) fn tells_tasks_only(&self) -> bool {
        self.tells_tasks && self.beat.is_none() && !self.ever_answered && !self.ever_present
    }

    /// Whether it has ever answered a ping.
    pub(in crate::detect) fn has_answered(&self) -> bool {
        self.ever_answered
    }

    /// Whether it has answered a ping before, and is not known to have gone deaf since, as when its remote control is
    /// switched off.
    pub(in crate::detect) fn is_listening(&self) -> bool {
        self.ever_answered && self.missed_pings < rules::CHECKS
    }

    /// Whether one whose pool is not known may have a solo pool that was never free when it was asked. Not one that beat while
    /// it ran a task, or steadily for so long that it could have answered: its remote control is switched off.
    fn may_be_solo(&self) -> bool {
        let steadily = self.rhythm.is_steady() && self.life.since(self.process_seen) >= rules::UNLEARNED_MAX;
        !self.ever_answered && !self.beat_at_work && !steadily
    }

    /// Why its silence may be innocent.
    pub(in crate::detect) fn excuse(&self, t: Seen, rules: &Rules) -> Option<&'static str> {
        let solo = self.pool == Some(Pool::Solo);
        let silent = self.silent(t);
        if self.gone.is_some() {
            return None;
        }
        if self.tells_tasks_only() {
            return Some(
                "it neither beats nor answers, and tells of tasks alone: silence is all that it has while idle",
            );
        }
        // Its silence begins with its last beat, which was up to an interval before the task.
        let busy_max = if solo {
            rules::SOLO_BUSY_MAX.max(self.work.stuck_after(rules))
        } else {
            rules::SOLO_BUSY_MAX
        };
        if silent > busy_max.saturating_add(self.rhythm.patience()) {
            return None;
        }
        if solo {
            return Some("its pool is solo, which neither beats nor answers during a task");
        }
        // A pool that has not been learned yet may be a solo one that took a task before it could be asked.
        let unlearned = self.pool.is_none() && self.may_be_solo();
        if unlearned && (self.is_present() || silent <= rules::UNLEARNED_MAX) {
            return Some("it has not yet said which pool it has, and a solo one is silent during a task");
        }
        None
    }
}
