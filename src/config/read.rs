//! From the text of a file to settings, or to everything that is wrong with it.

use std::ops::Range;
use std::sync::Arc;

use compact_str::CompactString;
use headcount_edge::{brokers, notifiers, otlp, stats as pipelines, store};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error};
use toml::de::DeTable;

use super::decode::{self, Mistake};
use super::detect::{Detect, DetectTable};
use super::fault::unknown_key;
use super::fleet::{Company, Fleet, FleetTable};
use super::jobs::{Job, JobTable};
use super::keys;
use super::log::{Log, LogTable};
use super::metrics::{Metrics, MetricsTable};
use super::node::{Node as CeleryNode, NodeTable};
use super::otlp::OtlpTable;
use super::overrides;
use super::problem::{Found, PLAIN_KEYS, Place, Problem, Problems, Source};
use super::secrets;
use super::sentry::SentryTable;
use super::server::{Server, ServerTable};
use super::spot::Spot;
use super::stats;
use super::tree::{At, Builder, Entry, Node, Surroundings, Table, UNKNOWN_BROKER, Value};
use super::{Broker, Origin, Settings};

/// Tables of capabilities that this version does not have.
const LATER: &[&str] = &["rule", "deadman"];
/// Mistakes in the syntax that are reported: one that is not closed can make hundreds.
const MAX_SYNTAX_ERRORS: usize = 10;

/// Tables about the outside: where Headcount listens, remembers and tells, what it joins, and what it sends.
const OUTWARD: &[&str] = &[
    "server", "log", "store", "notify", "node", "job", "stats", "metrics", "sentry", "otlp",
];

/// The tables that a file may hold.
pub(super) const TABLES: &[&str] = &[
    "server", "log", "store", "broker", "fleet", "detect", "job", "notify", "node", "stats", "metrics", "sentry",
    "otlp",
];

