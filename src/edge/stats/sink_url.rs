//! The URLs of sources and sinks: `mongodb://…/db.collection` and `elasticsearch+http://user:pass@host/index`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use mongodb::error::ErrorKind;
use mongodb::options::ConnectionString;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use url::Url;

/// The longest name of an index in bytes, Elasticsearch's own bound.
const MAX_INDEX: usize = 255;
/// The longest `database.collection`, in bytes: MongoDB's own bound.
const MAX_NAMESPACE: usize = 255;
/// MongoDB's port where none is named.
const MONGODB_PORT: u16 = 27_017;

/// A collection of a MongoDB.
#[derive(Clone, Debug)]
pub struct Collection {
    /// The connection string, with the database alone in its path.
    url: SecretString,
    /// The database.
    pub database: String,
    /// The collection.
    pub collection: String,
    /// Without user, password and options.
    shown: String,
    /// The servers, each spelled in one way only.
    hosts: Vec<String>,
}

impl Collection {
    /// The connection string: a secret.
    pub fn url(&self) -> &str {
        self.url.expose_secret()
    }

    /// Whether two URLs, however they are spelled, name one collection. Where a server has several names, that is not known.
    fn is_same(&self, other: &Self) -> bool {
        (&self.database, &self.collection) == (&other.database, &other.collection)
            && self.hosts.iter().any(|host| other.hosts.contains(host))
    }
}

/// A server in one spelling: names in small letters, one name for this machine's own, and always with a port.
fn plain_host(host: &str, port: Option<u16>) -> String {
    let name = host.trim_start_matches('[').trim_end_matches(']').to_lowercase();
    let name = name.trim_end_matches('.');
    let is_loopback = name == "localhost"
        || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || name.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
    let name = if is_loopback { "localhost" } else { name };
    port.map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

/// As MongoDB's URLs name servers.
fn mongodb_host(host: &str, is_srv: bool) -> String {
    // What a name server is asked for has no port.
    let default = (!is_srv).then_some(MONGODB_PORT);
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => match port.parse() {
            Ok(port) => plain_host(name, Some(port)),
            Err(_) => plain_host(host, default),
        },
        _ => plain_host(host, default),
    }
}

/// What the driver has against a connection string, if anything; without a network.
fn checked_by_driver(url: &str, user_info: Option<&str>) -> Result<(), UrlError> {
    let Err(error) = ConnectionString::parse(url) else {
        return Ok(());
    };
    let words = match error.kind.as_ref() {
        ErrorKind::InvalidArgument { message, .. } => message.clone(),
        _ => String::new(),
    };
    let is_secret = |part: &&str| !part.is_empty() && words.contains(*part);
    let quotes = user_info.is_some_and(|info| info.split(':').any(|part| is_secret(&part)));
    Err(UrlError::Syntax(if quotes || words.is_empty() {
        "the connection string has a part that MongoDB does not know".to_owned()
    } else {
        words
    }))
}

impl fmt::Display for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// An index of an Elasticsearch.
#[derive(Clone, Debug)]
pub struct Index {
    /// The address without user, password and index.
    pub base: Url,
    /// User and password, where there are any.
    pub login: Option<(String, SecretString)>,
    /// The index, or an alias with one write index.
    pub index: String,
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "elasticsearch+{}{}", self.base, self.index)
    }
}

/// Where roll-ups go.
#[derive(Clone, Debug)]
pub enum Sink {
    /// A collection.
    MongoDb(Collection),
    /// An index.
    Elasticsearch(Index),
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sink::MongoDb(collection) => collection.fmt(f),
            Sink::Elasticsearch(index) => index.fmt(f),
        }
    }
}

/// Why a URL is of no use. Never with the URL in it, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UrlError {
    /// Another scheme.
    #[error("expected mongodb://HOST/DATABASE.COLLECTION{}", if *.elasticsearch { ", or elasticsearch+http://HOST/INDEX" } else { "" })]
    Scheme {
        /// Elasticsearch would do, too.
        elasticsearch: bool,
    },
    /// There is no `database.collection` in the path.
    #[error("expected a path with database and collection, such as /app.clicks")]
    Namespace,
    /// There is no index in the path.
    #[error("expected a path with the name of an index in small letters, such as /clicks-1m")]
    Index,
    /// Blanks, or letters that a URL has only in another form.
    #[error("not a URL: {0} must be written with % and two digits, a blank as %20")]
    Plain(&'static str),
    /// Not a URL at all.
    #[error("not a URL: {0}")]
    Syntax(String),
}

