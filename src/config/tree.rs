//! A configuration as a tree of values that know where they stand, with `env:` and `file:` read and the environment's
//! overrides laid over it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Found, PLAIN_KEYS};

/// The largest file that `file:` reads, in bytes: a secret is short, and a device file has no end.
const MAX_SECRET_FILE: u64 = 64 * 1024;

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Bytes of the file.
    File(Range<usize>),
    /// A variable of the environment.
    Env(Arc<str>),
    /// An argument of the command line.
    Argument(&'static str),
}

/// One value.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) value: Value,
    /// Came from `env:` or `file:`, and is never printed.
    pub(super) secret: bool,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    /// From a variable of the environment: becomes whatever is expected of it.
    Loose(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Datetime(String),
    /// Items with the place that they had, which stays when another one is taken out.
    Array(Vec<(usize, Node)>),
    Table(Table),
    /// Could not be read; that has been reported.
    Broken,
}

/// Keys and values in alphabetical order of the keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(pub(super) Vec<Entry>);

/// One key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: At,
    pub(super) node: Node,
}

impl Table {
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.key == key)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Entry> {
        let at = self.0.iter().position(|entry| entry.key == key)?;
        Some(self.0.remove(at))
    }

    /// Sets a key, whatever it was before.
    pub(super) fn set(&mut self, key: &str, key_at: &At, node: Node) {
        self.take(key);
        self.0.push(Entry {
            key: key.to_owned(),
            key_at: key_at.clone(),
            node,
        });
    }

    /// The text of a key, where it is a text.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.value {
            Value::Text(text) | Value::Loose(text) => Some(text),
            _ => None,
        }
    }
}

impl Value {
    /// What it is, for a person.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) | Value::Loose(_) => "a string",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Bool(_) => "a boolean",
            Value::Datetime(_) => "a date",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
            Value::Broken => "nothing",
        }
    }
}

/// The variables that a configuration may read, and the folder that its `file:` paths start from.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    variables: BTreeMap<String, String>,
    folder: PathBuf,
    /// Nothing is going to be reached: an address that cannot be looked up is none that is missed.
    pub(super) offline: bool,
}

/// Stands for the address of a broker that nobody is going to reach, and that cannot be looked up here.
pub(super) const UNKNOWN_BROKER: &str = "redis://unknown.invalid";

impl Surroundings {
    /// Those of this process; `file:` paths start from the folder of `config`, or the working directory.
    pub fn of_process(config: Option<&Path>) -> Self {
        // A variable that is not UTF-8 cannot hold anything that a configuration wants, and counts as not set.
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::new(std::env::vars_os().filter_map(utf8), config)
    }

    /// Made-up ones.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>, config: Option<&Path>) -> Self {
        let folder = config.and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default();
        Self {
            variables: variables.into_iter().collect(),
            folder,
            offline: false,
        }
    }

    /// The same for somebody who only wants to know how to judge: secrets need not be there.
    pub fn offline(self) -> Self {
        Self { offline: true, ..self }
    }

    /// Variables whose names start with `prefix`.
    pub(super) fn starting_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.variables
            .iter()
            .filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_str())))
    }

    /// What `env:NAME` or `file:PATH` stands for; none where the text is neither.
    pub fn look_up(&self, text: &str) -> Option<Result<String, String>> {
        if let Some(name) = text.strip_prefix("env:") {
            return Some(match self.variables.get(name).map(String::as_str) {
                _ if name.is_empty() => Err("expected the name of an environment variable after `env:`".to_owned()),
                None => Err(format!("the environment variable {name} is not set")),
                Some("") => Err(format!("the environment variable {name} is empty")),
                Some(value) => Ok(value.to_owned()),
            });
        }
        let path = text.strip_prefix("file:")?;
        if path.is_empty() {
            return Some(Err("expected a path after `file:`".to_owned()));
        }
        let path = self.folder.join(path);
        Some(read_secret(&path).map_err(|why| format!("cannot read the file {}: {why}", path.display())))
    }
}

