//! The recording as the broker and the workers: it answers what the detector asks, and never with more than was seen.
//!
//! The detector under replay may ask at other moments than the recorder did. A recorded answer is given once: to a question
//! that is open when it comes, or to one that follows at once. What is given to nobody was still a fact, and a later
//! question does not make it a new one.

use std::collections::BTreeMap;
use std::time::Duration;

use compact_str::CompactString;
use headcount_core::celery::inspect::Pool;
use headcount_core::detect::{Input, Learned, Means, Output, Probed, Target, WorkLook};
use headcount_core::status::QueueStatus;
use headcount_core::time::{Mono, Now};

use crate::rig::{FleetId, Rig};
use crate::trace::{Answer, Told};

/// How long a question waits for a recorded answer: the recorder asks a worker that seems well every 5 s, and an answer
/// may take 1 s. Raising it lets an answer count for a question that was asked long before it.
const WAITS_FOR: Duration = Duration::from_secs(6);
/// How old a recorded answer that nobody has had may be when it is asked for: the two programs' seconds do not begin
/// together. Raising it lets a sign of life from before a death count for after it.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// How old what a worker told of its work may be. Raising it lets a look be made of what belongs to two.
const WORK_FRESH_FOR: Duration = Duration::from_secs(10);
/// A look at work is several questions, one after the other: it is complete when so long nothing more has come.
const WORK_SETTLES_IN: Duration = Duration::from_millis(500);
/// The most workers, and queues, of which something is kept; a trace with more is a hostile one.
const MAX_KEPT: usize = 200_000;
/// The most that the queues of all workers come to, in bytes.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// A question that waits.
#[derive(Clone, Debug)]
struct Open<T> {
    fleet: FleetId,
    asked: Mono,
    what: T,
}

impl<T> Open<T> {
    fn waits(&self, now: Now, patience: Duration) -> bool {
        now.mono.since(self.asked) <= patience
    }
}

/// What one worker said, each with its moment.
#[derive(Clone, Debug, Default)]
struct Facts {
    pool: Option<Pool>,
    means: Means,
    /// What its queues come to in memory, in bytes.
    weight: usize,
    queues: Option<(Mono, Vec<CompactString>)>,
    running: Option<(Mono, u32)>,
    reserved: Option<(Mono, u32)>,
    scheduled: Option<(Mono, u32)>,
    /// When it last said anything of its work.
    newest: Option<Mono>,
    /// The newest that was part of a look.
    given: Option<Mono>,
}

/// Looks at the work of one fleet.
#[derive(Debug, Default)]
struct Looks {
    means: Vec<(CompactString, Means)>,
    looks: Vec<(CompactString, WorkLook)>,
}

/// What is known of workers of one fleet.
#[derive(Debug, Default)]
struct Known {
    learned: Vec<(CompactString, Learned)>,
    means: Vec<(CompactString, Means)>,
}

impl Known {
    fn add(&mut self, hostname: &CompactString, facts: &Facts) {
        if let Some(learned) = facts.learned() {
            self.learned.push((hostname.clone(), learned));
        }
        if facts.means != Means::default() {
            self.means.push((hostname.clone(), facts.means));
        }
    }

    fn give(&self, rig: &mut Rig, now: Now, fleet: FleetId) {
        if !self.learned.is_empty() {
            rig.answer(now, fleet, Input::Learned(&self.learned));
        }
        if !self.means.is_empty() {
            rig.answer(now, fleet, Input::Means(&self.means));
        }
    }
}

/// What is recorded and not asked for yet, and what is asked and not answered yet.
#[derive(Debug, Default)]
pub(super) struct Answers {
    probes: BTreeMap<CompactString, (Mono, Answer)>,
    open_probes: BTreeMap<CompactString, Open<Target>>,
    facts: BTreeMap<CompactString, Facts>,
    open_learning: BTreeMap<CompactString, Open<()>>,
    open_looks: BTreeMap<CompactString, Open<()>>,
    queues: BTreeMap<CompactString, (Mono, QueueStatus)>,
    takers: Option<(Mono, u32)>,
    /// What the queues in `facts` come to in memory, in bytes.
    weight: usize,
    open_queues: BTreeMap<FleetId, Open<Vec<CompactString>>>,
    /// Probes of single workers that were asked for, and those that the recording has answered.
    pub(super) asked: u64,
    pub(super) answered: u64,
}

impl Answers {
    // ------------------------------------------------------------ the detector asks

