//! Roll-ups of task events: how many there were of one kind about one task in one minute (or hour), and how long the tasks
//! had waited and run.

use std::time::Duration;

use compact_str::CompactString;

use super::bucket::Width;
use super::encode::{Damaged, Reader, Writer};
use super::measure::Quantile;
use super::sketch::Sketch;
use crate::celery::TaskKind;
use crate::time::Wall;

/// The version of the bytes of [`Times`].
const VERSION: u8 = 1;
/// The longest time that is measured, in seconds: a hundred years. A longer one is a clock that is wrong.
pub const LONGEST: f64 = 100.0 * 366.0 * 86_400.0;

/// What one roll-up is of. Ordered by width, then by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskKey {
    /// How long its bucket is: a minute, or later an hour.
    pub width: Width,
    /// The start of the bucket.
    pub start: Wall,
    /// The fleet whose workers sent the events.
    pub fleet: CompactString,
    /// The task's name; empty where neither its `task-received` nor its `task-sent` was seen.
    pub task: CompactString,
    /// The queue that it was sent to; empty where its `task-sent` was not seen.
    pub queue: CompactString,
    /// What happened.
    pub outcome: TaskKind,
}

/// How often that happened, and what was measured of the tasks that it happened to.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRollup {
    /// What it is of.
    pub key: TaskKey,
    /// How many events.
    pub count: u64,
    /// Only of events that end a run: none was measured of others.
    pub times: Times,
}

impl TaskRollup {
    /// Adds another of the same key.
    pub fn merge(&mut self, other: &TaskRollup) {
        self.count = self.count.saturating_add(other.count);
        self.times.merge(&other.times);
    }
}

/// How long tasks took. By the clocks of those who did it: `queued` compares the producer's with the worker's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// How long they ran: what `task-succeeded` says, else from `task-started` to the end.
    pub runtime: Spans,
    /// How long they waited in their worker: from `task-received` to `task-started`. None of those that were to wait (an ETA or
    /// a countdown).
    pub wait: Spans,
    /// How long they waited in the queue: from `task-sent` to `task-received`.
    pub queued: Spans,
}

impl Times {
    /// Whether nothing was measured.
    pub const fn is_empty(&self) -> bool {
        self.runtime.count() == 0 && self.wait.count() == 0 && self.queued.count() == 0
    }

    /// Adds what another has seen.
    pub fn merge(&mut self, other: &Times) {
        self.runtime.merge(&other.runtime);
        self.wait.merge(&other.wait);
        self.queued.merge(&other.queued);
    }

    /// Its bytes, for a store. None where nothing was measured.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = Writer::default();
        if !self.is_empty() {
            to.byte(VERSION);
            for spans in [&self.runtime, &self.wait, &self.queued] {
                spans.write(&mut to);
            }
        }
        to.finish()
    }

    /// From the bytes of a store.
    ///
    /// # Errors
    /// They are damaged, or of another version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut from = Reader::new(bytes);
        if from.is_empty() {
            return Ok(Self::default());
        }
        if from.byte()? != VERSION {
            return Err(from.damaged("another version"));
        }
        let times = Self {
            runtime: Spans::read(&mut from)?,
            wait: Spans::read(&mut from)?,
            queued: Spans::read(&mut from)?,
        };
        from.end()?;
        Ok(times)
    }
}

/// Lengths of time: how many, their sum, the longest, and a sketch for the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    sketch: Sketch,
    /// Microseconds.
    sum: u64,
    longest: u64,
}

impl Spans {
    /// Adds a length of time in seconds. One that is none (negative, NaN) or longer than [`LONGEST`] is left out.
    pub fn add(&mut self, seconds: f64) {
        if (0.0..=LONGEST).contains(&seconds) {
            let micros = (seconds * 1e6).round() as u64;
            self.sum = self.sum.saturating_add(micros);
            self.longest = self.longest.max(micros);
            self.sketch.add(seconds);
        }
    }

    /// Adds what another has seen.
    pub fn merge(&mut self, other: &Spans) {
        self.sum = self.sum.saturating_add(other.sum);
        self.longest = self.longest.max(other.longest);
        self.sketch.merge(&other.sketch);
    }

    /// How many there were.
    pub const fn count(&self) -> u64 {
        self.sketch.count()
    }

    /// Their mean; none where there was none.
    pub fn mean(&self) -> Option<Duration> {
        self.sum.checked_div(self.count()).map(Duration::from_micros)
    }

    /// The longest; none where there was none.
    pub fn longest(&self) -> Option<Duration> {
        (self.count() > 0).then_some(Duration::from_micros(self.longest))
    }

    /// In seconds, within 1 %; none where there was none.
    pub fn quantile(&self, quantile: Quantile) -> Option<f64> {
        self.sketch.quantile(quantile)
    }

    fn write(&self, to: &mut Writer) {
        self.sketch.write(to);
        if self.count() > 0 {
            to.unsigned(self.sum);
            to.unsigned(self.longest);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let sketch = Sketch::read(from)?;
        let mut spans = Self {
            sketch,
            ..Self::default()
        };
        if spans.count() > 0 {
            spans.sum = from.unsigned()?;
            spans.longest = from.unsigned()?;
        }
        Ok(spans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn times(seconds: &[f64]) -> Times {
        let mut times = Times::default();
        for (n, seconds) in seconds.iter().enumerate() {
            let spans = [&mut times.runtime, &mut times.wait, &mut times.queued];
            spans.into_iter().nth(n % 3).unwrap().add(*seconds);
        }
        times
    }

    #[test]
    fn what_is_no_length_of_time_is_left_out() {
        let mut spans = Spans::default();
        for seconds in [-0.001, f64::NAN, f64::INFINITY, 1e12] {
            spans.add(seconds);
        }
        assert_eq!((spans.count(), spans.mean(), spans.longest()), (0, None, None));
        spans.add(0.0);
        spans.add(3.0);
        assert_eq!((spans.count(), spans.mean()), (2, Some(Duration::from_millis(1_500))));
        assert_eq!(spans.longest(), Some(Duration::from_secs(3)));
        assert_eq!(spans.quantile(Quantile::P50), Some(0.0));
        assert!(Times::default().to_bytes().is_empty());
        assert_eq!(Times::from_bytes(&[2]).unwrap_err().what, "another version");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn merging_is_adding(all in prop::collection::vec(0.0..1e4_f64, 0..60), cut in any::<prop::sample::Index>()) {
            let cut = cut.index(all.len() + 1) / 3 * 3;
            let (left, right) = all.split_at(cut.min(all.len()));
            let (mut one, mut other) = (times(left), times(right));
            let first = one.clone();
            one.merge(&other);
            other.merge(&first);
            prop_assert_eq!(&one, &times(&all));
            prop_assert_eq!(&one, &other);
            prop_assert_eq!(Times::from_bytes(&one.to_bytes()), Ok(one));
        }

        #[test]
        fn any_bytes_are_times_or_damaged(bytes in prop::collection::vec(any::<u8>(), 0..40), version in any::<bool>()) {
            let bytes = if version { [&[VERSION], &*bytes].concat() } else { bytes };
            if let Ok(times) = Times::from_bytes(&bytes) {
                let _ = (times.runtime.mean(), times.wait.quantile(Quantile::P99));
            }
        }
    }
}
