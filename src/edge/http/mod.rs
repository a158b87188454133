//! HTTP: health, metrics and the read API (CONTRACT, section HTTP). Reads the status model and the store, and changes
//! nothing but what is logged.

mod api;
mod auth;
#[cfg(feature = "fault-points")]
mod faults;
mod health;
mod jobs;
mod log_level;
mod metrics;
mod problem;
mod stats;
#[cfg(test)]
mod tests;
pub mod views;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
pub use actix_web::dev::ServerHandle;
use actix_web::http::{KeepAlive, Method};
use actix_web::middleware::{Compress, DefaultHeaders, from_fn};
use actix_web::web::{self, ServiceConfig};
use actix_web::{App, Handler, HttpResponse, HttpServer, Resource, Responder, guard};
use headcount_actors::meters::Meters;
use headcount_actors::ports::{SharedStore, StatusView, StoreView};
use headcount_actors::vitals::Vitals;
use secrecy::SecretString;
use thiserror::Error;

pub use self::jobs::Jobs;
pub use self::log_level::{LogLevel, LogLevels};
pub use self::metrics::{About, LABELS};
use self::problem::Problem;

/// Everything that the HTTP server reads.
pub struct Http {
    /// The status model.
    pub view: StatusView,
    /// Whether the program's own actors live.
    pub vitals: Vitals,
    /// Incidents, of now and of the past.
    pub store: SharedStore,
    /// Whether the store works.
    pub store_view: StoreView,
    /// Scheduled jobs.
    pub jobs: Jobs,
    /// The actors' own counters.
    pub meters: Meters,
    /// What is logged.
    pub log: Arc<dyn LogLevels>,
    /// Labels that every series bears.
    pub labels: Vec<(String, String)>,
    /// What a client must present as `Authorization: Bearer …`; none lets everybody read.
    pub token: Option<SecretString>,
    /// What series tell of the program itself.
    pub about: About,
    /// Tests only: makes an actor panic.
    #[cfg(feature = "fault-points")]
    pub provoke: faults::Provoke,
}

/// What every handler shares.
struct Shared {
    view: StatusView,
    vitals: Vitals,
    store: SharedStore,
    store_view: StoreView,
    jobs: Jobs,
    log: Arc<dyn LogLevels>,
    token: Option<SecretString>,
    pages: metrics::Pages,
    #[cfg(feature = "fault-points")]
    provoke: faults::Provoke,
}

impl From<Http> for Shared {
    fn from(http: Http) -> Self {
        let registry = metrics::registry(&http.meters, &http.view, &http.labels, http.about);
        Self {
            view: http.view,
            vitals: http.vitals,
            store: http.store,
            store_view: http.store_view,
            jobs: http.jobs,
            log: http.log,
            token: http.token,
            pages: metrics::Pages::new(registry),
            #[cfg(feature = "fault-points")]
            provoke: http.provoke,
        }
    }
}

impl Shared {
    /// Whatever changes something needs a token, also where everybody may read.
    fn needs_token(&self, what: &str) -> Result<(), Problem> {
        match self.token {
            // Who comes here has presented it.
            Some(_) => Ok(()),
            None => Err(Problem::forbidden(format_args!(
                "{what} needs a token, and this Headcount has none: set `token` in [server] or \
                 HEADCOUNT__SERVER__TOKEN, and reload or restart it"
            ))),
        }
    }
}

#[cfg(feature = "fault-points")]
pub use faults::Provoke;
pub use metrics::exposition;

/// A request head must be complete by then: a slow sender may not hold a connection for ever.
const REQUEST_HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a client may take nothing of what it asked for, in milliseconds: then the system ends its connection, so that who
/// reads nothing holds neither memory nor a connection for ever.
const READ_WITHIN_MS: u32 = 10_000;
/// Connections at once: more than any sane number of scrapers and people, fewer than the usual 1,024 file descriptors.
const MAX_CONNECTIONS: usize = 256;
/// What still runs at the end gets so long, in seconds; the whole program has ten.
const SHUTDOWN_WITHIN_S: u64 = 1;

/// The address could not be taken.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {cause}{hint}")]
pub struct BindError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// What the system said.
    pub cause: io::Error,
    hint: &'static str,
}

