//! What was lost together is told together: one incident for the workers of several fleets that went at once, such as
//! all on one host.
//!
//! A fleet that is found in trouble waits a moment while workers of others of its broker have just fallen silent, or are
//! about to be lost. If what they lost then shares a host, or is all that the broker's fleets had, one incident of the
//! broker's fleets stands for it:
//! for each fleet it says whose losses it covers. A fleet's own incident is opened only for losses beyond those. The covers
//! are part of the incident, so they survive a restart with it.

use std::collections::BTreeMap;
use std::time::Duration;

use compact_str::CompactString;

use super::book::IncidentBook;
use super::cover::{host_of, is_loss, lost};
use super::debounce::HOLD;
use super::incident::{Cover, Evidence, Incident, Kind, Missing, Scene, Severity, Shared};
use crate::detect::{Finding, FleetVerdict};
use crate::time::{Mono, Now};

/// How many fleets without a host in common must have lost something at once to have lost it together: two fleets of
/// one broker can fail within moments by chance, and three do so less often than a network or a deployment fails.
const MANY_FLEETS: usize = 3;

/// An incident that has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The incident as it stands.
    pub incident: Incident,
    /// More may be found within moments.
    pub unsettled: bool,
}

/// Which fleets wait, and since when.
#[derive(Clone, Debug, Default)]
pub struct Correlator {
    waiting: BTreeMap<CompactString, Mono>,
}

impl Correlator {
    /// Takes the verdicts of all fleets of one broker that is heard, and brings the book up to date.
    pub fn judge(
        &mut self,
        now: Now,
        book: &mut IncidentBook,
        broker: &CompactString,
        fleets: &[&FleetVerdict],
    ) -> Vec<Change> {
        let open = book.find(Kind::Fleets, broker).cloned();
        let mut group = open.as_ref().map_or_else(Group::default, Group::of);
        group.shrink(fleets);

        let mut changes = Vec::new();
        let mut fresh: Vec<&FleetVerdict> = Vec::new();
        for verdict in fleets {
            let name = &verdict.fleet.name;
            let has_own = book.find(Kind::Fleet, name).is_some();
            if !has_own && is_loss(verdict) && group.stands_for_all(verdict) {
                // What has happened to it is told already.
                self.waiting.remove(name);
            } else if !has_own && is_loss(verdict) {
                self.waiting.entry(name.clone()).or_insert(now.mono);
                fresh.push(verdict);
            } else if verdict.finding != Finding::Unknown || !self.waiting.contains_key(name) {
                self.waiting.remove(name);
                let incident = book.fleet(now.wall, verdict);
                changes.extend(incident.map(|incident| Change {
                    incident,
                    unsettled: verdict.unsettled,
                }));
            }
        }

        let more_may_come = |among: &FleetVerdict| {
            let is_waiting = |verdict: &FleetVerdict| fresh.iter().any(|one| one.fleet.name == verdict.fleet.name);
            fleets.iter().any(|other| {
                other.fleet.name != among.fleet.name && (other.unsettled || other.may_follow) && !is_waiting(other)
            })
        };
        let held = fresh
            .iter()
            .any(|verdict| more_may_come(verdict) && self.waited(now.mono, verdict) < HOLD);
        if !held {
            let (together, alone) = self.part(&group, &fresh, fleets);
            for verdict in together {
                self.waiting.remove(&verdict.fleet.name);
                group.take(verdict);
            }
            for verdict in alone {
                let unsettled = verdict.unsettled && self.waited(now.mono, verdict) < HOLD;
                self.waiting.remove(&verdict.fleet.name);
                let incident = book.fleet(now.wall, verdict);
                changes.extend(incident.map(|incident| Change { incident, unsettled }));
            }
        }
        let (severity, scene, evidence) = group.scene(fleets, open.as_ref());
        let incident = book.fleets(now.wall, broker, severity, scene, evidence);
        changes.extend(incident.map(|incident| Change {
            incident,
            unsettled: false,
        }));
        changes
    }

    fn waited(&self, now: Mono, verdict: &FleetVerdict) -> Duration {
        let since = self.waiting.get(&verdict.fleet.name);
        since.map_or(Duration::ZERO, |since| now.since(*since))
    }

    /// Who of those newly in trouble lost together, and who alone.
    fn part<'a>(
        &self,
        group: &Group,
        fresh: &[&'a FleetVerdict],
        all: &[&FleetVerdict],
    ) -> (Vec<&'a FleetVerdict>, Vec<&'a FleetVerdict>) {
        // All that was there is gone, or something happened to many at once.
        let nobody_left = all
            .iter()
            .all(|verdict| verdict.fleet.up == 0 || verdict.fleet.expected == 0);
        if fresh.len() >= MANY_FLEETS || (fresh.len() > 1 && nobody_left) {
            return (fresh.to_vec(), Vec::new());
        }
        // Otherwise those who share a host with another, or with what was lost together before.
        let hosts: Vec<Option<&str>> = fresh.iter().map(|verdict| host_of(verdict)).collect();
        let shares = |place: usize| {
            let own = hosts.get(place).copied().flatten();
            let others = hosts.iter().enumerate().filter(|(other, _)| *other != place);
            own.is_some_and(|own| {
                others.into_iter().any(|(_, host)| *host == Some(own)) || group.shared == Some(Shared::Host(own.into()))
            })
        };
        let (mut together, mut alone) = (Vec::new(), Vec::new());
        for (place, verdict) in fresh.iter().enumerate() {
            if shares(place) { &mut together } else { &mut alone }.push(*verdict);
        }
        (together, alone)
    }
}

