//! The aggregator: written down before it is told, one broker's outage is one incident, and nothing is lost.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use actix::{Addr, Recipient};
use headcount_core::alert::{IncidentId, Kind};
use headcount_core::celery::{TaskEvent, TaskKind};
use headcount_core::detect::roster::Roster;
use headcount_core::detect::table::WorkerTable;
use headcount_core::detect::{BrokerState, FleetState, WorkerState};
use headcount_core::stats::series::RETIRED_AFTER;
use headcount_core::stats::tally::Tally;
use headcount_core::status::Status;
use tokio::sync::watch;

use super::support::house::Watch;
use super::support::recorder::{Recorder, Tape};
use super::support::store::{FakeStore, Fate};
use super::support::{World, age, live, ms, pass, reports, secs, until};
use crate::clock::Clock;
use crate::health_aggregator::{Aggregating, HealthAggregator};
use crate::messages::IncidentChanged;
use crate::meters::SharedSeries;
use crate::ports::StatusView;
use crate::ports::traces::NoTracer;

struct Scene {
    store: Arc<FakeStore>,
    aggregator: Addr<HealthAggregator>,
    watch: Watch,
    view: StatusView,
    series: SharedSeries,
}

impl Scene {
    fn new(debouncer: Recipient<IncidentChanged>) -> Self {
        Self::with(FakeStore::new(&Arc::new(World::default())), debouncer)
    }

    fn with(store: Arc<FakeStore>, debouncer: Recipient<IncidentChanged>) -> Self {
        let watch = Watch::new();
        let (status, view) = watch::channel(Arc::new(Status::default()));
        let series = SharedSeries::default();
        let aggregating = Aggregating {
            store: store.clone(),
            debouncer,
            view: Arc::new(status),
            brokers: vec!["main".into()],
            tracer: Arc::new(NoTracer),
            series: series.clone(),
        };
        let aggregator = watch.start("HealthAggregator", move || HealthAggregator::new(aggregating));
        Self {
            store,
            aggregator,
            watch,
            view,
            series,
        }
    }

    async fn fleet(&self, name: &str, missing: u32) {
        self.aggregator
            .send(reports::fleet(name, "main", missing))
            .await
            .unwrap();
    }

    async fn broker(&self, state: BrokerState, down: bool) {
        self.aggregator
            .send(reports::broker("main", state, down))
            .await
            .unwrap();
    }
}

fn ids(tape: &Tape<IncidentChanged>) -> Vec<(IncidentId, bool)> {
    let changes = tape.take();
    changes
        .into_iter()
        .map(|c| (c.incident.id.clone(), c.incident.is_open()))
        .collect()
}

/// The one incident that was heard of, and is open.
fn the_opened(tape: &Tape<IncidentChanged>) -> IncidentId {
    let heard = ids(tape);
    let [(id, true)] = heard.as_slice() else {
        panic!("{heard:?}");
    };
    id.clone()
}

#[test]
fn an_incident_is_in_the_store_before_the_debouncer_hears_of_it() {
    live(async {
        let store = FakeStore::new(&Arc::new(World::default()));
        let kept = store.clone();
        let looked = Rc::new(Cell::new(0));
        let looks = looked.clone();
        let inspect = move |change: &IncidentChanged| {
            let found = kept.all_incidents();
            let known = found.iter().find(|incident| incident.id == change.incident.id);
            assert_eq!(known, Some(&change.incident));
            looks.set(looks.get() + 1);
        };
        let (debouncer, _) = Recorder::inspecting(inspect);
        let scene = Scene::with(store, debouncer.recipient());
        scene.broker(BrokerState::Heard, false).await;
        for missing in [1, 2, 3, 0] {
            scene.fleet("sms", missing).await;
            pass(secs(1)).await;
        }
        assert_eq!(looked.get(), 4);
    });
}

#[test]
fn a_store_that_fails_delays_and_loses_nothing() {
    live(async {
        let (debouncer, tape) = Recorder::start();
        let scene = Scene::new(debouncer.recipient());
        scene.broker(BrokerState::Heard, false).await;
        pass(secs(1)).await;
        let end = age() + secs(300);
        scene
            .store
            .fare(move |_, _| if age() < end { Fate::Fails } else { Fate::Works });
        // One flaps all the time, one is over, one stays.
        for n in 0..100 {
            scene.fleet("flaps", 1 + n % 2).await;
            scene.fleet("over", u32::from(n < 50)).await;
            scene.fleet("stays", 3).await;
            pass(secs(2)).await;
        }
        assert!(tape.take().is_empty(), "nobody hears of what is not written down");
        let shown = scene.view.borrow().incidents.len();
        assert_eq!(shown, 2, "the status shows it all the same");
        pass(secs(120)).await;
        let mut heard: Vec<_> = tape
            .take()
            .into_iter()
            .map(|change| (change.incident.subject.to_string(), change.incident.is_open()))
            .collect();
        heard.sort();
        let expected = [("flaps", true), ("over", false), ("stays", true)];
        assert_eq!(
            heard,
            expected.map(|(name, open)| (name.to_owned(), open)),
            "each once, as it is now"
        );
        assert_eq!(scene.store.all_incidents().len(), 3);
    });
}

