//! What the listener and its lane share: how the listening session stands. Touched when a session opens, breaks or its
//! canary returns, so about once a second, and never for an event.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headcount_core::detect::session::Session;
pub use headcount_core::detect::session::{CANARY_LATE, Hearing};
use headcount_core::time::Mono;

/// The session, shared.
#[derive(Clone, Debug, Default)]
pub struct SharedSession(Arc<Mutex<Session>>);

impl SharedSession {
    /// The subscription stands. It is believed once the first canary is back.
    pub fn opened(&self) {
        self.get().opened();
    }

    /// The canary is back.
    pub fn canary(&self, at: Mono) {
        self.get().canary(at);
    }

    /// The broker blocks publishers, or no longer does.
    pub fn blocked(&self, blocked: bool) {
        self.get().blocked(blocked);
    }

    /// The session has ended.
    pub fn ended(&self, error: String, retry_at: Mono) {
        self.get().ended(error, Some(retry_at));
    }

    /// The broker was reached, and refused a session.
    pub fn refused(&self, error: String, retry_at: Mono) {
        self.get().refused(error, Some(retry_at));
    }

    /// Whether the broker refuses Headcount.
    pub fn is_refused(&self) -> bool {
        self.get().is_refused()
    }

    /// Whether the broker blocks publishers.
    pub fn is_blocked(&self) -> bool {
        self.get().is_blocked()
    }

    /// See [`Session::overdue`].
    pub fn overdue(&self, now: Mono) -> Duration {
        self.get().overdue(now)
    }

    /// Which session it is, counted from one; zero before the first.
    pub fn number(&self) -> u64 {
        self.get().number()
    }

    /// How it stands at `now`.
    pub fn hearing(&self, now: Mono) -> Hearing {
        self.get().hearing(now)
    }

    fn get(&self) -> MutexGuard<'_, Session> {
        // A panic cannot leave it half written: each call is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