/// The plain tables, with the keys that each reads.
pub(super) fn plain_tables() -> [(&'static str, &'static [&'static str]); 7] {
    [
        ("server", keys::keys_of::<ServerTable>()),
        ("log", keys::keys_of::<LogTable>()),
        ("store", keys::keys_of::<store::Config>()),
        ("detect", keys::keys_of::<DetectTable>()),
        ("metrics", keys::keys_of::<MetricsTable>()),
        ("sentry", keys::keys_of::<SentryTable>()),
        ("otlp", keys::keys_of::<OtlpTable>()),
    ]
}

/// Reads a file's text, with the brokers of the command line put behind its own.
pub(super) fn read(text: &str, origin: &Origin, surroundings: &Surroundings) -> Result<Settings, Problems> {
    let mut source = Source {
        text,
        hidden: Vec::new(),
    };
    let file = origin.config.clone();
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problem = |error: &toml::de::Error| Problem {
            place: source.syntax_place(&error.span().unwrap_or(0..0)),
            key: String::new(),
            message: format!("not TOML: {}", error.message()),
        };
        return Err(Problems {
            file,
            list: errors.iter().take(MAX_SYNTAX_ERRORS).map(problem).collect(),
        });
    }
    let mut builder = Builder::new(surroundings);
    let mut root = builder.table(document.get_ref());
    let mut reader = Reader::default();
    overrides::from_environment(&mut root, &mut builder, &mut reader.mistakes);
    let arguments = overrides::from_command_line(&origin.brokers, surroundings, &mut reader.mistakes);
    reader.mistakes.append(&mut builder.problems);
    source.hidden = builder.hidden;
    if surroundings.offline {
        // What is in there may be wrong, or not there at all, and nothing is judged by it.
        for table in OUTWARD {
            root.take(table);
            reader
                .mistakes
                .retain(|(_, path, _)| path.first().is_none_or(|first| first != table));
        }
    }
    let settings = reader.settings(root, arguments);
    if reader.mistakes.is_empty() {
        return Ok(settings);
    }
    Err(Problems {
        file,
        list: reader.into_problems(&source),
    })
}

/// Standard output: nobody wants to be told nowhere.
pub(super) fn default_notifiers() -> Vec<Arc<dyn notifiers::Table>> {
    let (found, _) = decode::table(Table::default(), &At::File(0..0), &[], |table| {
        notifiers::decode("stdout", table).unwrap_or_else(|| Err(Error::custom("unknown kind")))
    });
    found.into_iter().collect()
}

/// Collects mistakes while the tables are read.
#[derive(Default)]
struct Reader {
    mistakes: Vec<Mistake>,
}

impl Reader {
    fn say(&mut self, at: &At, path: Vec<String>, message: impl Into<String>) {
        self.mistakes.push((at.clone(), path, Found::Said(message.into())));
    }

    /// Everything. Where something is wrong there are mistakes, and the result is only good for finding more of them.
    fn settings(&mut self, mut root: Table, arguments: Vec<(&'static str, String)>) -> Settings {
        let mut secrets = secrets::of(&root);
        let server = self.server(root.take("server"));
        let log = self.log(root.take("log"));
        let store = self.store(root.take("store"));
        let detect = self.detect(root.take("detect"));
        let metrics = self.metrics(root.take("metrics"));
        let (mut brokers, names) = self.brokers(root.take("broker"));
        let fleets = self.fleets(root.take("fleet"), &names, detect);
        let sentry = root.take("sentry");
        let job = root.take("job");
        let notifiers = self.notifiers(root.take("notify"));
        let nodes = self.nodes(root.take("node"), &brokers, &names);
        let pipelines = root.take("stats");
        let has_pipelines = pipelines.is_some();
        let stats = self.stats(pipelines);
        let otlp = self.otlp(root.take("otlp"));
        for Entry { key, key_at, .. } in root.0 {
            let message = if LATER.contains(&key.as_str()) {
                "this version of headcount does not have it yet".to_owned()
            } else {
                unknown_key(&key, TABLES)
            };
            self.say(&key_at, vec![key], message);
        }
        for (kind, url) in arguments {
            let name = overrides::unused_name(kind, |name| brokers.iter().any(|broker| broker.config.name == name));
            let url_text = url.clone();
            let config = brokers::Config::new(name, url);
            if let Some(why) = again(&config, &brokers) {
                self.say(&At::Argument("--broker"), Vec::new(), why);
            }
            secrets.extend(secrets::of_address(&url_text));
            brokers.push(Broker { config, discover: true });
        }
        for broker in &mut brokers {
            broker.discover = !fleets.iter().any(|fleet| fleet.broker == broker.config.name);
        }
        let discovers = brokers.iter().any(|broker| broker.discover);
        let sentry =
            self.plain::<SentryTable, _>("sentry", sentry, |table, spot| table.check(discovers, &fleets, spot));
        let jobs = self.jobs(job, &brokers, has_pipelines);
        if brokers.is_empty()
            && names.is_empty()
            && !has_pipelines
            && !self.mistakes.iter().any(|(at, ..)| matches!(at, At::Argument(_)))
        {
            self.say(
                &At::File(0..0),
                vec!["broker".to_owned()],
                "there is nothing to watch: expected at least one [[broker]]",
            );
        }
        Settings {
            server,
            log,
            store,
            detect,
            metrics,
            brokers,
            fleets,
            jobs,
            notifiers,
            nodes,
            stats,
            sentry,
            secrets,
            otlp,
        }
    }

    fn server(&mut self, entry: Option<Entry>) -> Server {
        self.plain::<ServerTable, _>("server", entry, |table, spot| table.check(spot))
    }

    fn log(&mut self, entry: Option<Entry>) -> Log {
        self.plain::<LogTable, _>("log", entry, |table, spot| table.check(spot))
    }

    fn store(&mut self, entry: Option<Entry>) -> store::Config {
        self.plain::<store::Config, _>("store", entry, |config, spot| {
            if let Err(error) = config.check() {
                spot.say("url", error.to_string());
            }
            config
        })
    }

    fn detect(&mut self, entry: Option<Entry>) -> Detect {
        self.plain::<DetectTable, _>("detect", entry, |table, spot| table.over(Detect::default(), spot))
    }

    fn metrics(&mut self, entry: Option<Entry>) -> Metrics {
        self.plain::<MetricsTable, _>("metrics", entry, |table, spot| table.check(spot))
    }

    fn otlp(&mut self, entry: Option<Entry>) -> Option<otlp::Config> {
        let present = entry.is_some();
        self.plain::<OtlpTable, _>("otlp", entry, |table, spot| table.check(present, spot))
    }

    /// A table that may be there once, or not at all.
    fn plain<T: DeserializeOwned + Default, R>(
        &mut self,
        key: &str,
        entry: Option<Entry>,
        check: impl FnOnce(T, &mut Spot<'_>) -> R,
    ) -> R {
        let path = vec![key.to_owned()];
        let (table, at) = match entry {
            None => (Table::default(), At::File(0..0)),
            Some(Entry {
                node:
                    Node {
                        at,
                        value: Value::Table(table),
                        ..
                    },
                ..
            }) => (table, at),
            Some(Entry {
                node: Node { at, value, .. },
                ..
            }) => {
                if !matches!(value, Value::Broken) {
                    self.say(
                        &at,
                        path.clone(),
                        format!("expected a table, [{key}], found {}", value.kind()),
                    );
                }
                (Table::default(), at)
            }
        };
        let (found, mut mistakes) = decode::table(table.clone(), &at, &path, |table| T::deserialize(table));
        self.mistakes.append(&mut mistakes);
        let mut spot = Spot {
            table: &table,
            at: &at,
            path,
            mistakes: &mut self.mistakes,
        };
        check(found.unwrap_or_default(), &mut spot)
    }

    fn brokers(&mut self, entry: Option<Entry>) -> (Vec<Broker>, Vec<CompactString>) {
        let mut brokers: Vec<Broker> = Vec::new();
        let mut names = Vec::new();
        for (index, at, table) in self.tables("broker", entry) {
            let path = vec!["broker".to_owned(), format!("[{index}]")];
            // A fleet that names a broker with a mistake in it is not told that there is no such broker.
            names.extend(table.text("name").map(CompactString::from));
            let Some(kind) = self.broker_kind(&table, &path) else {
                continue;
            };
            let (config, mut mistakes) = decode::table(table.clone(), &at, &path, |table| match kind {
                brokers::Kind::Celery => brokers::Config::deserialize(table),
                brokers::Kind::Flower => brokers::flower::Config::deserialize(table).map(brokers::Config::from),
            });
            self.mistakes.append(&mut mistakes);
            let Some(config) = config else { continue };
            let mut spot = Spot {
                table: &table,
                at: &at,
                path,
                mistakes: &mut self.mistakes,
            };
            spot.check_name("name", &config.name);
            if brokers.iter().any(|other| other.config.name == config.name) {
                spot.say("name", format!("there is another broker named {:?}", config.name));
            }
            // Of any kind: the one that stands for an address which is not known here is nobody's mistake.
            let unknown = table.text("url").is_some_and(|url| url == UNKNOWN_BROKER);
            if let Some(why) = config.check_url().filter(|_| !unknown) {
                spot.say("url", why);
            }
            for (key, why) in config.check_names() {
                spot.say(key, why);
            }
            if let Some(why) = again(&config, &brokers).filter(|_| !unknown) {
                spot.say("url", why);
            }
            for (place, route) in config.routes.iter().enumerate() {
                for (key, why) in route.check() {
                    spot.say(&format!("routes.[{place}].{key}"), why);
                }
            }
            brokers.push(Broker {
                config,
                discover: false,
            });
        }
        (brokers, names)
    }

    /// The tables that may be there many times, each decoded, and checked beside those before it.
    fn each<T: DeserializeOwned, C>(
        &mut self,
        key: &str,
        entry: Option<Entry>,
        check: impl Fn(T, &[C], &mut Spot<'_>) -> Option<C>,
    ) -> Vec<C> {
        let mut all = Vec::new();
        for (index, at, table) in self.tables(key, entry) {
            let path = vec![key.to_owned(), format!("[{index}]")];
            let (found, mut mistakes) = decode::table(table.clone(), &at, &path, |table| T::deserialize(table));
            self.mistakes.append(&mut mistakes);
            let Some(found) = found else { continue };
            let mut spot = Spot {
                table: &table,
                at: &at,
                path,
                mistakes: &mut self.mistakes,
            };
            all.extend(check(found, &all, &mut spot));
        }
        all
    }

    fn fleets(&mut self, entry: Option<Entry>, brokers: &[CompactString], detect: Detect) -> Vec<Fleet> {
        self.each("fleet", entry, |table: FleetTable, fleets, spot| {
            let company = Company {
                brokers,
                detect,
                fleets,
            };
            Some(table.check(&company, spot))
        })
    }

    fn jobs(&mut self, entry: Option<Entry>, brokers: &[Broker], has_pipelines: bool) -> Vec<Job> {
        self.each("job", entry, |table: JobTable, jobs, spot| {
            table.check(brokers, jobs, has_pipelines, spot)
        })
    }

    fn notifiers(&mut self, entry: Option<Entry>) -> Vec<Arc<dyn notifiers::Table>> {
        let mut found: Vec<Arc<dyn notifiers::Table>> = Vec::new();
        let absent = entry.is_none();
        for (index, at, table) in self.tables("notify", entry) {
            let path = vec!["notify".to_owned(), format!("[{index}]")];
            let Some(kind) = self.notifier_kind(&table, &at, &path) else {
                continue;
            };
            let (config, mut mistakes) = decode::table(table.clone(), &at, &path, |table| {
                notifiers::decode(&kind, table).unwrap_or_else(|| Err(Error::custom("unknown kind")))
            });
            self.mistakes.append(&mut mistakes);
            let Some(config) = config else { continue };
            let mut spot = Spot {
                table: &table,
                at: &at,
                path,
                mistakes: &mut self.mistakes,
            };
            // What has already been found faulty is missing here, which would look like a mistake of its own.
            if !spot.has_mistakes()
                && let Err(error) = config.check()
            {
                spot.say(error.key.unwrap_or_default(), error.why);
            }
            if found.iter().any(|other| other.name() == config.name()) {
                let (key, name) = (if table.get("name").is_some() { "name" } else { "kind" }, config.name());
                spot.say(
                    key,
                    format!("there is another notifier named {name:?}: give each a `name` of its own"),
                );
            }
            found.push(config);
        }
        if absent {
            found = default_notifiers();
        }
        found
    }

    fn nodes(&mut self, entry: Option<Entry>, brokers: &[Broker], names: &[CompactString]) -> Vec<CeleryNode> {
        self.each("node", entry, |table: NodeTable, nodes, spot| {
            Some(table.check(brokers, names, nodes, spot))
        })
    }

    fn stats(&mut self, entry: Option<Entry>) -> Vec<pipelines::Config> {
        self.each("stats", entry, |config: pipelines::Config, others, spot| {
            stats::check(&config, others, spot);
            Some(config)
        })
    }

    fn notifier_kind(&mut self, table: &Table, at: &At, path: &[String]) -> Option<String> {
        let words = notifiers::KINDS;
        if table.get("kind").is_none() {
            let path = [path, &["kind".to_owned()]].concat();
            self.say(at, path, format!("this key is required: {}", alternatives(words)));
        }
        self.kind(table, path, words)
    }

    /// A broker of Celery's says what it is by its URL; anything else by its kind. None where that is wrong.
    fn broker_kind(&mut self, table: &Table, path: &[String]) -> Option<brokers::Kind> {
        if table.get("kind").is_none() {
            return Some(brokers::Kind::Celery);
        }
        self.kind(table, path, brokers::KINDS).map(|_| brokers::Kind::Flower)
    }

    /// The key `kind`, which must be one of `words` where it is there.
    fn kind(&mut self, table: &Table, path: &[String], words: &[&str]) -> Option<String> {
        let node = table.get("kind")?;
        match &node.value {
            Value::Text(kind) if words.contains(&kind.as_str()) => Some(kind.clone()),
            Value::Broken => None,
            value => {
                let shown = match value {
                    Value::Text(kind) if !node.secret => Some(format!("{kind:?}")),
                    _ => None,
                };
                let found = Found::Instead {
                    expected: alternatives(words),
                    kind: value.kind().to_owned(),
                    value: shown,
                };
                let path = [path, &["kind".to_owned()]].concat();
                self.mistakes.push((node.at.clone(), path, found));
                None
            }
        }
    }

    /// A table that may be there many times.
    fn tables(&mut self, key: &str, entry: Option<Entry>) -> Vec<(usize, At, Table)> {
        let Some(Entry { node, key_at, .. }) = entry else {
            return Vec::new();
        };
        let path = vec![key.to_owned()];
        let Value::Array(items) = node.value else {
            let found = node.value.kind();
            let at = if matches!(node.value, Value::Table(_)) {
                key_at
            } else {
                node.at
            };
            self.say(
                &at,
                path,
                format!("expected [[{key}]], in double brackets, found {found}"),
            );
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, Node { at, value, .. }) in items {
            match value {
                Value::Table(table) => tables.push((index, at, table)),
                Value::Broken => {}
                other => {
                    let path = vec![key.to_owned(), format!("[{index}]")];
                    self.say(
                        &at,
                        path,
                        format!("expected a table, [[{key}]], found {}", other.kind()),
                    );
                }
            }
        }
        tables
    }

    fn into_problems(self, source: &Source<'_>) -> Vec<Problem> {
        let mut mistakes = self.mistakes;
        mistakes.sort_by_key(|(at, ..)| match at {
            At::File(span) => (span.start, None),
            At::Env(name) => (usize::MAX, Some(name.clone())),
            At::Argument(name) => (usize::MAX, Some((*name).into())),
        });
        mistakes.dedup();
        let problem = |(at, path, found): Mistake| {
            let message = match found {
                Found::Said(message) => message,
                Found::Instead { expected, kind, value } => {
                    let key = path.iter().rev().find(|step| !step.starts_with('['));
                    let plain = key.is_some_and(|key| PLAIN_KEYS.contains(&key.as_str()));
                    format!("expected {expected}, found {}", value.filter(|_| plain).unwrap_or(kind))
                }
            };
            let place = match at {
                At::Env(name) => Place::Environment(name.to_string()),
                At::Argument(name) => Place::Argument(name.to_owned()),
                At::File(Range { start: 0, end: 0 }) => Place::Whole,
                At::File(span) => source.place(&span),
            };
            Problem {
                place,
                key: path.join(".").replace(".[", "["),
                message,
            }
        };
        mistakes.into_iter().map(problem).collect()
    }
}

/// Says that a broker is among the others already: its workers would be watched twice, and each alarm told twice.
fn again(config: &brokers::Config, others: &[Broker]) -> Option<String> {
    others.iter().find_map(|other| {
        let address = config.same_as(&other.config)?;
        Some(format!(
            "the broker {:?} is at {address} already; each of its workers would be watched and told of twice",
            other.config.name
        ))
    })
}

/// `"slack" or "stdout"`.
fn alternatives(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    words.join(" or ")
}
