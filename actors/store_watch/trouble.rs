//! What is said of a store that fails: a warning when it begins, one error when it lasts, one line when it is over.
//!
//! A store that fails for a moment (a locked file, a slow disk) is tried again by whoever asked it, and nobody has to do
//! anything; one that goes on failing (a full disk, a file that may not be written) somebody has to see to. It is one store, so
//! that is one error, however many fleets, jobs and notifiers want something of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use compact_str::CompactString;
use headcount_core::time::Mono;

/// A call that has failed for so long, with no success in between, is an error. Shorter, and a backup that locks the file, or a
/// disk that is cleaned by itself, would wake somebody; longer, and who could make room hears of it later.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is said again while it goes on. More often is no news; a store that has failed for a night should not be
/// something that only last evening's log knows.
pub const SAID_AGAIN: Duration = Duration::from_secs(3_600);

/// The calls by which the store is asked to remember, or asked what it remembers, and which are made again when they fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    Load,
    LoadIncidents,
    SaveWorkers,
    SaveHistory,
    SaveIncidents,
    Tell,
    Owed,
    Paid,
    Unpaid,
    Merge,
    Waive,
    Receipt,
    AddTaskRollups,
    ThinTaskRollups,
    ForgetBefore,
    Settled,
    Claim,
    Adopt,
    Renew,
    Hear,
    Silent,
    ForgetRuns,
}

/// What does not happen while a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Harm {
    Unjudged,
    Untold,
    Unsent,
    Unlearned,
    Uncounted,
    Late,
    Unheard,
    Unheld,
    Undeleted,
}

impl Call {
    fn harm(self) -> Harm {
        match self {
            Call::Load => Harm::Unjudged,
            Call::LoadIncidents | Call::SaveIncidents => Harm::Untold,
            Call::Tell | Call::Owed | Call::Paid | Call::Unpaid | Call::Merge | Call::Waive | Call::Receipt => {
                Harm::Unsent
            }
            Call::SaveWorkers | Call::SaveHistory => Harm::Unlearned,
            Call::AddTaskRollups => Harm::Uncounted,
            Call::Settled | Call::Claim => Harm::Late,
            Call::Hear | Call::Silent => Harm::Unheard,
            Call::Adopt | Call::Renew => Harm::Unheld,
            Call::ThinTaskRollups | Call::ForgetBefore | Call::ForgetRuns => Harm::Undeleted,
        }
    }

    /// A failure that is older than this has not been followed by another try: whoever wanted it wants it no more. A little more
    /// than the longest rest between two tries.
    fn given_up_after(self) -> Duration {
        match self {
            Call::ForgetRuns => Duration::from_secs(2 * 3_600),
            Call::ThinTaskRollups | Call::ForgetBefore => Duration::from_secs(20 * 60),
            // Runs that are silent are looked for each minute, and so is what was told.
            _ => Duration::from_secs(3 * 60),
        }
    }
}

impl Harm {
    /// Whether people are not told of something that they would be told of.
    pub(super) fn holds_alerts(self) -> bool {
        matches!(self, Harm::Unjudged | Harm::Untold | Harm::Unsent)
    }

    /// For people, after "the store fails: ".
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Harm::Unjudged => "a fleet is not judged until it works",
            Harm::Untold => "nothing new is told to people until it works",
            Harm::Unsent => "messages to people wait until it works",
            Harm::Unlearned => "a restart would begin with what was known of workers before",
            Harm::Uncounted => "counts of tasks are kept in memory until it works",
            Harm::Late => "jobs run late, once it works",
            Harm::Unheard => {
                "what becomes of jobs' runs is kept in memory until it works, and Headcount's own tasks wait"
            }
            Harm::Unheld => "another Headcount may take over runs of jobs that are not sent yet",
            Harm::Undeleted => "what is too old is not deleted until it works, and the store grows",
        }
    }
}

/// Something to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It has begun to fail, to somebody's harm.
    Begins(Harm),
    /// It has failed for so long, to all these.
    Lasts(Duration, Vec<Harm>),
    /// It had failed for so long, and works.
    Over(Duration),
}

/// One thing that somebody wants of the store, and for whom: a fleet, a job, a notifier.
type Wish = (Call, CompactString);

#[derive(Clone, Copy, Debug)]
struct Failing {
    since: Mono,
    last: Mono,
}

/// What fails at present.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    failing: BTreeMap<Wish, Failing>,
    begun: BTreeSet<Harm>,
    since: Mono,
    said: Option<Mono>,
}

impl Trouble {
    /// A call has failed.
    pub(super) fn failed(&mut self, now: Mono, call: Call, of: &str) -> Option<Said> {
        self.drop_given_up(now);
        if self.failing.is_empty() {
            self.since = now;
        }
        let wish = self
            .failing
            .entry((call, of.into()))
            .or_insert(Failing { since: now, last: now });
        wish.last = now;
        let lasts = now.since(wish.since) >= PATIENCE;
        if self.begun.insert(call.harm()) {
            return Some(Said::Begins(call.harm()));
        }
        let said = self.said.is_some_and(|said| now.since(said) < SAID_AGAIN);
        (lasts && !said).then(|| {
            self.said = Some(now);
            Said::Lasts(now.since(self.since), self.harms().into_iter().collect())
        })
    }

