//! The rig: one broker's worth of Headcount without actors, on a virtual clock. What decides is the daemon's own code;
//! only what the actors do between its parts (when each is called, and what is passed on) is done here again, at the same
//! intervals.

mod lane;
mod telling;

use std::collections::BTreeMap;
use std::time::Duration;

use compact_str::CompactString;
use headcount_core::alert::{Incident, Notice};
use headcount_core::celery::{TaskEvent, WorkerEvent};
use headcount_core::detect::broker::BrokerDetector;
use headcount_core::detect::ledger::ConnectionLedger;
use headcount_core::detect::periods::{JUDGE_EVERY, REPORT_EVERY, TELL_EVERY, TICK};
use headcount_core::detect::roster::Roster;
use headcount_core::detect::session::{self, Hearing, Session};
use headcount_core::detect::table::MAX_FLEETS;
use headcount_core::detect::{
    BrokerState, Expected, FleetDetector, FleetSpec, FleetVerdict, Input, Minimum, Output, Rules, Sight, Target,
    WorkerMemory,
};
use headcount_core::status::BrokerStatus;
use headcount_core::time::{Mono, Now, Wall};

use self::lane::Lane;
use self::telling::Telling;

/// Probers tick between the other ticks, as far from them as can be.
const PROBERS_LATER: Duration = Duration::from_millis(50);
/// What a rig watches.
#[derive(Clone, Debug)]
pub struct RigSpec {
    /// The broker's name.
    pub broker: CompactString,
    /// Where it is, for people.
    pub address: String,
    /// Which worker belongs to which fleet.
    pub roster: Roster,
    /// The configured fleets. Where the roster discovers, others are made as they are heard of.
    pub fleets: Vec<FleetSpec>,
    /// The rules of discovered fleets.
    pub rules: Rules,
}

impl RigSpec {
    /// A broker of which nothing is configured: fleets are discovered from the names of its workers.
    pub fn discovering(broker: &str, rules: Rules) -> Self {
        Self {
            broker: broker.into(),
            address: broker.to_owned(),
            roster: Roster::discovering(),
            fleets: Vec::new(),
            rules,
        }
    }
}

/// A fleet of a rig, by the order in which the rig took it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FleetId(usize);

/// A fleet and what its prober would know.
#[derive(Debug)]
struct Watched {
    detector: FleetDetector,
    /// What the prober has last reported.
    reported: Option<FleetVerdict>,
    next_report: Mono,
    /// Whether the detector has been told of the newest [`Sight`].
    knows_sight: bool,
}

/// One broker's worth of Headcount. It does nothing by itself: it is told what happens and when, [`Rig::tick`] is called
/// at [`Rig::due`], and what it wants to ask is answered by whoever owns it.
#[derive(Debug)]
pub struct Rig {
    spec: RigSpec,
    lane: Lane,
    session: Session,
    broker: BrokerDetector,
    /// The session in which the broker was last heard.
    heard_in: Option<u64>,
    broker_since: Wall,
    sight: Sight,
    ledger: ConnectionLedger,
    fleets: Vec<Watched>,
    telling: Telling,
    questions: Vec<(FleetId, Output)>,
    outputs: Vec<Output>,
    listener_due: Mono,
    probers_due: Mono,
    judge_due: Mono,
}

impl Rig {
    /// A rig that has heard nothing yet, with what is remembered of workers by their fleet's name.
    pub fn new(spec: RigSpec, remembered: Vec<(CompactString, Vec<WorkerMemory>)>, now: Now) -> Self {
        let mut rig = Self {
            lane: Lane::new(spec.roster.clone(), now.mono),
            session: Session::default(),
            broker: BrokerDetector::new(now, false),
            heard_in: None,
            broker_since: now.wall,
            sight: Sight::Blind,
            ledger: ConnectionLedger::default(),
            fleets: Vec::new(),
            telling: Telling::default(),
            questions: Vec::new(),
            outputs: Vec::new(),
            listener_due: now.mono,
            probers_due: now.mono + PROBERS_LATER,
            judge_due: now.mono,
            spec,
        };
        let mut remembered = remembered;
        for fleet in rig.spec.fleets.clone() {
            let own = remembered.iter_mut().find(|(name, _)| *name == fleet.name);
            let own = own.map(|(_, workers)| std::mem::take(workers)).unwrap_or_default();
            rig.take_up(fleet, own, now);
        }
        rig
    }

    // ------------------------------------------------------------ what happens

    /// The subscription stands (it is believed once the first canary is back).
    pub fn opened(&mut self) {
        self.session.opened();
    }

    /// Headcount's message to itself is back; expected every second while the broker is heard.
    pub fn canary(&mut self, now: Now) {
        self.session.canary(now.mono);
        self.lane.notice_silence(now.mono);
        self.tell(now);
    }

    /// The broker blocks publishers, or no longer does.
    pub fn blocked(&mut self, blocked: bool) {
        self.session.blocked(blocked);
    }

