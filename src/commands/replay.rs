//! `headcount replay`.

mod report;

use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;

use headcount_core::celery::BrokerUrl;
use headcount_simulate::replay::{Outcome as Replayed, Replay as Player};
use headcount_simulate::rig::RigSpec;
use headcount_simulate::trace::{Ending, Reader, Record, Source, TraceError};

use crate::cli::Replay;
use crate::config::{Origin, Settings};
use crate::wire;

use super::{CommandError, FAILED, Outcome, refuse, to_stderr, to_stdout};

/// The address of nobody: without a configuration the trace's own broker is the one that is watched.
const NOWHERE: &str = "redis://trace.invalid";

/// Replays a trace, and prints the incidents.
///
/// # Errors
/// The trace cannot be read, or the configuration does not fit it.
pub fn run(args: &Replay) -> Outcome {
    let brokers = match &args.config {
        Some(_) => Vec::new(),
        None => vec![NOWHERE.to_owned()],
    };
    let origin = Origin {
        config: args.config.clone(),
        brokers,
    };
    let settings = match origin.load_offline() {
        Ok(settings) => settings,
        Err(problems) => return Ok(refuse(&problems)),
    };
    let failed = |error: &dyn std::fmt::Display| CommandError::Failed(format!("{}: {error}", args.trace.display()));
    let file = File::open(&args.trace).map_err(|error| failed(&format_args!("cannot open it: {error}")))?;
    let mut reader = Reader::new(BufReader::new(file)).map_err(|error| failed(&error))?;
    let mut played = Played::new(&settings, args.config.is_some());
    let read = played.all(&mut reader)?;
    let (source, outcome) = played.finish();
    // What was before the damage has happened all the same.
    if args.json {
        to_stdout(&super::json(&report::to_json(&outcome)))?;
    } else if outcome.span.is_some() {
        to_stdout(&report::to_text(&outcome, super::table::colours()))?;
    }
    to_stderr(&report::summary(&args.trace, &source, &outcome, &reader));
    match read {
        Ok(()) => {}
        Err(error) => return Err(failed(&error)),
    }
    match reader.ending() {
        Ending::Whole | Ending::Reading => {}
        Ending::CutOff => to_stderr(&"headcount: the recording was not ended; up to there the trace is whole"),
        Ending::Torn { at } => to_stderr(&format_args!(
            "headcount: the recording broke off: what begins at byte {at} was not written to its end and is left out"
        )),
    }
    Ok(if outcome.span.is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

/// A trace on its way through the detector.
struct Played<'a> {
    settings: &'a Settings,
    configured: bool,
    source: Source,
    player: Option<Player>,
}

impl<'a> Played<'a> {
    fn new(settings: &'a Settings, configured: bool) -> Self {
        Self {
            settings,
            configured,
            source: Source::default(),
            player: None,
        }
    }

    /// Takes all that can be read. The outer error is one of use.
    fn all(&mut self, reader: &mut Reader<BufReader<File>>) -> Result<Result<(), TraceError>, CommandError> {
        loop {
            let (now, record) = match reader.next() {
                Ok(Some(next)) => next,
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            };
            let player = match &mut self.player {
                Some(player) => player,
                None => {
                    if let Record::Source(source) = &record {
                        self.source = source.clone();
                    }
                    let spec = watched(self.settings, self.configured, &self.source)?;
                    self.player.insert(Player::new(spec))
                }
            };
            player.take(now, &record);
        }
    }

    fn finish(self) -> (Source, Replayed) {
        let outcome = self.player.map(Player::finish).unwrap_or_default();
        (self.source, outcome)
    }
}

/// What the configuration makes of the broker that the trace was recorded at.
fn watched(settings: &Settings, configured: bool, source: &Source) -> Result<RigSpec, CommandError> {
    if !configured {
        let mut spec = RigSpec::discovering(&source.broker, wire::rules(&settings.detect));
        spec.address = source.address.to_string();
        return Ok(spec);
    }
    let at = |url: &str| BrokerUrl::parse(url).is_ok_and(|url| url.address() == source.address.as_str());
    let broker = match &settings.brokers[..] {
        [only] => Some(only),
        several => several.iter().find(|broker| at(&broker.config.url)),
    };
    let Some(broker) = broker else {
        return Err(CommandError::Use(format!(
            "the trace was recorded at {}, and the configuration has several brokers and none there; leave one in it",
            source.address
        )));
    };
    let name = broker.config.name.as_str();
    Ok(RigSpec {
        broker: name.into(),
        address: source.address.to_string(),
        roster: wire::roster(settings, name),
        fleets: settings
            .fleets
            .iter()
            .filter(|fleet| fleet.broker == name)
            .map(wire::spec)
            .collect(),
        rules: wire::rules(&settings.detect),
    })
}
