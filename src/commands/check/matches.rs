//! Which workers that answer belong to which fleet: a mistake in a pattern looks like a fleet that is well.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;
use headcount_core::glob::Glob;
use headcount_core::names;

use crate::config::{Fleet, Settings};
use crate::wire::terms;

use super::super::table::clean;

/// So many workers that match no fleet are named.
const NAMED: usize = 20;

/// The workers of a broker that answer, held against its fleets. Where fleets are discovered there are none to hold against.
#[derive(Debug)]
pub(super) struct Matches<'a> {
    /// How many workers each fleet of the broker has.
    fleets: Vec<(&'a Fleet, usize)>,
    /// Those that no fleet's patterns match.
    strangers: Vec<&'a CompactString>,
}

impl<'a> Matches<'a> {
    pub(super) fn of(settings: &'a Settings, broker: &str, hostnames: impl Iterator<Item = &'a CompactString>) -> Self {
        let roster = terms::roster(settings, broker);
        let mut counts: BTreeMap<CompactString, usize> = BTreeMap::new();
        let mut strangers = Vec::new();
        for hostname in hostnames.collect::<BTreeSet<_>>() {
            match roster.fleet_of(hostname) {
                Some(fleet) => *counts.entry(fleet).or_default() += 1,
                None if roster.leaves_alone(hostname) => strangers.push(hostname),
                None => {}
            }
        }
        let own = settings.fleets.iter().filter(|fleet| fleet.broker == broker);
        Self {
            fleets: own
                .map(|fleet| (fleet, counts.get(&fleet.name).copied().unwrap_or(0)))
                .collect(),
            strangers,
        }
    }

    /// One line for each fleet, and one for those that match none. Workers that are not there now are no mistake in a
    /// configuration: these are hints.
    pub(super) fn text(&self) -> String {
        let fleets = self.fleets.iter().map(|(fleet, workers)| match workers {
            0 => format!(
                "hint    fleet {}: no worker that answers matches {}",
                fleet.name,
                fleet.hostnames.iter().map(Glob::as_str).collect::<Vec<_>>().join(", ")
            ),
            n => format!("ok      fleet {}: workers that answer and match: {n}", fleet.name),
        });
        let strangers = (!self.strangers.is_empty()).then(|| {
            let names: Vec<&str> = self.strangers.iter().map(|hostname| hostname.as_str()).collect();
            format!(
                "hint    workers that match no fleet, and are left alone: {} ({})",
                names.len(),
                names::first(&names, NAMED)
            )
        });
        fleets.chain(strangers).map(|line| clean(&line) + "\n").collect()
    }
}
