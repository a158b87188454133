//! `[[fleet]]`.

use std::fmt;

use compact_str::CompactString;
use headcount_core::detect::Expected;
use headcount_core::detect::fleet::MAX_WORKERS;
use headcount_core::detect::look::MAX_QUEUES;
use headcount_core::glob::Glob;
use headcount_edge::brokers::MAX_WIRE_NAME;
use serde::{Deserialize, Deserializer, de};

use super::detect::{Detect, DetectTable};
use super::spot::Spot;

/// The workers that do one service's work.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Its name, unique among the fleets.
    pub name: CompactString,
    /// The name of its broker.
    pub broker: CompactString,
    /// Workers whose names match one of these belong to it; never empty.
    pub hostnames: Vec<Glob>,
    /// Queues to watch; empty means those that its workers say they consume.
    pub queues: Vec<CompactString>,
    /// Under so many workers it is down; none means one, once there has been any.
    pub minimum: Option<u32>,
    /// How many workers there should be.
    pub expected: Expected,
    /// How they are judged.
    pub detect: Detect,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FleetTable {
    name: CompactString,
    broker: Option<CompactString>,
    hostnames: Option<Vec<String>>,
    #[serde(default)]
    queues: Vec<CompactString>,
    minimum: Option<u32>,
    expected: Option<ExpectedWord>,
    names: Option<Vec<CompactString>>,
    #[serde(default)]
    detect: DetectTable,
}

#[derive(Clone, Copy)]
enum ExpectedWord {
    Auto,
    Count(u32),
}

impl<'de> Deserialize<'de> for ExpectedWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;

        impl de::Visitor<'_> for Word {
            type Value = ExpectedWord;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of workers from 1, or \"auto\"")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<ExpectedWord, E> {
                match u32::try_from(number) {
                    Ok(count) if count > 0 => Ok(ExpectedWord::Count(count)),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<ExpectedWord, E> {
                match word {
                    "auto" => Ok(ExpectedWord::Auto),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }
        }

        deserializer.deserialize_any(Word)
    }
}

/// What a fleet is checked against.
pub(super) struct Company<'a> {
    /// The names of the brokers.
    pub(super) brokers: &'a [CompactString],
    /// `[detect]`.
    pub(super) detect: Detect,
    /// The fleets before it.
    pub(super) fleets: &'a [Fleet],
}

impl FleetTable {
    /// Checks it; what it says in spite of mistakes is given back, so that the fleets after it can be checked against it.
    pub(super) fn check(self, company: &Company<'_>, spot: &mut Spot<'_>) -> Fleet {
        spot.check_name("name", &self.name);
        if company.fleets.iter().any(|other| other.name == self.name) {
            spot.say("name", format!("there is another fleet named {:?}", self.name));
        }
        let broker = find_broker(self.broker.as_ref(), company.brokers, spot);
        let hostnames = self.patterns(spot);
        self.check_unclaimed(&hostnames, &broker, company.fleets, spot);
        for (n, queue) in self.queues.iter().enumerate() {
            if !(1..=MAX_WIRE_NAME).contains(&queue.len()) {
                spot.say(
                    &format!("queues.[{n}]"),
                    format!(
                        "expected the name of a queue, 1 to {MAX_WIRE_NAME} bytes, found {}",
                        queue.len()
                    ),
                );
            }
        }
        if self.queues.len() > MAX_QUEUES {
            let count = self.queues.len();
            spot.say("queues", format!("expected at most {MAX_QUEUES} queues, found {count}"));
        }
        let expected = self.expectation(&hostnames, spot);
        let minimum = self.minimum.unwrap_or(1);
        let most = match &expected {
            Expected::Auto => None,
            Expected::Count(count) => Some(*count),
            Expected::Names(names) => u32::try_from(names.len()).ok(),
        };
        if let Some(most) = most.filter(|most| minimum > *most) {
            let key = if self.minimum.is_some() { "minimum" } else { "names" };
            spot.say(key, format!("the minimum ({minimum}) is more than the workers that are expected ({most}): the fleet would always be down"));
        }
        let detect = spot.inside("detect", |spot| self.detect.over(company.detect, spot));
        Fleet {
            name: self.name,
            broker,
            hostnames,
            queues: self.queues,
            minimum: self.minimum,
            expected,
            detect,
        }
    }

