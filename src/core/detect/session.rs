//! How a listening session stands, and whether the broker is heard through it.

use std::time::Duration;

use super::broker::LOST_FOR;
use super::fleet::Sight;
use crate::time::Mono;

/// How often Headcount sends a message to itself through the broker. Raising it delays the discovery that it has gone
/// deaf on a connection that still stands.
pub const CANARY_EVERY: Duration = Duration::from_secs(1);

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
    refused: bool,
    error: Option<String>,
    retry_at: Option<Mono>,
}

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

impl Session {
    /// The subscription stands. It is believed once the first canary is back.
    pub fn opened(&mut self) {
        *self = Session {
            number: self.number + 1,
            open: true,
            error: Some("waiting for the first canary".to_owned()),
            ..Session::default()
        };
    }

    /// The canary is back.
    pub fn canary(&mut self, at: Mono) {
        self.canary = Some(at);
    }

    /// The broker blocks publishers, or no longer does.
    pub fn blocked(&mut self, blocked: bool) {
        self.blocked = blocked;
    }

    /// The session has ended.
    pub fn ended(&mut self, error: String, retry_at: Option<Mono>) {
        *self = Session {
            number: self.number,
            error: Some(error),
            retry_at,
            ..Session::default()
        };
    }

    /// The broker was reached, and refused a session.
    pub fn refused(&mut self, error: String, retry_at: Option<Mono>) {
        self.ended(error, retry_at);
        self.refused = true;
    }

    /// Whether the broker refuses Headcount: it stands, and nothing is heard.
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// Whether the broker blocks publishers: it stands, and nothing is heard.
    pub fn is_blocked(&self) -> bool {
        self.open && self.blocked
    }

    /// For how long a canary has been due, where that is why nothing is heard; at most as long as it takes to notice, so
    /// that what comes back after a pause of our own still has a moment to be read. Zero where a session has ended: that
    /// is noticed at once.
    pub fn overdue(&self, now: Mono) -> Duration {
        match self.canary {
            Some(back) if self.open && !self.blocked => {
                let due = now.since(back).saturating_sub(CANARY_EVERY);
                due.min(CANARY_LATE.saturating_sub(CANARY_EVERY))
            }
            _ => Duration::ZERO,
        }
    }

    /// Which session it is, counted from one; zero before the first.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How it stands at `now`.
    pub fn hearing(&self, now: Mono) -> Hearing {
        let why = match self.canary {
            _ if !self.open => self.error.clone().unwrap_or_else(|| "connecting".to_owned()),
            _ if self.blocked => {
                "the broker blocks publishers (an alarm of its memory or disk), so workers cannot send".to_owned()
            }
            Some(back) if now.since(back) <= CANARY_LATE => return Hearing::Heard,
            Some(back) => format!(
                "its own test message has not come back for {} s",
                now.since(back).as_secs()
            ),
            None => self.error.clone().unwrap_or_default(),
        };
        Hearing::Deaf {
            why,
            retry_at: self.retry_at,
        }
    }
}

/// What the fleets are told when the broker is heard again after `outage`, in `session` after having been heard in
/// `heard_in`. After a hiccup in one and the same session, too short to be told, the workers' silences go on from where
/// they stood: otherwise a broker that stalls now and then would keep everybody from being found missing. After an
/// outage the workers, too, have to find their way back.
pub fn heard_again(heard_in: Option<u64>, session: u64, outage: Duration) -> Sight {
    if heard_in == Some(session) && outage < LOST_FOR {
        Sight::Clear
    } else {
        Sight::ClearAfterOutage(outage)
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
        let mut session = Session::default();
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
        session.ended("gone".to_owned(), Some(at(9_000)));
        let deaf = Hearing::Deaf {
            why: "gone".to_owned(),
            retry_at: Some(at(9_000)),
        };
        assert_eq!(session.hearing(at(2_701)), deaf);
        session.refused("wrong password".to_owned(), None);
        assert!(session.is_refused());
        session.ended("gone".to_owned(), None);
        assert!(!session.is_refused(), "it is only gone now");
    }
}
