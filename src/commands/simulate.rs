//! `headcount simulate`: the detector against a catalogue of faults.

mod document;
mod goals;
mod plot;
mod words;

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::num::NonZero;
use std::path::Path;
use std::process::ExitCode;

use headcount_simulate::report::Report;
use headcount_simulate::run::{self, Detector, Plan, Results};
use headcount_simulate::scenarios::{self, CATALOGUE};
use indicatif::{ProgressBar, ProgressStyle};

use super::{CommandError, Outcome, json, table, to_stdout};
use crate::cli::Simulate;

/// Runs the command.
///
/// # Errors
/// When a file cannot be read or written.
pub fn run(command: Simulate) -> Outcome {
    command.plot.as_deref().map_or(Ok(()), may_write)?;
    let document = command.markdown.as_deref().map(Document::open).transpose()?;
    let plan = plan(&command);
    let bar = Bar::new();
    let results = run::run(&plan, &|done| bar.show(done));
    bar.clear();
    if let Some(file) = &command.plot {
        write(file, &plot::draw(&plan, &results))?;
    }
    if let Some(document) = document {
        write(document.file, &document.filled(&document::write(&plan, &results))?)?;
    }
    to_stdout(&if command.json {
        to_json(&plan, &results)?
    } else {
        words::all(&plan, &results, table::colours())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn plan(command: &Simulate) -> Plan {
    let chosen = |name: &String| scenarios::find(name);
    let mut scenarios: Vec<_> = command.scenarios.iter().filter_map(chosen).collect();
    if scenarios.is_empty() {
        scenarios = CATALOGUE.iter().collect();
    }
    // In the order of the catalogue, each once, whatever was typed.
    scenarios.sort_by_key(|scenario| scenario.number);
    scenarios.dedup_by_key(|scenario| scenario.number);
    let wanted = |detector: &Detector| {
        command.detectors.is_empty() || command.detectors.iter().any(|name| name == detector.name())
    };
    Plan {
        scenarios,
        detectors: Detector::ALL.into_iter().filter(wanted).collect(),
        workers: command.workers,
        days: command.days,
        fault_days: command.fault_days.unwrap_or(command.days),
        seed: command.seed,
        threads: std::thread::available_parallelism().map_or(1, NonZero::get),
    }
}

fn to_json(plan: &Plan, results: &Results) -> Result<String, CommandError> {
    let report = serde_json::to_value(Report::of(plan, results));
    report
        .map(|value| json(&value))
        .map_err(|error| CommandError::Failed(error.to_string()))
}

fn write(file: &Path, text: &str) -> Result<(), CommandError> {
    std::fs::write(file, text).map_err(|error| failed(file, &error))
}

/// A run takes hours, so a file that cannot be written is told of before. Nothing in it is changed.
fn may_write(file: &Path) -> Result<(), CommandError> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(false).open(file);
    opened.map(drop).map_err(|error| failed(file, &error))
}

/// A document that the figures go into, known to have a place for them.
struct Document<'a> {
    file: &'a Path,
}

impl<'a> Document<'a> {
    fn open(file: &'a Path) -> Result<Self, CommandError> {
        let document = Self { file };
        document.filled("")?;
        may_write(file)?;
        Ok(document)
    }

    /// Its text as it is now, with the figures.
    fn filled(&self, figures: &str) -> Result<String, CommandError> {
        let text = std::fs::read_to_string(self.file).map_err(|error| failed(self.file, &error))?;
        document::fill(&text, figures)
            .ok_or_else(|| CommandError::Use(format!("{}: it has no markers to write between", self.file.display())))
    }
}

fn failed(file: &Path, error: &std::io::Error) -> CommandError {
    CommandError::Failed(format!("cannot read or write {}: {error}", file.display()))
}

/// How far it is, for whoever waits at a terminal.
struct Bar(Option<ProgressBar>);

impl Bar {
    /// In so many steps.
    const STEPS: u64 = 1_000;

    fn new() -> Self {
        let style = ProgressStyle::with_template("simulating {wide_bar} {percent} %, {eta} to go");
        let watched = std::io::stderr().is_terminal();
        Self(style.ok().filter(|_| watched).map(|style| {
            let bar = ProgressBar::new(Self::STEPS).with_style(style);
            bar.tick();
            bar
        }))
    }

    fn show(&self, done: f64) {
        if let Some(bar) = &self.0 {
            bar.set_position((done * Self::STEPS as f64) as u64);
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_told_of_before_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let (nowhere, unmarked) = (folder.path().join("no/such.svg"), folder.path().join("unmarked.md"));
        std::fs::write(&unmarked, "# Figures").unwrap();
        // A run of so many days would not come to its end in a test.
        let command = |plot: Option<&Path>, markdown: Option<&Path>| Simulate {
            scenarios: Vec::new(),
            workers: 10_000,
            days: 1_000.0,
            fault_days: None,
            seed: 1,
            detectors: Vec::new(),
            json: false,
            plot: plot.map(Path::to_path_buf),
            markdown: markdown.map(Path::to_path_buf),
        };
        for (plot, markdown) in [(Some(&nowhere), None), (None, Some(&nowhere)), (None, Some(&unmarked))] {
            let file = plot.or(markdown).unwrap().display().to_string();
            let error = run(command(plot.map(AsRef::as_ref), markdown.map(AsRef::as_ref))).unwrap_err();
            assert!(error.to_string().contains(&file), "{error}");
        }
        assert_eq!(std::fs::read_to_string(&unmarked).unwrap(), "# Figures");
    }
}
