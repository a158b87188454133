//! With what a worker works.

use std::time::Duration;

/// With what a worker works, as it says itself; none where it has not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Means {
    /// How many tasks it runs at once.
    pub slots: Option<u32>,
    /// How many messages it holds at most, those that run among them; 0 is no limit.
    pub prefetch: Option<u64>,
    /// A task that runs longer is ended by its pool; none also where it has no such limit.
    pub time_limit: Option<Duration>,
    /// The longest time between two runs of one task that its rate limits enforce; zero if it has none.
    pub slowest_rate: Option<Duration>,
    /// Whether a queue of its serves one consumer at a time, so that it may have to stand by.
    pub serves_one: Option<bool>,
}

impl Means {
    /// Takes what it has said last. Three replies tell of it: `stats` of its pool, and what it leaves out is no longer so;
    /// `registered` of its rate limits alone, and `active_queues` of how they serve.
    pub fn update(&mut self, said: Means) {
        if said.slots.is_some() || said.prefetch.is_some() || said.time_limit.is_some() {
            *self = Means {
                slowest_rate: self.slowest_rate,
                serves_one: self.serves_one,
                ..said
            };
        }
        if said.slowest_rate.is_some() {
            self.slowest_rate = said.slowest_rate;
        }
        if said.serves_one.is_some() {
            self.serves_one = said.serves_one;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_reply_replaces_what_it_tells_of_and_nothing_else() {
        let mut means = Means::default();
        let stats = Means {
            slots: Some(2),
            prefetch: Some(8),
            time_limit: Some(SECOND),
            slowest_rate: None,
            serves_one: None,
        };
        let rates = |rate| Means {
            slowest_rate: Some(rate),
            ..Means::default()
        };
        means.update(stats);
        means.update(rates(SECOND));
        assert_eq!(
            means,
            Means {
                slowest_rate: Some(SECOND),
                ..stats
            }
        );
        // Its limits are gone.
        let fewer = Means {
            slots: Some(4),
            ..Means::default()
        };
        means.update(fewer);
        assert_eq!(
            means,
            Means {
                slowest_rate: Some(SECOND),
                ..fewer
            }
        );
        means.update(rates(Duration::ZERO));
        means.update(Means::default());
        assert_eq!(
            means,
            Means {
                slowest_rate: Some(Duration::ZERO),
                ..fewer
            }
        );
    }
}
