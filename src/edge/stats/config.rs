//! The table `[[stats]]`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use headcount_core::span::Span;
use headcount_core::stats::bucket::Width;
use headcount_core::stats::measure::{Field, Measure};
use headcount_core::stats::plan::{Plan, PlanError};
use headcount_core::stats::window::Window;
use serde::Deserialize;

use super::sink_url::{Collection, Sink};

/// How the names of all collections begin in which state of pipelines is kept.
const OWN: &str = "headcount_stats_";
/// The longest name of a pipeline, in characters: it is a label of the metrics and a part of ids.
const MAX_NAME: usize = 64;
/// What is said of a key that is not there.
const REQUIRED: &str = "this key is required";
/// Under this a lease is lost by an ordinary hiccup of the network, and work is done twice in vain.
const MIN_LEASE: Span = Span::from_millis(500);
/// Beyond this a part of the work lies idle for long after a crash.
const MAX_LEASE: Span = Span::from_secs(600);
/// Beyond this the ids that are remembered until they are settled are too many.
const MAX_SETTLE: Span = Span::from_secs(3_600);
/// Under this the transactions themselves are the work.
const MIN_STEP: u32 = 100;
/// Beyond this a crash, or a change of the lease, costs minutes.
const MAX_STEP: u32 = 2_000_000;
/// Beyond this, processors of one Headcount only wait for each other's threads.
const MAX_PROCESSORS: u32 = 64;

/// One pipeline.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    // What is required, and not there, [`Config::check`] says, together with all else.
    /// Its name, unique among the pipelines.
    #[serde(default)]
    pub name: String,
    /// `mongodb://HOST/DATABASE.COLLECTION`.
    source: Option<String>,
    /// The field whose values grow, by which documents are read: with an index, and in every document.
    #[serde(default = "default_cursor")]
    pub cursor: Field,
    /// The field with the time of a document: a date.
    time: Option<Field>,
    /// How long a bucket is.
    bucket: Option<Width>,
    /// The fields whose values make the groups.
    #[serde(default)]
    group_by: Vec<Field>,
    /// Where roll-ups go.
    #[serde(default)]
    sinks: Vec<String>,
    /// How much later than its bucket's end a document may come; none: however late.
    pub late: Option<Span>,
    /// How far ahead of the clock the time of a document may be.
    #[serde(default = "default_future")]
    future: Span,
    /// How much later than a greater one a smaller value of the cursor field may appear.
    #[serde(default = "default_settle")]
    pub settle: Span,
    /// How long whoever works on a part may be silent before another one takes it.
    #[serde(default = "default_lease")]
    pub lease: Span,
    /// How many of this Headcount's threads work on it at once.
    #[serde(default = "default_processors")]
    pub processors: u32,
    /// How many documents one step, and so one transaction, covers at most.
    #[serde(default = "default_step")]
    step: u32,
    /// What is measured, by the names that the roll-ups give it.
    #[serde(default)]
    measures: BTreeMap<String, Measure>,
}

fn default_cursor() -> Field {
    // A name that is valid, so this is never the other.
    "_id".parse().unwrap_or_else(|_| unreachable!("`_id` is a field"))
}

const fn default_future() -> Span {
    Span::from_secs(300)
}

const fn default_settle() -> Span {
    Span::from_secs(60)
}

const fn default_lease() -> Span {
    Span::from_secs(10)
}

const fn default_processors() -> u32 {
    1
}

const fn default_step() -> u32 {
    1_000_000
}

impl fmt::Debug for Config {
    /// Its URLs may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// One thing that is wrong with a table whose keys are all well formed. Never with a secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key, such as `sinks.[1]`.
    pub key: String,
    /// What is wrong, and what was expected.
    pub why: String,
}

/// What the table means.
pub(super) struct Checked {
    pub(super) source: Collection,
    pub(super) time: Field,
    pub(super) sinks: Vec<Sink>,
    pub(super) plan: Plan,
    pub(super) window: Window,
    pub(super) step: u64,
}

impl Config {
    /// Says all that is wrong with it, without a network.
    pub fn check(&self) -> Vec<Mistake> {
        self.checked().err().unwrap_or_default()
    }

