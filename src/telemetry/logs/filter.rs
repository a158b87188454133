//! What is logged, as a person writes it: `info,headcount_actors=debug`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{Directive, LevelFilter};

/// The longest filter, in bytes: fifty directives. More make each event dearer.
const MAX_FILTER: usize = 1_024;

/// lapin and its like tell every connection's end as an error of theirs; whoever uses them says it better. They stand first,
/// so a filter that names them overrides this.
const QUIET: &str = "actix_server=warn,lapin=off,async_rs=off,redis=off";

/// What prints the insides of connections, and the finest level of it that is written, whatever a filter says. lapin's frames have
/// the password, as numbers, and the arguments of tasks; so has a message that comes back to it. reqwest and those below it come
/// to requests with their keys, MongoDB's driver to whole commands. The first whose name a target begins with counts for it.
const NEVER_FINER: [(&str, LevelFilter); 7] = [
    ("lapin::returned_messages", LevelFilter::ERROR),
    ("lapin", LevelFilter::DEBUG),
    ("redis", LevelFilter::DEBUG),
    ("mongodb", LevelFilter::INFO),
    ("reqwest", LevelFilter::DEBUG),
    ("hyper", LevelFilter::DEBUG),
    ("rustls", LevelFilter::DEBUG),
];

const LEVELS: &str = "error, warn, info, debug, trace or off";

/// A filter that is known to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    text: String,
    /// From `RUST_LOG`: exactly what it says, as in other programs.
    bare: bool,
}

