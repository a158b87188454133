//! The broker of a world: what reaches it, and what it does not let through.

use super::calendar::{MS, Moment, SEC};
use super::worker::{Link, Said, Slot};
use super::{Waiting, Watcher, What, World};
use crate::rng::Rng;

impl World {
    pub(super) fn broker_out(&mut self, until: Moment, of: &[Slot], watchers: &mut [&mut dyn Watcher]) {
        let now = self.now;
        self.broker_out = until;
        for &slot in of {
            if self
                .workers
                .get(slot as usize)
                .is_none_or(|worker| worker.link == Link::Down)
            {
                continue;
            }
            self.loses_link(slot);
            let life = self.life(slot);
            let back = retry(now, until, &mut self.rng);
            self.calendar.enter(back, What::Reconnects(slot, life));
        }
        if self.connected {
            self.connected = false;
            self.monitor.tries = 0;
            self.wait_or(Waiting::Disconnected, watchers);
            self.calendar.enter(now + 200 * MS, What::Connects);
        }
    }

    /// The monitor tries to connect: 0.2, 0.4, 0.8 … 5 s after one another (`actors/backoff.rs`).
    pub(super) fn connects(&mut self, watchers: &mut [&mut dyn Watcher]) {
        let now = self.now;
        if now < self.broker_out || self.monitor.paused.is_some() {
            self.monitor.tries += 1;
            let rest = ((200 * MS) << self.monitor.tries.min(5)).min(5 * SEC);
            self.calendar.enter(now + rest, What::Connects);
            return;
        }
        self.connected = true;
        for watcher in watchers.iter_mut() {
            watcher.connected(now, true);
        }
        self.session += 1;
        self.calendar.enter(now + 20 * MS, What::Canary(self.session));
    }

    pub(super) fn unblocks(&mut self, watchers: &mut [&mut dyn Watcher]) {
        let now = self.now;
        let since = self.blocked_since.take();
        self.wait_or(Waiting::Blocked(false), watchers);
        if since.is_none() {
            return;
        }
        for slot in 0..u32::try_from(self.workers.len()).unwrap_or(0) {
            let held = self
                .workers
                .get_mut(slot as usize)
                .map(|worker| std::mem::take(&mut worker.held))
                .unwrap_or_default();
            for said in held {
                self.arrive(said, watchers);
            }
            if let Some(worker) = self.workers.get_mut(slot as usize) {
                worker.arrives = worker.arrives.max(now);
            }
        }
        self.batch_end(watchers);
    }

    pub(super) const fn is_heard(&self) -> bool {
        self.connected && self.blocked_since.is_none()
    }

    /// An event reaches the broker.
    pub(super) fn arrive(&mut self, said: Said, watchers: &mut [&mut dyn Watcher]) {
        if self.blocked_since.is_some() {
            if let Some(worker) = self.workers.get_mut(said.slot as usize) {
                worker.held.push(said);
            }
            return;
        }
        if !self.connected {
            return;
        }
        self.beats += 1;
        if self.monitor.paused.is_some() {
            self.monitor.waiting.push(Waiting::Said(said));
        } else {
            self.hand(&said, watchers);
        }
    }

    pub(super) fn hand(&self, said: &Said, watchers: &mut [&mut dyn Watcher]) {
        let hostname = self.hostname(said.slot);
        for watcher in watchers.iter_mut() {
            watcher.said(self.now, hostname, said);
        }
    }

    pub(super) fn batch_end(&mut self, watchers: &mut [&mut dyn Watcher]) {
        if self.monitor.paused.is_some() {
            return;
        }
        for (index, watcher) in watchers.iter_mut().enumerate() {
            watcher.batch_end(self.now);
            self.serve(index, *watcher);
        }
    }
}

/// When a worker that lost its broker at `lost` is back, if that can be reached from `until` on: Celery tries again
/// after 2, 4, 6 … 30 s, and every 30 s from then on.
pub(super) fn retry(lost: Moment, until: Moment, rng: &mut Rng) -> Moment {
    let mut at = lost + rng.below(SEC);
    let mut wait = 2 * SEC;
    loop {
        at += wait;
        if at >= until {
            return at;
        }
        wait = (wait + 2 * SEC).min(30 * SEC);
    }
}
