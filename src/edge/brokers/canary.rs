//! A listening session's messages to itself: the only proof that what a worker publishes now would be heard now.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use headcount_actors::ports::{CANARY_EVERY, CANARY_LOST};
use uuid::Uuid;

/// So many canaries may be under way before the oldest counts as lost. Counted in launches rather than on the clock:
/// after a stop of this very process the clock has run on, while the canaries wait unread in the socket.
const UNDER_WAY: usize = (CANARY_LOST.as_millis() / CANARY_EVERY.as_millis()) as usize;

/// The canaries of one session. Nobody else can know the token, so nobody else can forge one.
#[derive(Debug)]
pub(super) struct Canary {
    token: String,
    next: u64,
    under_way: VecDeque<(u64, Instant)>,
}

impl Canary {
    pub(super) fn new() -> Self {
        Self {
            token: Uuid::new_v4().simple().to_string(),
            next: 0,
            under_way: VecDeque::with_capacity(UNDER_WAY),
        }
    }

    /// The body of the next canary; none when the oldest has been under way for [`CANARY_LOST`].
    pub(super) fn launch(&mut self, now: Instant) -> Option<String> {
        if self.under_way.len() >= UNDER_WAY {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.under_way.push_back((number, now));
        Some(format!("{}:{number}", self.token))
    }

    /// How long the canary with this body was under way; none if it is none of ours, or no longer waited for.
    pub(super) fn landed(&mut self, body: &[u8], now: Instant) -> Option<Duration> {
        let number: u64 = std::str::from_utf8(body)
            .ok()?
            .strip_prefix(&self.token)?
            .strip_prefix(':')?
            .parse()
            .ok()?;
        let place = self.under_way.iter().position(|(sent, _)| *sent == number)?;
        // Those before it can no longer come: order is kept.
        self.under_way
            .drain(..=place)
            .next_back()
            .map(|(_, sent)| now.saturating_duration_since(sent))
    }

    /// Whether this is one of ours, waited for or not: one that the broker held back may come after it was excused.
    pub(super) fn is_ours(&self, body: &[u8]) -> bool {
        body.strip_prefix(self.token.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&b':'))
    }

    /// Those under way are not waited for any more: the broker said that it holds publishers back.
    pub(super) fn excuse(&mut self) {
        self.under_way.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_returns_tells_its_round_trip_and_settles_those_before_it() {
        let start = Instant::now();
        let mut canary = Canary::new();
        let first = canary.launch(start).unwrap();
        let second = canary.launch(start + Duration::from_secs(1)).unwrap();
        assert_eq!(
            canary.landed(second.as_bytes(), start + Duration::from_secs(3)),
            Some(Duration::from_secs(2))
        );
        assert_eq!(canary.landed(first.as_bytes(), start + Duration::from_secs(3)), None);
    }

    #[test]
    fn it_is_lost_when_ten_have_been_sent_and_none_has_returned() {
        let start = Instant::now();
        let mut canary = Canary::new();
        let bodies: Vec<String> = (0..10).map(|_| canary.launch(start).unwrap()).collect();
        assert_eq!(canary.launch(start), None);
        canary.landed(bodies[0].as_bytes(), start).unwrap();
        assert!(canary.launch(start).is_some());
        assert_eq!(canary.launch(start), None);
        canary.excuse();
        assert!(canary.launch(start).is_some());
        assert!(canary.is_ours(bodies[9].as_bytes()), "it may yet come");
        assert_eq!(canary.landed(bodies[9].as_bytes(), start), None);
    }

    #[test]
    fn what_is_not_ours_is_not_taken() {
        let mut canary = Canary::new();
        let body = canary.launch(Instant::now()).unwrap();
        let mut other = Canary::new();
        other.launch(Instant::now()).unwrap();
        for strange in [body.as_bytes(), b"", b":0", b"\xff\xfe", b"0:0", &body.as_bytes()[..33]] {
            assert_eq!(other.landed(strange, Instant::now()), None);
            assert!(!other.is_ours(strange));
        }
    }
}