    /// A call has succeeded.
    pub(super) fn worked(&mut self, now: Mono, call: Call, of: &str) -> Option<Said> {
        if self.failing.is_empty() {
            return None;
        }
        let lasted = now.since(self.since);
        self.failing.remove(&(call, of.into()));
        self.drop_given_up(now);
        self.failing.is_empty().then_some(Said::Over(lasted))
    }

    /// Since when something fails; none where nothing does.
    pub(super) fn since(&self) -> Option<Mono> {
        (!self.failing.is_empty()).then_some(self.since)
    }

    /// What does not happen meanwhile.
    pub(super) fn harms(&self) -> BTreeSet<Harm> {
        self.failing.keys().map(|(call, _)| call.harm()).collect()
    }

    fn drop_given_up(&mut self, now: Mono) {
        self.failing
            .retain(|(call, _), failing| now.since(failing.last) < call.given_up_after());
        if self.failing.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Mono {
        Mono::default() + Duration::from_secs(1_000 + secs)
    }

    #[test]
    fn a_moment_is_a_warning_and_its_end() {
        let mut trouble = Trouble::default();
        assert_eq!(
            trouble.failed(at(0), Call::SaveWorkers, "sms"),
            Some(Said::Begins(Harm::Unlearned))
        );
        assert_eq!(trouble.failed(at(2), Call::SaveWorkers, "sms"), None);
        assert_eq!(trouble.failed(at(2), Call::SaveWorkers, "mail"), None, "the same harm");
        assert_eq!(
            trouble.failed(at(3), Call::SaveIncidents, ""),
            Some(Said::Begins(Harm::Untold)),
            "another harm"
        );
        assert_eq!((trouble.since(), trouble.harms().len()), (Some(at(0)), 2));
        assert_eq!(trouble.worked(at(4), Call::SaveWorkers, "sms"), None, "not for all");
        assert_eq!(trouble.worked(at(4), Call::SaveWorkers, "mail"), None);
        let over = Some(Said::Over(Duration::from_secs(5)));
        assert_eq!(trouble.worked(at(5), Call::SaveIncidents, ""), over);
        assert_eq!((trouble.since(), trouble.harms().len()), (None, 0));
        assert_eq!(trouble.worked(at(6), Call::SaveIncidents, ""), None, "once");
    }

    #[test]
    fn what_lasts_is_one_error_whoever_it_is_for_and_again_after_an_hour() {
        let mut trouble = Trouble::default();
        let mut errors = Vec::new();
        for second in (0..=2 * 3_600).step_by(2) {
            for fleet in ["sms", "mail", "web"] {
                if let Some(Said::Lasts(lasted, harms)) = trouble.failed(at(second), Call::SaveWorkers, fleet) {
                    assert_eq!(harms, [Harm::Unlearned]);
                    errors.push(lasted.as_secs());
                }
            }
        }
        assert_eq!(errors, [30, 3_630]);
    }

    #[test]
    fn what_works_now_and_then_does_not_last_but_what_never_works_does() {
        let mut trouble = Trouble::default();
        let mut said = Vec::new();
        for second in 0..60 {
            // Small ones are written still, and one fleet's never.
            said.extend(trouble.failed(at(second), Call::SaveWorkers, "sms"));
            said.extend(trouble.worked(at(second), Call::Paid, ""));
            if second % 20 < 19 {
                said.extend(trouble.failed(at(second), Call::SaveWorkers, "mail"));
            } else {
                said.extend(trouble.worked(at(second), Call::SaveWorkers, "mail"));
            }
        }
        let lasts = Said::Lasts(Duration::from_secs(30), vec![Harm::Unlearned]);
        assert_eq!(said, [Said::Begins(Harm::Unlearned), lasts]);
        let mut trouble = Trouble::default();
        for second in 0..600 {
            let said = if second % 20 < 19 {
                trouble.failed(at(second), Call::SaveWorkers, "mail")
            } else {
                trouble.worked(at(second), Call::SaveWorkers, "mail")
            };
            assert!(!matches!(said, Some(Said::Lasts(..))), "at {second} s");
        }
    }

    #[test]
    fn what_is_tried_again_in_an_hour_lasts_and_what_is_given_up_does_not_hide_what_comes() {
        let mut trouble = Trouble::default();
        assert!(trouble.failed(at(0), Call::ForgetRuns, "").is_some());
        let said = trouble.failed(at(3_600), Call::ForgetRuns, "");
        assert!(matches!(said, Some(Said::Lasts(..))), "{said:?}");

        let mut trouble = Trouble::default();
        // Nobody wants to merge these any more.
        assert!(trouble.failed(at(0), Call::Merge, "").is_some());
        assert_eq!(trouble.worked(at(1), Call::Owed, "ops"), None);
        let over = trouble.worked(at(600), Call::Owed, "ops");
        assert!(matches!(over, Some(Said::Over(_))), "{over:?}");
        assert_eq!(
            trouble.failed(at(700), Call::Paid, ""),
            Some(Said::Begins(Harm::Unsent)),
            "what comes later is new"
        );
    }
}