impl Collection {
    /// Reads one. The connection string may name several hosts, as those of MongoDB do.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, UrlError> {
        // Several hosts are no URL by the book, so the parts are taken by hand.
        let scheme = ["mongodb://", "mongodb+srv://"]
            .into_iter()
            .find(|scheme| text.starts_with(scheme))
            .ok_or(UrlError::Scheme { elasticsearch: false })?;
        no_blanks(text)?;
        let rest = &text[scheme.len()..];
        let (before, options) = match rest.split_once('?') {
            Some((before, options)) => (before, format!("?{options}")),
            None => (rest, String::new()),
        };
        let (authority, path) = before.split_once('/').ok_or(UrlError::Namespace)?;
        let (database, collection) = path.split_once('.').ok_or(UrlError::Namespace)?;
        let sound = |name: &str| !name.is_empty() && !name.contains(['/', '\\', ' ', '"', '$', '\0', '%']);
        if !sound(database) || !sound(collection) || collection.starts_with("system.") || path.len() > MAX_NAMESPACE {
            return Err(UrlError::Namespace);
        }
        let (user_info, hosts) = match authority.rsplit_once('@') {
            Some((user_info, hosts)) => (Some(user_info), hosts),
            None => (None, authority),
        };
        if hosts.is_empty() {
            return Err(UrlError::Syntax("no host".to_owned()));
        }
        if user_info.is_some_and(|info| !info.is_ascii()) {
            return Err(UrlError::Plain("letters beyond ASCII in the user or the password"));
        }
        let url = format!("{scheme}{authority}/{database}{options}");
        checked_by_driver(&url, user_info)?;
        let is_srv = scheme == "mongodb+srv://";
        Ok(Self {
            url: url.into(),
            database: database.to_owned(),
            collection: collection.to_owned(),
            shown: format!("{scheme}{hosts}/{path}"),
            hosts: hosts.split(',').map(|host| mongodb_host(host, is_srv)).collect(),
        })
    }
}

fn no_blanks(text: &str) -> Result<(), UrlError> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(UrlError::Plain("blanks"));
    }
    Ok(())
}

impl Index {
    /// As [`Collection::is_same`].
    fn is_same(&self, other: &Self) -> bool {
        let place = |index: &Self| {
            let host = plain_host(
                index.base.host_str().unwrap_or_default(),
                index.base.port_or_known_default(),
            );
            (host, index.index.clone())
        };
        place(self) == place(other)
    }

    fn read(text: &str) -> Result<Self, UrlError> {
        no_blanks(text)?;
        let mut url = Url::parse(text).map_err(|error| UrlError::Syntax(error.to_string()))?;
        if url.host().is_none() {
            return Err(UrlError::Syntax("no host".to_owned()));
        }
        let index = url.path().trim_matches('/').to_owned();
        let index = percent_encoding::percent_decode_str(&index)
            .decode_utf8()
            .map_err(|_| UrlError::Index)?
            .into_owned();
        let unsound = |c: char| c.is_uppercase() || c.is_whitespace() || c.is_control() || "\\/*?\"<>|,#:".contains(c);
        if index.is_empty()
            || index.len() > MAX_INDEX
            || index.starts_with(['-', '_', '+', '.'])
            || index.contains(unsound)
        {
            return Err(UrlError::Index);
        }
        let plain = |part: &str| {
            percent_encoding::percent_decode_str(part)
                .decode_utf8_lossy()
                .into_owned()
        };
        let login = (!url.username().is_empty())
            .then(|| (plain(url.username()), plain(url.password().unwrap_or_default()).into()));
        // These fail only for URLs without a host.
        let _ = (url.set_username(""), url.set_password(None));
        url.set_path("/");
        url.set_query(None);
        url.set_fragment(None);
        Ok(Self {
            base: url,
            login,
            index,
        })
    }
}

