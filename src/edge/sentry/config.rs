//! `[sentry]`.

use std::fmt;

use headcount_core::glob::Glob;
use headcount_core::span::Span;
use sentry::types::{Dsn, ParseDsnError};
use url::Url;

use crate::reach;

/// The release that is told where the configuration names none.
pub const DEFAULT_RELEASE: &str = concat!("headcount@", env!("CARGO_PKG_VERSION"));

/// How long one error is told of once, where the configuration does not say.
pub const DEFAULT_WINDOW: Span = Span::from_secs(600);

/// Where errors go, and which.
#[derive(Clone, PartialEq)]
pub struct Config {
    /// The project's address. It holds the project's key, and is never shown.
    pub dsn: Dsn,
    /// Such as `production`.
    pub environment: String,
    /// Such as `headcount@0.1.0`.
    pub release: String,
    /// The name of this machine.
    pub server_name: String,
    /// How many of the traces are sent: from 0, none, to 1, all.
    pub traces_sample_rate: f32,
    /// The same error is sent once in so long, with how often it happened since.
    pub error_window: Span,
    /// The fleets whose tasks' failures are sent.
    pub task_failures: Vec<Glob>,
}

/// A project's address.
///
/// # Errors
/// What is wrong with it, without naming any of it: it may hold a key.
pub fn dsn(text: &str) -> Result<Dsn, &'static str> {
    text.parse().map_err(|why| match why {
        ParseDsnError::InvalidUrl => "this is no address",
        ParseDsnError::InvalidScheme => "this begins with neither https:// nor http://",
        ParseDsnError::NoUsername => "there is no key before the @",
        ParseDsnError::NoProjectId | ParseDsnError::InvalidProjectId(_) => {
            "it does not end with the number of a project"
        }
    })
}

impl Config {
    /// Where it goes, for people: without the key.
    pub fn address(&self) -> String {
        let dsn = &self.dsn;
        let (scheme, host, port) = (dsn.scheme(), dsn.host(), dsn.port());
        format!("{scheme}://{host}:{port}{}{}", dsn.path(), dsn.project_id())
    }

    /// The server, as the log names it.
    pub fn host(&self) -> String {
        self.server().as_ref().map(reach::host).unwrap_or_default()
    }

    /// The server, for who looks whether it is there.
    pub fn server(&self) -> Option<Url> {
        let dsn = &self.dsn;
        Url::parse(&format!("{}://{}:{}/", dsn.scheme(), dsn.host(), dsn.port())).ok()
    }

    pub(super) fn wants(&self, fleet: &str) -> bool {
        self.task_failures.iter().any(|glob| glob.matches(fleet))
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("address", &self.address())
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}