    /// Takes a question, and answers it at once where that can be.
    pub(super) fn ask(&mut self, rig: &mut Rig, now: Now, fleet: FleetId, question: Output) {
        let asked = now.mono;
        match question {
            Output::Probe(targets) => self.ask_probe(rig, now, fleet, targets),
            Output::Learn(hostnames) => {
                let mut known = Known::default();
                for hostname in hostnames {
                    if let Some(facts) = self.facts.get(&hostname) {
                        known.add(&hostname, facts);
                    }
                    let what = ();
                    self.open_learning.insert(hostname, Open { fleet, asked, what });
                }
                known.give(rig, now, fleet);
            }
            Output::LookAtWork(hostnames) => {
                let what = ();
                let open = hostnames
                    .into_iter()
                    .map(|hostname| (hostname, Open { fleet, asked, what }));
                self.open_looks.extend(open);
            }
            Output::AskQueues(what) => {
                self.open_queues.insert(fleet, Open { fleet, asked, what });
                self.give_queues(rig, now, FRESH_FOR);
            }
            Output::Changed => {}
        }
    }

    fn ask_probe(&mut self, rig: &mut Rig, now: Now, fleet: FleetId, targets: Vec<Target>) {
        let mut results = Vec::new();
        for target in targets {
            self.asked += 1;
            match self.probes.remove(&target.hostname) {
                Some((at, answer)) if now.mono.since(at) <= FRESH_FOR => {
                    results.push((target.hostname.clone(), read(rig, now, &target, &answer)));
                }
                _ => {
                    let asked = now.mono;
                    let what = target;
                    self.open_probes
                        .insert(what.hostname.clone(), Open { fleet, asked, what });
                }
            }
        }
        self.answered += results.len() as u64;
        if !results.is_empty() {
            rig.answer(now, fleet, Input::Probed(&results));
        }
    }

    // ------------------------------------------------------------ the recording tells

    /// A probe of the recorder's came back.
    pub(super) fn probed(&mut self, rig: &mut Rig, now: Now, answers: &[Answer]) {
        let mut results: BTreeMap<FleetId, Vec<(CompactString, Probed)>> = BTreeMap::new();
        for answer in answers {
            let open = self.open_probes.remove(&answer.hostname);
            match open.filter(|open| open.waits(now, WAITS_FOR)) {
                Some(open) => {
                    let result = (answer.hostname.clone(), read(rig, now, &open.what, answer));
                    results.entry(open.fleet).or_default().push(result);
                    self.answered += 1;
                }
                None if self.probes.len() < MAX_KEPT || self.probes.contains_key(&answer.hostname) => {
                    self.probes.insert(answer.hostname.clone(), (now.mono, answer.clone()));
                }
                None => {}
            }
        }
        for (fleet, results) in results {
            rig.answer(now, fleet, Input::Probed(&results));
        }
    }

    /// A probe of the recorder's could not be made: whoever waits for one learns that.
    pub(super) fn unprobed(&mut self, rig: &mut Rig, now: Now) {
        let waiting = std::mem::take(&mut self.open_probes);
        let mut fleets: Vec<FleetId> = waiting
            .values()
            .filter(|open| open.waits(now, WAITS_FOR))
            .map(|open| open.fleet)
            .collect();
        fleets.sort_unstable();
        fleets.dedup();
        for fleet in fleets {
            rig.answer(now, fleet, Input::Unprobed);
        }
    }

    /// Workers told of themselves.
    pub(super) fn told(&mut self, rig: &mut Rig, now: Now, told: &[(CompactString, Told)]) {
        let mut results: BTreeMap<FleetId, Known> = BTreeMap::new();
        for (hostname, told) in told {
            let is_new = !self.facts.contains_key(hostname);
            let weight = told.weight();
            if (is_new && self.facts.len() >= MAX_KEPT) || self.weight + weight > MAX_KEPT_BYTES {
                continue;
            }
            let facts = self.facts.entry(hostname.clone()).or_default();
            if weight > 0 {
                self.weight = self.weight + weight - std::mem::replace(&mut facts.weight, weight);
            }
            facts.note(now.mono, told);
            let open = self.open_learning.get(hostname);
            if let Some(open) = open.filter(|open| open.waits(now, WAITS_FOR)) {
                results.entry(open.fleet).or_default().add(hostname, facts);
            }
        }
        for (fleet, known) in results {
            known.give(rig, now, fleet);
        }
    }

    /// The broker told how many connections take messages.
    pub(super) fn takers(&mut self, now: Now, takers: Option<u32>) {
        self.takers = takers.map(|takers| (now.mono, takers));
    }

    /// The broker told of queues.
    pub(super) fn queues(&mut self, rig: &mut Rig, now: Now, queues: &[QueueStatus]) {
        for queue in queues {
            if self.queues.len() < MAX_KEPT || self.queues.contains_key(&queue.name) {
                self.queues.insert(queue.name.clone(), (now.mono, queue.clone()));
            }
        }
        self.give_queues(rig, now, Duration::ZERO);
    }

