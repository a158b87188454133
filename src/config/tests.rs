//! Configurations, right and wrong, and the annotated example.

mod example;
mod mistakes;
mod pipelines;
mod valid;

use std::path::PathBuf;

use super::{Origin, Problems, Settings, Surroundings, read};

const FILE: &str = "/etc/headcount.toml";

fn variables<'a>(list: &[(&'a str, &'a str)]) -> Surroundings {
    let owned = list
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Surroundings::new(owned, Some(FILE.as_ref()))
}

fn read_with(text: &str, surroundings: &Surroundings) -> Result<Settings, Problems> {
    read::read(
        text,
        &Origin {
            config: Some(PathBuf::from(FILE)),
            brokers: Vec::new(),
        },
        surroundings,
    )
}

fn settings(text: &str) -> Settings {
    read_with(text, &variables(&[])).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Each problem as its first line.
fn problems(text: &str) -> Vec<String> {
    problems_with(text, &variables(&[]))
}

fn problems_with(text: &str, surroundings: &Surroundings) -> Vec<String> {
    let problems = read_with(text, surroundings).expect_err("there are mistakes in it");
    let one = |problem: &super::Problem| {
        let alone = Problems {
            file: problems.file.clone(),
            list: vec![problem.clone()],
        };
        alone.to_string().lines().next().unwrap_or_default().to_owned()
    };
    problems.list.iter().map(one).collect()
}

const BROKER: &str = "[[broker]]\nname = \"main\"\nurl = \"redis://127.0.0.1\"\n";
