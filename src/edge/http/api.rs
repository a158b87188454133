//! The read API: fleets and workers from the status model, incidents from the store.

use actix_web::{HttpResponse, web};
use compact_str::CompactString;
use headcount_actors::ports::IncidentQuery;
use headcount_core::alert::IncidentId;
use headcount_core::span::Span;
use headcount_core::time::Wall;
use jiff::Timestamp;
use serde::Deserialize;

use super::Shared;
use super::problem::Problem;
use super::views::{FleetView, IncidentView, WorkerView};

/// How many incidents a client gets that does not say how many.
const DEFAULT_LIMIT: usize = 100;
/// How many incidents one answer may hold: each can carry 100 observations, so this is some 20 MB.
const MAX_LIMIT: usize = 1_000;

pub(super) async fn fleets(shared: web::Data<Shared>) -> HttpResponse {
    let status = shared.view.borrow().clone();
    HttpResponse::Ok().json(status.fleets.iter().map(FleetView::from).collect::<Vec<_>>())
}

pub(super) async fn fleet(shared: web::Data<Shared>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let status = shared.view.borrow().clone();
    let fleet = status.fleets.iter().find(|fleet| fleet.name == name.as_str());
    let fleet =
        fleet.ok_or_else(|| Problem::not_found(format_args!("there is no fleet {name}; /api/v1/fleets lists them")))?;
    Ok(HttpResponse::Ok().json(FleetView::from(fleet)))
}

/// Narrows a list of workers; also tells two workers apart that have one name on two brokers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkerQuery {
    fleet: Option<CompactString>,
}

pub(super) async fn workers(shared: web::Data<Shared>, query: web::Query<WorkerQuery>) -> HttpResponse {
    let status = shared.view.borrow().clone();
    let wanted = |fleet: &CompactString| query.fleet.as_ref().is_none_or(|wanted| wanted == fleet);
    let workers = status.workers.iter().filter(|worker| wanted(&worker.fleet));
    HttpResponse::Ok().json(workers.map(WorkerView::from).collect::<Vec<_>>())
}

pub(super) async fn worker(
    shared: web::Data<Shared>,
    hostname: web::Path<String>,
    query: web::Query<WorkerQuery>,
) -> Result<HttpResponse, Problem> {
    let status = shared.view.borrow().clone();
    let worker = status.workers.iter().find(|worker| {
        worker.hostname == hostname.as_str() && query.fleet.as_ref().is_none_or(|fleet| *fleet == worker.fleet)
    });
    let worker = worker.ok_or_else(|| {
        Problem::not_found(format_args!(
            "there is no worker {hostname} that Headcount knows; /api/v1/workers lists them"
        ))
    })?;
    Ok(HttpResponse::Ok().json(WorkerView::from(worker)))
}

/// Which incidents to list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IncidentParams {
    state: Option<State>,
    fleet: Option<CompactString>,
    since: Option<String>,
    limit: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Open,
    Resolved,
}

pub(super) async fn incidents(
    shared: web::Data<Shared>,
    params: web::Query<IncidentParams>,
) -> Result<HttpResponse, Problem> {
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT);
    if limit == 0 || limit > MAX_LIMIT {
        return Err(Problem::bad_request(format_args!(
            "limit: expected 1 to {MAX_LIMIT}, found {limit}"
        )));
    }
    let query = IncidentQuery {
        open: params.state.map(|state| state == State::Open),
        subject: params.fleet.clone(),
        since: params
            .since
            .as_deref()
            .map(|text| read_moment("since", text))
            .transpose()?,
        limit,
    };
    let found = shared
        .store
        .incidents(query)
        .await
        .map_err(|error| Problem::store(&error))?;
    let views = found
        .iter()
        .map(|(incident, messages)| IncidentView::new(incident, messages));
    Ok(HttpResponse::Ok().json(views.collect::<Vec<_>>()))
}

pub(super) async fn incident(shared: web::Data<Shared>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let id = IncidentId(id.as_str().into());
    let found = shared
        .store
        .incident(&id)
        .await
        .map_err(|error| Problem::store(&error))?;
    let (incident, messages) = found.ok_or_else(|| {
        Problem::not_found(format_args!(
            "there is no incident {id}; resolved ones are kept for 30 days, and /api/v1/incidents lists them"
        ))
    })?;
    Ok(HttpResponse::Ok().json(IncidentView::new(&incident, &messages)))
}

/// The moment in which it is asked.
pub(super) fn now() -> Wall {
    Wall::from_micros(Timestamp::now().as_microsecond())
}

/// The moment that a parameter of this name says: RFC 3339, or how long ago.
pub(super) fn read_moment(name: &str, text: &str) -> Result<Wall, Problem> {
    if let Ok(ago) = text.parse::<Span>() {
        return Ok(now() - ago.duration());
    }
    // A `+` of an offset that was not percent-encoded arrives as a space.
    let moment = text.replace(' ', "+").parse::<Timestamp>().map_err(|_| {
        Problem::bad_request(format_args!(
            "{name}: expected a time such as 2026-01-31T12:00:00Z, or a duration such as 2h, found `{text}`"
        ))
    })?;
    Ok(Wall::from_micros(moment.as_microsecond()))
}
