//! A whole run: scenarios, cut into episodes, on as many threads as there are, with the same result on any number.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use headcount_core::detect::Rules;

use crate::baselines::phi::Phi;
use crate::baselines::ping::Ping;
use crate::baselines::silence::Silence;
use crate::baselines::{Alarm, Baseline};
use crate::headcount::Headcount;
use crate::rng::Rng;
use crate::scenarios::Scenario;
use crate::score::{self, Tally};
use crate::stage::Stage;
use crate::world::{HOUR, Moment, SEC, Watcher, World};

/// The longest episode. Shorter ones spread better over threads; the first minute of each is calm.
const EPISODE: Moment = 6 * HOUR;
/// The shortest: some scenarios need most of an hour for one fault.
const SHORTEST: Moment = HOUR;
/// How long after an outage of the broker an alarm of a baseline is still about it: workers take up to 30 s to return.
const AFTER_OUTAGE: Moment = 60 * SEC;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detector {
    /// Headcount's own, the code of the daemon.
    Headcount,
    /// `celery.events.state.Worker.alive`.
    Celery,
    /// A fixed timeout.
    Timeout,
    /// Phi accrual with Akka's defaults.
    Phi,
    /// Pings alone.
    Ping,
}

impl Detector {
    /// All of them.
    pub const ALL: [Detector; 5] = [
        Detector::Headcount,
        Detector::Celery,
        Detector::Timeout,
        Detector::Phi,
        Detector::Ping,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Detector::Headcount => "headcount",
            Detector::Celery => "celery",
            Detector::Timeout => "timeout",
            Detector::Phi => "phi",
            Detector::Ping => "ping",
        }
    }

    /// The threshold that it has where nobody chose one.
    pub const fn usual(self) -> f64 {
        match self {
            // Headcount's `down_after`, in seconds.
            Detector::Headcount => 10.0,
            // Per cent of the interval.
            Detector::Celery => 200.0,
            // Seconds, as in the exporters.
            Detector::Timeout => 300.0,
            Detector::Phi => 8.0,
            Detector::Ping => 3.0,
        }
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The scenarios.
    pub scenarios: Vec<&'static Scenario>,
    /// Who is measured.
    pub detectors: Vec<Detector>,
    /// Workers of each scenario.
    pub workers: u32,
    /// How long each scenario goes on, in days; an hour at least.
    pub days: f64,
    /// The same for those in which something fails: they come to many failures in a day, while a false alarm is rare.
    pub fault_days: f64,
    /// All chance comes from it.
    pub seed: u64,
    /// Threads to use; changes nothing but the time that it takes.
    pub threads: usize,
}

/// One detector at one threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Which.
    pub detector: Detector,
    /// The threshold.
    pub threshold: f64,
    /// Its figures, in the order of the plan's scenarios.
    pub scenarios: Vec<Tally>,
}

impl Measured {
    /// Its figures over all scenarios that `which` chooses.
    pub fn total(&self, plan: &Plan, which: impl Fn(&Scenario) -> bool) -> Tally {
        let mut total = Tally::default();
        for (scenario, tally) in plan.scenarios.iter().zip(&self.scenarios) {
            if which(scenario) {
                total.add(tally);
            }
        }
        total
    }
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// Each detector at each threshold.
    pub measured: Vec<Measured>,
    /// Beats that reached the monitor.
    pub beats: u64,
}

/// One episode of a scenario.
#[derive(Clone, Copy, Debug)]
struct Episode {
    place: usize,
    number: u64,
    span: Moment,
}

/// What came of an episode, in the order of detectors and thresholds.
type Outcome = (Vec<Tally>, u64);

