//! A worker's own rhythm: its heartbeat interval, and how unsteady it is.

use std::time::Duration;

use super::rules;

/// Learned from a worker's beats.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rhythm {
    interval: Option<Duration>,
    /// Of a worker that does not beat: how often it is asked, which is then its rhythm.
    asked_every: Option<Duration>,
    /// The worst lateness lately, in seconds: it decays by [`DECAY`] with each beat.
    lateness: f64,
}

/// How much of the worst lateness is kept at each beat: half of it is forgotten after about 70 beats (2.3 min).
const DECAY: f64 = 0.99;

impl Rhythm {
    /// A rhythm whose interval is remembered.
    pub(super) fn with_interval(interval: Option<Duration>) -> Self {
        Self {
            interval: interval.map(believable),
            asked_every: None,
            lateness: 0.0,
        }
    }

    /// What the worker says of its own interval, and the longest gap within one flush.
    pub(super) fn heard(&mut self, interval: Option<Duration>, longest_gap: Option<Duration>) {
        if let Some(interval) = interval {
            self.interval = Some(believable(interval));
        }
        if let Some(gap) = longest_gap {
            self.gap(gap);
        }
    }

    /// A gap between two beats, in observed time.
    pub(super) fn gap(&mut self, gap: Duration) {
        let late = gap.saturating_sub(self.interval()).as_secs_f64();
        self.lateness = (self.lateness * DECAY).max(late.min(rules::MAX_MARGIN.as_secs_f64()));
    }

    /// Whether its signs of life are its answers alone, and how often it is asked for them.
    pub(super) fn answers_only(&mut self, asked_every: Option<Duration>) {
        self.asked_every = asked_every;
    }

    /// The interval, where it is known.
    pub(super) fn known_interval(&self) -> Option<Duration> {
        self.interval
    }

    /// The interval, or Celery's default.
    pub(super) fn interval(&self) -> Duration {
        self.asked_every.or(self.interval).unwrap_or(rules::DEFAULT_INTERVAL)
    }

    /// Whether it has beaten on time lately.
    pub(super) fn is_steady(&self) -> bool {
        self.lateness * 1.2 <= rules::MIN_MARGIN.as_secs_f64()
    }

    /// How long it may be silent before it is looked at: η + max(1 s, 1.2 × its worst lateness lately).
    pub(super) fn patience(&self) -> Duration {
        // A steady worker's is asked for at each of its beats, and floats are not turned into durations for nothing.
        if self.is_steady() {
            return self.interval() + rules::MIN_MARGIN;
        }
        let learned = self.lateness * 1.2;
        self.interval() + Duration::from_secs_f64(learned.min(rules::MAX_MARGIN.as_secs_f64()))
    }
}

fn believable(interval: Duration) -> Duration {
    interval.clamp(rules::INTERVAL_BOUNDS.0, rules::INTERVAL_BOUNDS.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_three_seconds_for_a_steady_default_worker() {
        let mut rhythm = Rhythm::default();
        for _ in 0..100 {
            rhythm.gap(Duration::from_millis(2_010));
        }
        assert_eq!(rhythm.patience(), Duration::from_secs(3));
    }

    #[test]
    fn an_unsteady_worker_gets_more_and_the_bound_holds() {
        let mut rhythm = Rhythm::default();
        rhythm.gap(Duration::from_secs(5));
        assert_eq!(rhythm.patience(), Duration::from_millis(5_600));
        rhythm.gap(Duration::from_secs(3_600));
        assert_eq!(rhythm.patience(), rules::DEFAULT_INTERVAL + rules::MAX_MARGIN);
        for _ in 0..1_000 {
            rhythm.gap(Duration::from_secs(2));
        }
        assert_eq!(
            rhythm.patience(),
            Duration::from_secs(3),
            "old unsteadiness is forgotten"
        );
    }

    #[test]
    fn an_unbelievable_interval_is_bounded() {
        let mut rhythm = Rhythm::default();
        rhythm.heard(Some(Duration::from_secs(1_000_000)), None);
        assert_eq!(rhythm.interval(), rules::INTERVAL_BOUNDS.1);
        rhythm.heard(Some(Duration::ZERO), None);
        assert_eq!(rhythm.interval(), rules::INTERVAL_BOUNDS.0);
    }
}
