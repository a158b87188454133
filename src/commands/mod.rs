//! The commands, one file each. Results go to standard output, words for people to standard error.

pub mod check;
pub mod jobs;
pub mod log_level;
pub mod notify;
pub mod probe;
pub mod record;
pub mod replay;
pub mod run;
pub mod simulate;
pub mod stats;
pub mod status;
mod table;

use std::io::{self, Write};
use std::process::ExitCode;

use thiserror::Error;

use crate::config::{Problems, Surroundings};

/// Exit code: it was tried, and it failed.
pub const FAILED: u8 = 1;
/// Exit code: wrong use or wrong configuration.
pub const WRONG: u8 = 2;

/// Why a command could not do what it was asked to, in words for a person and without a secret.
#[derive(Debug, Error)]
pub enum CommandError {
    /// Anything that has no case of its own.
    #[error("headcount: {0}")]
    Failed(String),
    /// An argument is of no use.
    #[error("headcount: {0}")]
    Use(String),
    /// Nobody reads the results any more.
    #[error("headcount: cannot write the result: {0}")]
    Output(#[from] io::Error),
}

impl CommandError {
    /// The exit code that it comes to.
    pub fn code(&self) -> u8 {
        match self {
            CommandError::Use(_) => WRONG,
            CommandError::Failed(_) | CommandError::Output(_) => FAILED,
        }
    }
}

/// What a command comes to.
pub type Outcome = Result<ExitCode, CommandError>;

/// Writes a line for people.
pub fn to_stderr(line: &impl std::fmt::Display) {
    // There is nowhere left to report that standard error cannot be written to.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes results. A reader who has seen enough (`… | head`) is no failure.
fn to_stdout(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Tells all that is wrong with a configuration.
fn refuse(problems: &Problems) -> ExitCode {
    to_stderr(problems);
    // Of a file that was not read nobody knows how many there are.
    if problems.is_unread() {
        return ExitCode::from(WRONG);
    }
    to_stderr(&format_args!(
        "headcount: the configuration has {}",
        count(problems.list.len(), "mistake")
    ));
    ExitCode::from(WRONG)
}

/// An argument that may be given as `env:NAME` or `file:PATH`.
fn argument(name: &str, text: &str) -> Result<String, CommandError> {
    match Surroundings::of_process(None).look_up(text) {
        None => Ok(text.to_owned()),
        Some(Ok(value)) => Ok(value),
        Some(Err(why)) => Err(CommandError::Use(format!("{name}: {why}"))),
    }
}

/// `1 event`, `2 events`.
fn count<N: TryInto<u64> + std::fmt::Display>(n: N, one: &str) -> String {
    let text = n.to_string();
    let s = if matches!(n.try_into(), Ok(1)) { "" } else { "s" };
    format!("{text} {one}{s}")
}

/// JSON as results are printed: indented, one newline at the end.
fn json(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        let counts = [0_u64, 1, 2].map(|n| count(n, "event"));
        assert_eq!(counts, ["0 events", "1 event", "2 events"]);
    }
}
