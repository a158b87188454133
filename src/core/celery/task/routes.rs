//! Celery's `task_routes`: where a task goes, by its name.

use std::fmt;

use thiserror::Error;

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
pub struct Pattern {
    text: String,
    parts: Option<Vec<Part>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    One(char),
    Any,
    Many,
    Set { negated: bool, ranges: Vec<(char, char)> },
}

/// Why a text is no pattern for tasks' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// Nothing at all.
    #[error("an empty pattern matches no task")]
    Empty,
    /// Longer than [`Pattern::MAX`].
    #[error("longer than {} characters", Pattern::MAX)]
    TooLong,
}

impl Pattern {
    /// The longest pattern, in characters: as long as a task's name may be.
    pub const MAX: usize = 512;

    /// Reads a pattern. As in Celery, only a text with a `*` is one; any other is a name.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut pattern = Self::glob(text)?;
        if !text.contains('*') {
            pattern.parts = None;
        }
        Ok(pattern)
    }

    /// Reads a pattern as `fnmatch` alone does: `?` and `[` count also where there is no `*`.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn glob(text: &str) -> Result<Self, PatternError> {
        match text.chars().count() {
            0 => Err(PatternError::Empty),
            length if length > Self::MAX => Err(PatternError::TooLong),
            _ => Ok(Self {
                text: text.to_owned(),
                parts: Some(read(text)),
            }),
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole name matches.
    pub fn matches(&self, name: &str) -> bool {
        match &self.parts {
            None => self.text == name,
            Some(parts) => matches(parts, name),
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
            .find(|(pattern, _)| pattern.parts.is_none() && pattern.text == name);
        let found = exact.or_else(|| self.0.iter().find(|(pattern, _)| pattern.matches(name)));
        let mut route = match found {
            Some((_, route)) => said.or(route),
            None => said,
        };
        route.queue.get_or_insert_with(|| default_queue.to_owned());
        route
    }
}

fn read(text: &str) -> Vec<Part> {
    let chars: Vec<char> = text.chars().collect();
    let mut parts = Vec::new();
    let mut rest = chars.as_slice();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            '*' if parts.last() == Some(&Part::Many) => {}
            '*' => parts.push(Part::Many),
            '?' => parts.push(Part::Any),
            '[' => match set(after) {
                Some((part, after)) => {
                    parts.push(part);
                    rest = after;
                }
                // As in fnmatch, one that is not closed stands for itself.
                None => parts.push(Part::One('[')),
            },
            other => parts.push(Part::One(*other)),
        }
    }
    parts
}

fn set(chars: &[char]) -> Option<(Part, &[char])> {
    let (negated, chars) = match chars.split_first()? {
        ('!', after) => (true, after),
        _ => (false, chars),
    };
    // A `]` that comes first stands for itself.
    let close = 1 + chars.iter().skip(1).position(|c| *c == ']')?;
    let (mut inner, after) = (chars.get(..close)?, chars.get(close + 1..)?);
    let mut ranges = Vec::new();
    loop {
        match inner {
            [from, '-', to, rest @ ..] => {
                ranges.push((*from, *to));
                inner = rest;
            }
            [one, rest @ ..] => {
                ranges.push((*one, *one));
                inner = rest;
            }
            [] => return Some((Part::Set { negated, ranges }, after)),
        }
    }
}

/// At most (pattern × name) steps: only the last `*` ever needs to be tried again with one character more.
fn matches(parts: &[Part], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let (mut part, mut at, mut star) = (0, 0, None);
    while at < name.len() {
        match parts.get(part) {
            Some(Part::Many) => {
                star = Some((part, at));
                part += 1;
            }
            Some(one) if name.get(at).is_some_and(|c| takes(one, *c)) => {
                part += 1;
                at += 1;
            }
            _ => match star {
                Some((star_part, star_at)) => {
                    star = Some((star_part, star_at + 1));
                    part = star_part + 1;
                    at = star_at + 1;
                }
                None => return false,
            },
        }
    }
    parts.iter().skip(part).all(|part| *part == Part::Many)
}

fn takes(part: &Part, c: char) -> bool {
    match part {
        Part::One(own) => *own == c,
        Part::Any | Part::Many => true,
        Part::Set { negated, ranges } => ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated,
    }
}
