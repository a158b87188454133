//! The messages that docs/troubleshooting.md quotes are those of the program, at the levels that it says.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../docs/troubleshooting.md");

/// All source of the program, as one text in which a literal that goes on over several lines is one.
fn source() -> String {
    fn read(dir: &Path, all: &mut String) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "tests") {
                read(&path, all);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let mut pieces = text.split("\\\n");
                all.push_str(pieces.next().unwrap_or_default());
                pieces.for_each(|piece| all.push_str(piece.trim_start()));
            }
        }
    }
    let (root, mut all) = (Path::new(env!("CARGO_MANIFEST_DIR")), String::new());
    read(&root.join("src"), &mut all);
    read(&root.join("actors"), &mut all);
    all
}

#[test]
fn each_message_that_it_quotes_is_in_the_source_at_that_level() {
    let source = source();
    let rows = PAGE.lines().filter_map(|line| {
        let (level, rest) = line.strip_prefix("| ")?.split_once(" | `")?;
        Some((level, rest.split_once("` |")?.0))
    });
    let mut rows = rows.peekable();
    assert!(rows.peek().is_some());
    for (level, message) in rows {
        let literal = format!("\"{message}");
        let at = source
            .find(&literal)
            .unwrap_or_else(|| panic!("no message in the source begins: {message}"));
        let (_, call) = source[..at].rsplit_once("tracing::").unwrap();
        let macro_name = call.split('!').next().unwrap();
        assert_eq!(macro_name.to_uppercase(), level, "{message}");
    }
}
