//! The pages against a fabricated status and a fake store.

use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use actix_web::body;
use actix_web::dev::{Payload, Service, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::{App, test, web};
use async_trait::async_trait;
use compact_str::CompactString;
use headcount_actors::meters::{BrokerLabel, FleetLabel, Meters};
use headcount_actors::ports::{
    Debt, DebtId, IncidentQuery, Kept, Owed, Receipt, Remembered, RollupQuery, SharedStore, StatusView, Store,
    StoreError, StoreTrouble,
};
use headcount_actors::vitals::{Vital, Vitals};
use headcount_core::alert::{Evidence, Incident, IncidentId, Kind, Notification, Scene, Severity, Told};
use headcount_core::celery::{TaskEvent, TaskKind};
use headcount_core::detect::roster::Roster;
use headcount_core::detect::table::WorkerTable;
use headcount_core::detect::{BrokerState, Diagnosis, FleetHistory, FleetState, Signal, WorkerMemory, WorkerState};
use headcount_core::stats::tally::Tally;
use headcount_core::stats::task::TaskRollup;
use headcount_core::status::{BrokerStatus, FleetStatus, QueueStatus, SignalStatus, Signals, Status, WorkerStatus};
use headcount_core::time::{Mono, Wall};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{About, Http, LogLevel, LogLevels, Shared, headers, problem, routes};

/// 2026-01-31T12:00:00Z.
const NOON: Wall = Wall::from_micros(1_769_860_800_000_000);

fn secs(n: u64) -> std::time::Duration {
    std::time::Duration::from_secs(n)
}

fn incident(id: &str, kind: Kind, open: bool) -> Incident {
    Incident {
        id: IncidentId(id.into()),
        kind,
        subject: "sms".into(),
        broker: "main".into(),
        severity: Severity::Degraded,
        diagnosis: Some(Diagnosis::Crashed),
        opened_at: NOON,
        changed_at: NOON,
        resolved_at: (!open).then_some(NOON + secs(72)),
        unwatched: false,
        began: None,
        scene: Scene::default(),
        evidence: vec![Evidence {
            at: NOON,
            subject: "sms@host2".into(),
            signal: Some(Signal::Presence),
            says: "its connection is gone".into(),
        }],
        told: None,
    }
}

fn message() -> Notification {
    Notification {
        notifier: "slack".into(),
        text: "DEGRADED sms: 2 of 3 workers up".into(),
        queued_at: NOON,
        delivered_at: Some(NOON + secs(1)),
        error: None,
    }
}

fn worker(hostname: &str, fleet: &str, state: WorkerState) -> WorkerStatus {
    let beat = SignalStatus {
        ok: Some(true),
        last: Some(NOON),
        detail: "each 2.0 s".into(),
    };
    WorkerStatus {
        hostname: hostname.into(),
        fleet: fleet.into(),
        state,
        diagnosis: (state == WorkerState::Down).then_some(Diagnosis::Crashed),
        since: NOON,
        signals: Signals {
            heartbeat: beat,
            ..Signals::default()
        },
        active: Some(2),
        processed: Some(40),
        software: Some("py-celery 5.7.0 (Linux)".into()),
        queues: vec!["sms".into()],
        slots: Some(4),
    }
}

fn fleet(name: &str, broker: &str) -> FleetStatus {
    FleetStatus {
        name: name.into(),
        broker: broker.into(),
        state: FleetState::Degraded,
        seen: true,
        expected: 3,
        minimum: 1,
        up: 2,
        suspect: 0,
        down: 1,
        stalled: 0,
        since: NOON,
        queues: vec![QueueStatus {
            name: "sms".into(),
            length: 7,
            consumers: Some(4),
        }],
    }
}

fn status() -> Status {
    let broker = |name: &str, state, error: Option<&str>| BrokerStatus {
        name: name.into(),
        address: "127.0.0.1:5672".into(),
        state,
        blocked: false,
        refused: false,
        since: NOON,
        error: error.map(str::to_owned),
        retry_at: error.map(|_| NOON + secs(4)),
        unmatched: if error.is_some() { 2 } else { 0 },
    };
    Status {
        at: NOON,
        brokers: vec![
            broker("main", BrokerState::Heard, None),
            broker("other", BrokerState::Lost, Some("refused: wrong password")),
        ],
        fleets: vec![
            fleet("sms", "main"),
            fleet("sms-night", "main"),
            fleet("sms-eu", "other"),
        ],
        workers: vec![
            worker("sms@host1", "sms", WorkerState::Up),
            worker("sms@host2", "sms", WorkerState::Down),
            worker("sms@host1", "sms-eu", WorkerState::Up),
            worker("odd\"name\n\\@h", "sms", WorkerState::Suspect),
        ],
        incidents: vec![incident("open1", Kind::Fleet, true)],
    }
}

/// Knows one open and one resolved incident, and remembers what it was asked.
#[derive(Default)]
struct FakeStore {
    broken: bool,
    asked: Mutex<Vec<IncidentQuery>>,
}

#[async_trait]
impl Store for FakeStore {
    async fn incidents(&self, query: IncidentQuery) -> Result<Vec<(Incident, Vec<Notification>)>, StoreError> {
        if self.broken {
            return Err(StoreError::Failed("disk full".into()));
        }
        let known = [
            incident("open1", Kind::Fleet, true),
            incident("old1", Kind::Broker, false),
        ];
        let found = known
            .into_iter()
            .filter(|i| query.open.is_none_or(|open| open == i.is_open()));
        self.asked.lock().unwrap().push(query.clone());
        Ok(found.map(|i| (i, vec![message()])).take(query.limit).collect())
    }

    async fn incident(&self, id: &IncidentId) -> Result<Option<(Incident, Vec<Notification>)>, StoreError> {
        Ok((id.0 == "old1").then(|| (incident("old1", Kind::Broker, false), vec![message()])))
    }

    async fn load(&self) -> Result<Remembered, StoreError> {
        unreachable!("HTTP only reads incidents")
    }
    async fn save_history(&self, _: &str, _: FleetHistory) -> Result<(), StoreError> {
        unreachable!()
    }
    async fn save_workers(&self, _: &str, _: Vec<WorkerMemory>) -> Result<(), StoreError> {
        unreachable!("HTTP only reads incidents")
    }
    async fn save_incidents(&self, _: Vec<Incident>) -> Result<(), StoreError> {
        unreachable!("HTTP only reads incidents")
    }
    async fn tell(&self, _: IncidentId, _: Told, _: Vec<Owed>) -> Result<(), StoreError> {
        unreachable!("HTTP only reads incidents")
    }
    async fn owed(&self, _: &str, _: usize) -> Result<Vec<Debt>, StoreError> {
        unreachable!("HTTP only reads incidents")
    }
    async fn paid(&self, _: DebtId, _: Wall, _: Option<Receipt>) -> Result<(), StoreError> {
        unreachable!("HTTP only reads incidents")
    }
    async fn unpaid(&self, _: DebtId, _: String) -> Result<(), StoreError> {
        unreachable!("HTTP only reads incidents")
    }
    async fn merge(&self, _: Vec<DebtId>, _: Owed) -> Result<(), StoreError> {
        unreachable!("HTTP only reads incidents")
    }
    async fn waive(&self, _: Vec<DebtId>) -> Result<(), StoreError> {
        unreachable!("HTTP only reads incidents")
    }
    async fn disown(&self, _: Vec<CompactString>) -> Result<u64, StoreError> {
        unreachable!("HTTP only reads incidents")
    }
    async fn receipt(&self, _: &IncidentId, _: &str) -> Result<Option<Receipt>, StoreError> {
        unreachable!("HTTP only reads incidents")
    }
    async fn add_task_rollups(&self, _: Vec<TaskRollup>) -> Result<(), StoreError> {
        unreachable!("HTTP only reads")
    }
    async fn task_rollups(&self, _: RollupQuery) -> Result<Vec<TaskRollup>, StoreError> {
        unreachable!("stats/tests.rs has a real store")
    }
    async fn thin_task_rollups(&self, _: Kept) -> Result<bool, StoreError> {
        unreachable!("HTTP only reads")
    }
    async fn forget_before(&self, _: Wall) -> Result<(), StoreError> {
        unreachable!("HTTP only reads incidents")
    }
}

/// A log that takes every filter but one.
#[derive(Default)]
struct FakeLog(Mutex<Vec<(String, Option<std::time::Duration>)>>);

impl LogLevels for FakeLog {
    fn show(&self) -> LogLevel {
        let set = self.0.lock().unwrap();
        let (filter, lasts) = set.last().cloned().unwrap_or_else(|| ("info".to_owned(), None));
        LogLevel {
            filter,
            until: lasts.map(|lasts| NOON + lasts),
            then: lasts.map(|_| "info".to_owned()),
            at_start: "info".to_owned(),
            from_environment: false,
            never_finer: "lapin=debug".to_owned(),
        }
    }

    fn set(&self, filter: &str, lasts: Option<std::time::Duration>) -> Result<LogLevel, String> {
        if filter == "loud" {
            return Err("the directive `loud` is wrong".to_owned());
        }
        self.0.lock().unwrap().push((filter.to_owned(), lasts));
        Ok(self.show())
    }

    fn reset(&self) -> LogLevel {
        self.0.lock().unwrap().clear();
        self.show()
    }
}

pub(super) fn http(status: Status, store: SharedStore) -> Http {
    let (_, view): (_, StatusView) = tokio::sync::watch::channel(Arc::new(status));
    let vitals = Vitals::default();
    vitals.note("FleetProber(sms)", Vital::Running, false);
    Http {
        view,
        vitals,
        store,
        store_view: tokio::sync::watch::channel(None).1,
        jobs: super::jobs::tests::no_jobs(),
        meters: Meters::default(),
        log: Arc::new(FakeLog::default()),
        labels: Vec::new(),
        token: None,
        about: About {
            version: "1.2.3",
            started: UNIX_EPOCH + Duration::from_millis(1_769_860_000_500),
        },
        #[cfg(feature = "fault-points")]
        provoke: Arc::new(|_| false),
    }
}

fn usual() -> Http {
    http(status(), Arc::new(FakeStore::default()))
}

/// Reads one header of an answer.
type ReadHeader = Box<dyn Fn(&str) -> Option<String>>;

pub(super) struct Answer {
    pub(super) status: StatusCode,
    content_type: String,
    header: ReadHeader,
    body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

async fn ask(http: Http, request: test::TestRequest) -> Answer {
    ask_with(http, request, false).await
}

/// The same, where the body may never come to its end.
async fn ask_with(http: Http, request: test::TestRequest, unfinished: bool) -> Answer {
    let shared = web::Data::from(Arc::new(Shared::from(http)));
    let app = App::new().wrap(headers()).app_data(shared).configure(routes);
    let app = test::init_service(app.default_service(web::to(problem::no_page))).await;
    let mut request = request.to_request();
    if unfinished {
        let payload: std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<web::Bytes, PayloadError>>>> =
            Box::pin(futures_util::stream::pending());
        request = request.replace_payload(Payload::Stream { payload }).0;
    }
    let response: ServiceResponse<_> = match app.call(request).await {
        Ok(response) => response.map_into_boxed_body(),
        Err(error) => {
            let response = error.error_response();
            ServiceResponse::new(test::TestRequest::default().to_http_request(), response)
        }
    };
    let headers = response.headers().clone();
    let header = move |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    Answer {
        status: response.status(),
        content_type: header("content-type").unwrap_or_default(),
        header: Box::new(header),
        body: String::from_utf8(body::to_bytes(response.into_body()).await.unwrap().to_vec()).unwrap(),
    }
}

pub(super) async fn get(http: Http, uri: &str) -> Answer {
    ask(http, test::TestRequest::get().uri(uri)).await
}

#[actix_web::test]
async fn health_names_the_actor_that_does_not_live() {
    let healthy = get(usual(), "/healthz").await;
    assert_eq!(healthy.status, StatusCode::OK);
    assert_eq!(
        healthy.json(),
        json!({"status": "ok",
            "store": {"state": "ok", "since": null, "error": null, "meanwhile": [], "alerts_wait": false},
            "actors": [{"actor": "FleetProber(sms)", "state": "running", "restarts": 0}]})
    );

    let http = usual();
    http.vitals.note("Debouncer", Vital::Restarting, true);
    let failing = get(http, "/healthz").await;
    assert_eq!(failing.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        failing.json()["actors"][0],
        json!({"actor": "Debouncer", "state": "restarting", "restarts": 1})
    );

    let nobody_yet = get(
        Http {
            vitals: Vitals::default(),
            ..usual()
        },
        "/healthz",
    )
    .await;
    assert_eq!(nobody_yet.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[actix_web::test]
async fn health_says_that_the_store_fails_and_is_no_reason_to_restart() {
    let trouble = StoreTrouble {
        since: NOON,
        error: "disk full".to_owned(),
        meanwhile: vec!["nothing new is told"],
        alerts_wait: true,
    };
    let http = Http {
        store_view: tokio::sync::watch::channel(Some(trouble)).1,
        ..usual()
    };
    let health = get(http, "/healthz").await;
    assert_eq!(
        (health.status, &health.json()["status"]),
        (StatusCode::OK, &json!("ok"))
    );
    assert_eq!(
        health.json()["store"],
        json!({"state": "failing", "since": "2026-01-31T12:00:00.000Z", "error": "disk full",
            "meanwhile": ["nothing new is told"], "alerts_wait": true})
    );
}

#[actix_web::test]
async fn readiness_says_which_broker_is_not_heard_and_why() {
    let one_lost = get(usual(), "/readyz").await;
    assert_eq!(one_lost.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        one_lost.json()["brokers"][1],
        json!({"name": "other", "address": "127.0.0.1:5672", "state": "lost", "since": "2026-01-31T12:00:00.000Z",
               "error": "refused: wrong password", "retry_at": "2026-01-31T12:00:04.000Z", "unmatched": 2})
    );

    let mut all_heard = status();
    all_heard.brokers.pop();
    let ready = get(http(all_heard, Arc::new(FakeStore::default())), "/readyz").await;
    assert_eq!(
        (ready.status, &ready.json()["status"]),
        (StatusCode::OK, &json!("ready"))
    );

    let nothing_yet = get(http(Status::default(), Arc::new(FakeStore::default())), "/readyz").await;
    assert_eq!(nothing_yet.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[actix_web::test]
async fn fleets_and_workers_have_the_shapes_of_the_contract() {
    let fleets = get(usual(), "/api/v1/fleets").await;
    assert_eq!(fleets.content_type, "application/json");
    assert_eq!(fleets.json().as_array().unwrap().len(), 3);
    let sms = json!({"name": "sms", "broker": "main", "state": "degraded", "seen": true, "expected": 3, "minimum": 1,
        "up": 2, "suspect": 0, "down": 1, "stalled": 0, "since": "2026-01-31T12:00:00.000Z",
        "queues": [{"name": "sms", "length": 7, "consumers": 4}]});
    assert_eq!(fleets.json()[0], sms);
    assert_eq!(get(usual(), "/api/v1/fleets/sms").await.json(), sms);

    assert_eq!(
        get(usual(), "/api/v1/workers").await.json().as_array().unwrap().len(),
        4
    );
    let down = get(usual(), "/api/v1/workers/sms@host2").await.json();
    let silent = json!({"ok": null, "last": null, "detail": ""});
    assert_eq!(
        down,
        json!({"hostname": "sms@host2", "fleet": "sms", "state": "down", "diagnosis": "crashed",
            "since": "2026-01-31T12:00:00.000Z", "signals": {"presence": silent,
            "heartbeat": {"ok": true, "last": "2026-01-31T12:00:00.000Z", "detail": "each 2.0 s"},
            "answer": silent, "work": silent}, "active": 2, "processed": 40, "software": "py-celery 5.7.0 (Linux)"})
    );
    let elsewhere = get(usual(), "/api/v1/workers/sms@host1?fleet=sms-eu").await.json();
    assert_eq!(elsewhere["fleet"], "sms-eu");
    assert_eq!(
        get(usual(), "/api/v1/workers/odd%22name%0A%5C@h").await.status,
        StatusCode::OK
    );
}

#[actix_web::test]
async fn incidents_come_from_the_store_with_their_messages() {
    let store = Arc::new(FakeStore::default());
    let open = get(
        http(status(), store.clone()),
        "/api/v1/incidents?state=open&fleet=sms&since=2026-01-31T13:00:00+01:00",
    )
    .await;
    assert_eq!(
        open.json(),
        json!([{"id": "open1", "kind": "fleet", "subject": "sms", "state": "open", "diagnosis": "crashed",
            "opened_at": "2026-01-31T12:00:00.000Z", "resolved_at": null,
            "evidence": [{"at": "2026-01-31T12:00:00.000Z", "subject": "sms@host2", "signal": "presence",
                "says": "its connection is gone"}],
            "notifications": [{"notifier": "slack", "text": "DEGRADED sms: 2 of 3 workers up",
                "queued_at": "2026-01-31T12:00:00.000Z", "delivered_at": "2026-01-31T12:00:01.000Z",
                "error": null}]}])
    );
    let asked = store.asked.lock().unwrap().pop().unwrap();
    assert_eq!(
        (asked.open, asked.subject.as_deref(), asked.since, asked.limit),
        (Some(true), Some("sms"), Some(NOON), 100)
    );

    let one = get(http(status(), store.clone()), "/api/v1/incidents/old1")
        .await
        .json();
    assert_eq!(
        (&one["state"], &one["resolved_at"]),
        (&json!("resolved"), &json!("2026-01-31T12:01:12.000Z"))
    );
    assert_eq!(
        get(http(status(), store.clone()), "/api/v1/incidents?limit=1")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        get(http(status(), store), "/api/v1/incidents?since=2h").await.status,
        StatusCode::OK
    );
}

#[actix_web::test]
async fn every_error_is_a_problem_document() {
    let broken = || {
        http(
            status(),
            Arc::new(FakeStore {
                broken: true,
                ..FakeStore::default()
            }),
        )
    };
    for (http, request, expected, says) in [
        (usual(), test::TestRequest::get().uri("/nowhere"), 404, "/nowhere"),
        (
            usual(),
            test::TestRequest::get().uri("/api/v1/fleets/none"),
            404,
            "none",
        ),
        (
            usual(),
            test::TestRequest::get().uri("/api/v1/workers/none@h"),
            404,
            "none@h",
        ),
        (
            usual(),
            test::TestRequest::get().uri("/api/v1/incidents/none"),
            404,
            "none",
        ),
        (usual(), test::TestRequest::post().uri("/api/v1/fleets"), 405, "POST"),
        (usual(), test::TestRequest::delete().uri("/healthz"), 405, "DELETE"),
        (
            usual(),
            test::TestRequest::get().uri("/api/v1/incidents?state=closed"),
            400,
            "the query of the address cannot be read: unknown variant `closed`",
        ),
        (
            usual(),
            test::TestRequest::get().uri("/api/v1/incidents?limit=0"),
            400,
            "limit",
        ),
        (
            usual(),
            test::TestRequest::get().uri("/api/v1/incidents?limit=1001"),
            400,
            "1000",
        ),
        (
            usual(),
            test::TestRequest::get().uri("/api/v1/incidents?limit=many"),
            400,
            "",
        ),
        (
            usual(),
            test::TestRequest::get().uri("/api/v1/incidents?since=yesterday"),
            400,
            "yesterday",
        ),
        (
            usual(),
            test::TestRequest::get().uri("/api/v1/incidents?fleets=sms"),
            400,
            "fleets",
        ),
        (
            usual(),
            test::TestRequest::get().uri("/api/v1/workers?flet=sms"),
            400,
            "flet",
        ),
        (
            broken(),
            test::TestRequest::get().uri("/api/v1/incidents"),
            503,
            "disk full",
        ),
    ] {
        let answer = ask(http, request).await;
        assert_eq!(answer.status.as_u16(), expected, "{}", answer.body);
        assert_eq!(answer.content_type, "application/problem+json", "{}", answer.body);
        let body = answer.json();
        assert_eq!(body["status"], expected);
        assert!(body["title"].as_str().is_some_and(|title| !title.is_empty()));
        assert!(body["detail"].as_str().unwrap().contains(says), "{body}");
        assert_eq!((answer.header)("allow").is_some(), expected == 405);
    }
    let head = ask(
        usual(),
        test::TestRequest::default()
            .method(actix_web::http::Method::HEAD)
            .uri("/healthz"),
    )
    .await;
    assert_eq!(head.status, StatusCode::OK);
}

#[actix_web::test]
async fn a_token_guards_all_but_the_health_pages() {
    let guarded = || Http {
        token: Some(SecretString::from("s3cret")),
        ..usual()
    };
    for page in ["/", "/metrics", "/api/v1/fleets", "/api/v1/incidents/old1", "/nowhere"] {
        let refused = get(guarded(), page).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{page}");
        assert_eq!(refused.content_type, "application/problem+json");
        assert_eq!(
            (refused.header)("www-authenticate").as_deref(),
            Some("Bearer realm=\"headcount\"")
        );
        assert!(!refused.body.contains("s3cret"));
        for wrong in [
            "Bearer s3cre",
            "Bearer s3cretx",
            "Bearer ",
            "Basic s3cret",
            "s3cret",
            "Bearer",
        ] {
            let request = test::TestRequest::get()
                .uri(page)
                .insert_header(("Authorization", wrong));
            assert_eq!(
                ask(guarded(), request).await.status,
                StatusCode::UNAUTHORIZED,
                "{wrong}"
            );
        }
    }
    for right in ["Bearer s3cret", "bearer s3cret", "Bearer  s3cret"] {
        let request = test::TestRequest::get()
            .uri("/api/v1/fleets")
            .insert_header(("Authorization", right));
        assert_eq!(ask(guarded(), request).await.status, StatusCode::OK, "{right}");
    }
    assert_eq!(get(guarded(), "/healthz").await.status, StatusCode::OK);
    assert_eq!(get(guarded(), "/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[actix_web::test]
async fn the_first_page_lists_the_others() {
    let index = get(usual(), "/").await;
    for page in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/fleets",
        "/api/v1/workers",
        "/api/v1/incidents",
    ] {
        assert!(index.body.contains(page), "{page}");
    }
    assert_eq!((index.header)("cache-control").as_deref(), Some("no-store"));
}

#[actix_web::test]
async fn metrics_show_the_status_and_the_counters() {
    let http = usual();
    http.meters
        .events_received
        .get_or_create(&BrokerLabel { broker: "main".into() })
        .inc_by(7);
    http.meters
        .probe_seconds
        .get_or_create(&FleetLabel { fleet: "sms".into() })
        .observe(0.002);
    http.meters
        .probe_failures
        .get_or_create(&FleetLabel { fleet: "sms".into() })
        .inc();
    http.meters.store.failures.inc_by(2);
    let answer = get(http, "/metrics").await;
    assert_eq!(answer.content_type, "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "# TYPE headcount_events_received_total counter",
        "headcount_events_received_total{broker=\"main\"} 7",
        "# TYPE headcount_probe_seconds histogram",
        "headcount_probe_seconds_bucket{le=\"+Inf\",fleet=\"sms\"} 1",
        "headcount_probe_failures_total{fleet=\"sms\"} 1",
        "headcount_task_counts_lost_total 0",
        "process_start_time_seconds 1769860000.5",
        "headcount_incidents_open{kind=\"fleet\"} 1",
        "headcount_incidents_open{kind=\"worker\"} 0",
        "headcount_incidents_open{kind=\"broker\"} 0",
        "headcount_fleet_workers{fleet=\"sms\",state=\"up\"} 1",
        "headcount_fleet_workers{fleet=\"sms\",state=\"stalled\"} 0",
        "headcount_fleet_workers{fleet=\"sms-night\",state=\"up\"} 0",
        "headcount_fleet_expected{fleet=\"sms\"} 3",
        "headcount_fleet_minimum{fleet=\"sms-eu\"} 1",
        "headcount_fleet_state{fleet=\"sms\",state=\"degraded\"} 1",
        "headcount_fleet_state{fleet=\"sms\",state=\"healthy\"} 0",
        "headcount_fleet_state{fleet=\"sms\",state=\"down\"} 0",
        "headcount_fleet_state{fleet=\"sms\",state=\"unknown\"} 0",
        "headcount_store_failing 0",
        "headcount_store_failures_total 2",
        "headcount_broker_up{broker=\"main\"} 1",
        "headcount_broker_up{broker=\"other\"} 0",
        "headcount_workers_unmatched{broker=\"main\"} 0",
        "headcount_workers_unmatched{broker=\"other\"} 2",
        "headcount_build_info{version=\"1.2.3\"} 1",
        "# TYPE celery_active_worker_count untyped",
        "celery_worker_up{hostname=\"sms@host1\"} 1",
        "celery_worker_up{hostname=\"sms@host2\"} 0",
        "celery_worker_up{hostname=\"odd\\\"name\\n\\\\@h\"} 1",
        "celery_worker_tasks_active{hostname=\"sms@host1\"} 4",
        "celery_queue_length{queue_name=\"sms\"} 14",
        "celery_active_consumer_count{queue_name=\"sms\"} 8",
    ] {
        assert!(
            answer.body.lines().any(|found| found == line),
            "{line} is not in\n{}",
            answer.body
        );
    }
    assert!(!answer.body.contains("# EOF"));
    let mut series: Vec<&str> = answer
        .body
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(s, _)| s)
        .collect();
    let all = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(
        series.len(),
        all,
        "a series is there twice, and Prometheus refuses the whole scrape"
    );
}

/// A lane's counts of one task at `sms@host1`, and of one that is sent by `web1`.
fn count_tasks(http: &Http) {
    let mut table = WorkerTable::new(Roster::discovering());
    let mut tally = Tally::default();
    let event = |kind, hostname, at| TaskEvent {
        kind,
        hostname,
        timestamp: Some(at),
        uuid: "u",
        name: Some("sms.send"),
        queue: Some("sms"),
        runtime: (kind == TaskKind::Succeeded).then_some(0.3),
        exception: (kind == TaskKind::Failed).then_some("ValueError"),
        has_eta: false,
        retries: 0,
        eta: None,
    };
    for (kind, hostname, at) in [
        (TaskKind::Sent, "gen7@web1", 1.0),
        (TaskKind::Received, "sms@host1", 2.0),
        (TaskKind::Started, "sms@host1", 3.5),
        (TaskKind::Succeeded, "sms@host1", 4.0),
        (TaskKind::Received, "sms@host1", 5.0),
        (TaskKind::Failed, "sms@host1", 6.0),
        (TaskKind::Received, "sms@host1", 7.0),
    ] {
        let event = event(kind, hostname, at);
        tally.count(NOON, table.task(Mono::default(), &event), &event);
    }
    let mut book = http.meters.series.read(&status()).unwrap();
    tally.hand_over(Mono::default(), "main", &mut book);
}

#[actix_web::test]
async fn metrics_show_tasks_as_other_exporters_do() {
    let http = Http {
        labels: vec![("env".into(), "test".into())],
        ..usual()
    };
    count_tasks(&http);
    let answer = get(http, "/metrics").await;
    let of_task = "name=\"sms.send\",hostname=\"sms@host1\",queue_name=\"sms\"";
    for line in [
        "celery_task_sent_total{env=\"test\",name=\"sms.send\",hostname=\"web1\",queue_name=\"sms\"} 1".to_owned(),
        format!("celery_task_received_total{{env=\"test\",{of_task}}} 3"),
        format!("celery_task_revoked_total{{env=\"test\",{of_task}}} 0"),
        format!("celery_task_failed_total{{env=\"test\",{of_task},exception=\"\"}} 0"),
        format!("celery_task_failed_total{{env=\"test\",{of_task},exception=\"ValueError\"}} 1"),
        format!("celery_task_runtime_bucket{{env=\"test\",le=\"0.25\",{of_task}}} 0"),
        format!("celery_task_runtime_bucket{{env=\"test\",le=\"0.5\",{of_task}}} 1"),
        format!("celery_task_runtime_bucket{{env=\"test\",le=\"+Inf\",{of_task}}} 1"),
        format!("celery_task_runtime_sum{{env=\"test\",{of_task}}} 0.3"),
        format!("celery_task_queue_wait_time_sum{{env=\"test\",{of_task}}} 2.5"),
        "flower_events_total{env=\"test\",worker=\"sms@host1\",type=\"task-received\",task=\"sms.send\"} 3".to_owned(),
        "flower_events_total{env=\"test\",worker=\"web1\",type=\"task-sent\",task=\"sms.send\"} 1".to_owned(),
        "flower_task_runtime_seconds_count{env=\"test\",worker=\"sms@host1\",task=\"sms.send\"} 1".to_owned(),
        "flower_worker_prefetched_tasks{env=\"test\",worker=\"sms@host1\",task=\"sms.send\"} 1".to_owned(),
        "flower_task_prefetch_time_seconds{env=\"test\",worker=\"sms@host1\",task=\"sms.send\"} 0.0".to_owned(),
        "flower_worker_online{env=\"test\",worker=\"sms@host2\"} 0".to_owned(),
        "flower_worker_number_of_currently_executing_tasks{env=\"test\",worker=\"sms@host2\"} 0".to_owned(),
        "headcount_metrics_series_folded_total{env=\"test\",label=\"hostname\"} 0".to_owned(),
    ] {
        assert!(
            answer.body.lines().any(|found| found == line),
            "{line} is not in\n{}",
            answer.body
        );
    }
    assert!(
        !answer
            .body
            .contains("celery_task_received_total{env=\"test\",name=\"sms.send\",hostname=\"web1\"")
    );
    // What a user may not name a label of all series is whatever is a label already.
    let labels = answer
        .body
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('{'));
    let names = labels.flat_map(|(_, rest)| rest.split("=\"").filter_map(|part| part.rsplit([',', '{', '"']).next()));
    for name in names.filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && *name != "env") {
        assert!(
            name.is_empty() || super::LABELS.contains(&name),
            "{name} is not in LABELS"
        );
    }
}

#[actix_web::test]
async fn a_scraper_that_reads_open_metrics_gets_it() {
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
    let http = usual();
    http.meters
        .events_received
        .get_or_create(&BrokerLabel { broker: "main".into() })
        .inc();
    let answer = ask(
        http,
        test::TestRequest::get()
            .uri("/metrics")
            .insert_header(("Accept", accept)),
    )
    .await;
    assert_eq!(
        answer.content_type,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(answer.body.contains("# TYPE headcount_events_received counter\n"));
    assert!(answer.body.ends_with("# EOF\n"));
}

#[actix_web::test]
async fn a_busy_port_is_a_clear_error() {
    let taken = super::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = taken.local_addr().unwrap();
    let error = super::bind(address).unwrap_err().to_string();
    assert!(
        error.contains(&address.to_string()) && error.contains("another program listens there"),
        "{error}"
    );
}

#[actix_web::test]
async fn a_real_server_answers_on_its_listener_and_stops() {
    let listener = super::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let server = super::serve(usual(), listener).unwrap();
    let handle = server.handle();
    let running = actix_web::rt::spawn(server);
    let asked = actix_web::rt::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    assert!(asked.await.unwrap().starts_with("HTTP/1.1 200 OK"));
    handle.stop(true).await;
    running.await.unwrap().unwrap();
    assert!(std::net::TcpStream::connect(address).is_err());
}

/// Metrics for which no socket's buffers have room.
fn huge() -> Http {
    let mut status = status();
    let worker = status.workers[0].clone();
    status.workers = (0..40_000)
        .map(|n| WorkerStatus {
            hostname: format!("{}{n}@host", "w".repeat(200)).into(),
            ..worker.clone()
        })
        .collect();
    Http {
        view: tokio::sync::watch::channel(Arc::new(status)).1,
        ..usual()
    }
}

#[actix_web::test]
async fn who_does_not_read_the_metrics_keeps_nobody_from_anything_for_long() {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpStream;

    let listener = super::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let server = super::serve(huge(), listener).unwrap();
    let handle = server.handle();
    let running = actix_web::rt::spawn(server);
    let asked = actix_web::rt::task::spawn_blocking(move || {
        let ask = |page: &str| {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "GET {page} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            BufReader::new(stream)
        };
        let first_line = |stream: &mut BufReader<TcpStream>| {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            line
        };
        let mut idle: Vec<_> = (0..super::metrics::MAX_PAGES).map(|_| ask("/metrics")).collect();
        for stream in &mut idle {
            assert_eq!(first_line(stream), "HTTP/1.1 200 OK\r\n");
        }
        assert_eq!(first_line(&mut ask("/healthz")), "HTTP/1.1 200 OK\r\n");
        let refused = first_line(&mut ask("/metrics"));
        assert_eq!(refused, "HTTP/1.1 503 Service Unavailable\r\n");
        // The system ends the connections of those who read nothing, and so their places come free.
        while first_line(&mut ask("/metrics")) == refused {}
        drop(idle);
    });
    asked.await.unwrap();
    handle.stop(true).await;
    running.await.unwrap().unwrap();
}

#[actix_web::test]
async fn jobs_show_their_next_and_last_runs() {
    use headcount_actors::ports::jobs::{Claim, JobStatus};
    use headcount_core::schedule::{News, Run, RunState, Slot, Word};

    let none = get(usual(), "/api/v1/jobs").await;
    assert_eq!((none.status, none.json()), (StatusCode::OK, json!([])));
    assert_eq!(get(usual(), "/api/v1/jobs/purge").await.status, StatusCode::NOT_FOUND);

    let at = |secs: i64| Wall::from_micros(1_767_225_600_000_000 + secs * 1_000_000);
    let jobs = super::jobs::tests::no_jobs();
    for slot in [0, 60] {
        let run = Run {
            job: "purge".into(),
            slot: at(slot),
            id: format!("id{slot}").into(),
            due: at(slot + 1),
            own: false,
            state: RunState::Claimed,
            claimed_at: at(slot + 1),
            sent_at: None,
            started_at: None,
            ended_at: None,
            heard_at: at(slot + 1),
            worker: None,
            runtime: None,
            why: None,
        };
        let (owner, until, limit) = ("one".to_owned(), at(99), None);
        jobs.store
            .claim(Claim {
                run,
                owner,
                until,
                limit,
            })
            .await
            .unwrap();
    }
    let news = News {
        worker: Some("sms@h1".into()),
        runtime: Some(0.5),
        ..News::new("id0".into(), Word::Succeeded, at(3))
    };
    jobs.store.hear(vec![news]).await.unwrap();
    let status = JobStatus {
        name: "purge".into(),
        timing: "* * * * *".to_owned(),
        timezone: Some("Europe/Berlin".to_owned()),
        task: "sms.purge".to_owned(),
        broker: Some("main".to_owned()),
        queue: Some("sms".to_owned()),
        next: Some(Slot {
            at: at(120),
            due: at(121),
        }),
    };
    let with_jobs = || Http {
        jobs: super::Jobs {
            view: tokio::sync::watch::channel(Arc::new(vec![status.clone()])).1,
            store: jobs.store.clone(),
        },
        ..usual()
    };
    let all = get(with_jobs(), "/api/v1/jobs").await.json();
    let ended = json!({
        "id": "id0", "slot": "2026-01-01T00:00:00.000Z", "due": "2026-01-01T00:00:01.000Z", "state": "succeeded",
        "sent_at": "2026-01-01T00:00:03.000Z", "started_at": null, "ended_at": "2026-01-01T00:00:03.000Z",
        "worker": "sms@h1", "runtime": 0.5, "why": null,
    });
    assert_eq!(all[0]["ended"], ended);
    assert_eq!(all[0]["last"]["state"], "claimed");
    assert_eq!(all[0]["next"], "2026-01-01T00:02:01.000Z");
    let keys: Vec<&str> = all[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "broker", "ended", "last", "name", "next", "queue", "schedule", "task", "timezone"
        ]
    );
    let one = get(with_jobs(), "/api/v1/jobs/purge").await.json();
    assert_eq!(one["runs"].as_array().unwrap().len(), 2);
    let newest = get(with_jobs(), "/api/v1/jobs/purge?limit=1").await.json();
    assert_eq!(newest["runs"].as_array().unwrap().len(), 1);
    for wrong in ["limit=0", "limit=1001", "limit=x", "other=1"] {
        let refused = get(with_jobs(), &format!("/api/v1/jobs/purge?{wrong}")).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[actix_web::test]
async fn a_body_that_never_ends_is_not_waited_for() {
    tokio::time::pause();
    let http = Http {
        token: Some(SecretString::from("s3cret")),
        ..usual()
    };
    let put = test::TestRequest::put()
        .uri("/api/v1/log-level")
        .insert_header(("Authorization", "Bearer s3cret"));
    let late = ask_with(http, put, true).await;
    assert_eq!(late.status, StatusCode::REQUEST_TIMEOUT);
    assert!(late.body.contains("was not complete within"), "{}", late.body);
}

#[actix_web::test]
async fn what_is_logged_is_shown_and_changed_with_the_token() {
    const PAGE: &str = "/api/v1/log-level";
    let log: Arc<FakeLog> = Arc::default();
    let http = |token: Option<&str>| Http {
        token: token.map(SecretString::from),
        log: log.clone(),
        ..usual()
    };
    let with_token = |request: test::TestRequest| request.uri(PAGE).insert_header(("Authorization", "Bearer s3cret"));
    let put = |body: &'static str| {
        ask(
            http(Some("s3cret")),
            with_token(test::TestRequest::put()).set_payload(body),
        )
    };

    let usual_level = json!({
        "filter": "info", "until": null, "then": null, "at_start": "info", "at_start_from": "[log] level",
        "never_finer": "lapin=debug",
    });
    assert_eq!(get(http(None), PAGE).await.json(), usual_level);
    let set = put(r#"{"filter": "debug", "for": "10m"}"#).await;
    assert_eq!(set.status, StatusCode::OK, "{}", set.body);
    assert_eq!(set.json()["until"], "2026-01-31T12:10:00.000Z");
    assert_eq!(put(r#"{"filter": "warn"}"#).await.json()["filter"], "warn");
    let reset = ask(http(Some("s3cret")), with_token(test::TestRequest::delete())).await;
    assert_eq!(reset.json(), usual_level);

    for (body, words) in [
        ("", "send JSON such as"),
        ("{}", "missing field `filter`"),
        (r#"{"filter": "debug", "fro": "10m"}"#, "unknown field `fro`"),
        (r#"{"filter": "debug", "for": "soon"}"#, "expected a duration such as"),
        (r#"{"filter": "debug", "for": "0s"}"#, "`for` is 0s"),
        (r#"{"filter": "debug", "for": "8d"}"#, "up to 7d"),
        (r#"{"filter": "loud"}"#, "the directive `loud` is wrong"),
    ] {
        let refused = put(body).await;
        assert_eq!(
            (refused.status, refused.content_type.as_str()),
            (StatusCode::BAD_REQUEST, "application/problem+json")
        );
        assert!(
            refused.json()["detail"].as_str().unwrap().contains(words),
            "{body}: {}",
            refused.body
        );
    }
    let long = put(Box::leak("x".repeat(5_000).into_boxed_str())).await;
    assert_eq!(long.status, StatusCode::BAD_REQUEST);
    assert!(long.body.contains("4096 bytes are the most"), "{}", long.body);

    // Everybody may read where there is no token, and nobody change anything.
    for request in [test::TestRequest::put(), test::TestRequest::delete()] {
        let refused = ask(http(None), request.uri(PAGE).set_payload(r#"{"filter": "debug"}"#)).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert!(refused.body.contains("set `token` in [server]"), "{}", refused.body);
    }
    let posted = ask(http(Some("s3cret")), with_token(test::TestRequest::post())).await;
    assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!((posted.header)("allow").as_deref(), Some("GET, HEAD, PUT, DELETE"));
    assert!(log.0.lock().unwrap().is_empty());
}