    /// The session has ended.
    pub fn ended(&mut self, why: &str) {
        self.session.ended(why.to_owned(), None);
    }

    /// A worker's event about itself has arrived. Judged at the end of the batch that it came in.
    pub fn worker_event(&mut self, now: Now, event: &WorkerEvent<'_>) {
        self.lane.worker(now.mono, event);
    }

    /// An event about a task has arrived.
    pub fn task_event(&mut self, now: Now, event: &TaskEvent<'_>) {
        self.lane.task(now.mono, event);
    }

    /// What has arrived together is complete: at most every 100 ms it is passed on.
    pub fn batch_end(&mut self, now: Now) {
        if now.mono.since(self.lane.told()) >= TELL_EVERY {
            self.tell(now);
        }
    }

    /// The broker's connections have been listed, where presence is read from them (Redis); expected every second.
    pub fn connections(&mut self, now: Now, ids: impl IntoIterator<Item = u64>) {
        self.ledger.look(now.mono, ids);
    }

    /// What the ledger of connections makes of a worker that was asked, and has or has not answered (Redis).
    pub fn presence(&mut self, now: Now, target: &Target, answered: bool) -> Option<bool> {
        self.ledger.presence(now.mono, target, answered)
    }

    /// These answered a question to all, so fast (`actors/discovery.rs`).
    pub fn found(&mut self, now: Now, answers: &[(CompactString, Duration)]) {
        let mut by_fleet: BTreeMap<CompactString, Vec<(CompactString, Duration)>> = BTreeMap::new();
        for answer in answers {
            if let Some(fleet) = self.spec.roster.fleet_of(&answer.0)
                && (by_fleet.len() < MAX_FLEETS || by_fleet.contains_key(&fleet))
            {
                by_fleet.entry(fleet).or_default().push(answer.clone());
            }
        }
        for (name, answers) in by_fleet {
            let fleet = self.known_or_taken_up(name, now);
            self.step(fleet, now, Input::Found(&answers));
        }
    }

    /// An answer to a question, or anything else that a prober passes to its detector.
    pub fn answer(&mut self, now: Now, fleet: FleetId, input: Input<'_>) {
        self.step(fleet.0, now, input);
    }

    // ------------------------------------------------------------ what is due

    /// When [`Rig::tick`] is to be called next. Whoever calls later simulates a pause of Headcount.
    pub fn due(&self) -> Mono {
        self.listener_due.min(self.probers_due).min(self.judge_due)
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) {
        if now.mono >= self.listener_due {
            self.listener_due = next(self.listener_due, TICK, now.mono);
            self.listen(now);
        }
        if now.mono >= self.probers_due {
            self.probers_due = next(self.probers_due, TICK, now.mono);
            for fleet in 0..self.fleets.len() {
                self.probe(fleet, now);
            }
        }
        if now.mono >= self.judge_due {
            self.judge_due = next(self.judge_due, JUDGE_EVERY, now.mono);
            self.judge(now);
        }
    }

    /// Takes what the detectors want asked since the last call: never [`Output::Changed`].
    pub fn take_questions(&mut self, into: &mut Vec<(FleetId, Output)>) {
        into.append(&mut self.questions);
    }

    /// Whether people would have been told anything since the last call of [`Rig::take_notices`], or an incident changed.
    pub fn has_news(&self) -> bool {
        !self.telling.notices.is_empty() || !self.telling.changed.is_empty()
    }

    /// Lets go of what [`Rig::take_changed`] would give.
    pub fn forget_changed(&mut self) {
        self.telling.changed.clear();
    }

    /// Whether anything is to be asked.
    pub fn has_questions(&self) -> bool {
        !self.questions.is_empty()
    }

