//! A fleet's account of itself: the verdict in words, made when somebody asks for it and not at each step.

use super::count::Count;
use super::fleet::FleetDetector;
use super::missing::{self, Why};
use super::observed::Seen;
use super::verdict::{Finding, FleetReport, FleetVerdict};
use super::worker::Worker;
use crate::alert::text::Moment;
use crate::alert::{Evidence, Scene, Shared};
use crate::status::FleetStatus;
use crate::time::Now;

/// Of so many missing workers the evidence is written down.
const MAX_WITNESSES: usize = 10;

impl FleetDetector {
    /// The fleet and its workers as they stand.
    pub fn report(&self, now: Now) -> FleetReport {
        let t = self.clock.clone().advance(now.mono);
        FleetReport {
            verdict: self.verdict(t, now),
            workers: self
                .workers
                .values()
                .map(|worker| worker.status(&self.spec, self.clock.sees(), t, now))
                .collect(),
        }
    }

    /// The fleet as it stands, without an account of each of its workers.
    pub fn judgement(&self, now: Now) -> FleetVerdict {
        self.verdict(self.clock.clone().advance(now.mono), now)
    }

    fn verdict(&self, t: Seen, now: Now) -> FleetVerdict {
        let (count, finding) = self.findings(t);
        let books = self.books(t);
        let mut missing: Vec<(Why, &Worker)> = self
            .workers
            .values()
            .filter_map(|worker| Some((missing::why(books, worker, t)?, worker)))
            .collect();
        // Those who fell together are named in the order of their names.
        missing.sort_by_key(|(why, worker)| {
            (
                *why,
                worker.last_seen().map(|seen| seen.as_secs() / 10),
                worker.hostname().clone(),
            )
        });
        let lost: Vec<&Worker> = missing
            .iter()
            .filter(|(why, _)| *why == Why::Lost)
            .map(|(_, worker)| *worker)
            .collect();
        let shared = missing::shared(&lost, self.workers.values().filter(|worker| worker.is_alive()));
        let mut evidence = Vec::new();
        if matches!(finding, Finding::Trouble { .. }) {
            evidence = self.own_evidence(&count, shared.as_ref(), now);
        }
        evidence.extend(
            missing
                .iter()
                .take(MAX_WITNESSES)
                .flat_map(|(_, worker)| worker.evidence(t, now)),
        );
        FleetVerdict {
            finding,
            evidence,
            shared,
            missing: missing
                .iter()
                .map(|(why, worker)| missing::missing(worker, *why, t, now))
                .chain(missing::never_seen(&self.spec, &self.workers))
                .take(Scene::MAX_MISSING)
                .collect(),
            unsettled: self.is_unsettled(&count, t),
            may_follow: count.suspect > 0
                && self
                    .workers
                    .values()
                    .any(|worker| worker.has_just_fallen_silent(t, &self.spec.rules)),
            fleet: FleetStatus {
                name: self.spec.name.clone(),
                broker: self.spec.broker.clone(),
                state: self.state,
                seen: self.ever_seen,
                expected: count.expected,
                minimum: count.minimum,
                up: count.up,
                suspect: count.suspect,
                down: count.down,
                stalled: count.stalled,
                since: self.since,
                queues: self.queues.clone(),
            },
        }
    }

    /// What the verdict rests on beside what the missing workers' signals say.
    fn own_evidence(&self, count: &Count, shared: Option<&Shared>, now: Now) -> Vec<Evidence> {
        let fleet = |says: String| Evidence {
            at: now.wall,
            subject: self.spec.name.clone(),
            signal: None,
            says,
        };
        let short = count.expected.saturating_sub(count.up);
        let short = (short > 0).then(|| {
            let since = Moment(self.since);
            let are = if short == 1 { "is" } else { "are" };
            format!(
                "{short} of {} workers {are} missing, {} since {since}",
                count.expected, self.state
            )
        });
        let usual = self
            .history
            .usual()
            .filter(|_| self.spec.expected == super::Expected::Auto);
        let usual = usual.map(|usual| {
            format!("its workers' names keep changing, so it is judged by number: four fifths of {usual}, the median of 24 h")
        });
        let shared = shared.map(|shared| match shared {
            Shared::Host(host) => format!("all that are lost were on host {host}, and nobody else"),
            Shared::Software(software) => format!("all that are lost run {software}, and nobody else"),
            Shared::Queue(queue) => format!("all that are lost consumed {queue}, and nobody else"),
        });
        let doubt = self.health.doubt();
        let struggling = doubt.is_some().then(|| {
            format!(
                "Headcount itself is struggling ({} of 8): deadlines of silence ×{:.1}",
                doubt.score(),
                doubt.factor()
            )
        });
        [short, usual, shared, struggling]
            .into_iter()
            .flatten()
            .map(fleet)
            .collect()
    }
}
