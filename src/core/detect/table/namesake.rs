//! Two processes under one name, seen by how their beats take turns.

use std::time::Duration;

use super::LATE_AT_MOST;
use crate::time::Mono;

/// Two processes that take turns within so long share a name.
const SHARED_WITHIN: Duration = Duration::from_secs(60);
/// So many turns: one may be a restart, whose old process is heard once more.
const TURNS: u8 = 2;

/// Another process under the same name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Namesake {
    /// The process that was heard before the one that is heard now.
    pid: Option<u32>,
    /// How often the two have taken turns, and when they last did.
    turns: u8,
    turned: Mono,
    /// A process whose beats seem older than what is known, which its clock would make of one that lives: when the first
    /// and the last of them came.
    stray: Option<(u32, Mono, Mono)>,
}

impl Namesake {
    /// Another process than `old` is heard.
    pub(super) fn turn(&mut self, at: Mono, old: Option<u32>, new: Option<u32>) {
        let again = self.pid == new && new.is_some() && at.since(self.turned) < SHARED_WITHIN;
        self.turns = if again { self.turns.saturating_add(1) } else { 0 };
        self.pid = old;
        self.turned = at;
    }

    /// A beat of another process was left out, because it seems to come late.
    pub(super) fn strays(&mut self, at: Mono, pid: Option<u32>) {
        let Some(pid) = pid else { return };
        let first = match self.stray {
            Some((known, first, last)) if known == pid && at.since(last) < LATE_AT_MOST => first,
            _ => at,
        };
        self.stray = Some((pid, first, at));
        // Nothing comes late for so long.
        if at.since(first) >= LATE_AT_MOST {
            self.turns = TURNS;
            self.turned = at;
        }
    }

    pub(super) fn shares(&self, at: Mono) -> bool {
        self.turns >= TURNS && at.since(self.turned) < SHARED_WITHIN
    }
}
