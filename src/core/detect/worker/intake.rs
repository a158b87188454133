//! What comes in about a worker: its events, its answers, and what it tells of itself.

use std::time::Duration;

use super::{Gone, Learned, Probed, Spoke, Stage, Worker};
use crate::celery::inspect::Pool;
use crate::detect::board::Board;
use crate::detect::observed::Seen;
use crate::detect::rules;
use crate::detect::sighting::{Sighting, Word};
use crate::detect::work::{Means, WorkLook};
use crate::time::{Mono, Now};

/// So many beats, heard while the broker said that its connection was gone, show that it did not mean the connection
/// that it beats over. One may have been on its way when its worker crashed.
const BEATS_UNSEEN: u32 = 2;

impl Worker {
    /// Its events since the last flush.
    pub(in crate::detect) fn sighted(&mut self, t: Seen, now: Now, sighting: &Sighting) {
        if sighting.unfinished.is_some() {
            self.unfinished.clone_from(&sighting.unfinished);
        }
        if !sighting.is_sign() {
            return;
        }
        self.shares_name = sighting.shared;
        self.tells_tasks |= sighting.tasks > 0;
        let other = matches!((self.pid, sighting.pid), (Some(old), Some(new)) if old != new);
        let restarted = (other || sighting.anew) && !sighting.shared;
        if restarted {
            self.restarted(t, now);
        }
        if sighting.pid.is_some() {
            self.pid = sighting.pid;
        }
        self.rhythm.heard(sighting.interval, sighting.longest_gap);
        if sighting.software.is_some() {
            self.software.clone_from(&sighting.software);
        }
        // What waited on its way proves that its worker lived when it was sent, and no more.
        // So does what waited for its flush by the lane; longer waits are pauses, which the observed clock leaves out itself.
        let waited = now.mono.since(sighting.last).min(rules::FLUSH_WAIT_MAX);
        let fresh = t - sighting.age - waited;
        let heard = sighting.last - sighting.age;
        let spoke = Spoke {
            seen: fresh,
            wall: now.wall_at(heard),
        };
        match sighting.word {
            Word::Goodbye => {
                if self.leaving.is_none() && !matches!(self.stage, Stage::Offline { .. }) {
                    self.leaving = Some(t);
                }
                self.last_seen = Some(spoke.wall);
                return;
            }
            Word::Online => {
                self.leaving = None;
                self.work.begin(t);
            }
            Word::Nothing => {}
        }
        if sighting.beats > 0 {
            self.beat_at_work |= sighting.active.is_some_and(|active| active > 0);
            // A solo pool is silent for as long as a task runs, so how long it ran shows only afterwards.
            if self.pool == Some(Pool::Solo)
                && !restarted
                && let (Some(previous), Some(before), Some(now)) =
                    (self.beat, self.work.processed(), sighting.processed)
                && now > before
            {
                self.work.ran(t, fresh.since(previous.seen));
            }
            self.unfinished = None;
            if !restarted && let (Some(before), Some(now)) = (self.work.processed(), sighting.processed) {
                self.accepted = self.accepted.saturating_add(now.saturating_sub(before));
            }
            self.work.beat(fresh, sighting.active, sighting.processed);
        }
        if sighting.tasks > 0 {
            self.work.moves(fresh);
        }
        if sighting.beats > 0 {
            self.beats_unseen(fresh);
            // A gap in which it was away says nothing of its rhythm.
            if let Some(previous) = self.beat
                && self.is_alive()
                && !restarted
            {
                self.rhythm.gap(fresh.since(previous.seen));
            }
            if self.beat.is_none_or(|previous| previous.seen <= fresh) {
                self.beat = Some(spoke);
            }
            self.alive(t, spoke, heard, now);
        } else if self.is_alive() && self.leaving.is_none() {
            // Task events alone show life, and never bring anybody back: they follow a goodbye for as long as it drains.
            self.alive(t, spoke, heard, now);
        }
    }

    /// Another process took its place: what the old one had need not be there.
    fn restarted(&mut self, t: Seen, now: Now) {
        (self.process_seen, self.process_from) = (t, now.mono);
        self.pool = None;
        self.work.restart(t);
        self.gone = None;
        self.missed_pings = 0;
        self.answer = None;
        self.ever_answered = false;
        self.presence = None;
        self.ever_present = false;
        self.beats_unseen = 0;
        self.beat_at_work = false;
    }