    /// Takes what people would have been told since the last call, in its order.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.telling.notices)
    }

    /// Takes the incidents that have changed since the last call, each in its newest form, told or not.
    pub fn take_changed(&mut self) -> Vec<Incident> {
        std::mem::take(&mut self.telling.changed)
    }

    // ------------------------------------------------------------ how it stands

    /// The fleets, by their ids.
    pub fn fleets(&self) -> impl Iterator<Item = (FleetId, &FleetDetector)> {
        self.fleets
            .iter()
            .enumerate()
            .map(|(id, fleet)| (FleetId(id), &fleet.detector))
    }

    /// A fleet by its name.
    pub fn fleet(&self, name: &str) -> Option<FleetId> {
        let at = |fleet: &Watched| fleet.detector.spec().name == name;
        self.fleets.iter().position(at).map(FleetId)
    }

    // ------------------------------------------------------------ the actors' work

    /// The lane: what has changed goes to the fleets.
    fn tell(&mut self, now: Now) {
        // The table names the fleets in the order in which it heard of them.
        while let Some(name) = self.lane.unopened() {
            let name = name.clone();
            let id = self.known_or_taken_up(name, now);
            self.lane.open(id);
        }
        self.lane.flush(now.mono, &mut self.ledger);
        for door in 0..self.lane.doors() {
            let Some((fleet, sightings)) = self.lane.load(door) else {
                continue;
            };
            self.step(fleet, now, Input::Sighted(&sightings));
            self.lane.give_back(door, sightings);
        }
    }

    /// The listener: is the broker heard?
    fn listen(&mut self, now: Now) {
        let before = self.broker.state();
        let hearing = self.session.hearing(now.mono);
        let overdue = self.session.overdue(now.mono);
        match &hearing {
            Hearing::Heard => {
                if let Some(outage) = self.broker.heard(now) {
                    let session = self.session.number();
                    let sight = session::heard_again(self.heard_in, session, outage);
                    self.heard_in = Some(session);
                    if matches!(sight, Sight::ClearAfterOutage(_)) {
                        self.ledger.reset();
                    }
                    self.see(sight);
                }
            }
            Hearing::Deaf { .. } => {
                if before == BrokerState::Heard {
                    self.see(Sight::Blind);
                }
                self.broker.lost(now, overdue);
            }
        }
        if before != self.broker.state() {
            self.broker_since = match self.broker.state() {
                BrokerState::Lost => now.wall - overdue,
                BrokerState::Heard | BrokerState::Connecting => now.wall,
            };
        }
        let why = match hearing {
            Hearing::Heard => None,
            Hearing::Deaf { why, .. } => Some(why),
        };
        let state = self.broker.state();
        let same = self.telling.broker.as_ref().is_some_and(|(status, down)| {
            status.state == state && status.error == why && *down == self.broker.is_down()
        });
        if !same {
            let status = BrokerStatus {
                name: self.spec.broker.clone(),
                address: self.spec.address.clone(),
                state,
                blocked: self.session.is_blocked(),
                refused: self.session.is_refused(),
                since: self.broker_since,
                error: why,
                retry_at: None,
                unmatched: 0,
            };
            self.telling.broker = Some((status, self.broker.is_down()));
        }
    }

    fn see(&mut self, sight: Sight) {
        self.sight = sight;
        for fleet in &mut self.fleets {
            fleet.knows_sight = false;
        }
    }

    /// A prober's tick.
    fn probe(&mut self, fleet: usize, now: Now) {
        let Some(watched) = self.fleets.get_mut(fleet) else {
            return;
        };
        if !std::mem::replace(&mut watched.knows_sight, true) {
            let sight = self.sight;
            self.step(fleet, now, Input::Sight(sight));
        }
        self.step(fleet, now, Input::Tick);
        if let Some(watched) = self.fleets.get_mut(fleet)
            && now.mono >= watched.next_report
        {
            watched.report(now);
        }
    }

    /// A step of a fleet's detector.
    fn step(&mut self, fleet: usize, now: Now, input: Input<'_>) {
        let Some(watched) = self.fleets.get_mut(fleet) else {
            return;
        };
        watched.detector.step(now, input, &mut self.outputs);
        for output in self.outputs.drain(..) {
            match output {
                Output::Changed => watched.report(now),
                question => self.questions.push((FleetId(fleet), question)),
            }
        }
    }

    /// The aggregator's and the debouncer's tick.
    fn judge(&mut self, now: Now) {
        self.telling
            .judge(now, self.fleets.iter().filter_map(|fleet| fleet.reported.as_ref()));
    }

    fn known_or_taken_up(&mut self, name: CompactString, now: Now) -> usize {
        match self.fleet(&name) {
            Some(FleetId(known)) => known,
            None => {
                let spec = discovered(&self.spec, name);
                self.take_up(spec, Vec::new(), now)
            }
        }
    }

    fn take_up(&mut self, spec: FleetSpec, remembered: Vec<WorkerMemory>, now: Now) -> usize {
        self.fleets.push(Watched {
            detector: FleetDetector::new(spec, remembered, now),
            reported: None,
            next_report: now.mono,
            knows_sight: false,
        });
        self.fleets.len() - 1
    }
}

impl Watched {
    fn report(&mut self, now: Now) {
        self.reported = Some(self.detector.judgement(now));
        self.next_report = now.mono + REPORT_EVERY;
    }
}

/// A fleet that nobody configured (as in the root's `wire/plan.rs`).
fn discovered(spec: &RigSpec, name: CompactString) -> FleetSpec {
    FleetSpec {
        name,
        broker: spec.broker.clone(),
        expected: Expected::Auto,
        minimum: Minimum::OneWhileExpected,
        queues: Vec::new(),
        rules: spec.rules,
    }
}

/// The next moment of a steady beat after `now`: what a pause made impossible is left out, not made up for.
fn next(due: Mono, every: Duration, now: Mono) -> Mono {
    let next = due + every;
    if next > now {
        return next;
    }
    let periods = now.since(due).as_micros() / every.as_micros().max(1);
    due + every * u32::try_from(periods + 1).unwrap_or(u32::MAX)
}
