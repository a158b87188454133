//! What the aggregator and the debouncer do with verdicts (`actors/health_aggregator.rs`, `debouncer.rs`), with a store
//! and an outbox that take no time.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;
use headcount_core::alert::debounce::{self, Decision};
use headcount_core::alert::{Change, Correlator, Incident, IncidentBook, IncidentId, Kind, Notice, Told};
use headcount_core::detect::{BrokerState, FleetVerdict};
use headcount_core::status::BrokerStatus;
use headcount_core::time::{Mono, Now};

/// From verdicts to notices.
#[derive(Debug, Default)]
pub(super) struct Telling {
    pub(super) book: IncidentBook,
    correlator: Correlator,
    /// The broker as its listener last reported it, and whether it is down.
    pub(super) broker: Option<(BrokerStatus, bool)>,
    /// Fleets of which more may be found within moments.
    unsettled: BTreeSet<CompactString>,
    pending: BTreeMap<IncidentId, Pending>,
    told: BTreeMap<IncidentId, Told>,
    pub(super) notices: Vec<Notice>,
    pub(super) changed: Vec<Incident>,
}

/// An incident of which something may have to be told.
#[derive(Debug)]
struct Pending {
    incident: Incident,
    unsettled: bool,
    since: Mono,
}

impl Telling {
    /// Takes every report to the book, and tells what is due.
    pub(super) fn judge<'a>(&mut self, now: Now, reports: impl Iterator<Item = &'a FleetVerdict> + Clone) {
        let heard = self
            .broker
            .as_ref()
            .is_some_and(|(broker, _)| broker.state == BrokerState::Heard);
        let mut changed = Vec::new();
        if let Some((broker, down)) = self.broker.take() {
            let fleets: Vec<_> = if down || self.book.find(Kind::Broker, &broker.name).is_some() {
                reports.clone().map(|report| report.fleet.name.clone()).collect()
            } else {
                Vec::new()
            };
            if let Some(incident) = self.book.broker(now.wall, &broker, down, &fleets) {
                self.change(now.mono, incident, false);
            }
            self.broker = Some((broker, down));
        }
        // What a fleet reported before its broker was lost is no longer known.
        if heard && let Some((broker, _)) = &self.broker {
            let fleets: Vec<&FleetVerdict> = reports.clone().collect();
            for Change { incident, unsettled } in self.correlator.judge(now, &mut self.book, &broker.name, &fleets) {
                changed.push((incident, unsettled));
            }
        }
        for (incident, unsettled) in changed.drain(..) {
            self.change(now.mono, incident, unsettled);
        }
        for report in reports {
            let fleet = &report.fleet.name;
            if report.unsettled {
                if !self.unsettled.contains(fleet) {
                    self.unsettled.insert(fleet.clone());
                }
            } else if self.unsettled.remove(fleet)
                && let Some(incident) = self.book.find(Kind::Fleet, fleet).cloned()
            {
                self.change(now.mono, incident, false);
            }
        }
        self.tell(now);
    }

    /// The incident has changed: something may be owed for it.
    fn change(&mut self, now: Mono, incident: Incident, unsettled: bool) {
        self.changed.retain(|known| known.id != incident.id);
        self.changed.push(incident.clone());
        let id = incident.id.clone();
        let told = self.told.get(&id).cloned();
        let incident = Incident { told, ..incident };
        let since = match self.pending.get(&id) {
            Some(pending) if debounce::turn(&pending.incident) == debounce::turn(&incident) => pending.since,
            _ => now,
        };
        let pending = Pending {
            incident,
            unsettled,
            since,
        };
        self.pending.insert(id, pending);
    }

    /// Tells what is due, one after the other.
    fn tell(&mut self, now: Now) {
        let (told, notices) = (&mut self.told, &mut self.notices);
        self.pending.retain(|id, pending| {
            loop {
                pending.incident.told = told.get(id).cloned();
                if pending.incident.told.as_ref().is_some_and(|told| told.recovered) {
                    told.remove(id);
                    return false;
                }
                match debounce::decide(now.mono, &pending.incident, pending.unsettled, pending.since) {
                    Decision::Nothing => return false,
                    Decision::Hold => return true,
                    Decision::Tell(turn) => {
                        told.insert(id.clone(), debounce::told(&pending.incident, turn, now.wall));
                        // What may follow is held for a moment of its own.
                        pending.since = now.mono;
                        notices.push(Notice {
                            turn,
                            at: now.wall,
                            incident: pending.incident.clone(),
                            link: None,
                        });
                    }
                }
            }
        });
    }
}
