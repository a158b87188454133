//! What the listener and its lane share: how the listening session stands. Touched when a session opens, breaks or its
//! canary returns, so about once a second, and never for an event.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headcount_core::time::Mono;

use crate::ports::CANARY_EVERY;

/// A canary is late when none has come back for so long: its period, and 1.5 s for its way. Raising it lets Headcount
/// judge for longer while it may be deaf.
pub const CANARY_LATE: Duration = Duration::from_millis(1_500).saturating_add(CANARY_EVERY);

/// How the session stands.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// How many have been opened, this one among them.
    number: u64,
    open: bool,
    canary: Option<Mono>,
    blocked: bool,
    error: Option<String>,
    retry_at: Option<Mono>,
}

/// The session, shared.
#[derive(Clone, Debug, Default)]
pub struct SharedSession(Arc<Mutex<Session>>);

/// Whether the broker is heard, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// Events are heard.
    Heard,
    /// They are not.
    Deaf {
        /// Why, for people.
        why: String,
        /// When it is tried again.
        retry_at: Option<Mono>,
    },
}

impl SharedSession {
    /// The subscription stands. It is believed once the first canary is back.
    pub fn opened(&self) {
        let mut session = self.get();
        *session = Session {
            number: session.number + 1,
            open: true,
            error: Some("waiting for the first canary".to_owned()),
            ..Session::default()
        };
    }

    /// The canary is back.
    pub fn canary(&self, at: Mono) {
        self.get().canary = Some(at);
    }

    /// The broker blocks publishers, or no longer does.
    pub fn blocked(&self, blocked: bool) {
        self.get().blocked = blocked;
    }

    /// The session has ended.
    pub fn ended(&self, error: String, retry_at: Mono) {
        let mut session = self.get();
        *session = Session {
            number: session.number,
            error: Some(error),
            retry_at: Some(retry_at),
            ..Session::default()
        };
    }

    /// Which session it is, counted from one; zero before the first.
    pub fn number(&self) -> u64 {
        self.get().number
    }

    /// How it stands at `now`.
    pub fn hearing(&self, now: Mono) -> Hearing {
        let session = self.get();
        let why = match session.canary {
            _ if !session.open => session.error.clone().unwrap_or_else(|| "connecting".to_owned()),
            _ if session.blocked => {
                "the broker blocks publishers (an alarm of its memory or disk), so workers cannot send".to_owned()
            }
            Some(back) if now.since(back) <= CANARY_LATE => return Hearing::Heard,
            Some(back) => format!(
                "its own test message has not come back for {} s",
                now.since(back).as_secs()
            ),
            None => session.error.clone().unwrap_or_default(),
        };
        Hearing::Deaf {
            why,
            retry_at: session.retry_at,
        }
    }

    fn get(&self) -> MutexGuard<'_, Session> {
        // A panic cannot leave it half written: each call is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_micros(ms * 1000)
    }

    #[test]
    fn heard_only_while_the_canary_comes_back() {
        let session = SharedSession::default();
        assert!(matches!(session.hearing(at(0)), Hearing::Deaf { .. }));
        session.opened();
        assert!(
            matches!(session.hearing(at(0)), Hearing::Deaf { .. }),
            "an open session is not yet believed"
        );
        session.canary(at(10));
        assert_eq!(session.hearing(at(1_000)), Hearing::Heard);
        assert!(matches!(session.hearing(at(2_600)), Hearing::Deaf { .. }));
        session.canary(at(2_700));
        session.blocked(true);
        assert!(matches!(session.hearing(at(2_700)), Hearing::Deaf { .. }));
        session.blocked(false);
        assert_eq!(session.hearing(at(2_700)), Hearing::Heard);
        session.ended("gone".to_owned(), at(9_000));
        let deaf = Hearing::Deaf {
            why: "gone".to_owned(),
            retry_at: Some(at(9_000)),
        };
        assert_eq!(session.hearing(at(2_701)), deaf);
    }
}
