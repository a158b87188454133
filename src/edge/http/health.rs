//! `/healthz` and `/readyz`: open to everybody, so that an orchestrator needs no secret.

use actix_web::{HttpResponse, web};
use headcount_actors::vitals::Vital;
use headcount_core::detect::BrokerState;

use super::Shared;
use super::views::{HealthView, ReadyView};

/// 200 while all of the program's own actors live; 503 as well when none has reported yet. A store that fails is told, and does not
/// make it 503: whoever restarted the program for that would not have a store that works.
pub(super) async fn healthz(shared: web::Data<Shared>) -> HttpResponse {
    let report = shared.vitals.report();
    let well = !report.is_empty() && report.iter().all(|actor| actor.vital == Vital::Running);
    let store = shared.store_view.borrow().clone();
    let body = HealthView {
        status: if well { "ok" } else { "failing" },
        detail: match (well, report.is_empty()) {
            (true, _) => None,
            (_, true) => Some("none of Headcount's own actors has reported yet: it is just starting"),
            (_, false) => Some(
                "not all of Headcount's own actors run: those that restart do so by themselves, after one that has failed \
                 the program ends, to be started again; the log says why, at level ERROR",
            ),
        },
        store: store.as_ref().into(),
        actors: report.iter().map(Into::into).collect(),
    };
    answer(well).json(body)
}

/// 200 while every broker is being heard; 503 as well before the first status.
pub(super) async fn readyz(shared: web::Data<Shared>) -> HttpResponse {
    let status = shared.view.borrow().clone();
    let brokers = &status.brokers;
    let ready = !brokers.is_empty() && brokers.iter().all(|broker| broker.state == BrokerState::Heard);
    let body = ReadyView {
        status: if ready { "ready" } else { "not ready" },
        brokers: brokers.iter().map(Into::into).collect(),
    };
    answer(ready).json(body)
}

fn answer(good: bool) -> actix_web::HttpResponseBuilder {
    if good {
        HttpResponse::Ok()
    } else {
        HttpResponse::ServiceUnavailable()
    }
}
