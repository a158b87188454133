//! The configuration: one TOML file, or nothing but broker URLs. What each table may hold is its owner's business (the
//! edge's parts have their own structs); here they are put together, checked against each other, and every mistake
//! that can be found is reported at once with its place.

mod decode;
mod detect;
mod fault;
mod fleet;
mod jobs;
mod keys;
mod log;
mod metrics;
mod node;
mod otlp;
mod overrides;
mod problem;
mod read;
mod secrets;
mod sentry;
mod server;
mod spot;
mod stats;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headcount_edge::{brokers, notifiers, otlp as telemetry, sentry as errors, stats as pipelines, store};
use secrecy::SecretString;

pub use detect::Detect;
pub use fleet::Fleet;
pub use jobs::Job;
pub use log::Log;
pub use metrics::Metrics;
pub use node::{Node, ResultBackend};
pub use problem::{Excerpt, Place, Problem, Problems};
pub use server::Server;
pub use tree::Surroundings;

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[server]`.
    pub server: Server,
    /// `[log]`.
    pub log: Log,
    /// `[store]`.
    pub store: store::Config,
    /// `[detect]`: for fleets that are discovered; configured fleets carry their own.
    pub detect: Detect,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// `[[broker]]`, in the order of the file, each with a name of its own; at least one where there is no `[[stats]]`.
    pub brokers: Vec<Broker>,
    /// `[[fleet]]`, in the order of the file: a worker belongs to the first whose patterns match.
    pub fleets: Vec<Fleet>,
    /// `[[job]]`, in the order of the file.
    pub jobs: Vec<Job>,
    /// `[[notify]]`; standard output where the file names none.
    pub notifiers: Vec<Arc<dyn notifiers::Table>>,
    /// `[[node]]`, in the order of the file.
    pub nodes: Vec<Node>,
    /// `[[stats]]`, in the order of the file, each with a name of its own.
    pub stats: Vec<pipelines::Config>,
    /// `[sentry]`, where it is wanted.
    pub sentry: Option<errors::Config>,
    /// Every secret in it, for those who send something elsewhere.
    pub secrets: Vec<SecretString>,
    /// `[otlp]`; none where the file has none.
    pub otlp: Option<telemetry::Config>,
}

/// One `[[broker]]`.
#[derive(Clone, Debug)]
pub struct Broker {
    /// What the edge needs to open it; its name is in there.
    pub config: brokers::Config,
    /// No `[[fleet]]` names it: its fleets are discovered from the names of its workers.
    pub discover: bool,
}

/// Where the settings of a running daemon come from, so that they can be read again.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--broker`, each.
    pub brokers: Vec<String>,
}

impl Origin {
    /// Reads the settings, now.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(&self) -> Result<Settings, Problems> {
        self.load_in(&Surroundings::of_process(self.config.as_deref()))
    }

    /// Reads what is judged by, for somebody who reaches nothing: where Headcount listens, remembers and tells is left
    /// out, and the address of a broker may be a variable or a file that is not there.
    ///
    /// # Errors
    /// Everything that is wrong with the rest.
    pub fn load_offline(&self) -> Result<Settings, Problems> {
        self.load_in(&Surroundings::of_process(self.config.as_deref()).offline())
    }

    fn load_in(&self, surroundings: &Surroundings) -> Result<Settings, Problems> {
        let text = self.config.as_deref().map(read_file).transpose()?;
        read::read(text.as_deref().unwrap_or_default(), self, surroundings)
    }
}

/// Reads one file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path) -> Result<Settings, Problems> {
    Origin {
        config: Some(path.to_path_buf()),
        brokers: Vec::new(),
    }
    .load()
}

/// The largest configuration file, in bytes: thousands of fleets fit, and a device file has no end.
const MAX_FILE: u64 = 4 * 1024 * 1024;

fn read_file(path: &Path) -> Result<String, Problems> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
    let why = match read {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => "the file is not UTF-8".to_owned(),
        Err(error) => format!("cannot read the file: {error}"),
        Ok(_) if text.len() as u64 > MAX_FILE => format!("the file is larger than {MAX_FILE} bytes"),
        Ok(_) => return Ok(text),
    };
    let whole = Problem {
        place: Place::Unread,
        key: String::new(),
        message: why,
    };
    Err(Problems {
        file: Some(path.to_path_buf()),
        list: vec![whole],
    })
}

/// The notifiers of a configuration that names none: standard output.
pub fn default_notifiers() -> Vec<Arc<dyn notifiers::Table>> {
    read::default_notifiers()
}
