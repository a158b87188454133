//! docs/metrics.md and the source name the same metrics of Headcount's own, also those that only show once a job, a node or a
//! pipeline has run: what is registered is in the document, and what the document names is registered.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};

const PAGE: &str = include_str!("../docs/metrics.md");
/// Where metrics are named.
const SOURCES: &[&str] = &[
    "actors/meters.rs",
    "actors/meters",
    "src/edge/http/metrics.rs",
    "src/edge/http/metrics",
];

/// A name as it is registered: the library appends `_total` to a counter's.
fn family(name: &str) -> Option<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let name = name.strip_suffix("_total").unwrap_or(name);
    (name.starts_with("headcount_") && name.chars().all(is_name)).then(|| name.to_owned())
}

fn literals(tokens: TokenStream, all: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => literals(group.stream(), all),
            TokenTree::Literal(literal) => {
                let text = syn::parse_str::<syn::LitStr>(&literal.to_string());
                all.extend(text.ok().and_then(|text| family(&text.value())));
            }
            _ => {}
        }
    }
}

fn read(path: &Path, all: &mut BTreeSet<String>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            read(&entry.unwrap().path(), all);
        }
    } else {
        literals(fs::read_to_string(path).unwrap().parse().unwrap(), all);
    }
}

#[test]
fn each_metric_is_in_the_document_and_each_that_it_names_is_registered() {
    let (root, mut source) = (Path::new(env!("CARGO_MANIFEST_DIR")), BTreeSet::new());
    for path in SOURCES {
        read(&root.join(path), &mut source);
    }
    let row = |line: &str| {
        let (name, _) = line.strip_prefix("| `")?.split_once(['{', '`'])?;
        family(name)
    };
    let document: BTreeSet<String> = PAGE.lines().filter_map(row).collect();
    assert!(source.len() > 30, "{source:?}");
    let missing: Vec<_> = source.difference(&document).collect();
    assert!(missing.is_empty(), "docs/metrics.md has no row for {missing:?}");
    let made_up: Vec<_> = document.difference(&source).collect();
    assert!(made_up.is_empty(), "docs/metrics.md has rows of nothing: {made_up:?}");
}
