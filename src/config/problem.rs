//! What is wrong with a configuration, said so that a person finds and mends it at once.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Keys whose values may be shown. Every other value is masked wherever a line of the file is quoted: an unknown key
/// may be a mistyped `token`.
pub(super) const PLAIN_KEYS: &[&str] = &[
    "broker",
    "bucket",
    "channel",
    "control_exchange",
    "cron",
    "cursor",
    "down_after",
    "environment",
    "error_window",
    "event_exchange",
    "event_queue_prefix",
    "every",
    "expected",
    "expires",
    "fanout_patterns",
    "fanout_prefix",
    "forget_after",
    "format",
    "future",
    "global_keyprefix",
    "group_by",
    "hostnames",
    "jitter",
    "kind",
    "late",
    "lease",
    "level",
    "listen",
    "logs",
    "lost_after",
    "max_exceptions",
    "max_queues",
    "max_series",
    "max_tasks",
    "max_workers",
    "metrics_every",
    "minimum",
    "missed",
    "missed_within",
    "name",
    "names",
    "overlap",
    "priority",
    "priority_steps",
    "probe_every",
    "processors",
    "public_url",
    "queue",
    "queues",
    "release",
    "server_name",
    "service_name",
    "settle",
    "stalled_after",
    "step",
    "stuck_after",
    "task",
    "task_failures",
    "time",
    "timezone",
    "traces_sample_rate",
];

/// What was found where something else was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// In words that hold no secret.
    Said(String),
    /// A value of the wrong type or range; `value` is only shown under a key of [`PLAIN_KEYS`].
    Instead {
        expected: String,
        kind: String,
        value: Option<String>,
    },
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The key, with the tables that lead to it, such as `fleet[0].minimum`; empty where the file as a whole is wrong.
    pub key: String,
    /// What was expected and what was found.
    pub message: String,
}

/// Where a problem is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A place in the file.
    File {
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// The line with every value masked that might be secret, and where in it to point.
        excerpt: Option<Excerpt>,
    },
    /// A variable of the environment.
    Environment(String),
    /// An argument of the command line.
    Argument(String),
    /// The file as a whole.
    Whole,
    /// The file as a whole, which could not be read.
    Unread,
}

/// A quoted line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    text: String,
    /// Characters of `text` to point at.
    mark: Range<usize>,
}

/// Everything that is wrong with a configuration. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file, where there is one.
    pub file: Option<PathBuf>,
    /// All of them, in the order of the file.
    pub list: Vec<Problem>,
}

