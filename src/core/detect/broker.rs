//! One broker, as Headcount sees it: heard, or lost for long enough to say so.

use std::time::Duration;

use super::observed::{ObservedClock, Seen};
use super::state::BrokerState;
use crate::time::Now;

/// How long a broker that was heard must be lost before people are told: long enough to reconnect once or twice, and
/// within the 5 s in which an outage should be known.
pub const LOST_FOR: Duration = Duration::from_secs(3);
/// How long a broker may take to be reached for the first time: it may be starting together with Headcount.
pub const NEVER_REACHED_FOR: Duration = Duration::from_secs(30);

/// The detector of one broker. Its clock runs while Headcount runs: a pause of our own is no outage.
#[derive(Clone, Debug)]
pub struct BrokerDetector {
    clock: ObservedClock,
    state: BrokerState,
    since: Seen,
    down: bool,
}

impl BrokerDetector {
    /// A broker that has not been tried yet; `down` if an incident of it is open from before a restart.
    pub fn new(now: Now, down: bool) -> Self {
        let mut clock = ObservedClock::new(now.mono);
        clock.set_sight(now.mono, true);
        Self {
            clock,
            state: BrokerState::Connecting,
            since: Seen::default(),
            down,
        }
    }

    /// The broker is heard. Returns how long it was lost, if it was.
    pub fn heard(&mut self, now: Now) -> Option<Duration> {
        let t = self.clock.advance(now.mono);
        let outage = (self.state != BrokerState::Heard).then(|| t.since(self.since));
        self.enter(BrokerState::Heard, t);
        self.down = false;
        outage
    }

    /// The broker is not heard; `overdue`: for how long a proof of hearing had been due when that was noticed, see
    /// [`Session::overdue`](super::session::Session::overdue). The loss counts from there.
    pub fn lost(&mut self, now: Now, overdue: Duration) {
        let t = self.clock.advance(now.mono);
        if self.state == BrokerState::Heard {
            self.enter(BrokerState::Lost, t - overdue);
        }
        self.tick(now);
    }

    /// Time passes; expected several times a second.
    pub fn tick(&mut self, now: Now) {
        let t = self.clock.advance(now.mono);
        let patience = match self.state {
            BrokerState::Heard => return,
            BrokerState::Lost => LOST_FOR,
            BrokerState::Connecting => NEVER_REACHED_FOR,
        };
        if t.since(self.since) >= patience {
            self.down = true;
        }
    }

    /// How it stands.
    pub fn state(&self) -> BrokerState {
        self.state
    }

    /// Whether it has been lost for so long that people should know.
    pub fn is_down(&self) -> bool {
        self.down
    }

    fn enter(&mut self, state: BrokerState, t: Seen) {
        if self.state != state {
            self.state = state;
            self.since = t;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::{Hearing, Session};
    use super::*;
    use crate::time::{Mono, Wall};

    fn at(ms: u64) -> Now {
        Now {
            mono: Mono::from_micros(ms * 1000),
            wall: Wall::from_micros(0),
        }
    }

    fn run(detector: &mut BrokerDetector, from: u64, to: u64) {
        for ms in (from..=to).step_by(250) {
            detector.tick(at(ms));
        }
    }

    #[test]
    fn a_short_break_is_no_outage_and_a_long_one_is() {
        let mut broker = BrokerDetector::new(at(0), false);
        broker.heard(at(500));
        broker.lost(at(1_000), Duration::ZERO);
        run(&mut broker, 1_000, 3_900);
        assert!(!broker.is_down());
        assert_eq!(broker.heard(at(3_950)), Some(Duration::from_millis(2_950)));
        broker.lost(at(10_000), Duration::ZERO);
        run(&mut broker, 10_000, 13_000);
        assert!(broker.is_down());
        broker.heard(at(20_000));
        assert!(!broker.is_down());
    }

    #[test]
    fn a_broker_that_starts_with_us_gets_time() {
        let mut broker = BrokerDetector::new(at(0), false);
        broker.lost(at(100), Duration::ZERO);
        run(&mut broker, 250, 29_000);
        assert!(!broker.is_down());
        run(&mut broker, 29_000, 30_000);
        assert!(broker.is_down());
    }

    /// A broker that hangs from `hangs` on for `span` milliseconds: when it was found down, if it was. A canary is sent in
    /// each whole second, and is back at once unless the broker hangs.
    fn hangs(hangs: u64, span: u64) -> Option<u64> {
        let mut session = Session::default();
        session.opened();
        let mut broker = BrokerDetector::new(at(0), false);
        for ms in (0..=hangs + 20_000).step_by(10) {
            let now = at(ms);
            let stands = ms < hangs || ms >= hangs + span;
            if stands && (ms % 1_000 == 0 || ms == hangs + span) {
                session.canary(now.mono);
            }
            if ms % 250 == 0 {
                match session.hearing(now.mono) {
                    Hearing::Heard => {
                        broker.heard(now);
                    }
                    Hearing::Deaf { .. } => broker.lost(now, session.overdue(now.mono)),
                }
                if broker.is_down() {
                    return Some(ms - hangs);
                }
            }
        }
        None
    }

    #[test]
    fn a_broker_that_hangs_is_told_within_five_seconds_and_a_break_of_three_is_not() {
        for begins in (60_000..61_000).step_by(10) {
            assert_eq!(hangs(begins, 3_000), None, "{begins}");
            let found = hangs(begins, 600_000).unwrap();
            assert!((3_000..=4_500).contains(&found), "{begins}: {found} ms");
        }
    }

    #[test]
    fn our_own_pause_is_no_outage() {
        let mut broker = BrokerDetector::new(at(0), false);
        broker.heard(at(0));
        broker.lost(at(1_000), Duration::ZERO);
        broker.tick(at(120_000));
        assert!(!broker.is_down());
    }
}
