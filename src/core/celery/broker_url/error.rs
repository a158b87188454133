//! What can be wrong with a broker URL.

use thiserror::Error;

/// Why a broker URL cannot be read. It never quotes the URL: a misplaced character can make any part of it a password.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UrlError {
    /// Not one of the schemes.
    #[error(
        "a broker URL begins with amqp://, amqps://, redis://, rediss://, redis+socket:// or sentinel://, and the address \
         of a Flower with http:// or https://"
    )]
    Scheme,
    /// The port is no number, or a password has broken the URL.
    #[error(
        "the port must be a number from 1 to 65535; if a user name or password has one of : / ? # [ ] @ ; in it, write \
         it percent-encoded (%2F for /)"
    )]
    Port,
    /// A password has broken the URL.
    #[error("an @ behind the host: write it as %40; in a user name or password, write / ? # as %2F %3F %23")]
    At,
    /// The host cannot be read.
    #[error("the host must be a name, an IPv4 address, or an IPv6 address in brackets")]
    Host,
    /// The database is no number.
    #[error("the database after the host must be a number, such as redis://host:6379/0")]
    Database,
    /// No path of a socket.
    #[error("the path of the socket is missing: redis+socket:///run/redis/redis.sock")]
    SocketPath,
    /// No name of a master.
    #[error(
        "the sentinels need the name of the master: add ?master_name=NAME (Celery has it in broker_transport_options)"
    )]
    MasterName,
    /// Several hosts where one is expected.
    #[error("one address is expected: only sentinel:// takes several, separated by ;")]
    Several,
    /// An option that is not known.
    #[error("the option {0:?} is not known here; known are {1}")]
    Option(String, &'static str),
    /// An option whose value cannot be read.
    #[error("the option {0} must be {1}")]
    Value(&'static str, &'static str),
}