#[test]
fn what_the_debouncer_does_not_take_is_offered_again_as_it_is_then() {
    live(async {
        let (debouncer, tape) = Recorder::held_up(1);
        let scene = Scene::new(debouncer.recipient());
        scene.broker(BrokerState::Heard, false).await;
        // Each begins on its own: what begins together is one incident.
        for name in ["a", "b", "c", "d", "e"] {
            scene.fleet(name, 1).await;
            pass(ms(300)).await;
        }
        for n in 0..20 {
            for name in ["a", "b", "c", "d", "e"] {
                scene.fleet(name, 1 + n % 3).await;
            }
            pass(ms(300)).await;
        }
        tape.open();
        pass(secs(2)).await;
        let last = tape.take();
        for name in ["a", "b", "c", "d", "e"] {
            let newest = last.iter().rfind(|change| change.incident.subject == name).unwrap();
            assert_eq!(newest.incident.scene.missing_count(), 1 + 19 % 3, "{name}");
        }
        assert!(last.len() <= 5 + 3, "not one message for each change: {}", last.len());
    });
}

#[test]
fn what_several_fleets_lose_at_once_is_one_incident() {
    live(async {
        let (debouncer, tape) = Recorder::start();
        let scene = Scene::new(debouncer.recipient());
        scene.broker(BrokerState::Heard, false).await;
        // They are suspected before they fall, and their reports do not come in one moment.
        for (missing, suspect) in [(0, 1), (1, 0), (0, 0)] {
            for name in ["a", "b", "c"] {
                let mut reported = reports::fleet(name, "main", missing);
                reported.report.verdict.may_follow = suspect > 0;
                scene.aggregator.send(reported).await.unwrap();
                pass(ms(200)).await;
            }
            pass(secs(1)).await;
        }
        let changes = tape.take();
        let of_all = |change: &IncidentChanged| {
            (change.incident.kind, change.incident.subject.as_str()) == (Kind::Fleets, "main")
        };
        assert!(changes.iter().all(of_all), "{changes:?}");
        assert!(changes.first().unwrap().incident.is_open() && !changes.last().unwrap().incident.is_open());
        let covers = &changes[0].incident.scene.covers;
        assert_eq!(covers.iter().map(|cover| cover.lost).collect::<Vec<_>>(), [1, 1, 1]);
        assert_eq!(scene.store.all_incidents().len(), 1);
    });
}

#[test]
fn a_restart_goes_on_with_the_same_incident() {
    live(async {
        let (debouncer, tape) = Recorder::start();
        let scene = Scene::new(debouncer.recipient());
        scene.broker(BrokerState::Heard, false).await;
        scene.fleet("sms", 1).await;
        until("the incident", || scene.store.all_incidents().len() == 1).await;
        pass(secs(1)).await;
        let id = the_opened(&tape);
        // It panics while it writes the next change down.
        let mut first = true;
        scene.store.fare(move |_, call| match call {
            "save_incidents" if std::mem::take(&mut first) => Fate::PanicsAfterwards,
            _ => Fate::Works,
        });
        scene.fleet("sms", 2).await;
        until("the restart", || scene.watch.restarts("HealthAggregator") == 1).await;
        pass(secs(1)).await;
        let heard = tape.take();
        let newest = heard.last().expect("what was written down is passed on after all");
        assert_eq!((&newest.incident.id, newest.incident.scene.missing_count()), (&id, 2));
        assert_eq!(
            scene.view.borrow().fleets.len(),
            1,
            "the last whole status stays to be seen meanwhile"
        );
        scene.broker(BrokerState::Heard, false).await;
        scene.fleet("sms", 0).await;
        pass(secs(1)).await;
        assert_eq!(ids(&tape), [(id, false)]);
        assert_eq!(scene.store.all_incidents().len(), 1);
    });
}

