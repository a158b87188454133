//! Headcount as a watcher of a simulated world.

use headcount_core::alert::{Kind, Notice, Severity, Turn};
use headcount_core::celery::TaskEvent;
use headcount_core::detect::periods::MAX_PROBES;
use headcount_core::detect::{Diagnosis, Input, Output, Rules};

use compact_str::CompactString;

use crate::rig::{FleetId, Rig, RigSpec};
use crate::world::{self, Answer, Moment, Question, Questions, Said, Says, Watcher};

/// What a person would have been told.
#[derive(Clone, Debug)]
pub struct Message {
    /// When.
    pub at: Moment,
    /// Which turn of its incident.
    pub turn: Turn,
    /// The incident.
    pub incident: CompactString,
    /// Whose trouble it is.
    pub kind: Kind,
    /// How bad it is said to be.
    pub severity: Severity,
    /// Who is named, and why.
    pub named: Vec<(CompactString, Option<Diagnosis>)>,
    /// How many are said to be missing, named or not.
    pub missing: u32,
    /// The plain text.
    pub text: String,
}

/// What is under way for one fleet.
#[derive(Clone, Copy, Debug, Default)]
struct UnderWay {
    probes: usize,
    learning: bool,
    working: bool,
    queues: bool,
}

/// Which question an answer is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Probe,
    Learn,
    Work,
    Queues,
}

const ASKED: [Asked; 4] = [Asked::Probe, Asked::Learn, Asked::Work, Asked::Queues];

/// Headcount, watching.
#[derive(Debug)]
pub struct Headcount {
    rig: Rig,
    fleets: Vec<(FleetId, UnderWay)>,
    wanted: Vec<(FleetId, Output)>,
    /// What people were told.
    pub told: Vec<Message>,
}

impl Headcount {
    /// One that is started with the world, and knows nothing of it but the broker.
    pub fn new(rules: Rules) -> Self {
        Self {
            rig: Rig::new(RigSpec::discovering("main", rules), Vec::new(), world::clocks(0)),
            fleets: Vec::new(),
            wanted: Vec::new(),
            told: Vec::new(),
        }
    }

    fn under_way(&mut self, fleet: FleetId) -> (usize, &mut UnderWay) {
        let known = self.fleets.iter().position(|(id, _)| *id == fleet);
        let place = known.unwrap_or_else(|| {
            self.fleets.push((fleet, UnderWay::default()));
            self.fleets.len() - 1
        });
        (place, &mut self.fleets[place].1)
    }

    /// What is asked, unless as much is asked already (`actors/fleet_prober.rs`).
    fn question(&mut self, fleet: FleetId, output: Output) -> Option<(usize, Question)> {
        let (place, under_way) = self.under_way(fleet);
        let (asked, free, question) = match output {
            Output::Probe(targets) => {
                let free = under_way.probes < MAX_PROBES;
                under_way.probes += usize::from(free);
                let names = targets.into_iter().map(|target| target.hostname).collect();
                (Asked::Probe, free, Question::Probe(names))
            }
            Output::Learn(names) => {
                let free = !std::mem::replace(&mut under_way.learning, true);
                (Asked::Learn, free, Question::Learn(names))
            }
            Output::LookAtWork(names) => {
                let free = !std::mem::replace(&mut under_way.working, true);
                (Asked::Work, free, Question::Work(names))
            }
            Output::AskQueues(names) => {
                let free = !std::mem::replace(&mut under_way.queues, true);
                (Asked::Queues, free, Question::Queues(names))
            }
            Output::Changed => return None,
        };
        free.then_some((place * ASKED.len() + asked as usize, question))
    }

    fn note(&mut self) {
        for notice in self.rig.take_notices() {
            self.told.push(Message::of(&notice));
        }
        self.rig.forget_changed();
    }
}

impl Watcher for Headcount {
    fn connected(&mut self, _now: Moment, connected: bool) {
        if connected {
            self.rig.opened();
        } else {
            self.rig.ended("the broker closed the connection");
        }
    }

    fn blocked(&mut self, _now: Moment, blocked: bool) {
        self.rig.blocked(blocked);
    }

    fn canary(&mut self, now: Moment) {
        self.rig.canary(world::clocks(now));
    }

    fn said(&mut self, now: Moment, hostname: &str, said: &Said) {
        self.rig.worker_event(world::clocks(now), &world::event(hostname, said));
    }

    fn task(&mut self, now: Moment, event: &TaskEvent<'_>) {
        self.rig.task_event(world::clocks(now), event);
    }

    fn batch_end(&mut self, now: Moment) {
        self.rig.batch_end(world::clocks(now));
    }

    fn due(&self) -> Moment {
        world::moment(self.rig.due())
    }

    fn tick(&mut self, now: Moment) {
        self.rig.tick(world::clocks(now));
        if self.rig.has_news() {
            self.note();
        }
    }

    fn questions(&mut self, into: &mut Questions) {
        if !self.rig.has_questions() {
            return;
        }
        let mut wanted = std::mem::take(&mut self.wanted);
        self.rig.take_questions(&mut wanted);
        for (fleet, output) in wanted.drain(..) {
            into.extend(self.question(fleet, output));
        }
        self.wanted = wanted;
    }

    fn answered(&mut self, now: Moment, answer: Answer) {
        let asked = ASKED[answer.tag % ASKED.len()];
        let Some((fleet, under_way)) = self.fleets.get_mut(answer.tag / ASKED.len()) else {
            return;
        };
        match asked {
            Asked::Probe => under_way.probes = under_way.probes.saturating_sub(1),
            Asked::Learn => under_way.learning = false,
            Asked::Work => under_way.working = false,
            Asked::Queues => under_way.queues = false,
        }
        let fleet = *fleet;
        let now = world::clocks(now);
        match answer.says {
            Says::Probed(probes) => self.rig.answer(now, fleet, Input::Probed(&probes)),
            Says::Learned(learned, means) => {
                self.rig.answer(now, fleet, Input::Learned(&learned));
                self.rig.answer(now, fleet, Input::Means(&means));
            }
            Says::Worked(looks, means) => {
                self.rig.answer(now, fleet, Input::Means(&means));
                self.rig.answer(now, fleet, Input::Takers(None));
                self.rig.answer(now, fleet, Input::Worked(&looks));
            }
            Says::Queues(queues) => self.rig.answer(now, fleet, Input::Queues(queues)),
            Says::Failed if asked == Asked::Probe => self.rig.answer(now, fleet, Input::Unprobed),
            Says::Failed => {}
        }
    }
}

impl Message {
    fn of(notice: &Notice) -> Self {
        let incident = &notice.incident;
        Self {
            at: world::wall_moment(notice.at),
            turn: notice.turn,
            incident: incident.id.0.clone(),
            kind: incident.kind,
            severity: incident.severity,
            named: incident.scene.named(),
            missing: incident.scene.missing_count(),
            text: notice.text(),
        }
    }

    /// Whether it is an alarm: something began, or became worse. Other turns are told only where a channel has threads.
    pub const fn is_alarm(&self) -> bool {
        matches!(self.turn, Turn::Opened | Turn::Worsened)
    }
}
