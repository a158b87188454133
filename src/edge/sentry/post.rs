//! The way to Sentry: a thread of its own, with a short queue before it. Whoever hands something over does not wait.

use std::sync::Arc;
use std::time::Duration;

use sentry::Envelope;
use sentry::transports::{RateLimiter, TokioTransportThread, TokioTransportThreadOptions};
use tokio::sync::oneshot;
use tokio::time::timeout;
use url::Url;

use super::config::Config;
use crate::notifiers::{self, OpenError};

/// The most that waits to be sent; what comes while it is full is dropped. An event has some kilobytes.
pub(super) const QUEUE: usize = 100;

/// What Headcount calls itself there.
const AGENT: &str = concat!("headcount/", env!("CARGO_PKG_VERSION"));

/// See the module.
pub(super) struct Post {
    /// There until it is dropped.
    thread: Option<Arc<TokioTransportThread>>,
}

impl Post {
    /// Starts the thread. Connects to nothing yet.
    ///
    /// # Errors
    /// Where TLS cannot be set up, or the address cannot be spoken to.
    pub(super) fn open(config: &Config) -> Result<Self, OpenError> {
        let url: Url = config.dsn.envelope_api_url();
        // A connection for each: nobody looks at one that is idle, because the thread sleeps between two events, and the next
        // would be lost on one that the other end has closed meanwhile.
        let client = notifiers::http::client_with(&url, |client| client.pool_max_idle_per_host(0))?;
        let auth = config.dsn.to_auth(Some(AGENT)).to_string();
        let send = move |envelope: Envelope, mut limits: RateLimiter| {
            let mut body = Vec::new();
            let written = envelope.to_writer(&mut body);
            let request = client
                .post(url.clone())
                .header("X-Sentry-Auth", &auth)
                .header(reqwest::header::CONTENT_TYPE, "application/x-sentry-envelope")
                .body(body);
            async move {
                if written.is_err() {
                    return limits;
                }
                // What Sentry answers is of no use beyond its head, and Sentry being down is nobody's concern here.
                if let Ok(answer) = request.send().await {
                    let header = |name: &str| answer.headers().get(name)?.to_str().ok();
                    if let Some(told) = header("x-sentry-rate-limits") {
                        limits.update_from_sentry_header(told);
                    } else if let Some(told) = header("retry-after") {
                        limits.update_from_retry_after(told);
                    } else if answer.status() == reqwest::StatusCode::TOO_MANY_REQUESTS {
                        limits.update_from_429();
                    }
                }
                limits
            }
        };
        let options = TokioTransportThreadOptions::new(send).with_channel_capacity(QUEUE);
        Ok(Self {
            thread: Some(Arc::new(options.spawn_thread())),
        })
    }

    /// Puts it into the queue; drops it where that is full.
    pub(super) fn send(&self, envelope: Envelope) {
        if let Some(thread) = &self.thread {
            thread.send(envelope);
        }
    }

    /// Waits until all that is in the queue has been sent, for so long at most. False if something is left.
    pub(super) async fn flush(&self, within: Duration) -> bool {
        let (done, sent) = oneshot::channel();
        let thread = self.thread.clone();
        // Elsewhere, because asking blocks while the queue is full.
        apart(move || {
            let flushed = thread.is_some_and(|thread| thread.flush(within));
            // Nobody listens any more only where it took too long.
            let _ = done.send(flushed);
        });
        matches!(timeout(within, sent).await, Ok(Ok(true)))
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        // Elsewhere, because it waits for the request that is under way.
        let thread = self.thread.take();
        apart(move || drop(thread));
    }
}

fn apart(act: impl FnOnce() + Send + 'static) {
    // Without a thread it is not done: there is none to wait for either.
    drop(std::thread::Builder::new().name("sentry-end".to_owned()).spawn(act));
}