/// Runs it. `progress` is told which share of the whole is done, from 0 to 1, from any thread.
pub fn run(plan: &Plan, progress: &(dyn Fn(f64) + Sync)) -> Results {
    let episodes = episodes(plan);
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<Option<Outcome>>> = Mutex::new(vec![None; episodes.len()]);
    std::thread::scope(|scope| {
        for _ in 0..plan.threads.clamp(1, episodes.len().max(1)) {
            scope.spawn(|| {
                while let Some(episode) = episodes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = play(plan, *episode);
                    let finished = 1 + done.fetch_add(1, Ordering::Relaxed);
                    progress(finished as f64 / episodes.len() as f64);
                    let mut outcomes = outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if let Some(place) = index_of(&episodes, *episode).and_then(|index| outcomes.get_mut(index)) {
                        *place = Some(outcome);
                    }
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut results = Results {
        measured: blank(plan),
        beats: 0,
    };
    for (episode, outcome) in episodes.iter().zip(outcomes) {
        let Some((tallies, beats)) = outcome else { continue };
        results.beats += beats;
        for (measured, tally) in results.measured.iter_mut().zip(&tallies) {
            if let Some(sum) = measured.scenarios.get_mut(episode.place) {
                sum.add(tally);
            }
        }
    }
    results
}

fn index_of(episodes: &[Episode], episode: Episode) -> Option<usize> {
    let same = |other: &Episode| (other.place, other.number) == (episode.place, episode.number);
    episodes.iter().position(same)
}

fn episodes(plan: &Plan) -> Vec<Episode> {
    let mut episodes = Vec::new();
    for (place, scenario) in plan.scenarios.iter().enumerate() {
        let days = if scenario.quiet { plan.days } else { plan.fault_days };
        let whole = ((days * 24.0 * HOUR as f64) as Moment).max(SHORTEST);
        let count = whole.div_ceil(EPISODE);
        episodes.extend((0..count).map(|number| Episode {
            place,
            number,
            span: whole / count,
        }));
    }
    episodes
}

fn blank(plan: &Plan) -> Vec<Measured> {
    let scenarios = vec![Tally::default(); plan.scenarios.len()];
    let mut measured = Vec::new();
    for detector in &plan.detectors {
        let thresholds = match rule(*detector) {
            Some(rule) => rule.thresholds(),
            None => vec![detector.usual()],
        };
        measured.extend(thresholds.into_iter().map(|threshold| Measured {
            detector: *detector,
            threshold,
            scenarios: scenarios.clone(),
        }));
    }
    measured
}

/// A baseline that watches a world.
trait Rule: Baseline + Watcher {
    fn watcher(&mut self) -> &mut dyn Watcher;
}

impl<T: Baseline + Watcher> Rule for T {
    fn watcher(&mut self) -> &mut dyn Watcher {
        self
    }
}

fn rule(detector: Detector) -> Option<Box<dyn Rule>> {
    match detector {
        Detector::Headcount => None,
        Detector::Celery => Some(Box::new(Silence::celery())),
        Detector::Timeout => Some(Box::new(Silence::timeout())),
        Detector::Phi => Some(Box::new(Phi::new())),
        Detector::Ping => Some(Box::new(Ping::new())),
    }
}

fn play(plan: &Plan, episode: Episode) -> Outcome {
    let Some(scenario) = plan.scenarios.get(episode.place) else {
        return (Vec::new(), 0);
    };
    let rng = Rng::for_part(plan.seed, &[u64::from(scenario.number), episode.number]);
    let mut stage = Stage::new(rng, plan.workers, episode.span);
    scenario.build(&mut stage);
    let mut world = World::new(&mut stage);
    let mut headcount = Headcount::new(Rules::default());
    let mut rules: Vec<Option<Box<dyn Rule>>> = plan.detectors.iter().map(|detector| rule(*detector)).collect();
    {
        let mut watchers: Vec<&mut dyn Watcher> = Vec::new();
        if plan.detectors.contains(&Detector::Headcount) {
            watchers.push(&mut headcount);
        }
        for rule in rules.iter_mut().flatten() {
            watchers.push(rule.watcher());
        }
        world.run(episode.span, &mut watchers);
    }
    let worker_days = f64::from(plan.workers) * episode.span as f64 / (24.0 * HOUR as f64);
    let mut tallies = Vec::new();
    for rule in &mut rules {
        match rule {
            None => tallies.push(score::headcount(&stage.failures, &headcount.told, worker_days)),
            Some(rule) => {
                let alarms: Vec<Vec<Alarm>> = rule.finish(episode.span);
                let tally = |alarms: &Vec<Alarm>| score::baseline(&stage.failures, alarms, AFTER_OUTAGE, worker_days);
                tallies.extend(alarms.iter().map(tally));
            }
        }
    }
    (tallies, world.beats())
}
