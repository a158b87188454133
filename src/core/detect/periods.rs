//! How often each of the daemon's parts does its work, and how much of it at once: said once, for the actors and for who
//! goes through the same steps without them (the simulator, a replay).

use std::time::Duration;

/// How often the lane tells changed rows, at most. Raising it makes fewer messages, and delays each sign of life.
pub const TELL_EVERY: Duration = Duration::from_millis(100);

/// How often the listener judges its session, and time passes for a fleet's detector: well under the second that the
/// observed clock takes for a pause. A verdict is late by half of it on average, and a step in which nothing is due costs
/// next to nothing.
pub const TICK: Duration = Duration::from_millis(100);

/// How often what has been reported is judged, and what may be told is looked at. Raising it delays each message.
pub const JUDGE_EVERY: Duration = Duration::from_millis(100);

/// How often a prober reports even if the verdict stands: the signals' ages move.
pub const REPORT_EVERY: Duration = Duration::from_secs(2);

/// How often the broker's connections are listed, where presence is read from them.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Probes of one fleet that may be under way: one of the suspects each second, and one of all others.
pub const MAX_PROBES: usize = 4;
