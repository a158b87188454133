//! What a restart, or a changed configuration, makes of what is remembered.

use std::collections::BTreeMap;

use compact_str::CompactString;
use headcount_actors::ports::Remembered;
use headcount_core::alert::{Incident, Kind};
use headcount_core::detect::{WorkerMemory, WorkerState};
use headcount_core::time::Wall;

use crate::config::Settings;

/// Where each broker of the configuration is, by its name.
pub(crate) type Addresses = BTreeMap<CompactString, String>;

/// The fleets that were discovered before, and of which somebody is still expected, with their brokers.
pub(crate) fn discovered(
    settings: &Settings,
    addresses: &Addresses,
    remembered: &Remembered,
) -> Vec<(CompactString, CompactString)> {
    let expected = |workers: &[WorkerMemory]| workers.iter().any(|worker| worker.state != WorkerState::Offline);
    let broker_at = |address: &str| {
        let here = addresses
            .iter()
            .find(|(name, at)| *at == address && discovers(settings, name));
        here.map(|(name, _)| name.clone())
    };
    remembered
        .workers
        .iter()
        .filter(|(fleet, workers)| expected(workers) && !is_configured(settings, fleet))
        .filter_map(|(fleet, workers)| Some((broker_at(&workers.first()?.address)?, fleet.clone())))
        .collect()
}

/// Incidents of fleets and brokers that are no longer watched, resolved: nobody would ever see their end; and those of
/// several fleets, without the fleets that are no longer watched.
pub(crate) fn orphans(settings: &Settings, addresses: &Addresses, remembered: &Remembered, now: Wall) -> Vec<Incident> {
    let discovered = discovered(settings, addresses, remembered);
    let watched = |incident: &Incident| match incident.kind {
        Kind::Broker | Kind::Fleets => settings
            .brokers
            .iter()
            .any(|broker| broker.config.name == incident.subject),
        Kind::Fleet | Kind::Worker => {
            is_configured(settings, &incident.subject) || discovered.iter().any(|(_, fleet)| *fleet == incident.subject)
        }
    };
    let fleet_is_watched =
        |fleet: &CompactString| is_configured(settings, fleet) || discovered.iter().any(|(_, known)| known == fleet);
    let open = remembered.incidents.iter().filter(|incident| incident.is_open());
    let mut changed = Vec::new();
    for incident in open {
        let mut incident = incident.clone();
        // What several fleets lost together goes on without those that are no longer watched.
        let covers = incident.scene.covers.len();
        incident.scene.covers.retain(|cover| fleet_is_watched(&cover.fleet));
        let covers_nobody = covers > 0 && incident.scene.covers.is_empty();
        if watched(&incident) && !covers_nobody {
            if incident.scene.covers.len() < covers {
                changed.push(incident);
            }
            continue;
        }
        tracing::warn!(id = %incident.id, subject = %incident.subject, "what an open incident is about is not in the configuration any more: the incident is closed, as no longer watched");
        incident.unwatched = true;
        incident.changed_at = now;
        incident.resolved_at = Some(now.max(incident.opened_at));
        changed.push(incident);
    }
    changed
}

fn discovers(settings: &Settings, broker: &str) -> bool {
    settings
        .brokers
        .iter()
        .any(|known| known.config.name == broker && known.discover)
}

fn is_configured(settings: &Settings, fleet: &str) -> bool {
    settings.fleets.iter().any(|known| known.name == fleet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;
    use headcount_core::alert::{Cover, IncidentId, Severity};

    fn memory(address: &str, hostname: &str, state: WorkerState) -> WorkerMemory {
        WorkerMemory {
            hostname: hostname.into(),
            address: address.into(),
            pid: None,
            state,
            diagnosis: None,
            since: Wall::default(),
            last_seen: None,
            interval_us: None,
            pool: None,
            queues: Vec::new(),
            work: headcount_core::detect::WorkMemory::default(),
            answers: true,
            shows_presence: true,
            tells_tasks_only: false,
        }
    }

    fn incident(kind: Kind, subject: &str, broker: &str) -> Incident {
        Incident {
            id: IncidentId("f-1".into()),
            kind,
            subject: subject.into(),
            broker: broker.into(),
            severity: Severity::Down,
            diagnosis: None,
            opened_at: Wall::default(),
            changed_at: Wall::default(),
            resolved_at: None,
            unwatched: false,
            began: None,
            scene: headcount_core::alert::Scene::default(),
            evidence: Vec::new(),
            told: None,
        }
    }

    fn addresses() -> Addresses {
        [("redis".into(), "redis://127.0.0.1:1/0".to_owned())].into()
    }

    fn settings() -> Settings {
        Origin {
            config: None,
            brokers: vec!["redis://127.0.0.1:1/0".to_owned()],
        }
        .load()
        .unwrap()
    }

    #[test]
    fn a_discovered_fleet_whose_workers_are_dead_is_taken_up_again() {
        let remembered = Remembered {
            workers: vec![
                (
                    "sms".into(),
                    vec![memory("redis://127.0.0.1:1/0", "sms@h", WorkerState::Down)],
                ),
                (
                    "gone".into(),
                    vec![memory("redis://127.0.0.1:1/0", "gone@h", WorkerState::Offline)],
                ),
                (
                    "other".into(),
                    vec![memory("redis://127.0.0.1:1/5", "other@h", WorkerState::Up)],
                ),
            ],
            ..Remembered::default()
        };
        assert_eq!(
            discovered(&settings(), &addresses(), &remembered),
            [("redis".into(), "sms".into())]
        );
    }

    #[test]
    fn an_incident_of_several_fleets_goes_on_with_those_that_are_watched() {
        let together = |fleets: &[&str]| {
            let mut incident = incident(Kind::Fleets, "redis", "redis");
            let cover = |fleet: &&str| Cover {
                fleet: (*fleet).into(),
                lost: 1,
                workers: Vec::new(),
                down: false,
            };
            incident.scene.covers = fleets.iter().map(cover).collect();
            incident
        };
        let workers = vec![(
            "sms".into(),
            vec![memory("redis://127.0.0.1:1/0", "sms@h", WorkerState::Down)],
        )];
        let remembered = Remembered {
            incidents: vec![together(&["sms"]), together(&["sms", "gone"]), together(&["gone"])],
            workers,
            ..Remembered::default()
        };
        let changed = orphans(&settings(), &addresses(), &remembered, Wall::from_micros(5));
        let changed: Vec<_> = changed.iter().map(|i| (i.scene.covers.len(), i.is_open())).collect();
        assert_eq!(changed, [(1, true), (0, false)], "and the first is as it was");
    }

    #[test]
    fn an_incident_of_what_is_no_longer_watched_is_closed_and_says_so() {
        let incidents = vec![
            incident(Kind::Broker, "redis", "redis"),
            incident(Kind::Broker, "old", "old"),
            incident(Kind::Fleet, "sms", "redis"),
            incident(Kind::Fleet, "gone", "redis"),
        ];
        let workers = vec![(
            "sms".into(),
            vec![memory("redis://127.0.0.1:1/0", "sms@h", WorkerState::Down)],
        )];
        let remembered = Remembered {
            incidents,
            workers,
            ..Remembered::default()
        };
        let closed = orphans(&settings(), &addresses(), &remembered, Wall::from_micros(5));
        let closed: Vec<_> = closed
            .iter()
            .map(|i| (i.kind, i.broker.as_str(), i.unwatched, i.resolved_at))
            .collect();
        let end = Some(Wall::from_micros(5));
        assert_eq!(
            closed,
            [(Kind::Broker, "old", true, end), (Kind::Fleet, "redis", true, end)]
        );
    }
}
