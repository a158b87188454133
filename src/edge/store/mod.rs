//! Where Headcount remembers: which store a URL names, and opening it.

mod sqlite;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use headcount_actors::ports::jobs::SharedJobStore;
use headcount_actors::ports::{SharedStore, Store, StoreError};
use serde::Deserialize;

/// The table `[store]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `sqlite:PATH`, the path being relative to the working directory; `sqlite::memory:` forgets when it is closed, and
    /// is not for a daemon.
    pub url: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "sqlite:headcount.db".to_owned(),
        }
    }
}

impl Config {
    /// Says what is wrong with it for a daemon, without opening anything. The memory can be opened, and is for those who
    /// tell nobody anything: a daemon that forgets at each start and reload tells everything again, and never that it is over.
    pub fn check(&self) -> Result<(), StoreError> {
        match place(&self.url)? {
            Place::Memory => Err(StoreError::Open(
                "in memory, what was told would be forgotten at each start and reload; name a file, such as \
                 sqlite:headcount.db"
                    .to_owned(),
            )),
            Place::File(_) => Ok(()),
        }
    }
}

/// Opens the store, making it where there is none. Blocks for as long as that takes: up to a few seconds where another
/// Headcount is just closing the same file.
///
/// # Errors
/// [`StoreError::Open`] says what is in the way, [`StoreError::Newer`] that a newer Headcount has written it.
pub fn open(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    open_all(config).map(|opened| opened.store)
}

/// One store, through each of its ports.
#[derive(Clone)]
pub struct Opened {
    /// Workers, incidents, messages, counts.
    pub store: SharedStore,
    /// Scheduled jobs.
    pub jobs: SharedJobStore,
    /// Where it is, for people: without a secret.
    pub address: String,
}

/// As [`open`], for those who need the other ports too.
///
/// # Errors
/// Those of [`open`].
pub fn open_all(config: &Config) -> Result<Opened, StoreError> {
    let place = place(&config.url)?;
    let store = Arc::new(sqlite::Sqlite::open(&place)?);
    Ok(Opened {
        address: place.to_string(),
        jobs: store.clone(),
        store,
    })
}

/// Where the embedded store lives.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Memory,
    File(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Memory => f.write_str("memory"),
            Place::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Reads a store's URL. What follows the scheme is not repeated in an error: it may hold a password.
fn place(url: &str) -> Result<Place, StoreError> {
    let refuse = |why: String| Err(StoreError::Open(why));
    let Some((scheme, rest)) = url.split_once(':') else {
        return refuse("its url must look like sqlite:headcount.db".to_owned());
    };
    match scheme {
        "sqlite" => {}
        "mongodb" | "mongodb+srv" => {
            return refuse(format!(
                "{scheme} is not supported by this version; use sqlite:headcount.db"
            ));
        }
        _ => return refuse("its url must begin with sqlite:, such as sqlite:headcount.db".to_owned()),
    }
    if rest == ":memory:" {
        return Ok(Place::Memory);
    }
    let path = rest.strip_prefix("//").unwrap_or(rest);
    match path {
        "" => refuse("its url names no file; write it as sqlite:headcount.db".to_owned()),
        _ if path.contains(['?', '#', '\0']) => {
            refuse("its url takes no options; write it as sqlite:headcount.db".to_owned())
        }
        _ => Ok(Place::File(PathBuf::from(path))),
    }
}

#[cfg(test)]
mod conformance;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let file = |path: &str| Some(Place::File(path.into()));
        let table = [
            ("sqlite:headcount.db", file("headcount.db")),
            (
                "sqlite:/var/lib/headcount/headcount.db",
                file("/var/lib/headcount/headcount.db"),
            ),
            ("sqlite:///var/lib/headcount.db", file("/var/lib/headcount.db")),
            ("sqlite://headcount.db", file("headcount.db")),
            ("sqlite::memory:", Some(Place::Memory)),
            ("sqlite:", None),
            ("sqlite:x.db?mode=ro", None),
            ("headcount.db", None),
            ("postgres://a:secret@b/c", None),
            ("mongodb://a:secret@b/c", None),
            ("mongodb+srv://a:secret@b/c", None),
            ("", None),
        ];
        for (url, expected) in table {
            match place(url) {
                Ok(found) => assert_eq!(Some(found), expected, "{url}"),
                Err(error) => {
                    assert_eq!(expected, None, "{url}: {error}");
                    assert!(!error.to_string().contains("secret"), "{error}");
                }
            }
        }
        let mongo = place("mongodb://a").unwrap_err().to_string();
        assert_eq!(
            mongo,
            "cannot open the store: mongodb is not supported by this version; use sqlite:headcount.db"
        );
        assert!(Config::default().check().is_ok());
        let memory = Config {
            url: "sqlite::memory:".to_owned(),
        };
        let refused = memory.check().unwrap_err().to_string();
        assert!(
            refused.contains("would be forgotten at each start and reload"),
            "{refused}"
        );
        assert!(open(&memory).is_ok(), "for `record`, which tells nobody");
    }
}