    /// Gives what is known of queues to those who wait for at least one that is not older than `age`; the others of theirs
    /// were asked for with another question.
    fn give_queues(&mut self, rig: &mut Rig, now: Now, age: Duration) {
        let queues = &self.queues;
        let mut answers = Vec::new();
        self.open_queues.retain(|fleet, open| {
            let known = || open.what.iter().filter_map(|name| queues.get(name));
            let newest = known().any(|(at, _)| now.mono.since(*at) <= age);
            if newest && open.waits(now, WAITS_FOR) {
                let fresh = known().filter(|(at, _)| now.mono.since(*at) <= WAITS_FOR);
                answers.push((*fleet, fresh.map(|(_, queue)| queue.clone()).collect()));
            }
            !newest
        });
        for (fleet, queues) in answers {
            rig.answer(now, fleet, Input::Queues(queues));
        }
    }

    /// Time has passed: looks at work that are complete are handed over.
    pub(super) fn settle(&mut self, rig: &mut Rig, now: Now) {
        if self.open_looks.is_empty() {
            return;
        }
        let mut results: BTreeMap<FleetId, Looks> = BTreeMap::new();
        let facts = &mut self.facts;
        self.open_looks.retain(|hostname, open| {
            if !open.waits(now, WORK_FRESH_FOR) {
                return false;
            }
            let Some(facts) = facts.get_mut(hostname) else {
                return true;
            };
            let Some(look) = facts.look(now.mono) else {
                return true;
            };
            let looks = results.entry(open.fleet).or_default();
            looks.means.push((hostname.clone(), facts.means));
            looks.looks.push((hostname.clone(), look));
            false
        });
        let fresh = |(at, _): &(Mono, u32)| now.mono.since(*at) <= WORK_FRESH_FOR;
        let takers = self.takers.filter(fresh).map(|(_, takers)| takers);
        for (fleet, Looks { means, looks }) in results {
            // In the order of `actors/fleet_prober.rs`: what the looks are judged by comes before them.
            rig.answer(now, fleet, Input::Means(&means));
            rig.answer(now, fleet, Input::Takers(takers));
            rig.answer(now, fleet, Input::Worked(&looks));
        }
    }
}

impl Facts {
    fn note(&mut self, at: Mono, told: &Told) {
        match told {
            Told::Pool(pool) => {
                self.pool = Some(*pool);
                return;
            }
            Told::Means(means) => {
                self.means = Means {
                    slots: means.slots.or(self.means.slots),
                    prefetch: means.prefetch.or(self.means.prefetch),
                    time_limit: means.time_limit.or(self.means.time_limit),
                    slowest_rate: means.slowest_rate.or(self.means.slowest_rate),
                    serves_one: means.serves_one.or(self.means.serves_one),
                };
                return;
            }
            Told::Queues(queues) => self.queues = Some((at, queues.clone())),
            Told::Running(count) => self.running = Some((at, *count)),
            Told::Reserved(count) => self.reserved = Some((at, *count)),
            Told::Scheduled(count) => self.scheduled = Some((at, *count)),
        }
        self.newest = Some(at);
    }

    /// What it said of its pool and queues, however long ago: it holds until it says otherwise.
    fn learned(&self) -> Option<Learned> {
        (self.pool.is_some() || self.queues.is_some()).then(|| Learned {
            pool: self.pool,
            queues: self.queues.as_ref().map(|(_, queues)| queues.clone()),
        })
    }

    /// A look that is complete, and that nobody has had.
    fn look(&mut self, now: Mono) -> Option<WorkLook> {
        let newest = self.newest.filter(|newest| self.given != Some(*newest))?;
        let age = now.since(newest);
        // Its queues alone are asked for without a look at its work, too.
        let asked = [self.running, self.reserved, self.scheduled]
            .iter()
            .any(Option::is_some);
        if !asked || age < WORK_SETTLES_IN || age > WORK_FRESH_FOR {
            return None;
        }
        self.given = Some(newest);
        let fresh = |at: Mono| now.since(at) <= WORK_FRESH_FOR;
        let number = |told: Option<(Mono, u32)>| told.filter(|(at, _)| fresh(*at)).map(|(_, count)| count);
        Some(WorkLook {
            queues: self
                .queues
                .as_ref()
                .filter(|(at, _)| fresh(*at))
                .map(|(_, queues)| queues.clone()),
            running: number(self.running),
            reserved: number(self.reserved),
            scheduled: number(self.scheduled),
        })
    }
}

/// What a probe brought, as `actors/fleet_prober.rs` reads it.
fn read(rig: &mut Rig, now: Now, target: &Target, answer: &Answer) -> Probed {
    let present = match answer.present {
        Some(present) => Some(present),
        // Who answers is connected, whatever the ledger makes of it.
        None if answer.answer.is_some() => Some(true),
        None => rig.presence(now, target),
    };
    Probed {
        answer: answer.answer,
        present,
    }
}
