//! The monitor's machine: what reaches it, or waits there while it is paused.

use super::{Waiting, Watcher, World};

impl World {
    /// Something reaches the monitor, or waits for the end of its pause.
    pub(super) fn wait_or(&mut self, what: Waiting, watchers: &mut [&mut dyn Watcher]) {
        if self.monitor.paused.is_some() {
            self.monitor.waiting.push(what);
        } else {
            self.reach(what, watchers);
        }
    }

    pub(super) fn reach(&mut self, what: Waiting, watchers: &mut [&mut dyn Watcher]) {
        let now = self.now;
        match what {
            Waiting::Said(said) => self.hand(&said, watchers),
            Waiting::Canary => watchers.iter_mut().for_each(|watcher| watcher.canary(now)),
            Waiting::Blocked(blocked) => watchers.iter_mut().for_each(|watcher| watcher.blocked(now, blocked)),
            Waiting::Disconnected => watchers.iter_mut().for_each(|watcher| watcher.connected(now, false)),
            Waiting::Answer(answer) => {
                let (index, answer) = *answer;
                if let Some(watcher) = watchers.get_mut(index) {
                    watcher.answered(now, answer);
                    self.serve(index, *watcher);
                }
            }
        }
    }

    /// The monitor's machine goes on: what waited in its sockets comes at once, before or after the timers that are due.
    pub(super) fn resumes(&mut self, watchers: &mut [&mut dyn Watcher]) {
        let Some(from) = self.monitor.paused.take() else {
            return;
        };
        for watcher in watchers.iter_mut() {
            watcher.was_paused(from, self.now);
        }
        if self.rng.chance(0.5) {
            self.tick(watchers);
        }
        for what in std::mem::take(&mut self.monitor.waiting) {
            self.reach(what, watchers);
        }
        self.batch_end(watchers);
    }
}