/// Takes the address, before anything else starts: a busy port is then a clear error and not a half-started daemon.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        // Its connections inherit it.
        #[cfg(target_os = "linux")]
        rustix::net::sockopt::set_tcp_user_timeout(&listener, READ_WITHIN_MS)?;
        Ok(listener)
    });
    listener.map_err(|cause| {
        let hint = match cause.kind() {
            io::ErrorKind::AddrInUse => "; another program listens there, perhaps another headcount",
            io::ErrorKind::PermissionDenied => "; ports under 1024 need root or CAP_NET_BIND_SERVICE",
            io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
            _ => "",
        };
        BindError { address, cause, hint }
    })
}

/// Serves `http` on a listener that [`bind`] took. The server is a future that must be awaited or spawned on an actix
/// system; its [`Server::handle`] stops it. It installs no signal handlers.
pub fn serve(http: Http, listener: TcpListener) -> io::Result<Server> {
    let shared = web::Data::from(Arc::new(Shared::from(http)));
    let server = HttpServer::new(move || {
        App::new()
            .wrap(headers())
            .app_data(shared.clone())
            .configure(routes)
            .default_service(web::to(problem::no_page))
    })
    // One thread: answers are made from memory, and the machine is the event lane's.
    .workers(1)
    .max_connections(MAX_CONNECTIONS)
    .client_request_timeout(REQUEST_HEAD_WITHIN)
    // One answer a connection: who sends thousands of requests and reads none would have them all answered into memory.
    .keep_alive(KeepAlive::Disabled)
    .shutdown_timeout(SHUTDOWN_WITHIN_S)
    .disable_signals()
    .listen(listener)?
    .run();
    Ok(server)
}

fn headers() -> DefaultHeaders {
    DefaultHeaders::new()
        .add(("Cache-Control", "no-store"))
        .add(("X-Content-Type-Options", "nosniff"))
}

fn routes(app: &mut ServiceConfig) {
    app.service(read("/healthz", health::healthz))
        .service(read("/readyz", health::readyz));
    #[cfg(feature = "fault-points")]
    app.route("/test/panic/{actor}", web::post().to(faults::panic));
    app.service(
        // Everything else stands behind the token, pages that do not exist too.
        web::scope("")
            .wrap(from_fn(auth::require_token))
            .app_data(web::QueryConfig::default().error_handler(|error, _| Problem::query(&error).into()))
            .service(read("/", index))
            .service(read("/metrics", metrics::scrape).wrap(Compress::default()))
            .service(read("/api/v1/fleets", api::fleets))
            .service(read("/api/v1/fleets/{name}", api::fleet))
            .service(read("/api/v1/workers", api::workers))
            .service(read("/api/v1/workers/{hostname}", api::worker))
            .service(read("/api/v1/incidents", api::incidents))
            .service(read("/api/v1/incidents/{id}", api::incident))
            .service(read("/api/v1/jobs", jobs::jobs))
            .service(read("/api/v1/jobs/{name}", jobs::job))
            .service(read("/api/v1/stats/tasks", stats::tasks))
            .service(
                read("/api/v1/log-level", log_level::show)
                    .put(log_level::set)
                    .delete(log_level::reset)
                    .default_service(web::to(|method: Method| async move {
                        Problem::method_not_allowed(&method, "GET, HEAD, PUT, DELETE")
                    })),
            )
            .default_service(web::to(problem::no_page)),
    );
}

/// A page that can be read and nothing else.
fn read<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: actix_web::FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let reading = guard::Any(guard::Get()).or(guard::Head());
    web::resource(path)
        .route(web::route().guard(reading).to(handler))
        .default_service(web::to(|method: Method| async move {
            Problem::method_not_allowed(&method, "GET, HEAD")
        }))
}

const INDEX: &str = "\
Headcount counts Celery workers.

GET /healthz                      whether the program's own actors live, and how the store stands
GET /readyz                       whether every broker is being heard
GET /metrics                      for Prometheus
GET /api/v1/fleets                every fleet           /api/v1/fleets/{name}
GET /api/v1/workers[?fleet=F]     every worker          /api/v1/workers/{hostname}
GET /api/v1/incidents             the newest incidents  /api/v1/incidents/{id}
    ?state=open|resolved &fleet=F &since=2026-01-31T12:00:00Z (or 2h) &limit=100
GET /api/v1/jobs                  scheduled jobs        /api/v1/jobs/{name}[?limit=20]
GET /api/v1/stats/tasks           counts of task events, and how long tasks ran and waited
    ?from=2h &to=1h (or times) &fleet=F &task=sms.* &step=5m
GET /api/v1/log-level             what is logged; with the token PUT and DELETE change it
";

async fn index() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(INDEX)
}
