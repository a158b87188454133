//! Celery's `task_routes`: where a task goes, by its name.

use std::fmt;

use crate::glob::{Glob, GlobError};

/// Where a task is sent. What is none is filled in from the queue, as Celery does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The queue.
    pub queue: Option<String>,
    /// The exchange.
    pub exchange: Option<String>,
    /// The routing key.
    pub routing_key: Option<String>,
    /// The priority.
    pub priority: Option<u8>,
}

impl Route {
    /// To this queue.
    pub fn to(queue: impl Into<String>) -> Self {
        Self {
            queue: Some(queue.into()),
            ..Self::default()
        }
    }

    /// What this says, and for what it leaves open, what `other` says.
    #[must_use]
    pub fn or(self, other: &Route) -> Self {
        Self {
            queue: self.queue.or_else(|| other.queue.clone()),
            exchange: self.exchange.or_else(|| other.exchange.clone()),
            routing_key: self.routing_key.or_else(|| other.routing_key.clone()),
            priority: self.priority.or(other.priority),
        }
    }

    /// Where a message goes. As in Celery, where not both exchange and routing key are given, it goes to the queue by the
    /// default exchange, with the queue's name as the routing key.
    pub fn destination(&self, default_queue: &str) -> Destination {
        match (&self.exchange, &self.routing_key) {
            (Some(exchange), Some(routing_key)) if !exchange.is_empty() => Destination {
                exchange: exchange.clone(),
                routing_key: routing_key.clone(),
            },
            _ => Destination::queue(self.queue.as_deref().unwrap_or(default_queue)),
        }
    }
}

/// Where a message is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The exchange; empty for the default one, where the routing key is a queue's name.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
}

impl Destination {
    /// Straight into a queue.
    pub fn queue(name: impl Into<String>) -> Self {
        Self {
            exchange: String::new(),
            routing_key: name.into(),
        }
    }
}

/// A queue's name, or `exchange/routing key`.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.exchange.is_empty() {
            write!(f, "{}/", self.exchange)?;
        }
        f.write_str(&self.routing_key)
    }
}

/// A task's name, or a pattern for names: `*`, `?`, `[abc]`, `[!abc]`, as Python's `fnmatch` reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// A name.
    Name(String),
    /// A pattern.
    Glob(Glob),
}

impl Pattern {
    /// Reads a pattern. As in Celery, only a text with a `*` is one; any other is a name.
    ///
    /// # Errors
    /// If it is empty, or longer than [`Glob::MAX`].
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        let glob = Glob::fnmatch(text)?;
        Ok(if text.contains('*') {
            Self::Glob(glob)
        } else {
            Self::Name(text.to_owned())
        })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Glob(glob) => glob.as_str(),
        }
    }

    /// Whether the whole name matches.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Glob(glob) => glob.matches(name),
        }
    }
}

/// An ordered list of patterns with their routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes(Vec<(Pattern, Route)>);

impl Routes {
    /// In the order of the configuration.
    pub fn new(routes: Vec<(Pattern, Route)>) -> Self {
        Self(routes)
    }

    /// Where a task goes: what the caller says, then the route of exactly that name, then the first pattern that matches,
    /// then `default_queue`.
    pub fn route(&self, name: &str, said: Route, default_queue: &str) -> Route {
        let exact = self
            .0
            .iter()
            .find(|(pattern, _)| matches!(pattern, Pattern::Name(own) if own == name));
        let found = exact.or_else(|| self.0.iter().find(|(pattern, _)| pattern.matches(name)));
        let mut route = match found {
            Some((_, route)) => said.or(route),
            None => said,
        };
        route.queue.get_or_insert_with(|| default_queue.to_owned());
        route
    }
}
