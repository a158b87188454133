//! What the script does to a world.

use compact_str::CompactString;
use headcount_core::celery::WorkerKind;

use super::broker::retry;
use super::calendar::{Moment, NEVER, SEC};
use super::script::Action;
use super::worker::{BEAT, Consuming, Link, Slot, Worker};
use super::{WAY, Waiting, Watcher, What, World, said};

impl World {
    pub(super) fn start_later(&mut self, start: (Moment, Action)) {
        // Starts come before anything that the script does: the stage is calm at first.
        if let (at, Action::Start(slot, _)) = start
            && let Some(worker) = self.workers.get_mut(slot as usize)
        {
            worker.frozen_until = 0;
            self.start(slot, None, at);
        }
    }

    pub(super) fn start(&mut self, slot: Slot, name: Option<CompactString>, at: Moment) {
        let pid = self.next_pid;
        self.next_pid += 1;
        let Some(worker) = self.workers.get_mut(slot as usize) else {
            return;
        };
        if let Some(name) = name {
            self.by_name.remove(&worker.hostname);
            worker.hostname = name;
        }
        self.by_name.insert(worker.hostname.clone(), slot);
        worker.pid = pid;
        worker.clock = 0;
        worker.running = true;
        worker.frozen_until = 0;
        worker.busy_until = 0;
        worker.lingers_until = 0;
        worker.link = Link::Up;
        worker.leaving = false;
        worker.consuming = Consuming::Yes;
        worker.processed = 0.0;
        worker.counted_at = at;
        worker.life = worker.life.wrapping_add(1);
        worker.beats = true;
        let online = said(worker, slot, WorkerKind::Online, at);
        worker.arrives = at + WAY;
        if self.now < self.broker_out {
            // It finds no broker, and tries again as the others do.
            worker.link = Link::Down;
            worker.lost_at = at;
            worker.beats = false;
            let life = worker.life;
            let back = retry(at, self.broker_out, &mut self.rng);
            self.calendar.enter(back, What::Reconnects(slot, life));
            return;
        }
        self.calendar.enter(at + WAY, What::Said(Box::new(online)));
        self.send_next(slot, at + BEAT);
    }

    pub(super) fn act(&mut self, action: Action, watchers: &mut [&mut dyn Watcher]) {
        let now = self.now;
        match action {
            Action::Start(slot, name) => self.start(slot, name, now),
            Action::Kill(slot) => self.with(slot, |worker| {
                worker.running = false;
                worker.link = Link::Down;
            }),
            Action::PowerLoss(slot, until) => self.with(slot, |worker| {
                worker.running = false;
                worker.link = Link::Down;
                worker.lingers_until = until;
            }),
            Action::Freeze(slot, until) => {
                self.with(slot, |worker| worker.frozen_until = worker.frozen_until.max(until));
                self.wake(slot, until);
            }
            Action::Busy(slot, until) => {
                self.with(slot, |worker| worker.busy_until = until);
                self.wake(slot, until);
            }
            Action::Reset(slot, back) => {
                if self
                    .workers
                    .get(slot as usize)
                    .is_some_and(|worker| worker.link == Link::Up)
                {
                    self.loses_link(slot);
                    let life = self.life(slot);
                    self.calendar.enter(back, What::Reconnects(slot, life));
                }
            }
            Action::Hold(slot, until, closes) => {
                if self
                    .workers
                    .get(slot as usize)
                    .is_some_and(|worker| worker.link == Link::Up)
                {
                    self.with(slot, |worker| worker.link = Link::Held);
                    let life = self.life(slot);
                    self.calendar.enter(until, What::LetsGo(slot, life));
                    self.calendar.enter(closes, What::Closes(slot, life));
                }
            }
            Action::Shutdown(slot, end) => {
                let sends = self.workers.get(slot as usize).is_some_and(|worker| worker.sends(now));
                self.with(slot, |worker| worker.leaving = true);
                if let Some(worker) = self.workers.get_mut(slot as usize).filter(|_| sends) {
                    // It is the last that its connection carries, after a beat that is on its way.
                    let goodbye = said(worker, slot, WorkerKind::Offline, now);
                    let arrives = (now + WAY).max(worker.arrives);
                    self.calendar.enter(arrives, What::Said(Box::new(goodbye)));
                }
                let life = self.life(slot);
                if end > now + SEC {
                    self.calendar.enter(now + SEC, What::Drains(slot, life));
                }
                self.calendar.enter(end, What::Ends(slot, life));
            }
            Action::Consume(slot, consuming) => self.with(slot, |worker| worker.consuming = consuming),
            Action::Backlog(fleet, length) => {
                if let Some(backlog) = self.backlog.get_mut(usize::from(fleet)) {
                    *backlog = length;
                }
            }
            Action::StepClock(slot, by) => self.with(slot, |worker| worker.ahead += by),
            Action::LoseBeats(slot, many) => self.with(slot, |worker| worker.burst = many),
            Action::BrokerOut(until, of) => self.broker_out(until, &of, watchers),
            Action::Block(until) => {
                self.blocked_since = Some(now);
                self.wait_or(Waiting::Blocked(true), watchers);
                self.calendar.enter(until, What::Unblocks);
            }
            Action::PauseMonitor(until) => {
                self.monitor.paused = Some(now);
                self.monitor.until = until;
                self.calendar.enter(until, What::Resumes);
            }
        }
    }

    /// Changes a worker, and what follows from it for its beats.
    pub(super) fn with(&mut self, slot: Slot, change: impl FnOnce(&mut Worker)) {
        let now = self.now;
        if let Some(worker) = self.workers.get_mut(slot as usize) {
            worker.count_work(now);
            change(worker);
            self.settle(slot);
        }
    }

    pub(super) fn loses_link(&mut self, slot: Slot) {
        let now = self.now;
        self.with(slot, |worker| {
            worker.link = Link::Down;
            worker.lost_at = now;
        });
    }

    pub(super) fn wake(&mut self, slot: Slot, at: Moment) {
        if at != NEVER {
            self.calendar.enter(at, What::Wakes(slot));
        }
    }

    pub(super) fn life(&self, slot: Slot) -> u32 {
        self.workers.get(slot as usize).map_or(0, |worker| worker.life)
    }
}