/// A file's text without one newline at its end, which editors and `echo` put there.
fn read_secret(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(MAX_SECRET_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_SECRET_FILE {
        return Err(format!("it is larger than {MAX_SECRET_FILE} bytes"));
    }
    let trimmed = text
        .strip_suffix('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line));
    match trimmed.unwrap_or(&text) {
        "" => Err("it is empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// Builds the tree. What cannot be read is put into `problems` and stands in the tree as [`Value::Broken`]; the places
/// of values that must not be shown are put into `hidden`.
pub(super) struct Builder<'a> {
    pub(super) surroundings: &'a Surroundings,
    pub(super) problems: Vec<(At, Vec<String>, Found)>,
    pub(super) hidden: Vec<Range<usize>>,
    path: Vec<String>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(surroundings: &'a Surroundings) -> Self {
        Self {
            surroundings,
            problems: Vec::new(),
            hidden: Vec::new(),
            path: Vec::new(),
        }
    }

    pub(super) fn table(&mut self, table: &DeTable<'_>) -> Table {
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table {
            self.path.push(key.get_ref().to_string());
            let node = self.node(value);
            self.path.pop();
            entries.push(Entry {
                key: key.get_ref().to_string(),
                key_at: At::File(key.span()),
                node,
            });
        }
        Table(entries)
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>) -> Node {
        let at = At::File(value.span());
        let mut secret = false;
        let value = match value.get_ref() {
            DeValue::Table(table) => Value::Table(self.table(table)),
            DeValue::Array(items) => {
                let mut nodes = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    self.path.push(format!("[{index}]"));
                    nodes.push((index, self.node(item)));
                    self.path.pop();
                }
                Value::Array(nodes)
            }
            scalar => {
                let (value, hide) = self.scalar(scalar, &at);
                secret = hide;
                if let At::File(span) = &at
                    && !self.is_plain(scalar)
                {
                    self.hidden.push(span.clone());
                }
                value
            }
        };
        Node { at, value, secret }
    }

    /// Whether a value may be shown as it stands in the file.
    fn is_plain(&self, value: &DeValue<'_>) -> bool {
        let key = self.path.iter().rev().find(|step| !step.starts_with('['));
        let reference = value
            .as_str()
            .is_some_and(|text| text.starts_with("env:") || text.starts_with("file:"));
        reference || key.is_some_and(|key| PLAIN_KEYS.contains(&key.as_str()))
    }

    fn scalar(&mut self, value: &DeValue<'_>, at: &At) -> (Value, bool) {
        let value = match value {
            DeValue::String(text) => return self.text(text, at, Value::Text),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(integer) => Value::Int(integer),
                Err(_) => self.broken(at, "the number is too large".to_owned()),
            },
            DeValue::Float(float) => match float.as_str().parse() {
                Ok(float) => Value::Float(float),
                Err(_) => self.broken(at, "not a number".to_owned()),
            },
            DeValue::Boolean(truth) => Value::Bool(*truth),
            DeValue::Datetime(datetime) => Value::Datetime(datetime.to_string()),
            DeValue::Array(_) | DeValue::Table(_) => Value::Broken,
        };
        (value, false)
    }

    /// A value from the environment, for the key that `path` leads to.
    pub(super) fn override_with(&mut self, text: &str, at: &At, path: Vec<String>) -> Node {
        let outside = std::mem::replace(&mut self.path, path);
        let (value, secret) = self.text(text, at, Value::Loose);
        self.path = outside;
        Node {
            at: at.clone(),
            value,
            secret,
        }
    }

    /// A string, or what it refers to.
    fn text(&mut self, text: &str, at: &At, wrap: fn(String) -> Value) -> (Value, bool) {
        match self.surroundings.look_up(text) {
            None => (wrap(text.to_owned()), false),
            Some(Ok(secret)) => (wrap(secret), true),
            Some(Err(_)) if self.surroundings.offline && self.path.last().is_some_and(|key| key == "url") => {
                (wrap(UNKNOWN_BROKER.to_owned()), true)
            }
            Some(Err(why)) => (self.broken(at, why), true),
        }
    }

    fn broken(&mut self, at: &At, why: String) -> Value {
        self.problems.push((at.clone(), self.path.clone(), Found::Said(why)));
        Value::Broken
    }
}