    /// A worker belongs to the first fleet whose patterns match. What an earlier one claims would never be seen in this
    /// one, and be missed for ever if it is expected.
    fn check_unclaimed(&self, hostnames: &[Glob], broker: &CompactString, fleets: &[Fleet], spot: &mut Spot<'_>) {
        let earlier = || fleets.iter().filter(|other| other.broker == *broker);
        let first = |other: &Fleet| {
            format!(
                "a worker belongs to the first that matches it, so put this fleet before {:?}",
                other.name
            )
        };
        for (n, glob) in hostnames.iter().enumerate() {
            let key = match (&self.hostnames, &self.names) {
                (Some(_), _) => format!("hostnames.[{n}]"),
                // Patterns that are made of the names.
                (None, Some(names)) if !names.is_empty() => break,
                (None, _) => "name".to_owned(),
            };
            let claims = |other: &Fleet| other.hostnames.iter().find(|own| own.covers(glob)).cloned();
            if let Some((other, own)) = earlier().find_map(|other| Some((other, claims(other)?))) {
                let why = if own == *glob {
                    format!(
                        "the workers {:?} already belong to the fleet {:?}",
                        glob.as_str(),
                        other.name
                    )
                } else {
                    format!(
                        "the workers {:?} already belong to the fleet {:?}, by its {:?}; {}",
                        glob.as_str(),
                        other.name,
                        own.as_str(),
                        first(other)
                    )
                };
                spot.say(&key, why);
            }
        }
        for (n, name) in self.names.iter().flatten().enumerate() {
            let claims = |other: &Fleet| other.hostnames.iter().find(|own| own.matches(name)).cloned();
            if let Some((other, own)) = earlier().find_map(|other| Some((other, claims(other)?))) {
                spot.say(
                    &format!("names.[{n}]"),
                    format!(
                        "{name:?} already belongs to the fleet {:?}, by its {:?}, and would be missed here for ever; {}",
                        other.name,
                        own.as_str(),
                        first(other)
                    ),
                );
            }
        }
    }

    /// Its patterns. Without any: the workers that are named, or those that bear the fleet's name.
    fn patterns(&self, spot: &mut Spot<'_>) -> Vec<Glob> {
        let Some(given) = &self.hostnames else {
            let own = match &self.names {
                Some(names) if !names.is_empty() => names.iter().map(|name| escape(name)).collect(),
                _ => vec![format!("{}@*", escape(&self.name))],
            };
            return own.iter().filter_map(|text| Glob::parse(text).ok()).collect();
        };
        if given.is_empty() {
            spot.say(
                "hostnames",
                "an empty list matches no worker; leave the key out for workers named like the fleet",
            );
        }
        let mut globs = Vec::new();
        for (n, text) in given.iter().enumerate() {
            match Glob::parse(text) {
                Ok(glob) => globs.push(glob),
                Err(error) => spot.say(&format!("hostnames.[{n}]"), error.to_string()),
            }
        }
        globs
    }

    fn expectation(&self, hostnames: &[Glob], spot: &mut Spot<'_>) -> Expected {
        let Some(names) = &self.names else {
            return match self.expected {
                None | Some(ExpectedWord::Auto) => Expected::Auto,
                Some(ExpectedWord::Count(count)) => Expected::Count(count),
            };
        };
        if self.expected.is_some() {
            spot.say(
                "expected",
                "either `expected` or `names`: the names already say how many",
            );
        }
        if names.len() > MAX_WORKERS {
            let count = names.len();
            spot.say(
                "names",
                format!("expected at most {MAX_WORKERS} workers, found {count}"),
            );
        }
        if names.is_empty() {
            spot.say(
                "names",
                "an empty list expects nobody; leave the key out for `expected = \"auto\"`",
            );
        }
        for (n, name) in names.iter().enumerate() {
            let key = format!("names.[{n}]");
            if is_pattern(name) {
                spot.say(
                    &key,
                    format!(
                        "{name:?} is a pattern, and no worker bears it as its name, so it would be missed for ever; patterns \
                         go into `hostnames`, with `expected` saying how many workers there should be"
                    ),
                );
            } else if !name.contains('@') {
                spot.say(
                    &key,
                    format!("expected a worker's whole name, such as {:?}", format!("{name}@host1")),
                );
            } else if names.iter().take(n).any(|other| other == name) {
                spot.say(&key, format!("{name:?} is there twice"));
            } else if self.hostnames.is_some() && !hostnames.iter().any(|glob| glob.matches(name)) {
                spot.say(
                    &key,
                    format!("{name:?} matches none of `hostnames`, so it would never be seen"),
                );
            }
        }
        Expected::Names(names.clone())
    }
}

/// Whether this was meant to match several names: no host's name holds any of these.
fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?']) || name.split_once('[').is_some_and(|(_, after)| after.contains(']'))
}

/// The broker that a table's key `broker` means: the only one where it is left out.
pub(super) fn find_broker(
    given: Option<&CompactString>,
    brokers: &[CompactString],
    spot: &mut Spot<'_>,
) -> CompactString {
    match (given, brokers) {
        (None, [only]) => only.clone(),
        (None, []) => CompactString::default(),
        (None, several) => {
            let names: Vec<String> = several.iter().map(|name| format!("{name:?}")).collect();
            if !spot.has_mistake("broker") {
                spot.say(
                    "broker",
                    format!(
                        "this key is required where there are several brokers: one of {}",
                        names.join(", ")
                    ),
                );
            }
            CompactString::default()
        }
        (Some(name), _) => {
            if !brokers.contains(name) {
                let hint = super::problem::did_you_mean(name, brokers.iter().map(CompactString::as_str));
                let hint = hint
                    .map(|meant| format!("; did you mean {meant:?}?"))
                    .unwrap_or_default();
                let message = format!("there is no [[broker]] named {name:?}{hint}");
                spot.say_plainly("broker", &message, "there is no [[broker]] of this name");
            }
            name.clone()
        }
    }
}

/// A name as a pattern that matches just it.
fn escape(name: &str) -> String {
    name.chars().fold(String::new(), |mut text, c| {
        match c {
            '*' | '?' | '[' => text.extend(['[', c, ']']),
            _ => text.push(c),
        }
        text
    })
}
