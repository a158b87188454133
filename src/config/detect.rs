//! `[detect]`, and `[fleet.detect]` over it.

use headcount_core::span::Span;
use serde::Deserialize;

use super::spot::Spot;

/// How a fleet's workers are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detect {
    /// Every worker is asked so often whether it lives.
    pub probe_every: Span,
    /// A worker that no signal speaks for is down after so long.
    pub down_after: Span,
    /// A worker that has been away for so long is no longer expected.
    pub forget_after: Span,
    /// A worker with free slots that leaves its queues' messages alone for so long is stalled.
    pub stalled_after: Span,
    /// A worker that gets on with none of its tasks for so long is stuck.
    pub stuck_after: Span,
}

impl Default for Detect {
    fn default() -> Self {
        Self {
            probe_every: Span::from_secs(5),
            down_after: Span::from_secs(10),
            forget_after: Span::from_secs(86_400),
            stalled_after: Span::from_secs(60),
            stuck_after: Span::from_secs(600),
        }
    }
}

/// The table as it is written.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DetectTable {
    probe_every: Option<Span>,
    down_after: Option<Span>,
    forget_after: Option<Span>,
    stalled_after: Option<Span>,
    stuck_after: Option<Span>,
}

/// More often than this, the probes themselves are the load.
const MIN_PROBE_EVERY: Span = Span::from_millis(500);
/// Less often than this, an answer is no sign of life any more.
const MAX_PROBE_EVERY: Span = Span::from_secs(3_600);
/// Below this, Celery's own heartbeat (2 s) has not had a second chance.
const MIN_DOWN_AFTER: Span = Span::from_secs(4);
/// Below this, a worker would be forgotten while it restarts.
const MIN_FORGET_AFTER: Span = Span::from_secs(60);
/// Below this, a worker has not had the time for three looks at its work.
const MIN_STALLED_AFTER: Span = Span::from_secs(10);
/// Below this, an ordinary task is taken for one that hangs.
const MIN_STUCK_AFTER: Span = Span::from_secs(10);

impl DetectTable {
    /// Lays this table over `base`. A mistake that only the two together make is reported here too; one that `base` has
    /// alone has been reported there.
    pub(super) fn over(self, base: Detect, spot: &mut Spot<'_>) -> Detect {
        let detect = Detect {
            probe_every: self.probe_every.unwrap_or(base.probe_every),
            down_after: self.down_after.unwrap_or(base.down_after),
            forget_after: self.forget_after.unwrap_or(base.forget_after),
            stalled_after: self.stalled_after.unwrap_or(base.stalled_after),
            stuck_after: self.stuck_after.unwrap_or(base.stuck_after),
        };
        let mut bounds = |key: &str, given: Option<Span>, low: Span, high: Span| {
            if let Some(given) = given
                && !(low..=high).contains(&given)
            {
                spot.expected(key, &format!("a duration from {low} to {high}"), &given);
                return false;
            }
            true
        };
        let sound = bounds("probe_every", self.probe_every, MIN_PROBE_EVERY, MAX_PROBE_EVERY)
            & bounds("down_after", self.down_after, MIN_DOWN_AFTER, Span::MAX)
            & bounds("forget_after", self.forget_after, MIN_FORGET_AFTER, Span::MAX)
            & bounds("stalled_after", self.stalled_after, MIN_STALLED_AFTER, Span::MAX)
            & bounds("stuck_after", self.stuck_after, MIN_STUCK_AFTER, Span::MAX);
        let Detect {
            probe_every,
            down_after,
            forget_after,
            ..
        } = detect;
        let sets_any_of = |keys: [Option<Span>; 2]| keys.iter().any(Option::is_some);
        // An error and not a hint: a worker that can only be judged by its answers would be called down between two
        // questions, which is a false alarm by configuration.
        if sound
            && sets_any_of([self.down_after, self.probe_every])
            && down_after.duration() < probe_every.duration() * 2
        {
            let key = if self.down_after.is_some() {
                "down_after"
            } else {
                "probe_every"
            };
            let what = format!(
                "down_after ({down_after}) must be at least twice probe_every ({probe_every}): one unanswered probe means nothing"
            );
            spot.say(key, what);
        }
        if sound && sets_any_of([self.forget_after, self.down_after]) && forget_after < down_after {
            let key = if self.forget_after.is_some() {
                "forget_after"
            } else {
                "down_after"
            };
            let what = format!("forget_after ({forget_after}) must not be shorter than down_after ({down_after})");
            spot.say(key, what);
        }
        detect
    }
}
