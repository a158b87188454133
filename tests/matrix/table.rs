//! The table: one row for each scenario and broker.

use std::collections::BTreeMap;
use std::time::Duration;

use headcount_testkit::{Message, repository};

use crate::outcome::{Outcome, Truth, subject};

/// The document that holds the table, and the lines around it.
const DOCUMENT: &str = "docs/detection.md";
const BEGIN: &str = "<!-- make matrix: begin -->";
const END: &str = "<!-- make matrix: end -->";

pub(crate) const HEAD: &str = "\
| scenario | broker | right is | runs | found | wrong messages | found after, s: min, median, max | over after, s: min, median, max | messages | diagnosis |
|---|---|---|---|---|---|---|---|---|---|";

/// All runs of one scenario on one broker.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    title: &'static str,
    broker: &'static str,
    truth: Truth,
    pub(crate) outcomes: Vec<Outcome>,
    /// Messages about none of the runs: wrong, all of them.
    stray: Vec<String>,
}

impl Row {
    pub(crate) const fn new(name: &'static str, title: &'static str, broker: &'static str, truth: Truth) -> Self {
        Row {
            name,
            title,
            broker,
            truth,
            outcomes: Vec::new(),
            stray: Vec::new(),
        }
    }

    /// Gives each run, by its fleet's name, what people were told about it.
    pub(crate) fn hear(&mut self, names: &[String], told: &[Message]) {
        let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for text in told.iter().map(Message::text) {
            match names.iter().find(|name| subject(text) == Some(name)) {
                Some(name) => by_name.entry(name).or_default().push(text.to_owned()),
                None => self.stray.push(text.to_owned()),
            }
        }
        for (name, outcome) in names.iter().zip(&mut self.outcomes) {
            outcome.hear(self.truth, by_name.remove(name.as_str()).unwrap_or_default());
        }
    }

    /// Whether every run is as it should be.
    pub(crate) fn is_right(&self) -> bool {
        self.stray.is_empty() && self.outcomes.iter().all(|outcome| outcome.is_right(self.truth))
    }

    fn wrong(&self) -> usize {
        self.stray.len() + self.outcomes.iter().map(|outcome| outcome.wrong).sum::<usize>()
    }

    /// Its line of the table.
    pub(crate) fn line(&self) -> String {
        let found: Vec<Duration> = self.outcomes.iter().filter_map(|outcome| outcome.found).collect();
        let over: Vec<Duration> = self.outcomes.iter().filter_map(|outcome| outcome.over).collect();
        let (right, number_found) = match self.truth {
            Truth::Quiet => ("silence".to_owned(), "–".to_owned()),
            Truth::Found { word, diagnoses } => {
                let why = diagnoses.join(" or ");
                let why = if why == "none" {
                    String::new()
                } else {
                    format!(", {why}")
                };
                (format!("{word}{why}, then RECOVERED"), found.len().to_string())
            }
        };
        let texts = self
            .outcomes
            .iter()
            .flat_map(|outcome| &outcome.told)
            .chain(&self.stray);
        let words = texts.map(|text| first_words(text));
        let diagnoses = self.outcomes.iter().filter_map(|outcome| outcome.diagnosis.clone());
        let broke = self.outcomes.iter().filter(|outcome| outcome.broke.is_some()).count();
        let broke = if broke == 0 {
            String::new()
        } else {
            format!(" ({broke} broke off)")
        };
        format!(
            "{} {right} | {}{broke} | {number_found} | {} | {} | {} | {} | {} |",
            key(self.title, self.broker),
            self.outcomes.len(),
            self.wrong(),
            spread(found),
            spread(over),
            counted(words),
            counted(diagnoses.filter(|diagnosis| diagnosis != "none")),
        )
    }

    /// What is not as it should be, for a person who wants to know why.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let of_run = |(run, outcome): (usize, &Outcome)| {
            (!outcome.is_right(self.truth))
                .then(|| format!("{} on {}, run {run}: {outcome:#?}", self.name, self.broker))
        };
        let stray = self
            .stray
            .iter()
            .map(|text| format!("{} on {}, of no run: {text}", self.name, self.broker));
        self.outcomes
            .iter()
            .enumerate()
            .filter_map(of_run)
            .chain(stray)
            .collect()
    }
}

/// The words in capitals that a text begins with.
fn first_words(text: &str) -> String {
    let capitals = |word: &&str| word.chars().all(|c| c.is_ascii_uppercase());
    text.split(' ').take_while(capitals).collect::<Vec<_>>().join(" ")
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let seconds = |time: Option<&Duration>| time.map_or_else(String::new, |time| format!("{:.1}", time.as_secs_f64()));
    match times.len() {
        0 => "–".into(),
        n => [times.first(), times.get(n / 2), times.last()].map(seconds).join(", "),
    }
}

/// `10 DEGRADED, 10 RECOVERED`.
fn counted(words: impl Iterator<Item = String>) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for word in words {
        *counts.entry(word).or_default() += 1;
    }
    if counts.is_empty() {
        return "none".into();
    }
    let each: Vec<String> = counts
        .into_iter()
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    each.join(", ")
}

/// Puts these rows into the document, between its marks, in the order of `keys`, which are the beginnings of all rows
/// that there can be. Rows of what was not played now stay as they are.
pub(crate) fn publish(rows: &[String], keys: &[String]) {
    let path = repository().join(DOCUMENT);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{DOCUMENT}: {error}"));
    let (before, rest) = text
        .split_once(BEGIN)
        .unwrap_or_else(|| panic!("{DOCUMENT}: no {BEGIN}"));
    let (old, after) = rest.split_once(END).unwrap_or_else(|| panic!("{DOCUMENT}: no {END}"));
    let table: Vec<&str> = keys
        .iter()
        .filter_map(|key| {
            let known = rows.iter().map(String::as_str).chain(old.lines());
            known.into_iter().find(|row| row.starts_with(key))
        })
        .collect();
    let text = format!("{before}{BEGIN}\n{HEAD}\n{}\n{END}{after}", table.join("\n"));
    std::fs::write(&path, text).expect("write the document");
}

/// How the row of a scenario on a kind of broker begins.
pub(crate) fn key(title: &str, broker: &str) -> String {
    format!("| {title} | {broker} |")
}
