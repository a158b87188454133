//! The deadlines, each with its formula, where it comes from, and what raising it costs.

use std::time::Duration;

use super::own_health::Doubt;

/// What may be tuned, for all fleets or for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How often a worker that seems well is asked. Raising it slows nothing but the discovery of what a worker has.
    pub probe_every: Duration,
    /// The scale of every deadline below. Raising it delays each DOWN in proportion.
    pub down_after: Duration,
    /// How long a worker that vanished stays expected, if nothing else settles it.
    pub forget_after: Duration,
    /// How long a worker with free slots may leave its queues' messages alone. Raising it delays `not taking`; that a
    /// consumer is gone is seen within 20 s whatever it is.
    pub stalled_after: Duration,
    /// How long a worker may get on with none of its tasks. Tasks that run longer without any other moving look like a
    /// pool that hangs unless such a run has been seen to end within the last day, so raise it beyond the longest of them.
    pub stuck_after: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            probe_every: Duration::from_secs(5),
            down_after: Duration::from_secs(10),
            forget_after: Duration::from_secs(24 * 3600),
            stalled_after: Duration::from_secs(60),
            stuck_after: Duration::from_secs(600),
        }
    }
}

/// Heartbeat interval of a worker that has not told its own: Celery's default (celery-wire, `freq`).
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
/// Bounds of a believable heartbeat interval: a hostile `freq` must neither blind us nor make us nervous.
pub const INTERVAL_BOUNDS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(300));
/// A beat may be on its way from so long before it is due: it is not known to be missing because an answer overtook it.
pub const BEAT_LEAD: Duration = Duration::from_millis(200);
/// How long an event may wait for the lane's next flush to its fleet, which comes every 100 ms: what an event says is of
/// when it arrived.
pub const FLUSH_WAIT_MAX: Duration = Duration::from_millis(200);
/// The least that a beat may be late before its worker is looked at. No alert comes from it, only pings.
pub const MIN_MARGIN: Duration = Duration::from_secs(1);
/// The most that a worker's own unsteadiness widens that margin.
pub const MAX_MARGIN: Duration = Duration::from_secs(5);
/// How often a suspect is asked: the three checks of a crash then span about 3 s.
pub const SUSPECT_PROBE_EVERY: Duration = Duration::from_secs(1);
/// How long one ping may take to count as an answer: Celery's own `inspect` waits as long.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the broker must say "gone" before it is believed, and how often a ping must be missed.
pub const CHECKS: u32 = 3;
/// How often it must have said so of a worker whose fleet-mate has just been found crashed.
pub const CHECKS_IN_COMPANY: u32 = 2;
/// Workers of one fleet that fall within so long of each other fell together: they beat every 2 s, and are asked every
/// second.
pub const TOGETHER: Duration = Duration::from_secs(3);
/// How many signs of life in a row end a `down`: one alone may be a late flush of what was sent before.
pub const SIGNS_TO_RETURN: u32 = 3;
/// A goodbye is a claim: Celery says it also when it only reconnects (back within 1.1 s, measured). After so long
/// without another sign from the same process it is believed.
pub const GOODBYE_BELIEVED_AFTER: Duration = Duration::from_secs(10);
/// How long a worker that said goodbye is awaited before a fleet with a fixed count misses it: a rolling restart.
pub const ROLLOUT_GRACE: Duration = Duration::from_secs(60);
/// The same while a rollout goes on: images are pulled and start slowly. Raising it hides for longer that a fleet with a
/// fixed count was not started again.
pub const ROLLOUT_GRACE_BUSY: Duration = Duration::from_secs(180);
/// So many goodbyes …
pub const ROLLOUT_GOODBYES: usize = 2;
/// … within so long are a rollout.
pub const ROLLOUT_WITHIN: Duration = Duration::from_secs(60);
/// How long a lost worker of a fleet whose names keep changing is given to be replaced, while most of the fleet stands:
/// a pod that is evicted is scheduled and started elsewhere. Raising it delays the news of a loss that nobody replaces.
pub const REPLACED_WITHIN: Duration = Duration::from_secs(120);
/// How long a silent worker of a solo pool is believed to be busy, while its connection stands. It neither beats nor
/// answers during a task (measured), so nothing distinguishes it from a frozen one until then: a task of ten minutes, and
/// the beats before and after it. For longer where `stuck_after`, its time limit or its longest run say so: Celery's solo pool
/// itself knows no limit, and tells none.
pub const SOLO_BUSY_MAX: Duration = Duration::from_secs(610);
/// The same for a worker that has never answered, and of whose connection the broker tells nothing. One that beats steadily
/// for so long without an answer has no remote control, and is no solo pool that was busy.
pub const UNLEARNED_MAX: Duration = Duration::from_secs(60);
/// How long a fleet must have been whole without a vanished worker, under new names, before that one is let go.
pub const REPLACED_AFTER: Duration = Duration::from_secs(60);
/// How long a worker that said goodbye is still shown.
pub const OFFLINE_SHOWN_FOR: Duration = Duration::from_secs(600);
/// How long a fleet in which nothing changes is left alone at most between two judgements. Raising it makes its slow
/// deadlines, such as that of a goodbye, as much later.
pub const JUDGED_EVERY: Duration = Duration::from_secs(1);
/// How often a worker whose work is in doubt is asked about it: three looks then span 6 s, and with the 5 s until its
/// queue is seen to wait, and as much until it is seen to be idle, a lost consumer is found within 20 s.
pub const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How often it is asked once that has gone on for twice `stalled_after`: a backlog that it may leave alone, by a rate
/// limit, can last for days.
pub const LOOK_SELDOM: Duration = Duration::from_secs(20);
/// For how long what it said counts.
pub const LOOK_FRESH_FOR: Duration = Duration::from_secs(30);
/// So long it leaves messages alone before it is asked: a busy fleet takes them within a beat or two.
pub const FLAT_BEFORE_LOOK: Duration = Duration::from_secs(3);
/// So long it has left messages alone, when its queue has fewer consumers than it should, to be the one without.
pub const FLAT_WHEN_ABSENT: Duration = Duration::from_secs(4);
/// How often every worker is asked for its pool and queues again: autoscaling and operators change them.
pub const MEANS_EVERY: Duration = Duration::from_secs(60);
/// After its start, or a new connection, a worker declares its queues and talks to its peers before it consumes.
pub const BEGINS_WITHIN: Duration = Duration::from_secs(10);
/// How many of its usual gaps without progress are too many.
pub const GAPS: u32 = 5;
/// The longest gap that is believed to be usual.
pub const GAP_MAX: Duration = Duration::from_secs(600);
/// What a pool may take to end a task at its hard time limit.
pub const LIMIT_GRACE: Duration = Duration::from_secs(60);
/// A stalled worker whose queues have been empty for so long is left alone: others have done its work.
pub const STALLED_AND_EMPTY_FOR: Duration = Duration::from_secs(300);
/// The least that is observed after a start before a loss is told.
pub const COLD_START: Duration = Duration::from_secs(10);

