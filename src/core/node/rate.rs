//! Rate limits, as Celery writes them: `10/m`.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::time::Mono;

/// How often something may begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    text: String,
    every: Duration,
}

/// Why a text is no rate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected a rate such as 5/s, 100/m or 2/h")]
pub struct RateError;

impl Rate {
    /// The slowest rate: once in 100 years.
    const SLOWEST: f64 = 100.0 * 366.0 * 86_400.0;

    /// Reads a rate. None where there is no limit (`""` and `0`).
    ///
    /// # Errors
    /// [`RateError`].
    pub fn parse(text: &str) -> Result<Option<Self>, RateError> {
        if text.is_empty() {
            return Ok(None);
        }
        let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
        let number: f64 = number.trim().parse().map_err(|_| RateError)?;
        let span = match unit {
            "s" | "" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(RateError),
        };
        if !number.is_finite() || number < 0.0 {
            return Err(RateError);
        }
        if number == 0.0 {
            return Ok(None);
        }
        Ok(Some(Self {
            text: text.to_owned(),
            every: Duration::from_secs_f64((span / number).min(Self::SLOWEST)),
        }))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// When the next may begin: a bucket with room for one, as Celery's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    next: Mono,
}

impl Bucket {
    /// Takes its turn, if it may.
    pub(super) fn take(&mut self, rate: &Rate, now: Mono) -> bool {
        let may = now >= self.next;
        if may {
            self.next = now + rate.every;
        }
        may
    }

    /// When the next may begin.
    pub(super) fn next(self) -> Mono {
        self.next
    }
}
