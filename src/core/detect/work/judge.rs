//! Judging a worker's work by what is known of it.

use std::time::Duration;

use compact_str::CompactString;

use super::super::board::{Board, Line};
use super::super::observed::Seen;
use super::super::rules::{self, Rules};
use super::super::state::Trouble;
use super::{How, Troubled, Work, WorkLook};

impl Work {
    /// Judges its work: true if a trouble began, changed or ended. `answers`: whether it can be asked at all. `solo`: a
    /// pool that says nothing while a task runs, so that its counts say nothing of a task that hangs.
    pub(in crate::detect) fn judge(&mut self, t: Seen, rules: &Rules, answers: bool, solo: bool) -> bool {
        let before = self.trouble();
        if self.trouble.as_ref().is_some_and(|troubled| self.is_over(t, troubled)) {
            // And what it was found by does not find it again.
            self.trouble = None;
            self.absent = None;
            self.free = None;
        }
        let found = if self.has_begun(t) {
            self.finding(t, rules, answers, solo)
        } else {
            None
        };
        if let Some((how, queue)) = found {
            let replaces = match self.trouble() {
                None => true,
                // What is known of before gets its reason again, and who only seemed not to take has lost its consumer.
                Some(Trouble::NotTaking) => how.trouble() == Trouble::ConsumerGone,
                Some(_) => matches!(self.trouble.as_ref().map(|old| old.how), Some(How::Remembered(_))),
            };
            if replaces {
                self.trouble = Some(Troubled { how, queue, since: t });
            }
        }
        self.trouble() != before
    }

    fn finding(&self, t: Seen, rules: &Rules, answers: bool, solo: bool) -> Option<(How, CompactString)> {
        let fresh = |last: Seen| t.since(last) <= rules::LOOK_FRESH_FOR;
        if let Some(absent) = &self.absent
            && absent.suffices()
            && fresh(absent.last)
        {
            return Some(absent.what.clone());
        }
        let may_take = if answers {
            self.free
                .as_ref()
                .is_some_and(|free| free.suffices() && fresh(free.last))
        } else {
            self.active == Some(0)
        };
        if may_take && self.has_waited(self.stalled_after(rules, answers)) {
            return Some((How::NotTaking, CompactString::default()));
        }
        let (looked, look) = self.looked.as_ref()?;
        let holds = look.running.unwrap_or(0) > 0 || look.reserved.unwrap_or(0) > 0;
        let more = self.queue_waits || look.reserved.unwrap_or(0) > 0;
        let stuck = self.is_flat(*looked, self.stuck_after(rules));
        (!solo && fresh(*looked) && holds && more && stuck).then(|| (How::Stuck, CompactString::default()))
    }

    /// Why one of the queues that it should consume is not consumed by it, if so.
    pub(super) fn absence(&self, t: Seen, look: &WorkLook, board: &Board) -> Option<(How, CompactString)> {
        let says = look.queues.as_ref()?;
        let could_take = self.could_take(look) && self.has_waited(self.patience(rules::FLAT_WHEN_ABSENT));
        let how = |queue: &CompactString| {
            let line = board.waiting(queue)?;
            if !says.contains(queue) {
                return Some(How::Unsubscribed);
            }
            match line.consumers {
                Some(0) => Some(How::NoConsumer),
                Some(consumers) if consumers < line.claimed && could_take => Some(How::FewConsumers),
                None if could_take && board.nobody_takes(t) => Some(How::NobodyTakes),
                _ => None,
            }
        };
        self.claims(board)
            .iter()
            .find_map(|queue| Some((how(queue)?, queue.clone())))
    }

    fn is_over(&self, t: Seen, troubled: &Troubled) -> bool {
        let moved = self.moved.is_some_and(|moved| moved > troubled.since);
        let nothing_waits = || {
            self.empty_since
                .is_some_and(|empty| t.since(empty) >= rules::STALLED_AND_EMPTY_FOR)
        };
        match troubled.how {
            How::Unsubscribed => self.says_it_consumes(&troubled.queue) || nothing_waits(),
            How::NoConsumer => {
                // The look that saw a consumer ends it, unless it found something else.
                self.absent.is_none()
                    && self.looked.as_ref().is_some_and(|(at, _)| *at > troubled.since)
                    && (moved || !self.deprived)
                    || nothing_waits()
            }
            How::Stuck => moved,
            How::FewConsumers | How::NobodyTakes | How::NotTaking => moved || nothing_waits(),
            How::Remembered(Trouble::Stuck) => moved,
            How::Remembered(_) => (moved && !self.deprived) || nothing_waits(),
        }
    }

