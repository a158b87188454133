//! When a pipeline has done all that was there: for whoever waits for that, the commands and the task `headcount.stats.run`.

use std::time::Duration;

use crate::ports::stats::Standing;

/// How often it is looked how far the work is.
pub const LOOK_FOR_END_EVERY: Duration = Duration::from_millis(250);

/// All has been read once this many looks in a row say so: what one look sees was not all true at one moment.
const LOOKS: u32 = 3;

/// All that came after greater ones has been read too once the tail has looked over them so often: the first of these looks may
/// have begun before the waiting did.
const SWEEPS: u64 = 2;

/// One pipeline that is waited for.
#[derive(Clone, Copy, Debug, Default)]
pub struct CatchUp {
    sweeps: Sweeps,
    /// Looks in a row that found nothing left to read.
    nothing_left: u32,
    done: bool,
}

impl CatchUp {
    /// Takes how it stands, so long after the waiting began; none where that could not be learned. True once all that was there
    /// when it began has been counted and published. What comes meanwhile is not waited for, or a pipeline that never rests
    /// would be waited for without end.
    pub fn look(&mut self, standing: Option<&Standing>, waited: Duration) -> bool {
        let Some(standing) = standing else {
            self.nothing_left = 0;
            return self.done;
        };
        let swept = self.sweeps.are_enough(standing.sweeps);
        if self.nothing_left < LOOKS {
            self.nothing_left = if swept && has_read(standing, waited) {
                self.nothing_left + 1
            } else {
                0
            };
        }
        self.done |= self.nothing_left >= LOOKS && standing.unpublished == 0;
        self.done
    }
}

/// How far the tail has looked over what is not settled, since the waiting began.
#[derive(Clone, Copy, Debug, Default)]
enum Sweeps {
    /// All was settled until now: what is read from here on may leave somebody behind.
    #[default]
    Settled,
    /// So often before the waiting began.
    Before(u64),
    /// Often enough.
    Enough,
}

impl Sweeps {
    /// Takes how often it has by now; none where all is settled, and who was not found so late is not counted any more.
    fn are_enough(&mut self, now: Option<u64>) -> bool {
        let Some(now) = now else {
            // Of this moment: a step that is under way may pass somebody.
            return true;
        };
        *self = match *self {
            Sweeps::Enough => Sweeps::Enough,
            Sweeps::Before(before) if now >= before + SWEEPS => Sweeps::Enough,
            // One that was made anew begins at nothing.
            Sweeps::Before(before) => Sweeps::Before(before.min(now)),
            Sweeps::Settled => Sweeps::Before(now),
        };
        matches!(self, Sweeps::Enough)
    }
}

/// Whether nothing is left to read of what was there so long ago.
fn has_read(standing: &Standing, waited: Duration) -> bool {
    // A document from a clock that is ahead has no age, and tells nothing about when it came.
    let is_younger = standing.lag.is_some_and(|lag| !lag.is_zero() && lag < waited);
    !standing.rebuilds && standing.parts == standing.parts_done && (standing.lag_documents == 0 || is_younger)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Standing = Standing {
        parts: 4,
        parts_done: 4,
        parts_held: 1,
        documents: 10,
        lag_documents: 0,
        lag: Some(Duration::ZERO),
        unpublished: 0,
        dead_letters: 0,
        rebuilds: false,
        looked_at: None,
        sweeps: None,
    };

    fn behind(documents: u64, lag: u64) -> Standing {
        Standing {
            lag_documents: documents,
            lag: Some(Duration::from_secs(lag)),
            ..QUIET
        }
    }

    /// After which of these looks, one a second, it was done.
    fn done_after(looks: &[Option<Standing>]) -> Option<usize> {
        let mut wait = CatchUp::default();
        (1..=looks.len()).find(|number| wait.look(looks[number - 1].as_ref(), Duration::from_secs(*number as u64)))
    }

    #[test]
    fn it_is_done_when_three_looks_in_a_row_found_nothing_left() {
        let quiet = Some(QUIET);
        assert_eq!(done_after(&[quiet; 5]), Some(3));
        assert_eq!(done_after(&[quiet, quiet, None, quiet, quiet, quiet]), Some(6));
        let rebuilds = Some(Standing {
            rebuilds: true,
            ..QUIET
        });
        assert_eq!(done_after(&[quiet, quiet, rebuilds, quiet, quiet, quiet]), Some(6));
        let part = Some(Standing { parts_done: 3, ..QUIET });
        assert_eq!(done_after(&[part; 5]), None);
    }

    #[test]
    fn what_came_after_greater_ones_is_waited_for() {
        let swept = |sweeps| {
            Some(Standing {
                sweeps: Some(sweeps),
                ..QUIET
            })
        };
        assert_eq!(done_after(&[swept(7); 9]), None);
        // The one that ends first may have begun before.
        assert_eq!(done_after(&[swept(7), swept(8), swept(8), swept(8), swept(8)]), None);
        let twice = [swept(7), swept(8), None, swept(9), swept(9), swept(9)];
        assert_eq!(done_after(&twice), Some(6));
        // All has settled meanwhile.
        assert_eq!(done_after(&[swept(7), Some(QUIET), Some(QUIET), Some(QUIET)]), Some(4));
        // All was settled, and what was just being read has passed somebody.
        assert_eq!(done_after(&[Some(QUIET), swept(7), swept(8), swept(8), swept(8)]), None);
        // It was forgotten, and counts anew.
        assert_eq!(done_after(&[swept(7), swept(0), swept(1), swept(1), swept(1)]), None);
        assert_eq!(done_after(&[swept(7), swept(0), swept(2), swept(2), swept(2)]), Some(5));
    }

    #[test]
    fn what_is_not_published_is_waited_for() {
        let waits = Some(Standing {
            unpublished: 1,
            ..QUIET
        });
        assert_eq!(done_after(&[waits, waits, waits, waits, Some(QUIET)]), Some(5));
    }

    #[test]
    fn what_comes_meanwhile_is_not_waited_for() {
        // The oldest that is left is half a second old at every look: from the first look on it came after the beginning.
        let flows = Some(Standing {
            lag_documents: 7,
            lag: Some(Duration::from_millis(500)),
            ..QUIET
        });
        assert_eq!(done_after(&[flows; 5]), Some(3));
        // These were there before.
        let old: Vec<_> = (1..6).map(|number| Some(behind(7, number + 1))).collect();
        assert_eq!(done_after(&old), None);
        // Of these nobody knows.
        assert_eq!(done_after(&[Some(behind(7, 0)); 5]), None);
        let unknown = Some(Standing {
            lag: None,
            ..behind(7, 0)
        });
        assert_eq!(done_after(&[unknown; 5]), None);
    }
}
