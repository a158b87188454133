//! Ways to tell people, one file each: its configuration, its port, its tests.
//!
//! To add one, write its file (with a `Config` that implements [`Table`]) and put its word into the list below.

pub(crate) mod http;
pub mod slack;
pub mod stdout;

use std::fmt;
use std::sync::Arc;

use headcount_actors::ports::Notifier;
use serde::{Deserialize, Deserializer};
use thiserror::Error;
use url::Url;

/// Makes the map from a `kind` to its file.
macro_rules! kinds {
    ($($word:ident),+ $(,)?) => {
        /// The words that `kind` may be.
        pub const KINDS: &[&str] = &[$(stringify!($word)),+];

        /// Reads the table of a `[[notify]]` whose `kind` has been read before; none where that is not in [`KINDS`].
        ///
        /// The table goes straight into its own plain struct (which takes `kind` too), so that an error keeps the
        /// position of the key that is wrong.
        pub fn decode<'de, D>(kind: &str, table: D) -> Option<Result<Arc<dyn Table>, D::Error>>
        where
            D: Deserializer<'de>,
        {
            match kind {
                $(stringify!($word) => Some($word::Config::deserialize(table).map(|config| Arc::new(config) as _)),)+
                _ => None,
            }
        }
    };
}

kinds!(slack, stdout);

/// One `[[notify]]` of the configuration.
pub trait Table: fmt::Debug + Send + Sync {
    /// Its name: the key `name`, or the kind where that is not given. Two with one name are for the caller to refuse.
    fn name(&self) -> &str;

    /// Says what is wrong with it, without a network.
    fn check(&self) -> Result<(), OpenError>;

    /// The server that it tells by HTTP, for who looks whether that is there; none where there is no such, or it is not known.
    fn server(&self) -> Option<Url>;

    /// Makes the notifier. It connects when it has something to tell, not before.
    fn open(&self) -> Result<Arc<dyn Notifier>, OpenError>;
}

/// What is wrong with a table whose keys are all well formed. Never with a secret in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{why}", key.map(|key| format!("{key}: ")).unwrap_or_default())]
pub struct OpenError {
    /// The key to blame, where it is one.
    pub key: Option<&'static str>,
    /// What is wrong, and what was expected.
    pub why: String,
}

impl OpenError {
    fn at(key: &'static str, why: impl Into<String>) -> Self {
        Self {
            key: Some(key),
            why: why.into(),
        }
    }
}

/// The longest name of a notifier, in characters: it is a label in the metrics.
const MAX_NAME: usize = 64;

fn check_name(name: &str) -> Result<(), OpenError> {
    if name.is_empty() || name.chars().count() > MAX_NAME || name.contains(char::is_control) {
        return Err(OpenError::at(
            "name",
            format!("expected 1 to {MAX_NAME} printable characters"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod stand_in;

#[cfg(test)]
mod tests {
    use super::*;

    fn table(kind: &str, text: &str) -> Result<Arc<dyn Table>, toml::de::Error> {
        decode(kind, toml::Deserializer::parse(text).unwrap()).unwrap()
    }

    #[test]
    fn each_kind_decodes_and_is_named() {
        assert_eq!(KINDS, ["slack", "stdout"]);
        assert_eq!(table("stdout", "kind = 'stdout'").unwrap().name(), "stdout");
        let slack = table("slack", "kind = 'slack'\nname = 'ops'\nwebhook_url = 'https://h/x'").unwrap();
        assert_eq!(slack.name(), "ops");
        slack.check().unwrap();
        assert!(decode("pigeon", toml::Deserializer::parse("").unwrap()).is_none());
    }

    #[test]
    fn an_error_keeps_the_position_of_its_key() {
        for (kind, text, at) in [
            ("slack", "kind = 'slack'\nwebhook = 'https://h/x'", "webhook"),
            ("slack", "kind = 'slack'\ntoken = 5", "5"),
            ("stdout", "kind = 'stdout'\ncolour = true", "colour"),
        ] {
            let error = table(kind, text).unwrap_err();
            let span = error.span().unwrap();
            assert_eq!(&text[span], at, "{error}");
        }
    }

    #[test]
    fn names_are_checked() {
        for bad in ["", "a\nb", &"x".repeat(65)] {
            let config = format!("name = {}", toml::Value::from(bad));
            assert_eq!(table("stdout", &config).unwrap().check().unwrap_err().key, Some("name"));
        }
    }
}