/// What several fleets have lost together, so far.
#[derive(Clone, Debug, Default)]
struct Group {
    covers: Vec<Cover>,
    shared: Option<Shared>,
}

impl Group {
    fn of(incident: &Incident) -> Self {
        Self {
            covers: incident.scene.covers.clone(),
            shared: incident.scene.shared.clone(),
        }
    }

    /// Whether all that a fleet has lost is covered.
    fn stands_for_all(&self, verdict: &FleetVerdict) -> bool {
        let cover = self.covers.iter().find(|cover| cover.fleet == verdict.fleet.name);
        cover.is_some_and(|cover| cover.stands_for_all(verdict))
    }

    /// Whoever has returned is covered no more: what the fleet loses afterwards is another loss.
    fn shrink(&mut self, fleets: &[&FleetVerdict]) {
        for cover in &mut self.covers {
            let verdict = fleets.iter().find(|verdict| verdict.fleet.name == cover.fleet);
            if let Some(verdict) = verdict.filter(|verdict| verdict.finding != Finding::Unknown) {
                cover.shrink(verdict);
            }
        }
    }

    fn take(&mut self, verdict: &FleetVerdict) {
        let cover = Cover::of(verdict);
        match self.covers.iter_mut().find(|known| known.fleet == cover.fleet) {
            Some(known) => *known = cover,
            None => self.covers.push(cover),
        }
    }

    /// The incident as it should be: none, where nothing is covered any more.
    fn scene(&self, fleets: &[&FleetVerdict], open: Option<&Incident>) -> (Option<Severity>, Scene, Vec<Evidence>) {
        let verdict = |cover: &Cover| fleets.iter().find(|verdict| verdict.fleet.name == cover.fleet).copied();
        let lost: u32 = self.covers.iter().map(|cover| cover.lost).fold(0, u32::saturating_add);
        // While one of them cannot be judged the picture stays as it is: it would not be whole.
        let known = |cover: &Cover| verdict(cover).is_some_and(|verdict| verdict.finding != Finding::Unknown);
        if let Some(open) = open.filter(|_| lost > 0 && !self.covers.iter().all(known)) {
            let scene = Scene {
                covers: self.covers.clone(),
                ..open.scene.clone()
            };
            return (Some(open.severity), scene, Vec::new());
        }
        let of_it: Vec<(&Cover, &FleetVerdict)> = self
            .covers
            .iter()
            .filter_map(|cover| Some((cover, verdict(cover)?)))
            .collect();
        let expected = of_it
            .iter()
            .map(|(_, verdict)| verdict.fleet.expected)
            .fold(0, u32::saturating_add);
        let still = || of_it.iter().filter(|(cover, _)| cover.lost > 0);
        let missing: Vec<Missing> = still()
            .flat_map(|(cover, verdict)| cover.missing(verdict).cloned())
            .take(Scene::MAX_MISSING)
            .collect();
        let mut hosts = still().map(|(cover, verdict)| cover.host(verdict));
        let first = hosts.next().flatten();
        let shared = first.filter(|first| hosts.all(|host| host == Some(first)));
        let shared = shared.map(|host| Shared::Host(host.into()));
        let down = self.covers.iter().any(|cover| cover.down && cover.lost > 0);
        let severity = match lost {
            0 => None,
            _ if down => Some(Severity::Down),
            _ => Some(Severity::Degraded),
        };
        // In the end all is counted that is there: a fleet may miss others.
        let short = match severity {
            Some(_) => lost,
            None => of_it
                .iter()
                .map(|(_, verdict)| self::lost(verdict))
                .fold(0, u32::saturating_add),
        };
        let scene = Scene {
            up: expected.saturating_sub(short),
            expected,
            minimum: 0,
            missing,
            shared,
            covers: self.covers.clone(),
            ..Scene::default()
        };
        let evidence = still().flat_map(|(cover, verdict)| {
            let is_missing = |subject: &CompactString| verdict.missing.iter().any(|one| one.hostname == *subject);
            let of_it = move |one: &&Evidence| !is_missing(&one.subject) || cover.may_be(&one.subject);
            verdict.evidence.iter().filter(of_it).cloned()
        });
        (severity, scene, evidence.take(Incident::MAX_EVIDENCE).collect())
    }
}

#[cfg(test)]
mod tests;
