//! Which losses of a fleet an incident of several fleets stands for: by name, since whoever falls while another returns
//! leaves the number as it was; and by number where they are too many to be named.

use compact_str::CompactString;

use super::incident::{Cover, Missing, Severity, Shared};
use crate::detect::missing::host;
use crate::detect::{Finding, FleetVerdict};

impl Cover {
    /// All that a fleet has lost.
    pub(super) fn of(verdict: &FleetVerdict) -> Self {
        Self {
            fleet: verdict.fleet.name.clone(),
            lost: lost(verdict),
            workers: verdict.missing.iter().map(|one| one.hostname.clone()).collect(),
            down: is_down(verdict),
        }
    }

    /// How many of those it stands for have no name.
    fn nameless(&self) -> usize {
        (self.lost as usize).saturating_sub(self.workers.len())
    }

    /// Whether it stands for a worker that is missing, as far as is known.
    pub(super) fn may_be(&self, worker: &CompactString) -> bool {
        self.nameless() > 0 || self.workers.contains(worker)
    }

    /// Whom of those that a fleet misses it stands for.
    pub(super) fn missing<'a>(&self, verdict: &'a FleetVerdict) -> impl Iterator<Item = &'a Missing> {
        verdict.missing.iter().filter(|one| self.may_be(&one.hostname))
    }

    /// The host that all of them were on.
    pub(super) fn host<'a>(&self, verdict: &'a FleetVerdict) -> Option<&'a str> {
        if self.stands_for_all(verdict) {
            return host_of(verdict);
        }
        only_host(self.missing(verdict))
    }

    /// Whether it stands for all that a fleet has lost: by name, and as many without one as it has of those.
    pub(super) fn stands_for_all(&self, verdict: &FleetVerdict) -> bool {
        let known = |one: &&Missing| self.workers.contains(&one.hostname);
        let strangers = verdict.missing.len() - verdict.missing.iter().filter(known).count();
        lost(verdict) <= self.lost && strangers <= self.nameless()
    }

    /// Leaves out whoever is no longer missing. Of those that are lost and not named, as many may be of its own.
    pub(super) fn shrink(&mut self, verdict: &FleetVerdict) {
        let lost = lost(verdict);
        let before = self.nameless();
        self.workers
            .retain(|worker| lost > 0 && verdict.missing.iter().any(|one| one.hostname == *worker));
        let nameless = before.max((lost as usize).saturating_sub(verdict.missing.len()));
        let most = u32::try_from(self.workers.len() + nameless).unwrap_or(u32::MAX);
        self.lost = self.lost.min(lost).min(most);
        self.down &= is_down(verdict);
    }
}

/// Whether a fleet has lost somebody for good.
pub(super) fn is_loss(verdict: &FleetVerdict) -> bool {
    matches!(verdict.finding, Finding::Trouble { severity, .. } if severity >= Severity::Degraded)
}

/// How many.
pub(super) fn lost(verdict: &FleetVerdict) -> u32 {
    match verdict.finding {
        Finding::Trouble { severity, up } if severity >= Severity::Degraded => {
            verdict.fleet.expected.saturating_sub(up)
        }
        _ => 0,
    }
}

/// The host that all of these were on.
fn only_host<'a>(missing: impl IntoIterator<Item = &'a Missing>) -> Option<&'a str> {
    let mut hosts = missing.into_iter().map(|one| host(&one.hostname));
    let first = hosts.next()?;
    (!first.is_empty() && hosts.all(|host| host == first)).then_some(first)
}

/// The host that all whom a fleet has lost were on: also where they are too many to be named.
pub(super) fn host_of(verdict: &FleetVerdict) -> Option<&str> {
    match &verdict.shared {
        Some(Shared::Host(host)) => Some(host),
        _ if verdict.missing.len() >= lost(verdict) as usize => only_host(&verdict.missing),
        _ => None,
    }
}

fn is_down(verdict: &FleetVerdict) -> bool {
    matches!(
        verdict.finding,
        Finding::Trouble {
            severity: Severity::Down,
            ..
        }
    )
}