impl Problems {
    /// Whether the file could not be read at all, so that nothing is known of what is in it.
    pub fn is_unread(&self) -> bool {
        self.list.iter().any(|problem| problem.place == Place::Unread)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.list.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            problem.write(f, self.file.as_deref())?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Problem {
    fn write(&self, f: &mut fmt::Formatter<'_>, file: Option<&Path>) -> fmt::Result {
        let file = file.map_or_else(|| "configuration".into(), |path| path.display().to_string());
        match &self.place {
            Place::File { line, column, .. } => write!(f, "{file}:{line}:{column}: ")?,
            Place::Environment(name) => write!(f, "environment variable {name}: ")?,
            Place::Argument(name) => write!(f, "{name}: ")?,
            Place::Whole | Place::Unread => write!(f, "{file}: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}", self.message)?;
        if let Place::File {
            line,
            excerpt: Some(excerpt),
            ..
        } = &self.place
        {
            let margin = " ".repeat(line.to_string().len());
            let (before, width) = (" ".repeat(excerpt.mark.start), excerpt.mark.len().max(1));
            write!(
                f,
                "\n{margin} |\n{line} | {}\n{margin} | {before}{}",
                excerpt.text,
                "^".repeat(width)
            )?;
        }
        Ok(())
    }
}

/// A file's text, and what in it must not be shown.
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) hidden: Vec<Range<usize>>,
}

impl Source<'_> {
    /// The place of some bytes, with its line quoted.
    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        let (start, line_number, line) = self.line(span.start);
        let column = 1 + self
            .text
            .get(start..span.start)
            .map_or(0, |before| before.chars().count());
        Place::File {
            line: line_number,
            column,
            excerpt: Some(self.quote(start, line, span)),
        }
    }

    /// The place of a mistake in the syntax: what the parser lost its way in may be a secret, so nothing behind the
    /// first `=` is quoted.
    pub(super) fn syntax_place(&self, span: &Range<usize>) -> Place {
        let (start, line_number, line) = self.line(span.start);
        let column = 1 + self
            .text
            .get(start..span.start)
            .map_or(0, |before| before.chars().count());
        let shown = match line.split_once('=') {
            Some((key, _)) => Some(format!("{key}= …")),
            None if line.trim_start().starts_with('[') => Some(line.to_owned()),
            None => None,
        };
        let excerpt = shown.map(|text| {
            let last = text.chars().count().saturating_sub(1);
            let from = (column - 1).min(last);
            Excerpt {
                text,
                mark: from..from + 1,
            }
        });
        Place::File {
            line: line_number,
            column,
            excerpt,
        }
    }

    /// The start, number and text of the line that a byte is in.
    fn line(&self, byte: usize) -> (usize, usize, &str) {
        let mut at = byte.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let (before, after) = self.text.split_at(at);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let number = 1 + before.bytes().filter(|b| *b == b'\n').count();
        let end = after.find('\n').map_or(self.text.len(), |newline| at + newline);
        (
            start,
            number,
            self.text.get(start..end).unwrap_or_default().trim_end_matches('\r'),
        )
    }

    /// Quotes a line: what is hidden becomes `…`, its quotation marks stay.
    fn quote(&self, start: usize, line: &str, span: &Range<usize>) -> Excerpt {
        let mut text = String::new();
        let mut shown = 0;
        let mut mark: Option<Range<usize>> = None;
        let mut masked = false;
        for (offset, c) in line.char_indices() {
            let byte = start + offset;
            let hidden = self.hidden.iter().find(|hidden| hidden.contains(&byte));
            let edge = hidden.is_some_and(|h| byte == h.start || byte + c.len_utf8() == h.end);
            let put = match hidden {
                None => Some(c),
                Some(_) if edge && (c == '"' || c == '\'') => Some(c),
                Some(_) if masked => None,
                Some(_) => Some('…'),
            };
            masked = put == Some('…') || (masked && put.is_none());
            if let Some(c) = put {
                text.push(if c == '\t' { ' ' } else { c });
                shown += 1;
            }
            if span.contains(&byte) || byte == span.start {
                let last = shown.max(1);
                mark = Some(mark.map_or(last - 1, |mark| mark.start)..last);
            }
        }
        Excerpt {
            text,
            mark: mark.unwrap_or(shown..shown + 1),
        }
    }
}

/// The word of `known` that `word` is most likely meant to be, if any is close.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Two slips in a word of six letters still leave it recognisable; more would suggest nonsense.
    let close = known.into_iter().map(|known| (distance(word, known), known)).min()?;
    (close.0 <= 1 + word.chars().count() / 4).then_some(close.1)
}

/// How many letters to insert, delete, replace or swap with their neighbour to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], n: usize| row.get(n).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&row, j) + usize::from(x != y))
                .min(at(&row, j + 1) + 1)
                .min(at(&next, j) + 1);
            if i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x) {
                best = best.min(at(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_recognised() {
        let known = ["listen", "token", "public_url"];
        for (word, meant) in [
            ("listn", "listen"),
            ("tokne", "token"),
            ("publicurl", "public_url"),
            ("Token", "token"),
        ] {
            assert_eq!(did_you_mean(word, known), Some(meant), "{word}");
        }
        assert_eq!(did_you_mean("colour", known), None);
        assert_eq!(did_you_mean("x", []), None);
    }

    #[test]
    fn hidden_values_are_masked_and_the_mark_stays_on_its_word() {
        let text = "a = \"secret\", bad = 1";
        let source = Source {
            text,
            hidden: Vec::from([4..12, 90..99]),
        };
        let Place::File {
            line,
            column,
            excerpt: Some(excerpt),
        } = source.place(&(14..17))
        else {
            panic!()
        };
        assert_eq!((line, column), (1, 15));
        assert_eq!(excerpt.text, "a = \"…\", bad = 1");
        assert_eq!(
            excerpt
                .text
                .chars()
                .skip(excerpt.mark.start)
                .take(excerpt.mark.len())
                .collect::<String>(),
            "bad"
        );
        let Place::File {
            excerpt: Some(excerpt), ..
        } = source.place(&(4..12))
        else {
            panic!()
        };
        assert_eq!(excerpt.mark, 4..7);
    }

    #[test]
    fn places_count_characters_and_survive_the_end_of_the_file() {
        let source = Source {
            text: "größe = 1\r\nb",
            hidden: vec![],
        };
        assert!(matches!(
            source.place(&(10..11)),
            Place::File { line: 1, column: 9, .. }
        ));
        assert!(matches!(
            source.place(&(14..14)),
            Place::File { line: 2, column: 2, .. }
        ));
        assert!(matches!(source.place(&(99..99)), Place::File { line: 2, .. }));
    }
}
