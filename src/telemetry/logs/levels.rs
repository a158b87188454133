//! Which filter counts: one set for a while over one set until the next reload, over that of the environment, over that of the
//! configuration.

use std::time::Duration;

use headcount_core::time::Wall;
use headcount_edge::http::LogLevel;

use super::Filter;
use super::filter::never_finer;

/// The filters that may count.
#[derive(Debug)]
pub(super) struct Levels {
    configured: Filter,
    environment: Option<Filter>,
    standing: Option<Filter>,
    passing: Option<Passing>,
}

#[derive(Debug)]
struct Passing {
    filter: Filter,
    /// On the clock of the log.
    until: Duration,
    /// The same for people.
    shown_until: Wall,
}

impl Levels {
    pub(super) fn new(configured: Filter, environment: Option<Filter>) -> Self {
        Self {
            configured,
            environment,
            standing: None,
            passing: None,
        }
    }

    /// The one that counts.
    pub(super) fn effective(&self) -> &Filter {
        match &self.passing {
            Some(passing) => &passing.filter,
            None => self.lasting(),
        }
    }

    /// What counts when what was set for a while is over.
    fn lasting(&self) -> &Filter {
        self.standing.as_ref().unwrap_or_else(|| self.at_start())
    }

    /// What counts where nobody sets anything.
    fn at_start(&self) -> &Filter {
        self.environment.as_ref().unwrap_or(&self.configured)
    }

    /// Takes the configuration's. What was set is over.
    pub(super) fn configure(&mut self, filter: Filter) {
        self.configured = filter;
        self.reset();
    }

    /// Sets one, until the next reload, or until a moment, on the log's clock and on people's.
    pub(super) fn set(&mut self, filter: Filter, until: Option<(Duration, Wall)>) {
        match until {
            Some((until, shown_until)) => {
                self.passing = Some(Passing {
                    filter,
                    until,
                    shown_until,
                });
            }
            None => (self.standing, self.passing) = (Some(filter), None),
        }
    }

    /// What was set is over.
    pub(super) fn reset(&mut self) {
        (self.standing, self.passing) = (None, None);
    }

    /// Whether what was set for a while is over now.
    pub(super) fn expire(&mut self, now: Duration) -> bool {
        self.passing.take_if(|passing| passing.until <= now).is_some()
    }

    pub(super) fn show(&self) -> LogLevel {
        LogLevel {
            filter: self.effective().to_string(),
            until: self.passing.as_ref().map(|passing| passing.shown_until),
            then: self.passing.as_ref().map(|_| self.lasting().to_string()),
            at_start: self.at_start().to_string(),
            from_environment: self.at_start().is_of_environment(),
            never_finer: never_finer(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::parse(text).unwrap()
    }

    fn at(secs: u64) -> Option<(Duration, Wall)> {
        Some((Duration::from_secs(secs), Wall::from_micros(0)))
    }

    #[test]
    fn what_is_set_for_a_while_returns_to_what_it_was() {
        let mut levels = Levels::new(filter("warn"), None);
        assert_eq!(levels.effective(), &filter("warn"));
        levels.set(filter("debug"), at(600));
        assert!(!levels.expire(Duration::from_secs(599)));
        assert_eq!(levels.effective(), &filter("debug"));
        assert_eq!(levels.show().then.as_deref(), Some("warn"));
        assert!(levels.expire(Duration::from_secs(600)));
        assert_eq!(levels.effective(), &filter("warn"));
        assert!(!levels.expire(Duration::from_secs(601)), "once");

        levels.set(filter("error"), None);
        levels.set(filter("debug"), at(600));
        levels.set(filter("trace"), at(700));
        assert!(!levels.expire(Duration::from_secs(600)), "the newer counts");
        assert!(levels.expire(Duration::from_secs(700)));
        assert_eq!(levels.effective(), &filter("error"));
    }

    #[test]
    fn one_that_is_set_for_good_ends_one_that_is_set_for_a_while() {
        let mut levels = Levels::new(filter("info"), None);
        levels.set(filter("trace"), at(600));
        levels.set(filter("debug"), None);
        assert!(!levels.expire(Duration::from_secs(1_000)));
        assert_eq!(levels.effective(), &filter("debug"));
        levels.reset();
        assert_eq!(levels.effective(), &filter("info"));
    }

    #[test]
    fn the_environment_stands_over_the_configuration_and_a_reload_ends_what_was_set() {
        let mut levels = Levels::new(filter("info"), Filter::of_environment("debug").unwrap());
        levels.configure(filter("warn"));
        assert_eq!(levels.effective().to_string(), "debug");
        assert!(levels.show().from_environment);
        levels.set(filter("error"), None);
        assert_eq!(levels.effective().to_string(), "error");
        levels.configure(filter("warn"));
        assert_eq!(levels.effective().to_string(), "debug");
    }
}