    pub(super) fn checked(&self) -> Result<Checked, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut say = |key: &str, why: String| {
            mistakes.push(Mistake {
                key: key.to_owned(),
                why,
            });
        };
        let sound = |c: char| c.is_alphanumeric() || "-_.: ".contains(c);
        if self.name.is_empty() || self.name.chars().count() > MAX_NAME || !self.name.chars().all(sound) {
            say(
                "name",
                format!("expected 1 to {MAX_NAME} letters, digits or any of `-_.: `"),
            );
        }
        if self.lease < MIN_LEASE || self.lease > MAX_LEASE {
            say(
                "lease",
                format!(
                    "expected a duration from {MIN_LEASE} to {MAX_LEASE}, found {}",
                    self.lease
                ),
            );
        }
        if self.settle > MAX_SETTLE {
            say(
                "settle",
                format!("expected a duration of at most {MAX_SETTLE}, found {}", self.settle),
            );
        }
        if !(1..=MAX_PROCESSORS).contains(&self.processors) {
            say("processors", format!("expected a number from 1 to {MAX_PROCESSORS}"));
        }
        if !(MIN_STEP..=MAX_STEP).contains(&self.step) {
            say("step", format!("expected a number from {MIN_STEP} to {MAX_STEP}"));
        }
        for (key, is_there) in [("time", self.time.is_some()), ("bucket", self.bucket.is_some())] {
            if !is_there {
                say(key, REQUIRED.to_owned());
            }
        }
        let source = match self.source.as_deref().map(Collection::read) {
            None => Err(REQUIRED.to_owned()),
            Some(read) => read.map_err(|error| error.to_string()),
        };
        let source = source.map_err(|why| say("source", why)).ok();
        if self.sinks.is_empty() {
            say(
                "sinks",
                "expected at least one sink: roll-ups must go somewhere".to_owned(),
            );
        }
        let mut sinks: Vec<Sink> = Vec::new();
        for (place, text) in self.sinks.iter().enumerate() {
            let key = format!("sinks.[{place}]");
            match Sink::read(text) {
                Err(error) => say(&key, error.to_string()),
                Ok(Sink::MongoDb(sink)) if sink.collection.starts_with(OWN) => {
                    let why = format!(
                        "collections named `{OWN}…` are Headcount's own: roll-ups would be among the state of pipelines"
                    );
                    say(&key, why);
                }
                Ok(sink) if sinks.iter().any(|other| other.is_same(&sink)) => {
                    say(&key, "this sink is there twice".to_owned());
                }
                Ok(sink) if source.as_ref().is_some_and(|source| sink.is(source)) => {
                    say(
                        &key,
                        "the source cannot be a sink: its roll-ups would be counted".to_owned(),
                    );
                }
                Ok(sink) => sinks.push(sink),
            }
        }
        let measures = self.measures.iter().map(|(name, measure)| (name.as_str(), measure));
        let plan = Plan::new(&self.group_by, measures)
            .map_err(|wrong| {
                wrong.into_iter().for_each(|error| {
                    let key = match &error {
                        PlanError::Name { name, .. } => format!("measures.{name}"),
                        PlanError::NoMeasure | PlanError::ManyMeasures(_) => "measures".to_owned(),
                        PlanError::ManyFields(_) | PlanError::Overlap(..) => "group_by".to_owned(),
                    };
                    say(&key, error.to_string());
                });
            })
            .ok();
        let own = ["_id", "bucket"];
        for (place, field) in self.group_by.iter().enumerate() {
            if field.path().next().is_some_and(|first| own.contains(&first)) {
                say(
                    &format!("group_by.[{place}]"),
                    format!("a roll-up's `{field}` is its own"),
                );
            }
        }
        match (source, plan, self.time.clone(), self.bucket) {
            (Some(source), Some(plan), Some(time), Some(bucket)) if mistakes.is_empty() => Ok(Checked {
                source,
                time,
                sinks,
                plan,
                step: u64::from(self.step),
                window: Window {
                    width: bucket,
                    late: self.late.map_or(Duration::ZERO, Span::duration),
                    ahead: self.future.duration(),
                },
            }),
            _ => Err(mistakes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "clicks"
        source = "mongodb://127.0.0.1:27017/app.clicks"
        time = "at"
        bucket = "1m"
        group_by = ["campaign", "country"]
        sinks = ["mongodb://127.0.0.1:27017/app.clicks_1m", "elasticsearch+http://127.0.0.1:9200/clicks-1m"]
        [measures]
        n = "count"
        paid = "sum(price)"
        slow = "p95(ms)"
        people = "distinct(user)"
    "#;

    fn mistakes(text: &str) -> Vec<String> {
        let config: Config = toml::from_str(text).unwrap();
        let say = |mistake: Mistake| format!("{}: {}", mistake.key, mistake.why);
        config.check().into_iter().map(say).collect()
    }

    #[test]
    fn the_contracts_example_is_right() {
        let config: Config = toml::from_str(GOOD).unwrap();
        assert_eq!(config.check(), []);
        assert_eq!((config.cursor.as_str(), config.late), ("_id", None));
        assert!(!format!("{config:?}").contains("mongodb"));
    }

    #[test]
    fn each_mistake_names_its_key() {
        for (from, to, says) in [
            ("\"clicks\"", "\"a/b\"", "name: expected"),
            ("app.clicks\"", "app\"", "source: expected a path"),
            ("app.clicks_1m", "app.clicks", "sinks.[0]: the source cannot be a sink"),
            (
                "127.0.0.1:27017/app.clicks_1m",
                "localhost/app.clicks",
                "sinks.[0]: the source cannot be a sink",
            ),
            (
                "app.clicks_1m",
                "app.headcount_stats_states",
                "sinks.[0]: collections named `headcount_stats_…` are",
            ),
            (
                "elasticsearch+http://127.0.0.1:9200/clicks-1m",
                "mongodb://localhost:27017/app.clicks_1m",
                "sinks.[1]: this sink is there twice",
            ),
            (
                "app.clicks\"",
                "app.clicks?directConnection=maybe\"",
                "source: not a URL: connection string `directconnection`",
            ),
            ("elasticsearch+http", "http", "sinks.[1]: expected mongodb://"),
            (
                "\"campaign\", \"country\"",
                "\"_id\"",
                "group_by.[0]: a roll-up's `_id` is its own",
            ),
            ("\"campaign\", \"country\"", "\"a\", \"a.b\"", "group_by: grouped by"),
            ("n = \"count\"", "country = \"count\"", "measures.country: "),
            (
                "bucket = \"1m\"",
                "bucket = \"1m\"\nlease = \"1ms\"",
                "lease: expected a duration",
            ),
            (
                "bucket = \"1m\"",
                "bucket = \"1m\"\nprocessors = 0",
                "processors: expected",
            ),
            (
                "bucket = \"1m\"",
                "bucket = \"1m\"\nsettle = \"2h\"",
                "settle: expected",
            ),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let found = mistakes(&GOOD.replacen(from, to, 1));
            assert!(found.iter().any(|found| found.starts_with(says)), "{to}: {found:?}");
        }
        let nowhere = GOOD.replacen("sinks = [", "sinks = [] # [", 1);
        assert_eq!(
            mistakes(&nowhere),
            ["sinks: expected at least one sink: roll-ups must go somewhere"]
        );
    }
}
