//! A server on loopback that stands in for another, on a thread of its own.

use actix_web::web::ServiceConfig;
use actix_web::{App, HttpResponse, HttpServer, rt, web};

/// Serves until it is dropped.
#[derive(Debug)]
pub(crate) struct StandIn {
    /// Where, on loopback.
    pub(crate) port: u16,
    server: actix_web::dev::ServerHandle,
}

impl StandIn {
    /// Starts one on a free port. `routes` says what it shares, takes and answers; `what` it is in the words of a panic.
    ///
    /// # Panics
    /// When no port can be had.
    pub(crate) fn start(what: &'static str, routes: impl Fn(&mut ServiceConfig) + Clone + Send + 'static) -> Self {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            rt::System::new().block_on(async move {
                let server =
                    HttpServer::new(move || App::new().configure(routes.clone()).route("/", web::head().to(nothing)))
                        .workers(1)
                        .disable_signals()
                        .bind(("127.0.0.1", 0))
                        .expect("a port on loopback");
                let port = server.addrs().first().expect("it is bound").port();
                let server = server.run();
                tell.send((port, server.handle())).expect("it is waited for");
                server.await.unwrap_or_else(|error| panic!("{what} serves: {error}"));
            });
        });
        let (port, server) = told.recv().unwrap_or_else(|error| panic!("{what} starts: {error}"));
        Self { port, server }
    }
}

/// Who asks for no more than that looks whether somebody is there, and nothing has been said to him.
async fn nothing() -> HttpResponse {
    HttpResponse::NotFound().finish()
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // Sent at once; its thread ends by itself.
        drop(self.server.stop(false));
    }
}