#[test]
fn a_brokers_outage_is_one_incident_that_names_its_fleets() {
    live(async {
        let (debouncer, tape) = Recorder::start();
        let scene = Scene::new(debouncer.recipient());
        scene.broker(BrokerState::Heard, false).await;
        scene.fleet("sms", 0).await;
        scene.fleet("billing", 0).await;
        scene
            .aggregator
            .send(reports::fleet("elsewhere", "other", 0))
            .await
            .unwrap();
        pass(secs(1)).await;
        scene.broker(BrokerState::Lost, false).await;
        // What the probers still concluded before they knew.
        scene.fleet("sms", 2).await;
        scene.fleet("billing", 3).await;
        pass(secs(1)).await;
        assert_eq!(
            tape.take().len(),
            0,
            "lost for a moment is no incident, and its fleets are none either"
        );
        scene.broker(BrokerState::Lost, true).await;
        pass(secs(5)).await;
        let heard = tape.take();
        let [only] = heard.as_slice() else {
            panic!("{heard:?}");
        };
        assert_eq!((only.incident.kind, &*only.incident.subject), (Kind::Broker, "main"));
        assert_eq!(only.incident.scene.fleets, ["billing", "sms"]);
        for name in ["sms", "billing"] {
            let unknown = reports::fleet_in(name, "main", FleetState::Unknown, 2);
            scene.aggregator.send(unknown).await.unwrap();
        }
        scene.broker(BrokerState::Heard, false).await;
        pass(secs(1)).await;
        scene.fleet("sms", 0).await;
        scene.fleet("billing", 0).await;
        pass(secs(1)).await;
        assert_eq!(ids(&tape), [(only.incident.id.clone(), false)]);
    });
}

/// An incident of a fleet that was open before the outage stands until the fleet can be seen again.
#[test]
fn an_outage_neither_ends_nor_changes_an_incident_of_a_fleet() {
    live(async {
        let (debouncer, tape) = Recorder::start();
        let scene = Scene::new(debouncer.recipient());
        scene.broker(BrokerState::Heard, false).await;
        scene.fleet("sms", 1).await;
        pass(secs(1)).await;
        let id = the_opened(&tape);
        scene.broker(BrokerState::Lost, false).await;
        scene.fleet("sms", 3).await;
        scene.fleet("sms", 0).await;
        pass(secs(1)).await;
        assert_eq!(ids(&tape), []);
        scene.broker(BrokerState::Heard, false).await;
        pass(secs(1)).await;
        assert_eq!(ids(&tape), [(id, false)]);
    });
}

/// A lane's count of one task at each of these workers.
fn received(series: &SharedSeries, hostnames: &[&str]) {
    let (mut table, mut tally) = (WorkerTable::new(Roster::discovering()), Tally::default());
    let now = Clock.now();
    for hostname in hostnames {
        let event = TaskEvent {
            kind: TaskKind::Received,
            hostname,
            uuid: hostname,
            name: Some("sms.send"),
            timestamp: Some(1.0),
            queue: None,
            runtime: None,
            exception: None,
            has_eta: false,
            retries: 0,
            eta: None,
        };
        tally.count(now.wall, table.task(now.mono, &event), &event);
    }
    let mut book = series.if_free().unwrap();
    tally.hand_over(now.mono, "main", &mut book);
}

#[test]
fn series_end_with_their_worker_though_nobody_scrapes() {
    live(async {
        let (debouncer, _) = Recorder::start();
        let scene = Scene::new(debouncer.recipient());
        let report = async |workers: &[(&str, WorkerState)]| {
            let mut report = reports::fleet("sms", "main", 0);
            report.report.workers = workers
                .iter()
                .map(|(hostname, state)| reports::worker(hostname, "sms", *state))
                .collect();
            scene.aggregator.send(report).await.unwrap();
        };
        scene.broker(BrokerState::Heard, false).await;
        report(&[("sms@h1", WorkerState::Down), ("sms@h2", WorkerState::Up)]).await;
        received(&scene.series, &["sms@h1", "sms@h2"]);
        let names = || -> Vec<String> {
            let book = scene.series.if_free().unwrap();
            book.sources().map(|(name, _)| name.to_owned()).collect()
        };
        pass(RETIRED_AFTER * 2).await;
        assert_eq!(names(), ["sms@h1", "sms@h2"]);
        report(&[("sms@h1", WorkerState::Down)]).await;
        pass(RETIRED_AFTER / 2).await;
        assert_eq!(names(), ["sms@h1", "sms@h2"], "it may come back");
        pass(RETIRED_AFTER).await;
        assert_eq!(names(), ["sms@h1"], "who is down stays");
    });
}
