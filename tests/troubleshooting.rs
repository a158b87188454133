//! docs/troubleshooting.md and the source say the same: each error that the program can log is in the document, word for word,
//! and each message that the document quotes is one of the program's, at that level.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

const PAGE: &str = include_str!("../docs/troubleshooting.md");

/// A level and a message; what differs each time is `…`.
type Said = (String, String);

/// All that the program logs at ERROR and WARN, but for its tests.
fn in_the_source() -> BTreeSet<Said> {
    fn read(dir: &Path, all: &mut BTreeSet<Said>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "tests") {
                read(&path, all);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
                let tokens: TokenStream = fs::read_to_string(&path).unwrap().parse().unwrap();
                collect(tokens, all, &path);
            }
        }
    }
    let (root, mut all) = (Path::new(env!("CARGO_MANIFEST_DIR")), BTreeSet::new());
    read(&root.join("src"), &mut all);
    read(&root.join("actors"), &mut all);
    all
}

/// Finds `tracing::error!(…)` and `tracing::warn!(…)`, and leaves out what is for tests.
fn collect(tokens: TokenStream, all: &mut BTreeSet<Said>, path: &Path) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let word = |at: usize| tokens.get(at).map(ToString::to_string).unwrap_or_default();
    let mut of_a_test = false;
    for (at, token) in tokens.iter().enumerate() {
        if word(at) == "#" && word(at + 1).replace(' ', "") == "[cfg(test)]" {
            of_a_test = true;
        }
        if word(at) == ";" {
            of_a_test = false;
        }
        let TokenTree::Group(group) = token else { continue };
        let (name, bang) = (word(at.wrapping_sub(2)), word(at.wrapping_sub(1)));
        let level = match name.as_str() {
            "error" | "warn" if bang == "!" => Some(name.to_uppercase()),
            _ => None,
        };
        if let Some(level) = level {
            let arguments: Vec<TokenTree> = group.stream().into_iter().collect();
            all.extend(message(&arguments, path).map(|message| (level, message)));
        } else if !of_a_test {
            collect(group.stream(), all, path);
        }
        if group.delimiter() == Delimiter::Brace {
            of_a_test = false;
        }
    }
}

/// The message of a call: the one text that stands by itself among its arguments, with `…` for each value in it.
fn message(arguments: &[TokenTree], path: &Path) -> Option<String> {
    let mut messages = arguments
        .split(|token| token.to_string() == ",")
        .filter_map(|argument| match argument {
            [TokenTree::Literal(literal)] => syn::parse_str::<syn::LitStr>(&literal.to_string()).ok(),
            _ => None,
        });
    let format = messages.next()?.value();
    assert!(
        messages.next().is_none(),
        "{}: which is the message? {format}",
        path.display()
    );
    let mut said = String::new();
    let mut rest = format.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        said.push_str(before);
        said.push('…');
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    said.push_str(rest);
    Some(said.replace('\n', " "))
}

/// The rows of the document's tables: level and message.
fn in_the_document() -> BTreeSet<Said> {
    let row = |line: &str| {
        let (level, rest) = line.strip_prefix("| ")?.split_once(" | `")?;
        let (message, _) = rest.split_once("` | ")?;
        // Two backticks, and perhaps a space, stand around a message that has some itself.
        let message = message.trim_matches('`').trim();
        let level = ["ERROR", "WARN"].into_iter().find(|known| *known == level)?;
        Some((level.to_owned(), message.to_owned()))
    };
    PAGE.lines().filter_map(row).collect()
}

/// Every source file but tests: its path below the root, and its text with the lines of a literal joined.
fn sources() -> Vec<(String, String)> {
    fn read(root: &Path, dir: &Path, all: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let is = |name: &str| path.file_name().is_some_and(|own| own == name);
            if path.is_dir() && !is("tests") {
                read(root, &path, all);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is("tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                let lines = text.split("\\\n").map(str::trim_start).collect::<String>();
                let below = path.strip_prefix(root).unwrap().display().to_string();
                all.push((below, lines));
            }
        }
    }
    let (root, mut all) = (Path::new(env!("CARGO_MANIFEST_DIR")), Vec::new());
    read(root, &root.join("src"), &mut all);
    read(root, &root.join("actors"), &mut all);
    all
}

#[test]
fn each_end_of_run_in_the_document_is_in_the_source() {
    let sources = sources();
    let rows: Vec<&str> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("| 1 | `").or_else(|| line.strip_prefix("| 2 | `")))
        .filter_map(|rest| Some(rest.split_once("` | ")?.0))
        .collect();
    assert!(rows.len() > 10, "{rows:?}");
    for row in rows {
        for part in row.split('…').map(|part| part.trim_matches([' ', ':', '(', ')'])) {
            assert!(
                sources.iter().any(|(_, text)| text.contains(part)),
                "no source says {part:?} of {row:?}"
            );
        }
    }
}

/// The target of a file's lines, such as `headcount_actors::lane`.
fn target(file: &str) -> Option<String> {
    let path = file.strip_suffix(".rs")?;
    let (krate, path) = match path.strip_prefix("actors/") {
        Some(path) => ("headcount_actors", path),
        None => ("headcount_edge", path.strip_prefix("src/edge/")?),
    };
    let path = path.strip_suffix("/mod").unwrap_or(path).replace('/', "::");
    Some(format!("{krate}::{path}"))
}

#[test]
fn the_parts_that_say_something_at_debug_are_in_the_document() {
    const ROWS: &str = include_str!("../docs/observability.md");
    let named: BTreeSet<&str> = ROWS
        .lines()
        .filter_map(|line| line.strip_prefix("| `headcount_")?.split_once("` |"))
        .map(|(name, _)| name)
        .collect();
    let says: BTreeSet<String> = sources()
        .iter()
        .filter(|(_, text)| text.contains("tracing::debug!("))
        .filter_map(|(file, _)| target(file))
        .collect();
    let below = |target: &str, name: &str| {
        target
            .strip_prefix("headcount_")
            .is_some_and(|own| own.starts_with(name))
    };
    for target in &says {
        assert!(
            named.iter().any(|name| below(target, name)),
            "docs/observability.md does not name {target}"
        );
    }
    for name in &named {
        assert!(
            says.iter().any(|target| below(target, name)),
            "headcount_{name} says nothing at debug"
        );
    }
}

#[test]
fn each_error_is_in_the_document_and_each_quote_in_the_source() {
    let (source, document) = (in_the_source(), in_the_document());
    assert!(
        source.len() > 80 && document.len() > 40,
        "{} and {}",
        source.len(),
        document.len()
    );
    let tell = |set: Vec<&Said>| -> String {
        set.iter()
            .map(|(level, message)| format!("\n  {level} {message}"))
            .collect()
    };
    let missing = source
        .iter()
        .filter(|said| said.0 == "ERROR" && !document.contains(said));
    let missing = tell(missing.collect());
    assert!(missing.is_empty(), "docs/troubleshooting.md has no row for{missing}");
    let made_up = tell(document.difference(&source).collect());
    assert!(
        made_up.is_empty(),
        "no source logs what docs/troubleshooting.md quotes:{made_up}"
    );
}
