//! The story of each incident as the aggregator sees it: how its workers fell, and that it was written down.

use std::collections::BTreeMap;

use compact_str::CompactString;
use headcount_core::alert::{Incident, IncidentId, Kind};
use headcount_core::detect::{FleetReport, WorkerState};
use headcount_core::status::WorkerStatus;
use headcount_core::time::Wall;
use headcount_core::trace::incident::{self, Fall, MAX_WORKERS};

use crate::clock::Clock;
use crate::ports::traces::SharedTracer;

/// Tells a tracer. While nobody listens it only forgets.
pub(crate) struct Story {
    tracer: SharedTracer,
    /// How those came down who are, by broker and fleet: as their probers last told. Workers of one name on two brokers are two.
    falls: BTreeMap<(CompactString, CompactString), Vec<Fall>>,
    /// Of each open incident, the workers whose fall has been told, and when it was: at most [`MAX_WORKERS`] each.
    told: BTreeMap<IncidentId, BTreeMap<CompactString, Wall>>,
}

impl Story {
    pub(crate) fn new(tracer: SharedTracer) -> Self {
        Self {
            tracer,
            falls: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    /// What was told before a restart is not told again.
    pub(crate) fn resume(&mut self, incidents: &[Incident]) {
        for incident in incidents.iter().filter(|incident| incident.is_open()) {
            let missing = incident.scene.missing.iter().take(MAX_WORKERS);
            let told = missing.map(|missing| {
                (
                    missing.hostname.clone(),
                    missing.last_seen.unwrap_or(incident.opened_at),
                )
            });
            self.told.insert(incident.id.clone(), told.collect());
        }
    }

    /// A prober has told how workers came down.
    pub(crate) fn heard(&mut self, broker: &CompactString, fleet: &CompactString, falls: Vec<Fall>) {
        let of = (broker.clone(), fleet.clone());
        if falls.is_empty() {
            self.falls.remove(&of);
        } else {
            self.falls.insert(of, falls);
        }
    }

    /// An incident was opened, has changed or was resolved.
    pub(crate) fn changed(&mut self, incident: &Incident, fleets: &BTreeMap<CompactString, FleetReport>) {
        let told = self.told.entry(incident.id.clone()).or_default();
        let open = self.tracer.is_open()
            && self
                .tracer
                .keeps(headcount_core::trace::TraceId::of_incident(&incident.id));
        if open && incident.is_open() {
            for missing in &incident.scene.missing {
                if told.len() >= MAX_WORKERS {
                    break;
                }
                if missing.state != WorkerState::Down || told.contains_key(&missing.hostname) {
                    continue;
                }
                let of_its_fleets = self
                    .falls
                    .iter()
                    .filter(|((broker, fleet), _)| concerns(incident, broker, fleet));
                let known = of_its_fleets
                    .flat_map(|(_, falls)| falls)
                    .find(|fall| fall.hostname == missing.hostname);
                let Some(known) = known else { continue };
                let fall = Fall {
                    last_seen: missing.last_seen,
                    ..known.clone()
                };
                told.insert(missing.hostname.clone(), fall.down_at);
                incident::fall(incident, &fall)
                    .into_iter()
                    .for_each(|span| self.tracer.take(span));
            }
        }
        if incident.is_open() {
            return;
        }
        let told = self.told.remove(&incident.id).unwrap_or_default();
        if !open {
            return;
        }
        for (hostname, from) in told {
            let back = worker(incident, fleets, &hostname).filter(|worker| worker.state != WorkerState::Down);
            if let Some(back) = back {
                self.tracer
                    .take(incident::down(incident, &hostname, (from, back.since)));
            }
        }
    }

    /// Incidents were written down.
    pub(crate) fn stored<'a>(&self, incidents: impl Iterator<Item = &'a Incident>) {
        if !self.tracer.is_open() {
            return;
        }
        let now = Clock.now().wall;
        for incident in incidents {
            self.tracer.take(incident::stored(incident, now));
        }
    }
}

/// Whether a fleet of a broker is among those that an incident is about.
fn concerns(incident: &Incident, broker: &str, fleet: &str) -> bool {
    let covers = &incident.scene.covers;
    let is_of_it = match incident.kind {
        Kind::Fleet => incident.subject == fleet,
        // Once it is over it may cover none any more.
        _ => covers.is_empty() || covers.iter().any(|cover| cover.fleet == fleet),
    };
    incident.broker == broker && is_of_it
}

fn worker<'a>(
    incident: &Incident,
    fleets: &'a BTreeMap<CompactString, FleetReport>,
    hostname: &str,
) -> Option<&'a WorkerStatus> {
    fleets
        .values()
        .filter(|report| concerns(incident, &report.verdict.fleet.broker, &report.verdict.fleet.name))
        .flat_map(|report| &report.workers)
        .find(|worker| worker.hostname == hostname)
}
