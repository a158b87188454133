//! What probers and listeners report, made up.

use compact_str::{CompactString, format_compact};
use headcount_core::alert::{Evidence, Incident, IncidentId, Kind, Missing, Scene, Severity};
use headcount_core::detect::{
    BrokerState, Diagnosis, Finding, FleetReport, FleetState, FleetVerdict, Signal, WorkerState,
};
use headcount_core::status::{BrokerStatus, FleetStatus, Signals, WorkerStatus};
use headcount_core::time::Wall;

use crate::clock::Clock;
use crate::messages::{BrokerReported, FleetReported};

/// How many workers the made-up fleets should have.
pub(in crate::tests) const EXPECTED: u32 = 3;

/// A fleet of [`EXPECTED`] workers, so many of which are missing.
pub(in crate::tests) fn fleet(name: &str, broker: &str, missing: u32) -> FleetReported {
    let state = match missing {
        0 => FleetState::Healthy,
        EXPECTED => FleetState::Down,
        _ => FleetState::Degraded,
    };
    fleet_in(name, broker, state, missing)
}

pub(in crate::tests) fn fleet_in(name: &str, broker: &str, state: FleetState, missing: u32) -> FleetReported {
    let who = |n: u32| -> CompactString { format_compact!("{name}@host{n}") };
    let evidence = |n| Evidence {
        at: Clock.now().wall,
        subject: who(n),
        signal: Some(Signal::Heartbeat),
        says: "silent for 6 s".to_owned(),
    };
    let fleet = FleetStatus {
        name: name.into(),
        broker: broker.into(),
        state,
        seen: true,
        expected: EXPECTED,
        minimum: 1,
        up: EXPECTED - missing,
        suspect: 0,
        down: missing,
        stalled: 0,
        since: Wall::from_micros(0),
        queues: Vec::new(),
    };
    let report = FleetReport {
        verdict: FleetVerdict {
            finding: match state {
                FleetState::Unknown => Finding::Unknown,
                FleetState::Healthy => Finding::Well,
                FleetState::Degraded => Finding::Trouble {
                    severity: Severity::Degraded,
                    up: fleet.up,
                },
                FleetState::Down => Finding::Trouble {
                    severity: Severity::Down,
                    up: fleet.up,
                },
            },
            fleet,
            shared: None,
            missing: (0..missing).map(|n| gone(who(n))).collect(),
            evidence: (0..missing).map(evidence).collect(),
            unsettled: false,
            may_follow: false,
        },
        workers: Vec::new(),
    };
    FleetReported {
        report,
        falls: Vec::new(),
    }
}

/// A worker of which nothing more is known.
pub(crate) fn worker(hostname: &str, fleet: &str, state: WorkerState) -> WorkerStatus {
    WorkerStatus {
        hostname: hostname.into(),
        fleet: fleet.into(),
        state,
        diagnosis: (state == WorkerState::Down).then_some(Diagnosis::Crashed),
        since: Wall::from_micros(0),
        signals: Signals::default(),
        active: None,
        processed: None,
        software: None,
        queues: Vec::new(),
        slots: None,
    }
}

fn gone(hostname: CompactString) -> Missing {
    Missing {
        hostname,
        state: WorkerState::Down,
        diagnosis: Some(Diagnosis::Crashed),
        last_seen: None,
        since: None,
    }
}

pub(in crate::tests) fn broker(name: &str, state: BrokerState, down: bool) -> BrokerReported {
    let heard = state == BrokerState::Heard;
    BrokerReported {
        status: BrokerStatus {
            name: name.into(),
            address: "amqp://127.0.0.1//".to_owned(),
            state,
            blocked: false,
            refused: false,
            since: Wall::from_micros(0),
            error: (!heard).then(|| "connection lost".to_owned()),
            retry_at: None,
            unmatched: 0,
        },
        down,
    }
}

/// An incident of a fleet, of which so many are missing.
pub(in crate::tests) fn incident(id: &str, missing: u32) -> Incident {
    let now = Clock.now().wall;
    Incident {
        id: IncidentId(id.into()),
        kind: Kind::Fleet,
        subject: "sms".into(),
        broker: "main".into(),
        severity: Severity::Degraded,
        diagnosis: None,
        opened_at: now,
        changed_at: now,
        resolved_at: None,
        unwatched: false,
        began: None,
        scene: Scene {
            up: 100 - missing,
            expected: 100,
            minimum: 1,
            ..Scene::default()
        },
        evidence: Vec::new(),
        told: None,
    }
}

pub(in crate::tests) fn resolved(incident: Incident) -> Incident {
    let now = Clock.now().wall;
    Incident {
        resolved_at: Some(now),
        changed_at: now,
        ..incident
    }
}
