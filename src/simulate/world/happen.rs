//! What happens in a world by itself.

use headcount_core::celery::{TaskEvent, TaskKind, WorkerKind};

use super::calendar::{MS, Moment, NEVER, SEC};
use super::worker::{BEAT, Link, Slot};
use super::{BURST, CANARY_EVERY, WAY, Waiting, Watcher, What, World, said};

impl World {
    pub(super) fn happen(&mut self, what: What, watchers: &mut [&mut dyn Watcher]) {
        let now = self.now;
        match what {
            What::Beat(slot, life) => self.beat(slot, life, watchers),
            What::Said(said) => {
                self.arrive(*said, watchers);
                self.batch_end(watchers);
            }
            What::Wakes(slot) => self.settle(slot),
            What::Reconnects(slot, life) => self.reconnects(slot, life),
            What::LetsGo(slot, life) => self.lets_go(slot, life, watchers),
            What::Closes(slot, life) => {
                if let Some(worker) = self.workers.get_mut(slot as usize)
                    && worker.life == life
                    && worker.link == Link::Held
                {
                    worker.link = Link::Down;
                }
            }
            What::Drains(slot, life) => self.drains(slot, life, watchers),
            What::Ends(slot, life) => {
                if let Some(worker) = self.workers.get_mut(slot as usize)
                    && worker.life == life
                {
                    worker.running = false;
                    worker.link = Link::Down;
                }
            }
            What::Connects => self.connects(watchers),
            What::Canary(session) => {
                if self.connected && session == self.session {
                    if self.blocked_since.is_none() {
                        self.wait_or(Waiting::Canary, watchers);
                    }
                    let next = if self.monitor.paused.is_some() {
                        self.monitor.until + WAY
                    } else {
                        now + CANARY_EVERY
                    };
                    self.calendar.enter(next, What::Canary(session));
                }
            }
            What::Unblocks => self.unblocks(watchers),
            What::Resumes => self.resumes(watchers),
            What::Answer(answer) => self.wait_or(Waiting::Answer(answer), watchers),
        }
    }

    /// A beat arrives, and the worker's next is on its way.
    pub(super) fn beat(&mut self, slot: Slot, life: u32, watchers: &mut [&mut dyn Watcher]) {
        let Some(worker) = self.workers.get_mut(slot as usize) else {
            return;
        };
        if worker.life != life {
            return;
        }
        let sent = worker.next_send;
        let lost = worker.burst > 0 || (worker.loss > 0.0 && self.rng.chance(worker.loss));
        worker.burst = worker.burst.saturating_sub(1);
        let said = said(worker, slot, WorkerKind::Heartbeat, sent);
        self.send_next(slot, sent + BEAT);
        if !lost {
            self.arrive(said, watchers);
            self.batch_end(watchers);
        }
    }

    /// The worker's next beat is sent at `at`.
    pub(super) fn send_next(&mut self, slot: Slot, at: Moment) {
        let Some(worker) = self.workers.get_mut(slot as usize) else {
            return;
        };
        worker.next_send = at;
        // Celery's timer is late by up to some milliseconds, and does not catch up.
        let way = WAY + (self.rng.exponential(worker.delay) * SEC as f64) as Moment;
        worker.arrives = worker.arrives.max(at + way);
        let (arrives, life) = (worker.arrives, worker.life);
        self.calendar.enter(arrives, What::Beat(slot, life));
    }

    /// Begins or ceases to send beats, as the worker can or cannot.
    pub(super) fn settle(&mut self, slot: Slot) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(slot as usize) else {
            return;
        };
        worker.count_work(now);
        let sends = worker.sends(now);
        if sends == worker.beats {
            return;
        }
        worker.beats = sends;
        worker.life = worker.life.wrapping_add(1);
        if sends {
            // What was due while it could not beat is sent once, at once.
            let at = worker.next_send.max(now + MS);
            self.send_next(slot, at);
        } else if worker.next_send <= now && worker.link != Link::Held {
            // It was on its way, and is what arrives last.
            let said = said(worker, slot, WorkerKind::Heartbeat, worker.next_send);
            worker.next_send += BEAT;
            let arrives = worker.arrives;
            self.calendar.enter(arrives, What::Said(Box::new(said)));
        } else {
            // Nothing is on its way.
            worker.arrives = now;
        }
    }

    pub(super) fn reconnects(&mut self, slot: Slot, life: u32) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(slot as usize) else {
            return;
        };
        if worker.life != life || !worker.running || worker.link != Link::Down {
            return;
        }
        if now < worker.frozen_until || now < worker.busy_until {
            let later = worker.frozen_until.max(worker.busy_until);
            if later != NEVER {
                self.calendar.enter(later, What::Reconnects(slot, life));
            }
            return;
        }
        worker.link = Link::Up;
        worker.arrives = now;
        // The goodbye of the moment of loss arrives now, and the online up to 1.1 s after it (measured).
        let mut goodbye = said(worker, slot, WorkerKind::Offline, now);
        goodbye.timestamp = worker.wall(worker.lost_at);
        let online_at = now + 5 * MS + self.rng.below(1_100 * MS);
        let online = said(worker, slot, WorkerKind::Online, online_at);
        worker.next_send = online_at + BEAT;
        worker.arrives = online_at;
        self.calendar.enter(now + WAY, What::Said(Box::new(goodbye)));
        self.calendar.enter(online_at + WAY, What::Said(Box::new(online)));
        self.settle(slot);
    }

    /// The network lets go: all that was sent arrives at once, with its true timestamps.
    pub(super) fn lets_go(&mut self, slot: Slot, life: u32, watchers: &mut [&mut dyn Watcher]) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(slot as usize) else {
            return;
        };
        if worker.life != life || !worker.running {
            return;
        }
        if worker.link == Link::Down {
            // Its connection was closed meanwhile: it notices now, and finds its way back.
            worker.lost_at = now;
            let at = now + self.rng.between(2 * SEC, 4 * SEC);
            self.calendar.enter(at, What::Reconnects(slot, life));
            return;
        }
        worker.link = Link::Up;
        let mut burst = Vec::new();
        while worker.next_send <= now {
            let sent = worker.next_send;
            burst.push(said(worker, slot, WorkerKind::Heartbeat, sent));
            worker.next_send += BEAT;
        }
        worker.arrives = now + BURST;
        for said in burst {
            self.arrive(said, watchers);
        }
        self.batch_end(watchers);
        self.settle(slot);
    }

    pub(super) fn drains(&mut self, slot: Slot, life: u32, watchers: &mut [&mut dyn Watcher]) {
        let now = self.now;
        let Some(worker) = self.workers.get(slot as usize) else {
            return;
        };
        if worker.life != life || !worker.running || !self.is_heard() || self.monitor.paused.is_some() {
            return;
        }
        let event = TaskEvent {
            kind: TaskKind::Succeeded,
            hostname: &worker.hostname,
            timestamp: Some(worker.wall(now)),
            uuid: "6b0a6a0c-5ba4-4f5b-8d5c-0f4e2b7d1c11",
            name: None,
            queue: None,
            runtime: Some(1.0),
            exception: None,
            has_eta: false,
            retries: 0,
        };
        for watcher in watchers.iter_mut() {
            watcher.task(now, &event);
            watcher.batch_end(now);
        }
        let next = now + self.rng.between(SEC, 10 * SEC);
        self.calendar.enter(next, What::Drains(slot, life));
    }
}
