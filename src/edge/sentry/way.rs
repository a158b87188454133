//! How the way to Sentry stands, as the log tells it: once when it begins to fail, once when it is something else, and once when
//! it works again. Nothing that is said here is told to Sentry (`gate.rs`).

use reqwest::StatusCode;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody answers.
    Away,
    /// Sentry answers with its own trouble, or refuses.
    Says(StatusCode),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Way {
    host: String,
    /// The last request was taken.
    works: bool,
    trouble: Option<Trouble>,
    limited: bool,
}

impl Way {
    pub(super) fn new(host: String) -> Self {
        Self {
            host,
            works: false,
            trouble: None,
            limited: false,
        }
    }

    /// Whether the last request was taken; false before the first.
    pub(super) fn works(&self) -> bool {
        self.works
    }

    /// Nobody answered; it is tried again.
    pub(super) fn away(&mut self, why: &str) {
        if self.is_news(Trouble::Away) {
            tracing::warn!(
                host = self.host,
                why,
                "Sentry cannot be reached: errors are logged and counted, and told as soon as it can be; see whether the host of \
                 [sentry] dsn is right, and can be reached from here"
            );
        }
    }

    /// Sentry said that it has trouble; it is tried again.
    pub(super) fn failed(&mut self, status: StatusCode) {
        if self.is_news(Trouble::Says(status)) {
            tracing::warn!(
                host = self.host,
                status = status.as_u16(),
                "Sentry has trouble of its own: errors are logged and counted, and told again and again until it takes them; see its \
                 status page, or the log of the proxy before it"
            );
        }
    }

    /// Sentry refused: that one is not tried again.
    pub(super) fn refused(&mut self, status: StatusCode) {
        if !self.is_news(Trouble::Says(status)) {
            return;
        }
        let (host, status) = (&self.host, status.as_u16());
        match status {
            401 | 403 => tracing::warn!(
                host,
                status,
                "Sentry does not accept the key: errors are only logged until it does; see whether [sentry] dsn is that of the \
                 project, and its key is enabled"
            ),
            404 => tracing::warn!(
                host,
                status,
                "nobody takes errors at the address of Sentry: they are only logged until somebody does; see whether [sentry] dsn \
                 is right"
            ),
            413 => tracing::warn!(
                host,
                status,
                "an error was too large for Sentry, and is only logged: the next is sent as ever; see whether a proxy before it \
                 allows less than Sentry does"
            ),
            _ => tracing::warn!(
                host,
                status,
                "Sentry has refused an error, which is only logged: the next is sent as ever; see whether [sentry] dsn is right"
            ),
        }
    }

    /// Sentry asks to be left alone, which is obeyed.
    pub(super) fn limited(&mut self) {
        self.works = false;
        if !std::mem::replace(&mut self.limited, true) {
            tracing::info!(
                host = self.host,
                "Sentry asks to be left alone for a while: errors are counted, and told then"
            );
        }
    }

    /// It was taken.
    pub(super) fn taken(&mut self) {
        (self.works, self.limited) = (true, false);
        if self.trouble.take().is_some() {
            tracing::info!(host = self.host, "Sentry takes what it is told again");
        }
    }

    /// It was closed, and so many were not sent.
    pub(super) fn closed(&self, unsent: u64) {
        if unsent > 0 {
            tracing::warn!(
                host = self.host,
                unsent,
                "not everything could be told to Sentry before it was closed: the log has the errors, and the most frequent were sent first"
            );
        }
    }

    fn is_news(&mut self, trouble: Trouble) -> bool {
        self.works = false;
        self.trouble.replace(trouble.clone()) != Some(trouble)
    }
}
