//! A histogram with bounds that are known beforehand.

/// How many bounds a histogram has, the one without a bound left out.
const BOUNDS: usize = 14;

/// The upper bounds of a histogram's buckets, in seconds, ascending; beyond the last is one more.
pub type Bounds = [f64; BOUNDS];

/// Those of `celery_task_runtime` and `flower_task_runtime_seconds`: what both exporters have unless they are told otherwise.
pub const RUNTIME: Bounds = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Those of `celery_task_queue_wait_time`: celery-exporter's.
pub const QUEUE_WAIT: Bounds = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0,
];

/// How many values fell between the bounds, and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Buckets {
    counts: [u64; BOUNDS + 1],
    sum: f64,
}

impl Buckets {
    /// Adds a value, in seconds.
    pub fn add(&mut self, bounds: &Bounds, seconds: f64) {
        let place = bounds.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS);
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
            self.sum += seconds;
        }
    }

    /// Adds what another with the same bounds has seen.
    pub fn merge(&mut self, other: &Buckets) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum += other.sum;
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum, in seconds.
    pub const fn sum(&self) -> f64 {
        self.sum
    }

    /// How many were in each bucket alone, with its upper bound; the last has none ([`f64::INFINITY`]).
    pub fn each(&self, bounds: &Bounds) -> [(f64, u64); BOUNDS + 1] {
        let mut each = [(f64::INFINITY, 0); BOUNDS + 1];
        for (place, count) in self.counts.iter().enumerate() {
            if let Some(bucket) = each.get_mut(place) {
                *bucket = (bounds.get(place).copied().unwrap_or(f64::INFINITY), *count);
            }
        }
        each
    }
}
