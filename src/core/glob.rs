//! Shell patterns for node names, as Celery's own `matcher = "glob"` reads them: `*`, `?`, `[abc]`, `[!abc]`.

use std::fmt;

use thiserror::Error;

/// A pattern that at least one node name can match.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Glob {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    One(char),
    AnyOne,
    AnyMany,
    Set { negated: bool, ranges: Vec<(char, char)> },
}

/// Why a text is no pattern for node names.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GlobError {
    /// Nothing at all.
    #[error("an empty pattern matches nothing")]
    Empty,
    /// Longer than [`Glob::MAX`].
    #[error("longer than {max} characters", max = Glob::MAX)]
    TooLong,
    /// `[` without its `]`.
    #[error("`[` without `]`")]
    Unclosed,
    /// A worker is called `name@host`, and this has no place for the `@`.
    #[error("can never match: a worker's name holds an `@`, such as `sms@host1`; expected a pattern such as `{0}@*`")]
    NoAt(String),
}

impl Glob {
    /// The longest pattern, in characters: a node name is at most 253 + 1 + what people call their workers.
    pub const MAX: usize = 512;

    /// Reads a pattern for names of workers.
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        let glob = Self::of_any(text)?;
        if glob.parts.iter().any(|part| part.takes('@')) {
            Ok(glob)
        } else {
            Err(GlobError::NoAt(text.to_owned()))
        }
    }

    /// Reads a pattern for names of whatever kind, such as those of tasks.
    pub fn of_any(text: &str) -> Result<Self, GlobError> {
        Self::read(text, || Err(GlobError::Unclosed))
    }

    /// Reads a pattern as Celery and Python's `fnmatch` do: a `[` without its `]` stands for itself.
    pub fn fnmatch(text: &str) -> Result<Self, GlobError> {
        Self::read(text, || Ok(Part::One('[')))
    }

    fn read(text: &str, unclosed: fn() -> Result<Part, GlobError>) -> Result<Self, GlobError> {
        if text.is_empty() {
            return Err(GlobError::Empty);
        }
        let chars: Vec<char> = text.chars().collect();
        if chars.len() > Self::MAX {
            return Err(GlobError::TooLong);
        }
        let mut parts = Vec::new();
        let mut rest = chars.as_slice();
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            match first {
                '*' if parts.last() == Some(&Part::AnyMany) => {}
                '*' => parts.push(Part::AnyMany),
                '?' => parts.push(Part::AnyOne),
                '[' => match read_set(rest) {
                    Some((set, after)) => {
                        parts.push(set);
                        rest = after;
                    }
                    None => parts.push(unclosed()?),
                },
                other => parts.push(Part::One(*other)),
            }
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether every name that `other` matches is certain to be matched by this one too. Both may be read too carefully
    /// where there are sets, or a `?` in this one: then it is not certain, unless they are the same.
    pub fn covers(&self, other: &Glob) -> bool {
        let has = |glob: &Glob, parts: fn(&Part) -> bool| glob.parts.iter().any(parts);
        self.parts == other.parts
            || !has(self, |part| matches!(part, Part::AnyOne | Part::Set { .. }))
                && !has(other, |part| matches!(part, Part::Set { .. }))
                // No character of this one stands for a `*` or `?` of the other, so only a `*` takes them.
                && self.matches(&other.text)
    }

    /// Whether the whole name matches. Takes at most (pattern × name) steps, whatever they hold.
    pub fn matches(&self, name: &str) -> bool {
        // Only the last `*` ever needs to be tried again with one character more.
        let name: Vec<char> = name.chars().collect();
        let (mut part, mut at, mut star) = (0, 0, None);
        while at < name.len() {
            match self.parts.get(part) {
                Some(Part::AnyMany) => {
                    star = Some((part, at));
                    part += 1;
                }
                Some(one) if name.get(at).is_some_and(|c| one.takes(*c)) => {
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
        self.parts.iter().skip(part).all(|part| *part == Part::AnyMany)
    }
}

impl Part {
    fn takes(&self, c: char) -> bool {
        match self {
            Part::One(own) => *own == c,
            Part::AnyOne | Part::AnyMany => true,
            Part::Set { negated, ranges } => ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated,
        }
    }
}

/// What stands between `[` and `]`, and what follows. A `]` that comes first stands for itself.
fn read_set(chars: &[char]) -> Option<(Part, &[char])> {
    let (negated, chars) = match chars.split_first()? {
        ('!', after) => (true, after),
        _ => (false, chars),
    };
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

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", self.text)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (glob, name, expected) in [
            ("sms@*", "sms@host1", true),
            ("sms@*", "sms@", true),
            ("sms@*", "xsms@host1", false),
            ("*@host1", "sms@host1", true),
            ("*@host1", "sms@host10", false),
            ("sms@host?", "sms@host1", true),
            ("sms@host?", "sms@host", false),
            ("sms@host[1-3]", "sms@host2", true),
            ("sms@host[1-3]", "sms@host4", false),
            ("sms@host[!1-3]", "sms@host4", true),
            ("sms@host[!1-3]", "sms@host1", false),
            ("s[]m]@*", "s]@h", true),
            ("*", "sms@host1", true),
            ("*a*b@*", "xaybxab@h", true),
            ("*a*b@*", "xaybxac@h", false),
            ("sms@*", "", false),
            ("größe@*", "größe@h", true),
        ] {
            assert_eq!(Glob::parse(glob).unwrap().matches(name), expected, "{glob} on {name}");
        }
    }

    #[test]
    fn a_pattern_covers_those_that_match_less() {
        for (glob, other, expected) in [
            ("sms@*", "sms@*", true),
            ("sms@**", "sms@*", true),
            ("*", "sms@*", true),
            ("*@*", "sms@host?", true),
            ("sms@*", "sms@host1", true),
            ("sms@host*", "sms@*", false),
            ("sms@*", "*@host1", false),
            ("sms@?", "sms@*", false),
            ("s[*]s@*", "s*s@*", false),
            ("*a*@x", "[abc]@x", false),
            ("s[ab]@*", "s[ab]@*", true),
        ] {
            let covers = Glob::parse(glob).unwrap().covers(&Glob::parse(other).unwrap());
            assert_eq!(covers, expected, "{glob} and {other}");
        }
    }

    #[test]
    fn patterns_that_match_nothing_are_refused() {
        assert_eq!(Glob::parse(""), Err(GlobError::Empty));
        assert_eq!(Glob::parse("sms"), Err(GlobError::NoAt("sms".into())));
        assert_eq!(Glob::parse("sms@host[1"), Err(GlobError::Unclosed));
        assert_eq!(Glob::parse("sms[@"), Err(GlobError::Unclosed));
        assert_eq!(Glob::parse(&"@".repeat(513)), Err(GlobError::TooLong));
        assert!(Glob::parse("sm?").is_ok(), "`?` may stand for the `@`");
    }

    #[test]
    fn many_stars_stay_quick() {
        let glob = Glob::parse(&format!("{}b@*", "*a".repeat(200))).unwrap();
        assert!(!glob.matches(&"a".repeat(5_000)));
    }
}
