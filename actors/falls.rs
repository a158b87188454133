//! How workers of a fleet went down: kept while they are suspected and down, for whoever tells the story of an incident.

use std::collections::{BTreeMap, VecDeque};

use compact_str::CompactString;
use headcount_core::detect::{FleetReport, WorkerState};
use headcount_core::time::Wall;
use headcount_core::trace::incident::{Check, Fall, MAX_CHECKS};

/// Workers of one fleet whose fall is kept at once. Where more fall together, an incident names no more of them.
const MAX_FALLS: usize = 50;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Falls {
    workers: BTreeMap<CompactString, Course>,
}

#[derive(Debug, Default)]
struct Course {
    checks: VecDeque<Check>,
    suspected_at: Option<Wall>,
    down_at: Option<Wall>,
}

impl Falls {
    /// A question was asked and not answered.
    pub(crate) fn unanswered(&mut self, hostname: &CompactString, check: Check) {
        if self.workers.len() >= MAX_FALLS && !self.workers.contains_key(hostname) {
            return;
        }
        let course = self.workers.entry(hostname.clone()).or_default();
        // Of one that is down for days nothing more is to be told.
        if course.down_at.is_some() {
            return;
        }
        if course.checks.len() >= MAX_CHECKS {
            course.checks.pop_front();
        }
        course.checks.push_back(check);
    }

    /// A question was answered.
    pub(crate) fn answered(&mut self, hostname: &CompactString) {
        if self
            .workers
            .get(hostname)
            .is_some_and(|course| course.suspected_at.is_none())
        {
            self.workers.remove(hostname);
        }
    }

    /// Takes in how the workers stand, and gives back how those came down who are.
    pub(crate) fn note(&mut self, report: &FleetReport) -> Vec<Fall> {
        let mut falls = Vec::new();
        let mut known = std::mem::take(&mut self.workers);
        for worker in &report.workers {
            let course = known.remove(&worker.hostname);
            let mut course = match (worker.state, course) {
                (WorkerState::Suspect | WorkerState::Down, course) if self.workers.len() < MAX_FALLS => {
                    course.unwrap_or_default()
                }
                // What was not answered once may be the beginning.
                (_, Some(course)) if course.suspected_at.is_none() && course.down_at.is_none() => {
                    self.workers.insert(worker.hostname.clone(), course);
                    continue;
                }
                _ => continue,
            };
            if worker.state == WorkerState::Suspect {
                course.suspected_at = Some(worker.since);
                course.down_at = None;
            } else if worker.state == WorkerState::Down {
                course.down_at = Some(worker.since);
                falls.push(Fall {
                    hostname: worker.hostname.clone(),
                    last_seen: None,
                    // After a restart of Headcount it was never suspected: then since it was asked.
                    suspected_at: course
                        .suspected_at
                        .or_else(|| course.checks.front().map(|check| check.began))
                        .filter(|at| *at <= worker.since),
                    down_at: worker.since,
                    checks: course.checks.iter().copied().collect(),
                });
            }
            self.workers.insert(worker.hostname.clone(), course);
        }
        falls
    }
}

#[cfg(test)]
mod tests {
    use headcount_core::detect::{Finding, FleetState, FleetVerdict};
    use headcount_core::status::{FleetStatus, WorkerStatus};

    use super::*;
    use crate::tests::support::reports;

    fn at(second: i64) -> Wall {
        Wall::from_micros(second * 1_000_000)
    }

    fn report(state: WorkerState, since: i64) -> FleetReport {
        let worker = WorkerStatus {
            since: at(since),
            ..reports::worker("sms@h1", "sms", state)
        };
        let fleet = FleetStatus {
            name: "sms".into(),
            broker: "main".into(),
            state: FleetState::Healthy,
            seen: true,
            expected: 1,
            minimum: 1,
            up: 1,
            suspect: 0,
            down: 0,
            stalled: 0,
            since: at(0),
            queues: Vec::new(),
        };
        FleetReport {
            verdict: FleetVerdict {
                fleet,
                finding: Finding::Well,
                missing: Vec::new(),
                shared: None,
                evidence: Vec::new(),
                unsettled: false,
                may_follow: false,
            },
            workers: vec![worker],
        }
    }

    fn check(second: i64) -> Check {
        Check {
            began: at(second),
            ended: at(second + 1),
            present: None,
        }
    }

    #[test]
    fn a_fall_is_told_while_the_worker_is_down_and_no_longer() {
        let (mut falls, worker) = (Falls::default(), CompactString::from("sms@h1"));
        falls.unanswered(&worker, check(1));
        assert!(falls.note(&report(WorkerState::Up, 0)).is_empty());
        assert!(falls.note(&report(WorkerState::Suspect, 2)).is_empty());
        (2..20).for_each(|second| falls.unanswered(&worker, check(second)));
        let down = falls.note(&report(WorkerState::Down, 20));
        assert_eq!((down[0].suspected_at, down[0].down_at), (Some(at(2)), at(20)));
        assert_eq!(down[0].checks.len(), MAX_CHECKS);
        falls.unanswered(&worker, check(30));
        assert_eq!(falls.note(&report(WorkerState::Down, 20)), down, "and nothing is added");
        assert!(falls.note(&report(WorkerState::Up, 40)).is_empty());
        assert!(falls.workers.is_empty());
    }

    #[test]
    fn one_answer_that_was_missed_is_forgotten_with_the_next() {
        let (mut falls, worker) = (Falls::default(), CompactString::from("sms@h1"));
        falls.unanswered(&worker, check(1));
        falls.answered(&worker);
        assert!(falls.workers.is_empty());
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let mut falls = Falls::default();
        for n in 0..1_000 {
            falls.unanswered(&CompactString::from(format!("sms@h{n}")), check(1));
        }
        assert_eq!(falls.workers.len(), MAX_FALLS);
    }
}