impl Sink {
    /// Whether two name one place, however they are spelled.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Sink::MongoDb(one), Sink::MongoDb(other)) => one.is_same(other),
            (Sink::Elasticsearch(one), Sink::Elasticsearch(other)) => one.is_same(other),
            _ => false,
        }
    }

    /// Whether it is this collection, however the two are spelled.
    pub(super) fn is(&self, collection: &Collection) -> bool {
        matches!(self, Sink::MongoDb(sink) if sink.is_same(collection))
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, UrlError> {
        match text.strip_prefix("elasticsearch+") {
            Some(rest) if rest.starts_with("http://") || rest.starts_with("https://") => {
                Index::read(rest).map(Sink::Elasticsearch)
            }
            Some(_) => Err(UrlError::Scheme { elasticsearch: true }),
            None => match Collection::read(text) {
                Ok(collection) => Ok(Sink::MongoDb(collection)),
                Err(UrlError::Scheme { .. }) => Err(UrlError::Scheme { elasticsearch: true }),
                Err(other) => Err(other),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_keeps_its_secrets() {
        let text = "mongodb://me:s3cret@a:27017,b:27018/app.clicks.v2?replicaSet=rs";
        let Ok(Sink::MongoDb(collection)) = Sink::read(text) else {
            panic!("no collection");
        };
        assert_eq!(
            collection.url(),
            "mongodb://me:s3cret@a:27017,b:27018/app?replicaSet=rs"
        );
        assert_eq!(
            (collection.database.as_str(), collection.collection.as_str()),
            ("app", "clicks.v2")
        );
        assert_eq!(collection.to_string(), "mongodb://a:27017,b:27018/app.clicks.v2");
        assert!(!format!("{collection:?}").contains("s3cret"));
    }

    #[test]
    fn an_index_keeps_its_secrets() {
        let Ok(Sink::Elasticsearch(index)) = Sink::read("elasticsearch+https://me:p%40ss@es:9200/clicks-1m") else {
            panic!("no index");
        };
        let (user, password) = index.login.clone().unwrap();
        assert_eq!((user.as_str(), password.expose_secret()), ("me", "p@ss"));
        assert_eq!(index.base.as_str(), "https://es:9200/");
        assert_eq!(index.to_string(), "elasticsearch+https://es:9200/clicks-1m");
        assert!(!format!("{index:?}").contains("p@ss"));
    }

    #[test]
    fn one_place_has_many_spellings() {
        let same = |one: &str, other: &str| Sink::read(one).unwrap().is_same(&Sink::read(other).unwrap());
        for other in [
            "mongodb://127.0.0.1:27017/app.clicks?directConnection=true",
            "mongodb://LOCALHOST/app.clicks",
            "mongodb://[::1]/app.clicks",
            "mongodb://me:it@a:1,127.0.0.2/app.clicks",
        ] {
            assert!(same("mongodb://localhost/app.clicks", other), "{other}");
        }
        for other in [
            "mongodb://localhost:27018/app.clicks",
            "mongodb://localhost/app.clicks2",
            "mongodb://a/app.clicks",
        ] {
            assert!(!same("mongodb://localhost/app.clicks", other), "{other}");
        }
        assert!(same(
            "elasticsearch+http://localhost:9200/a",
            "elasticsearch+http://me:it@127.0.0.1:9200/a"
        ));
        assert!(!same(
            "elasticsearch+http://localhost/a",
            "elasticsearch+http://localhost:9200/a"
        ));
        assert!(same(
            "mongodb+srv://db.example.com/a.b",
            "mongodb+srv://DB.example.com/a.b"
        ));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, why) in [
            (
                "",
                "expected mongodb://HOST/DATABASE.COLLECTION, or elasticsearch+http://HOST/INDEX",
            ),
            ("http://es:9200/a", "expected mongodb://"),
            ("elasticsearch+ftp://es/a", "expected mongodb://"),
            ("mongodb://h", "expected a path"),
            ("mongodb://h/db", "expected a path"),
            ("mongodb://h/.c", "expected a path"),
            ("mongodb://h/db.", "expected a path"),
            ("mongodb://h/db.$c", "expected a path"),
            ("mongodb:///db.c", "no host"),
            (
                "mongodb://h/db.c?directConnection=maybe",
                "directconnection` option must be a boolean",
            ),
            ("mongodb://h/db.c?replicaset", "not a URL: "),
            ("mongodb://h/db.c?replicaSte=rs", "similar name exists: replicaset"),
            ("mongodb://me:s3 cret@h/db.c", "a blank as %20"),
            ("mongodb://me:%a\u{20ac}@h/db.c", "letters beyond ASCII"),
            ("mongodb://me:s3:cret@h/db.c", "not a URL: "),
            ("elasticsearch+http://me:s3 cret@h/c", "a blank as %20"),
            (
                "elasticsearch+http://es:9200/",
                "expected a path with the name of an index",
            ),
            (
                "elasticsearch+http://es:9200/Clicks",
                "expected a path with the name of an index",
            ),
            (
                "elasticsearch+http://es:9200/_all",
                "expected a path with the name of an index",
            ),
            (
                "elasticsearch+http://es:9200/a/b",
                "expected a path with the name of an index",
            ),
            ("elasticsearch+http://", "not a URL"),
        ] {
            let error = Sink::read(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
            assert!(!error.contains("cret"), "{error}");
        }
    }
}