impl Rules {
    /// How long after its connection has gone a worker that only reconnects is back: 1 to 4 s (measured). Whose connection
    /// has been gone for longer has crashed, which is sure 6 s after its last beat where it beats every 2 s;
    /// 0.4 × `down_after`, 4 s by default.
    pub fn reconnects_within(&self) -> Duration {
        self.down_after.mul_f64(0.4)
    }

    /// For how long the broker must have said "gone": 0.3 × `down_after`, 3 s by default.
    pub fn gone_for(&self) -> Duration {
        self.down_after.mul_f64(0.3)
    }

    /// Silence after which a worker is down although its connection stands, or nobody can tell: 1.5 × `down_after`,
    /// 15 s by default. A pause of up to 10 s is healthy (garbage collection, a host that swaps), and a beat may have
    /// been due at its beginning. Up to four times as much while Headcount itself is struggling.
    pub fn silent_after(&self, doubt: Doubt) -> Duration {
        doubt.stretch(self.down_after.mul_f64(1.5))
    }

    /// Silence after which a worker is down although it could not be asked: twice as much, and no more than four times
    /// as much as usual in all.
    pub fn unasked_after(&self, doubt: Doubt) -> Duration {
        let longest = self.down_after.mul_f64(1.5 * Doubt::LONGEST);
        (self.silent_after(doubt) * 2).min(longest)
    }

    /// How long workers may take to come back after their broker was out for `outage`: Celery retries after 2, 4, 6 …
    /// 30 s, so after T seconds of outage the next try is about 2·√T away; and some seconds to become ready.
    pub fn reconnect_grace(&self, outage: Duration) -> Duration {
        let next_try = (2.0 * outage.as_secs_f64().sqrt()).min(30.0);
        Duration::from_secs_f64(next_try) + Duration::from_secs(5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_scale_with_down_after() {
        let rules = Rules::default();
        assert_eq!(rules.reconnects_within(), Duration::from_secs(4));
        assert_eq!(rules.gone_for(), Duration::from_secs(3));
        assert_eq!(rules.silent_after(Doubt::default()), Duration::from_secs(15));
        let slow = Rules {
            down_after: Duration::from_secs(60),
            ..rules
        };
        assert_eq!(slow.silent_after(Doubt::default()), Duration::from_secs(90));
    }

    #[test]
    fn grace_after_an_outage_follows_celerys_retries() {
        let rules = Rules::default();
        assert_eq!(rules.reconnect_grace(Duration::ZERO), Duration::from_secs(5));
        assert_eq!(rules.reconnect_grace(Duration::from_secs(25)), Duration::from_secs(15));
        assert_eq!(
            rules.reconnect_grace(Duration::from_secs(3600)),
            Duration::from_secs(35)
        );
    }
}