    /// The queues that it should consume: those that it has consumed; if it never consumed any, those of its fleet.
    pub(super) fn claims<'a>(&'a self, board: &'a Board) -> &'a [CompactString] {
        if self.consumed.is_empty() && self.now.is_some() {
            board.configured()
        } else {
            &self.consumed
        }
    }

    /// The longest of its queues in which messages wait. Where it has not said which are its queues, it may consume any
    /// of the fleet's, so messages wait for it only where all of them hold some.
    pub(super) fn waiting<'a>(&self, board: &'a Board) -> Option<&'a Line> {
        let known = self.now.is_some() || !self.consumed.is_empty();
        let queues = if known { self.claims(board) } else { board.configured() };
        let for_it = |line: &&Line| !self.may_stand_by(line);
        let waiting = || queues.iter().filter_map(|queue| board.waiting(queue)).filter(for_it);
        if !known && waiting().count() < queues.len() {
            return None;
        }
        waiting().max_by_key(|line| line.length)
    }

    /// Whether the broker may leave a queue to another consumer: what waits there then need not wait for this one. The
    /// broker does not tell which of them it serves. (Only RabbitMQ, which counts consumers, has such queues.)
    fn may_stand_by(&self, line: &Line) -> bool {
        self.means.serves_one == Some(true) && line.consumers.is_some_and(|consumers| consumers > 1)
    }

    pub(super) fn says_it_consumes(&self, queue: &CompactString) -> bool {
        self.now.as_ref().is_some_and(|now| now.contains(queue))
    }

    /// Whether all of its slots are taken, as far as its beats tell.
    pub(super) fn is_busy(&self) -> bool {
        let active = self.active.unwrap_or(0);
        match self.means.slots {
            Some(slots) => active >= u64::from(slots.max(1)),
            None => active > 0,
        }
    }

    /// Whether it could take a message, by what it says: a slot is free, and it may hold more than it does.
    pub(super) fn could_take(&self, look: &WorkLook) -> bool {
        let (Some(running), Some(reserved), Some(scheduled)) = (look.running, look.reserved, look.scheduled) else {
            return false;
        };
        let slot_free = self.means.slots.map_or(running == 0, |slots| running < slots);
        let may_hold_more = match self.means.prefetch {
            Some(0) => true,
            Some(prefetch) => u64::from(running) + u64::from(reserved) + u64::from(scheduled) < prefetch,
            None => reserved == 0 && scheduled == 0,
        };
        slot_free && may_hold_more
    }

    pub(super) fn has_begun(&self, t: Seen) -> bool {
        t.since(self.begun) >= rules::BEGINS_WITHIN
    }

    /// Whether it has had reason to take something for so long, shown by beats that came in that time.
    pub(super) fn has_waited(&self, at_least: Duration) -> bool {
        matches!((self.waits, self.counted), (Some(since), Some(counted)) if counted.since(since) >= at_least)
    }

    /// Whether it has had tasks, and none moved, for so long before `t`.
    pub(super) fn is_flat(&self, t: Seen, at_least: Duration) -> bool {
        let moved = self.moved.unwrap_or(self.begun);
        let counted = self
            .counted
            .map_or(Duration::ZERO, |counted| counted.min(t).since(moved));
        self.active.is_some_and(|active| active > 0) && counted >= at_least
    }

    /// `least`, or what its own habits and rate limits make of it.
    fn patience(&self, least: Duration) -> Duration {
        let rate = self.means.slowest_rate.unwrap_or(Duration::ZERO);
        least.max(self.gap.max(rate).saturating_mul(rules::GAPS))
    }

    /// After so long in which it takes nothing it is stalled: longer where it cannot be asked for what may explain it.
    fn stalled_after(&self, rules: &Rules, answers: bool) -> Duration {
        self.patience(rules.stalled_after * if answers { 1 } else { rules::GAPS })
    }

    /// After so long without progress of a task it is stuck: longer where its own limit or its past runs say so.
    pub(in crate::detect) fn stuck_after(&self, rules: &Rules) -> Duration {
        let limit = self
            .means
            .time_limit
            .map_or(Duration::ZERO, |limit| limit.saturating_add(rules::LIMIT_GRACE));
        rules
            .stuck_after
            .max(self.run.get().saturating_mul(rules::GAPS))
            .max(limit)
    }
}
