//! A trace through the detector: what would this configuration have made of what happened?

mod answers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use headcount_core::alert::{Incident, IncidentId, Turn};
use headcount_core::detect::Output;
use headcount_core::detect::observed::MAX_STEP;
use headcount_core::time::{Mono, Now, Wall};

use crate::rig::{FleetId, Rig, RigSpec};
use crate::trace::Record;
use answers::Answers;

/// When records are farther apart than this, the recorder itself did not run (it notes four times a second that it does),
/// and time must not pass for the detector either: the very step that its observed clock takes for a pause.
const PAUSED: Duration = MAX_STEP;

/// The most incidents that are kept, and the most messages about one: nobody reads more, and memory has an end.
const MAX_STORIES: usize = 10_000;
/// See [`MAX_STORIES`].
const MAX_MESSAGES: usize = 100;
/// The most that can be due between two records while the recorder ran: the rig has three beats, of 100 ms and more.
const MAX_TICKS: usize = 64;

/// One incident that a replay made, and what people would have read.
#[derive(Clone, Debug, PartialEq)]
pub struct Story {
    /// How it stood at its end, or at the end of the trace.
    pub incident: Incident,
    /// What people would have read of it, and when, where a channel has no threads (threads show more).
    pub messages: Vec<(Wall, String)>,
}

/// What a whole replay came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Its incidents in the order of their opening, the first 10,000.
    pub stories: Vec<Story>,
    /// How many more changes of incidents there were beyond those.
    pub left_out: u64,
    /// When the trace begins and ends, if it holds anything.
    pub span: Option<(Wall, Wall)>,
    /// Events in it, of workers and of tasks.
    pub events: u64,
    /// Messages that could not be read when it was recorded.
    pub malformed: u64,
    /// How often the detector asked after a worker.
    pub asked: u64,
    /// How many of these questions the recording could answer.
    pub answered: u64,
    /// How often the recorder was paused, and for how long in all.
    pub pauses: u64,
    /// See [`Outcome::pauses`].
    pub paused: Duration,
}

/// A replay: records go in, one after the other, and incidents come out.
#[derive(Debug)]
pub struct Replay {
    spec: RigSpec,
    rig: Option<Rig>,
    answers: Answers,
    questions: Vec<(FleetId, Output)>,
    now: Now,
    stories: BTreeMap<IncidentId, Story>,
    outcome: Outcome,
}

impl Replay {
    /// A replay that has read nothing yet.
    pub fn new(spec: RigSpec) -> Self {
        Self {
            spec,
            rig: None,
            answers: Answers::default(),
            questions: Vec::new(),
            now: Now::default(),
            stories: BTreeMap::new(),
            outcome: Outcome::default(),
        }
    }

    /// Lets time pass until `now`, and takes what happened then.
    pub fn take(&mut self, now: Now, record: &Record<'_>) {
        let mut rig = match self.rig.take() {
            Some(rig) => rig,
            None => {
                self.now = now;
                self.outcome.span = Some((now.wall, now.wall));
                Rig::new(self.spec.clone(), Vec::new(), now)
            }
        };
        self.pass(&mut rig, now);
        self.happened(&mut rig, record);
        self.ask(&mut rig);
        self.collect(&mut rig);
        self.rig = Some(rig);
    }

    /// The incidents; those that are open stay so.
    pub fn finish(mut self) -> Outcome {
        if let Some(mut rig) = self.rig.take() {
            self.collect(&mut rig);
        }
        let mut stories: Vec<Story> = self.stories.into_values().collect();
        stories.sort_by(|a, b| (a.incident.opened_at, &a.incident.id).cmp(&(b.incident.opened_at, &b.incident.id)));
        self.outcome.stories = stories;
        (self.outcome.asked, self.outcome.answered) = (self.answers.asked, self.answers.answered);
        self.outcome
    }

    /// Lets time pass, as long as the recorder ran.
    fn pass(&mut self, rig: &mut Rig, now: Now) {
        if now.mono < self.now.mono {
            // Two threads write a trace, and a hostile hand can: time goes on, or it stands.
            return;
        }
        let gap = now.mono.since(self.now.mono);
        if gap > PAUSED {
            self.outcome.pauses += 1;
            self.outcome.paused += gap;
        } else {
            for _ in 0..MAX_TICKS {
                if rig.due() > now.mono {
                    break;
                }
                let due = rig.due().max(self.now.mono);
                self.now = at(now, due);
                rig.tick(self.now);
                self.answers.settle(rig, self.now);
                self.ask(rig);
            }
        }
        self.now = now;
        if let Some((_, to)) = &mut self.outcome.span {
            *to = now.wall.max(*to);
        }
    }

    fn happened(&mut self, rig: &mut Rig, record: &Record<'_>) {
        let now = self.now;
        match record {
            Record::Source(source) => self.answers.presence_is_hidden(source.hides_presence),
            Record::End => {}
            Record::Tick => rig.batch_end(now),
            Record::Opened => rig.opened(),
            Record::Ended(why) => rig.ended(why),
            Record::Canary(_) => rig.canary(now),
            Record::Blocked(blocked) => rig.blocked(*blocked),
            Record::Worker(event) => {
                self.outcome.events += 1;
                rig.worker_event(now, event);
                rig.batch_end(now);
            }
            Record::Task(event) => {
                self.outcome.events += 1;
                rig.task_event(now, event);
                rig.batch_end(now);
            }
            Record::Malformed(count) => self.outcome.malformed = self.outcome.malformed.saturating_add(*count),
            Record::Probed(answers) => self.answers.probed(rig, now, answers),
            Record::Unprobed => self.answers.unprobed(rig, now),
            Record::Told(told) => self.answers.told(rig, now, told),
            Record::Takers(takers) => self.answers.takers(now, *takers),
            Record::Queues(queues) => self.answers.queues(rig, now, queues),
            Record::Found(found) => rig.found(now, found),
            Record::Connections(ids) => rig.connections(now, ids.iter().copied()),
        }
    }

    /// Answers what the detectors ask, as far as the recording can.
    fn ask(&mut self, rig: &mut Rig) {
        // An answer may lead to a question, though none leads to the same again at the same moment; whatever a hostile
        // trace makes of that, the next record goes on.
        for _ in 0..MAX_ROUNDS {
            rig.take_questions(&mut self.questions);
            if self.questions.is_empty() {
                return;
            }
            for (fleet, question) in self.questions.drain(..) {
                self.answers.ask(rig, self.now, fleet, question);
            }
        }
    }

    fn collect(&mut self, rig: &mut Rig) {
        for incident in rig.take_changed() {
            if let Some(story) = self.stories.get_mut(&incident.id) {
                story.incident = incident;
            } else if self.stories.len() < MAX_STORIES {
                let (id, messages) = (incident.id.clone(), Vec::new());
                self.stories.insert(id, Story { incident, messages });
            } else {
                self.outcome.left_out += 1;
            }
        }
        for notice in rig.take_notices() {
            if let Some(story) = self.stories.get_mut(&notice.incident.id)
                && story.messages.len() < MAX_MESSAGES
                && !matches!(notice.turn, Turn::Eased | Turn::Relapsed | Turn::Shifted)
            {
                story.messages.push((notice.at, notice.text()));
            }
        }
    }
}

/// So many times at one moment the detectors may ask on.
const MAX_ROUNDS: usize = 8;

/// Both clocks at `mono`, which is not after `now`.
fn at(now: Now, mono: Mono) -> Now {
    Now {
        mono,
        wall: now.wall_at(mono),
    }
}
