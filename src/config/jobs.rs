//! `[[job]]`.

use std::ops::Range;

use compact_str::CompactString;
use headcount_actors::node::tasks;
use headcount_core::celery::task::{Destination, MAX_PRIORITY, Route};
use headcount_core::schedule::plan::{MAX_JITTER, MAX_WITHIN};
use headcount_core::schedule::timing::SHORTEST;
use headcount_core::schedule::{Cron, Missed, Plan, Timing};
use headcount_core::span::Span;
use headcount_edge::brokers::{self, MAX_WIRE_NAME};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Broker;
use super::problem::did_you_mean;
use super::spot::Spot;
use super::tree::At;

/// The queue of a task that names none, and that no route leads elsewhere: Celery's `task_default_queue`.
const DEFAULT_QUEUE: &str = "celery";
/// How far back slots are missed, where the table does not say.
const WITHIN: Span = Span::from_secs(86_400);
/// After how long without news a run is lost, where the table does not say.
const LOST_AFTER: Span = Span::from_secs(3_600);
/// A task of this kind that names no broker is one of Headcount's own.
const OWN: &str = "headcount.";

/// A task, and when it is to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// When; its name is in there.
    pub plan: Plan,
    /// The name of the task.
    pub task: String,
    /// Positional arguments.
    pub args: Vec<Value>,
    /// Keyword arguments.
    pub kwargs: Map<String, Value>,
    /// Where it is sent: the broker's name, and where there; none for one of Headcount's own tasks.
    pub to: Option<(CompactString, Destination)>,
    /// So long after its slot it is of no use.
    pub expires: Option<Span>,
    /// Its priority, 0 to 9, by the table or by a route.
    pub priority: Option<u8>,
    /// At most so many runs at once.
    pub overlap: Option<u32>,
    /// A run of which nothing has been heard for so long is lost.
    pub lost_after: Span,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobTable {
    name: String,
    cron: Option<String>,
    every: Option<Span>,
    timezone: Option<String>,
    broker: Option<CompactString>,
    queue: Option<String>,
    task: String,
    #[serde(default)]
    args: Vec<Value>,
    #[serde(default)]
    kwargs: Map<String, Value>,
    expires: Option<Span>,
    priority: Option<u8>,
    jitter: Option<Span>,
    overlap: Option<u32>,
    #[serde(default)]
    missed: Missed,
    missed_within: Option<Span>,
    lost_after: Option<Span>,
}

impl JobTable {
    /// Checks it against the brokers, and the jobs before it. None where it cannot be told when it is to run.
    pub(super) fn check(
        self,
        brokers: &[Broker],
        jobs: &[Job],
        has_pipelines: bool,
        spot: &mut Spot<'_>,
    ) -> Option<Job> {
        spot.check_name("name", &self.name);
        if jobs.iter().any(|other| other.plan.job == self.name) {
            spot.say("name", format!("there is another job named {:?}", self.name));
        }
        if !(1..=MAX_WIRE_NAME).contains(&self.task.len()) {
            spot.say(
                "task",
                format!("expected the name of a task, 1 to {MAX_WIRE_NAME} bytes"),
            );
        }
        let timing = self.timing(spot);
        let jitter = self.jitter(timing.as_ref(), spot);
        let within = self.missed_within.unwrap_or(WITHIN);
        if within.is_zero() || within > MAX_WITHIN {
            spot.expected(
                "missed_within",
                &format!("more than 0 and at most {MAX_WITHIN}"),
                &within,
            );
        }
        let positive = [("expires", self.expires), ("lost_after", self.lost_after)];
        for (key, span) in positive {
            if span.is_some_and(Span::is_zero) {
                spot.say(key, "expected more than 0");
            }
        }
        if self.overlap == Some(0) {
            spot.say("overlap", "expected at least 1: with 0 it would never run");
        }
        if self.priority.is_some_and(|priority| priority > MAX_PRIORITY) {
            spot.say("priority", format!("expected 0 to {MAX_PRIORITY}"));
        }
        let (to, priority) = self.destination(brokers, has_pipelines, spot).unzip();
        Some(Job {
            plan: Plan {
                job: self.name,
                timing: timing?,
                jitter,
                missed: self.missed,
                within,
            },
            task: self.task,
            args: self.args,
            kwargs: self.kwargs,
            to,
            expires: self.expires,
            priority: priority.flatten(),
            overlap: self.overlap,
            lost_after: self.lost_after.unwrap_or(LOST_AFTER),
        })
    }

