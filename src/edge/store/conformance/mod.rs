//! What every store must do, written against the port alone. A store passes by one line:
//! `conformance!(fresh)`, where `fresh()` gives a new empty place and a way to open it again and again.

use std::sync::Arc;
use std::time::Duration;

use headcount_actors::ports::{Act, Debt, DebtId, IncidentQuery, Kept, Owed, Receipt, Remembered, RollupQuery, Store};
use headcount_core::alert::{Evidence, Incident, IncidentId, Kind, Missing, Notice, Scene, Severity, Told, Turn};
use headcount_core::celery::TaskKind;
use headcount_core::detect::flapping::PenaltyMemory;
use headcount_core::detect::history::Sample;
use headcount_core::detect::{Diagnosis, FleetHistory, Signal, Trouble, WorkMemory, WorkerMemory, WorkerState};
use headcount_core::stats::bucket::Width;
use headcount_core::stats::task::{TaskKey, TaskRollup, Times};
use headcount_core::time::Wall;

mod everything;
mod incidents;
pub(super) mod jobs;
mod outbox;
mod rollups;

pub(super) use everything::*;
pub(super) use incidents::*;
pub(super) use outbox::*;
pub(super) use rollups::*;

/// Opens one and the same store; what was opened before must have been dropped.
pub(super) type Open = Box<dyn Fn() -> Arc<dyn Store>>;

macro_rules! conformance {
    ($fresh:path) => {
        $crate::store::conformance::conformance!($fresh:
            an_empty_store_remembers_nothing, workers_are_replaced, incidents_come_back, one_trouble_is_open_once, a_save_keeps_what_was_told,
            telling_is_all_or_nothing, debts_keep_their_order, paying_twice_is_paying_once,
            the_first_receipt_is_kept, a_failure_leaves_the_debt, merging_is_all_or_nothing, what_is_waived_is_owed_no_more, who_comes_new_inherits_what_was_owed_to_who_is_gone, nothing_is_owed_to_strangers, queries_select,
            documents_are_bounded, task_rollups_add_up, task_rollups_come_in_pages, minutes_become_hours,
            the_oldest_make_room, forgetting_spares_what_is_owed, hostile_text_comes_back,
            calls_at_once_do_not_mix);
    };
    ($fresh:path: $($check:ident),+) => {
        $(#[tokio::test]
        async fn $check() {
            $crate::store::conformance::$check($fresh()).await;
        })+
    };
}
pub(super) use conformance;

pub(super) fn at(secs: i64) -> Wall {
    Wall::from_micros(1_700_000_000_000_000 + secs * 1_000_000)
}

pub(super) fn incident(id: &str, opened: i64) -> Incident {
    Incident {
        id: IncidentId(id.into()),
        kind: Kind::Fleet,
        subject: "sms".into(),
        broker: "main".into(),
        severity: Severity::Degraded,
        diagnosis: Some(Diagnosis::Crashed),
        opened_at: at(opened),
        changed_at: at(opened),
        resolved_at: None,
        unwatched: false,
        began: None,
        scene: Scene {
            up: 2,
            expected: 3,
            minimum: 1,
            missing: vec![Missing {
                hostname: "sms@h1".into(),
                state: WorkerState::Down,
                diagnosis: Some(Diagnosis::Crashed),
                last_seen: Some(at(opened - 8)),
                since: None,
            }],
            fleets: vec![],
            ..Scene::default()
        },
        evidence: vec![Evidence {
            at: at(opened),
            subject: "sms@h1".into(),
            signal: Some(Signal::Presence),
            says: "connection gone".into(),
        }],
        told: None,
    }
}

pub(super) fn resolved(mut incident: Incident, when: i64) -> Incident {
    incident.resolved_at = Some(at(when));
    incident
}

pub(super) fn told(recovered: bool) -> Told {
    Told {
        severity: Severity::Degraded,
        shown_severity: Severity::Degraded,
        missing: 1,
        shown_missing: 1,
        shown: incident("told", 0).scene.named(),
        recovered,
        flapped: false,
        at: at(0),
    }
}

pub(super) fn owes(incident: &Incident, notifier: &str, turn: Turn, act: Act) -> Owed {
    Owed {
        notifier: notifier.into(),
        act,
        notice: Notice {
            turn,
            at: at(1),
            incident: incident.clone(),
            link: Some("http://h/#x".into()),
        },
    }
}

fn receipt(text: &str) -> Option<Receipt> {
    Some(Receipt(text.into()))
}

async fn turns(store: &dyn Store, notifier: &str) -> Vec<(DebtId, Turn)> {
    let debts = store.owed(notifier, 1_000).await.unwrap();
    debts
        .into_iter()
        .map(|Debt { id, owed }| (id, owed.notice.turn))
        .collect()
}

pub(super) fn history(up: u32) -> FleetHistory {
    FleetHistory {
        samples: vec![Sample { up, came: 1, went: 2 }],
        replaced: vec!["sms@h9".into()],
        penalties: vec![PenaltyMemory {
            hostname: "sms@h1".into(),
            penalty: 2_800,
            flaps: true,
        }],
    }
}

pub(super) fn worker(hostname: &str) -> WorkerMemory {
    WorkerMemory {
        hostname: hostname.into(),
        pid: Some(42),
        state: WorkerState::Up,
        diagnosis: None,
        since: at(0),
        last_seen: Some(at(5)),
        interval_us: Some(2_000_000),
        pool: None,
        queues: vec!["sms".into()],
        work: WorkMemory {
            trouble: Some(Trouble::ConsumerGone),
            longest_run_s: 90,
        },
        answers: true,
        shows_presence: false,
        tells_tasks_only: false,
        address: "redis://h".into(),
    }
}