/// What is wrong with a filter.
#[derive(Debug, Error)]
pub enum BadFilter {
    /// There is nothing in it.
    #[error("the filter is empty: give a level ({LEVELS}), or directives such as \"info,headcount_actors=debug\"")]
    Empty,
    /// It is too long.
    #[error("the filter has {0} bytes; {MAX_FILTER} are the most")]
    Long(usize),
    /// One directive is wrong.
    #[error("the directive `{directive}` is wrong: {why}")]
    Directive {
        /// Which.
        directive: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            text: "info".to_owned(),
            bare: false,
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Filter {
    /// Reads a level, or `EnvFilter`'s directives. Where none of them is for all, the rest stays at `info`: who wants to see
    /// more of one part does not want to lose sight of the others.
    ///
    /// # Errors
    /// Which directive is wrong, and why.
    pub fn parse(text: &str) -> Result<Self, BadFilter> {
        let directives = split(text)?;
        let mut for_all = false;
        for directive in &directives {
            for_all |= check(directive).map_err(|why| BadFilter::Directive {
                directive: (*directive).to_owned(),
                why,
            })?;
        }
        let rest = (!for_all).then_some("info");
        Ok(Self {
            text: rest.into_iter().chain(directives).collect::<Vec<_>>().join(","),
            bare: false,
        })
    }

    /// Reads `RUST_LOG`, which is what it is everywhere. None where it is empty.
    ///
    /// # Errors
    /// Which directive is wrong.
    pub(super) fn of_environment(text: &str) -> Result<Option<Self>, BadFilter> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        for directive in split(text)? {
            Directive::from_str(directive).map_err(|_| BadFilter::Directive {
                directive: directive.to_owned(),
                why: not_a_directive(),
            })?;
        }
        let (text, bare) = (text.to_owned(), true);
        Ok(Some(Self { text, bare }))
    }

    /// Whether it is what `RUST_LOG` says.
    pub(super) fn is_of_environment(&self) -> bool {
        self.bare
    }

    pub(super) fn to_env_filter(&self) -> EnvFilter {
        let builder = EnvFilter::builder();
        if self.bare {
            return builder.parse_lossy(&self.text);
        }
        // A regular expression may come over the network: values are compared as they are written.
        builder.with_regex(false).parse_lossy(format!("{QUIET},{}", self.text))
    }
}

/// [`NEVER_FINER`], as directives.
pub(super) fn never_finer() -> String {
    let one = |(target, finest): &(&str, LevelFilter)| format!("{target}={finest}");
    NEVER_FINER.iter().map(one).collect::<Vec<_>>().join(",")
}

/// Whether what comes from there may be written at all.
pub(super) fn may_be_written(metadata: &Metadata<'_>) -> bool {
    let of = |(target, _): &&(&str, LevelFilter)| metadata.target().starts_with(target);
    NEVER_FINER
        .iter()
        .find(of)
        .is_none_or(|(_, finest)| metadata.level() <= finest)
}

fn split(text: &str) -> Result<Vec<&str>, BadFilter> {
    if text.len() > MAX_FILTER {
        return Err(BadFilter::Long(text.len()));
    }
    let directives: Vec<&str> = text.split(',').map(str::trim).filter(|one| !one.is_empty()).collect();
    if directives.is_empty() {
        return Err(BadFilter::Empty);
    }
    Ok(directives)
}

fn not_a_directive() -> String {
    format!("expected a level ({LEVELS}), TARGET=LEVEL, or TARGET[SPAN{{FIELD=VALUE}}]=LEVEL")
}

/// Whether a right directive is for all, or what is wrong with it.
fn check(directive: &str) -> Result<bool, String> {
    if directive.parse::<LevelFilter>().is_ok() {
        return Ok(true);
    }
    // An `=` within the brackets belongs to a field.
    let after = directive.rfind([']', '}']).map_or(0, |bracket| bracket + 1);
    match directive.get(after..).and_then(|rest| rest.split_once('=')) {
        // An empty one would be read as `error`.
        Some((_, level)) if level.is_empty() || level.parse::<LevelFilter>().is_err() => {
            return Err(format!("`{level}` is no level; expected {LEVELS}"));
        }
        Some(_) => {}
        // `EnvFilter` takes a mistyped level for a target, and then shows nothing else.
        None if after == 0 => {
            return Err(format!(
                "`{directive}` is no level ({LEVELS}); for all that this target says, write `{directive}=trace`"
            ));
        }
        None => {}
    }
    match Directive::from_str(directive) {
        Ok(_) => Ok(false),
        Err(_) => Err(not_a_directive()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_right_is_kept_and_the_rest_stays_at_info() {
        for (text, kept) in [
            ("debug", "debug"),
            ("WARN", "WARN"),
            (" info , headcount_actors=debug ,", "info,headcount_actors=debug"),
            ("headcount_edge::brokers=trace", "info,headcount_edge::brokers=trace"),
            ("off,[alert{fleet=sms}]=debug", "off,[alert{fleet=sms}]=debug"),
            ("lapin=info", "info,lapin=info"),
        ] {
            assert_eq!(Filter::parse(text).unwrap().to_string(), kept);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            ("", "the filter is empty"),
            (",,", "the filter is empty"),
            ("inof", "the directive `inof` is wrong: `inof` is no level"),
            (
                "info,headcount_actors=loud",
                "the directive `headcount_actors=loud` is wrong: `loud` is no level",
            ),
            ("a=b=debug", "`b=debug` is no level"),
            ("info,[x{=debug", "the directive `[x{=debug` is wrong"),
            ("info,a b=", "`` is no level"),
            (&"x".repeat(2_000), "2000 bytes"),
        ] {
            let why = Filter::parse(text).unwrap_err().to_string();
            assert!(why.contains(words), "{text}: {why}");
        }
    }

    #[test]
    fn the_environment_says_what_it_says_elsewhere() {
        assert_eq!(Filter::of_environment(" ").unwrap(), None);
        let filter = Filter::of_environment("headcount_actors").unwrap().unwrap();
        assert_eq!(filter.to_env_filter().to_string(), "headcount_actors=trace");
        assert!(Filter::of_environment("a=loud").is_err());
    }

    #[test]
    fn what_is_loud_is_quiet_unless_it_is_asked_for() {
        let usual = Filter::default().to_env_filter().to_string();
        assert!(usual.contains("lapin=off"), "{usual}");
        let asked = Filter::parse("lapin=debug").unwrap().to_env_filter().to_string();
        assert!(asked.contains("lapin=debug") && !asked.contains("lapin=off"), "{asked}");
    }
}