    /// It beats. If it did so although the broker said that it is gone, what the broker sees is not the connection that it
    /// beats over, such as a mailbox that was lost alone: it is not missed by that until it is seen again.
    fn beats_unseen(&mut self, sent: Seen) {
        if self.gone.is_some_and(|gone| sent > gone.first.seen) {
            self.beats_unseen += 1;
            if self.beats_unseen >= BEATS_UNSEEN {
                self.ever_present = false;
                self.presence = None;
                self.gone = None;
            }
        }
    }

    /// What a probe of it brought.
    pub(in crate::detect) fn probed(&mut self, t: Seen, now: Now, probed: Probed) {
        self.probed = Some(t);
        let spoke = Spoke {
            seen: t,
            wall: now.wall,
        };
        match probed.present {
            Some(true) => {
                self.presence = Some(spoke);
                self.ever_present = true;
                self.beats_unseen = 0;
                self.gone = None;
            }
            // Only who has been seen connected can be missed: a worker without remote control has no mailbox at all.
            Some(false) if self.ever_present => {
                let gone = self.gone.get_or_insert(Gone {
                    first: spoke,
                    checks: 0,
                    last: t,
                });
                gone.checks += 1;
                gone.last = t;
            }
            Some(false) | None => {}
        }
        match probed.answer {
            Some(latency) => {
                self.answer = Some((spoke, latency));
                self.ever_answered = true;
                self.missed_pings = 0;
                if self.leaving.is_none() {
                    self.alive(t, spoke, now.mono, now);
                }
            }
            None => self.missed_pings = self.missed_pings.saturating_add(1),
        }
    }

    /// What it told of itself.
    pub(in crate::detect) fn learned(&mut self, learned: Learned) {
        if learned.pool.is_some() {
            self.pool = learned.pool;
        }
        if let Some(queues) = learned.queues {
            self.work.consumes(queues);
        }
    }

    /// With what it works, as it told.
    pub(in crate::detect) fn has(&mut self, means: Means) {
        self.work.means(means);
    }

    /// What it said of its work.
    pub(in crate::detect) fn worked(&mut self, t: Seen, look: &WorkLook, board: &Board) {
        self.work.worked(t, look, board);
    }

    /// Headcount could not see, and begins anew: silence counts from here, and whoever was alive is unknown until heard.
    pub(in crate::detect) fn look_anew(&mut self, t: Seen, now: Now) {
        // Who is down has been away all along, however often the broker is out.
        if self.diagnosis().is_some() {
            self.away_before = self.away(t);
        }
        self.life = t;
        self.gone = None;
        self.missed_pings = 0;
        self.work.begin(t);
        if self.leaving.is_some() {
            self.leaving = Some(t);
        }
        if self.is_alive() {
            self.enter(Stage::Unknown, now);
        }
    }

    /// One sign of life. A burst that arrives at once is one sign: it may be a late flush of what was sent before.
    fn alive(&mut self, t: Seen, spoke: Spoke, heard: Mono, now: Now) {
        if spoke.seen < self.life {
            return;
        }
        let in_a_row = spoke.seen.since(self.life) <= self.rhythm.patience();
        self.life = spoke.seen;
        self.away_before = Duration::ZERO;
        self.last_seen = Some(spoke.wall);
        self.last_heard = Some(heard);
        // So old that it would be suspected at once: a sign of then, not of now.
        if self.silent(t) > self.rhythm.patience() {
            return;
        }
        match self.stage {
            Stage::Starting if t > self.first_seen => self.enter(Stage::Up, now),
            Stage::Starting | Stage::Up => {}
            Stage::Suspect | Stage::Unknown => self.enter(Stage::Up, now),
            Stage::Offline { .. } => self.enter(Stage::Up, now),
            Stage::Down {
                diagnosis,
                signs: before,
            } => {
                let total = 1 + if in_a_row { before } else { 0 };
                if total >= rules::SIGNS_TO_RETURN {
                    self.enter(Stage::Up, now);
                } else {
                    self.stage = Stage::Down {
                        diagnosis,
                        signs: total,
                    };
                }
            }
        }
        if self.is_alive() {
            self.gone = None;
        }
    }
}