    fn timing(&self, spot: &mut Spot<'_>) -> Option<Timing> {
        match (&self.cron, self.every) {
            (Some(text), None) => {
                let zone = self.zone(spot);
                match Cron::parse(text) {
                    Ok(cron) => Some(Timing::Cron { cron, zone: zone? }),
                    Err(error) => {
                        spot.say_within("cron", text, error.at, "cron pattern", error.why);
                        None
                    }
                }
            }
            (None, Some(every)) => {
                if every.duration() < SHORTEST {
                    spot.expected("every", &format!("at least {SHORTEST:?}"), &every);
                }
                if self.timezone.is_some() {
                    spot.say(
                        "timezone",
                        "`every` goes by time that passes, in no time zone; only `cron` has one",
                    );
                }
                Some(Timing::Every(every))
            }
            (Some(_), Some(_)) => {
                spot.say("every", "either `cron` or `every`");
                None
            }
            (None, None) => {
                if !spot.has_mistake("cron") && !spot.has_mistake("every") {
                    spot.say(
                        "",
                        "when it is to run is missing: `cron = \"0 3 * * *\"`, or `every = \"10m\"`",
                    );
                }
                None
            }
        }
    }

    fn zone(&self, spot: &mut Spot<'_>) -> Option<TimeZone> {
        let Some(name) = &self.timezone else {
            return Some(TimeZone::UTC);
        };
        let zone = TimeZone::get(name).ok().filter(|zone| zone.iana_name().is_some());
        if zone.is_none() {
            let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
            let hint = did_you_mean(name, names.iter().map(String::as_str))
                .map(|meant| format!("; did you mean {meant:?}?"))
                .unwrap_or_else(|| "; expected one such as \"Europe/Berlin\"".to_owned());
            let message = format!("there is no time zone {name:?}{hint}");
            spot.say_plainly("timezone", &message, "there is no time zone of this name");
        }
        zone
    }

    fn jitter(&self, timing: Option<&Timing>, spot: &mut Spot<'_>) -> Span {
        let jitter = self.jitter.unwrap_or(Span::from_secs(0));
        let most = match timing {
            Some(Timing::Every(every)) => (*every).min(MAX_JITTER),
            _ => MAX_JITTER,
        };
        if jitter > most {
            spot.expected("jitter", &format!("at most {most}"), &jitter);
        }
        jitter
    }

    /// Where the task goes, and with which priority; none if Headcount runs it itself.
    fn destination(
        &self,
        brokers: &[Broker],
        has_pipelines: bool,
        spot: &mut Spot<'_>,
    ) -> Option<((CompactString, Destination), Option<u8>)> {
        if self.task.starts_with(OWN) && self.broker.is_none() && self.queue.is_none() {
            self.check_own(has_pipelines, spot);
            for (key, given) in [
                ("expires", self.expires.is_some()),
                ("priority", self.priority.is_some()),
            ] {
                if given {
                    spot.say(key, "a task of Headcount's own is not sent, so that this means nothing");
                }
            }
            return None;
        }
        if let Some(queue) = self
            .queue
            .as_ref()
            .filter(|queue| !(1..=MAX_WIRE_NAME).contains(&queue.len()))
        {
            spot.say(
                "queue",
                format!(
                    "expected the name of a queue, 1 to {MAX_WIRE_NAME} bytes, found {}",
                    queue.len()
                ),
            );
        }
        let names: Vec<CompactString> = brokers
            .iter()
            .map(|broker| broker.config.name.as_str().into())
            .collect();
        let name = super::fleet::find_broker(self.broker.as_ref(), &names, spot);
        let broker = brokers.iter().find(|broker| broker.config.name == name.as_str());
        if broker.is_some_and(|broker| broker.config.kind == brokers::Kind::Flower) {
            spot.say(
                "broker",
                format!("{name:?} is a Flower, through which no task can be sent; name a broker"),
            );
        }
        let routes = broker.map(|broker| broker.config.routes()).unwrap_or_default();
        let route = routes.route(&self.task, Route::default(), DEFAULT_QUEUE);
        let to = match &self.queue {
            // Who names a queue means it.
            Some(queue) => Destination::queue(queue.as_str()),
            None => route.destination(DEFAULT_QUEUE),
        };
        Some(((name, to), self.priority.or(route.priority)))
    }

    /// Whether Headcount has the task.
    fn check_own(&self, has_pipelines: bool, spot: &mut Spot<'_>) {
        let task = self.task.as_str();
        let of_pipelines = tasks::STATS_NAMES.contains(&task);
        if tasks::NAMES.contains(&task) || (of_pipelines && has_pipelines) {
            return;
        }
        let why = if of_pipelines {
            format!("{task} is about pipelines, and there is no [[stats]]")
        } else {
            let further: &[&str] = if has_pipelines { &tasks::STATS_NAMES } else { &[] };
            let known = [&tasks::NAMES, further].concat().join(", ");
            format!(
                "Headcount has no task of its own named {task:?}; it has {known}. With `broker` or `queue` it is sent to a worker"
            )
        };
        spot.say("task", why);
    }
}

/// The bytes of the file that a part of a text stands at: none where the file writes the text otherwise, with escapes or
/// on several lines, or where it is not in the file.
pub(super) fn part_of(at: &At, text: &str, part: &Range<usize>) -> Option<At> {
    let At::File(span) = at else { return None };
    // One quotation mark on each side and nothing else: an escape is always longer than what it means.
    if span.len() != text.len() + 2 {
        return None;
    }
    let begin = span.start + 1;
    Some(At::File(begin + part.start..begin + part.end))
}
