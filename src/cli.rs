//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use headcount_core::span::Span;

/// Counts Celery workers, and tells people when one is missing.
#[derive(Debug, Parser)]
#[command(
    name = "headcount",
    version,
    about,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "\
Woken by an alert? On the machine where the daemon runs:
  headcount status      which fleets and workers are up, and what is open
Without a daemon, straight from the broker:
  headcount probe --broker redis://HOST:6379/0
  headcount probe --broker amqp://USER:PASSWORD@HOST:5672/VHOST

To begin with:
  headcount run --broker redis://localhost       watch; alerts are shown here
  headcount check headcount.toml                 what is wrong with that file
  headcount notify test --config headcount.toml  does an alert reach Slack?

`headcount COMMAND --help` tells more about each. Exit codes: 0 done, 1 failed, 2 wrong use or wrong \
configuration (probe has those of a Nagios plugin)."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch brokers: the daemon
    #[command(after_help = "\
Examples:
  headcount run --broker amqp://guest:guest@localhost:5672//
  headcount run --broker redis://localhost --broker redis://other/1
  headcount run --config /etc/headcount.toml

With --broker alone no file is needed: fleets are discovered from the names of the workers (sms@host1 \
belongs to the fleet sms), what is remembered is kept in headcount.db in the working directory, and alerts \
go to standard output. A password on the command line can be seen by other users; `--broker env:NAME` and \
`--broker file:PATH` take it from elsewhere. Where the broker cannot be reached, the address of a Flower can \
stand in its place: --broker http://flower.example.org:5555

SIGTERM and SIGINT stop it; SIGHUP makes it read the configuration again. RUST_LOG=info,headcount_actors=debug shows \
more: which parts there are, docs/observability.md says.")]
    Run(Run),
    /// Say what is wrong with a configuration
    #[command(after_help = "\
Examples:
  headcount check headcount.toml
  headcount check headcount.toml --connect

Every mistake is shown with file, line, column and key. Exit code: 0 nothing is wrong, 2 something is, 1 \
with --connect where the file is right and a broker, a result backend, the store, a database of [[stats]], or \
whom [[notify]], [sentry] and [otlp] name cannot be used; none of these is told anything. A store that a running \
Headcount holds is in order, so a configuration can be tried before a reload.")]
    Check(Check),
    /// One look at a broker, without a daemon: which workers answer
    #[command(after_help = "\
Examples:
  headcount probe --broker redis://localhost
  headcount probe --broker env:BROKER_URL --expect 4 --json

The first line and the exit code are those of a Nagios plugin: 0 OK, workers answer (with --expect at least \
so many); 1 WARNING, some answer and they are fewer than expected; 2 CRITICAL, none answers; 3 UNKNOWN, \
wrong use, or the broker cannot be reached, so nobody can tell. A worker with the solo pool does not answer \
while it runs a task.")]
    Probe(Probe),
    /// The fleets and workers as a running daemon sees them
    #[command(after_help = "\
Examples:
  headcount status
  headcount status --watch
  headcount status --json --url http://monitor:8787

It is a view: the exit code is 0 also when workers are down, and 1 when the daemon cannot be reached or \
read. (For an exit code that judges, use `headcount probe`.)")]
    Status(Status),
    /// Keep a broker's event stream and Headcount's probes as a trace
    #[command(after_help = "\
Examples:
  headcount record --broker redis://localhost --out monday.trace
  headcount record --broker env:BROKER_URL --out /var/tmp/night.trace

Records until Ctrl-C or SIGTERM: the events of the workers, and what they and the broker answer to the \
questions that a daemon would ask. No task arguments and no results are in a trace. What was recorded is on \
the disk within a second, so a crash costs no more. A file that is there already is left alone, unless \
--force is given. A daemon may run beside it. `headcount replay` reads it.")]
    Record(Record),
    /// Which incidents a configuration would have made of a trace
    #[command(after_help = "\
Examples:
  headcount replay monday.trace
  headcount replay monday.trace --config headcount.toml
  HEADCOUNT__DETECT__DOWN_AFTER=30s headcount replay monday.trace --json

Runs the daemon's own detector over what `headcount record` kept, on a clock of its own, so hours take \
seconds; nothing is reached and nobody is told. With --config its fleets and deadlines are used, and no \
secret in it needs to be set; without, fleets are discovered. It is a view: the exit code is 0 also when \
there were incidents, 1 when the trace cannot be read to its end, 2 when the configuration is wrong.")]
    Replay(Replay),
    /// The detector against a catalogue of faults, with its figures
    #[command(after_help = "\
Examples:
  headcount simulate
  headcount simulate --scenario sigkill --scenario jitter --days 2 --seed 7
  headcount simulate --detector headcount --detector celery --json
  headcount simulate --days 10 --plot figures.svg

A world of workers on a virtual clock, of which all is known, is watched by the daemon's own code and by \
others' rules: `celery` (celery.events.state, its expire window in per cent), `timeout` (seconds), `phi` \
(accrual with Akka's defaults) and `ping` (misses in a row), each with its threshold swept. The same seed \
gives the same figures on any machine. A worker that is silent for up to 10 s is well, and any alarm about \
it false; one that is silent for 20 s, or gone, must be found.")]
    Simulate(Simulate),
    /// Scheduled jobs: when they run next, and what became of their last runs
    #[command(
        args_conflicts_with_subcommands = true,
        disable_help_subcommand = true,
        after_help = "\
Examples:
  headcount jobs
  headcount jobs --json --url http://monitor:8787
  headcount jobs import beat.json >> headcount.toml

It is a view: the exit code is 0 also when a run has failed. What became of a run is known from the \
events of the workers, which must send them (`celery worker -E`)."
    )]
    Jobs(Jobs),
    /// Roll-ups: what was counted, and how long it took
    #[command(subcommand)]
    Stats(Stats),
    /// What a running daemon logs, and changing that
    #[command(after_help = "\
Examples:
  headcount log-level
  headcount log-level info,headcount_actors=debug --for 10m
  headcount log-level --reset

A FILTER is a level (error, warn, info, debug, trace, off), or directives such as \
info,headcount_actors::fleet_prober=debug; who names no level for all gets info for the rest. It counts until the \
daemon reads its configuration again, and for no longer than --for says. Changing it needs the daemon's token.")]
    LogLevel(LogLevel),
    /// Try the notifiers
    #[command(subcommand)]
    Notify(Notify),
}

/// `headcount run`.
#[derive(Args, Debug)]
#[command(
    group = clap::ArgGroup::new("what").required(true).multiple(true).args(["brokers", "config"]),
    // Of a group clap says that it is either the one or the other, and once.
    override_usage = "headcount run [--broker <URL>]... [--config <FILE>]"
)]
pub struct Run {
    /// A broker to watch, as Celery's broker_url, or a Flower's address, or env:NAME, or file:PATH; may be repeated, and
    /// adds to those of --config
    #[arg(long = "broker", value_name = "URL")]
    pub brokers: Vec<String>,
    /// The configuration
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `headcount check`.
#[derive(Args, Debug)]
pub struct Check {
    /// The configuration
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Also try each broker and the store
    #[arg(long)]
    pub connect: bool,
}

/// `headcount probe`.
#[derive(Args, Debug)]
pub struct Probe {
    /// The broker, as Celery's broker_url, or a Flower's address, or env:NAME, or file:PATH
    #[arg(long, value_name = "URL")]
    pub broker: String,
    /// How long to wait for answers: seconds, or a duration such as 500ms. Connecting, and asking those who answered what
    /// they are, takes at most 3 s more
    #[arg(long, value_name = "S", default_value = "2", value_parser = read_timeout)]
    pub timeout: Duration,
    /// How many workers should answer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub expect: Option<u32>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `headcount record`.
#[derive(Args, Debug)]
pub struct Record {
    /// The broker, as Celery's broker_url, or a Flower's address, or env:NAME, or file:PATH
    #[arg(long, value_name = "URL")]
    pub broker: String,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Overwrite the file if it is there
    #[arg(long)]
    pub force: bool,
}

/// `headcount replay`.
#[derive(Args, Debug)]
pub struct Replay {
    /// The trace
    #[arg(value_name = "FILE")]
    pub trace: PathBuf,
    /// The configuration to try
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `headcount status`.
#[derive(Args, Debug)]
pub struct Status {
    /// The running daemon
    #[command(flatten)]
    pub daemon: Daemon,
    /// Print JSON: what the daemon's API gives
    #[arg(long)]
    pub json: bool,
    /// Show it again every 2 seconds, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

/// How to reach a running daemon.
#[derive(Args, Debug)]
pub struct Daemon {
    /// Where the daemon listens
    #[arg(
        long,
        value_name = "URL",
        env = "HEADCOUNT_URL",
        default_value = "http://127.0.0.1:8787"
    )]
    pub url: String,
    /// The daemon's token, where it has one, or env:NAME, or file:PATH
    #[arg(long, value_name = "TOKEN", env = "HEADCOUNT_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// `headcount log-level`.
#[derive(Args, Debug)]
pub struct LogLevel {
    /// What is to be logged from now on [default: only show what is]
    #[arg(value_name = "FILTER")]
    pub filter: Option<String>,
    /// For how long at most, such as 10m [default: until the daemon reads its configuration again]
    #[arg(long = "for", value_name = "SPAN", requires = "filter")]
    pub lasts: Option<Span>,
    /// Return to what is configured
    #[arg(long, conflicts_with = "filter")]
    pub reset: bool,
    /// The running daemon
    #[command(flatten)]
    pub daemon: Daemon,
    /// Print JSON: what the daemon's API gives
    #[arg(long)]
    pub json: bool,
}

/// `headcount simulate`.
#[derive(Args, Debug)]
pub struct Simulate {
    /// A scenario by its name; may be repeated [default: all]
    #[arg(long = "scenario", value_name = "NAME", value_parser = scenario_names(), hide_possible_values = true)]
    pub scenarios: Vec<String>,
    /// How many workers each scenario has
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(4..=10_000))]
    pub workers: u32,
    /// How long each scenario goes on, in days; an hour at least
    #[arg(long, value_name = "D", default_value_t = 0.1, value_parser = read_days)]
    pub days: f64,
    /// The same for the scenarios in which something fails [default: as --days]
    #[arg(long, value_name = "D", value_parser = read_days)]
    pub fault_days: Option<f64>,
    /// What all chance comes from
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Who is measured: headcount, celery, timeout, phi or ping; may be repeated [default: all]
    #[arg(long = "detector", value_name = "NAME", value_parser = detector_names(), hide_possible_values = true)]
    pub detectors: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Draw false alarms against detection time
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Write the tables between the markers of this Markdown file
    #[arg(long, value_name = "FILE.md")]
    pub markdown: Option<PathBuf>,
}

/// The longest that a scenario may go on: more takes days of computing.
const MAX_DAYS: f64 = 1_000.0;
/// The shortest: an hour, in which each scenario has had its turn.
const MIN_DAYS: f64 = 1.0 / 24.0;

fn scenario_names() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(headcount_simulate::scenarios::CATALOGUE.iter().map(|one| one.name))
}

fn detector_names() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(headcount_simulate::run::Detector::ALL.map(|one| one.name()))
}

fn read_days(text: &str) -> Result<f64, String> {
    let days = text.parse::<f64>().map_err(|error| error.to_string())?;
    if (MIN_DAYS..=MAX_DAYS).contains(&days) {
        Ok(days)
    } else {
        Err(format!("expected an hour (0.0417) at least, and at most {MAX_DAYS}"))
    }
}

/// `headcount jobs`.
#[derive(Args, Debug)]
pub struct Jobs {
    /// What to do instead
    #[command(subcommand)]
    pub command: Option<JobsCommand>,
    /// The running daemon
    #[command(flatten)]
    pub daemon: Daemon,
    /// Print JSON: what the daemon's API gives
    #[arg(long)]
    pub json: bool,
}

/// `headcount stats`.
#[derive(Debug, Subcommand)]
pub enum Stats {
    /// How many tasks ran, and how long they ran and waited, as a running daemon has counted
    #[command(after_help = "\
Examples:
  headcount stats tasks
  headcount stats tasks --fleet sms --since 1d --json
  headcount stats tasks --task 'sms.*' --since 2h --step 5m

One line for each fleet, task and queue. RUN is how long a task ran, WAIT how long it waited in its \
worker, and QUEUED how long in the queue before; each is half of all / 99 in a hundred at most, within 1 %. \
The workers must send task events (`celery worker -E`); the queue and the time in it are known where the \
producers do too (task_send_sent_event). Minutes are kept for two days, then hours.")]
    Tasks(StatsTasks),
    /// Read and publish what is there, and end
    #[command(after_help = "\
Examples:
  headcount stats run --config headcount.toml
  headcount stats run --config headcount.toml --pipeline clicks

Works on the pipelines until all that is there has been counted and every sink has it; what comes meanwhile \
is not waited for. It may be stopped, or killed, at any time: nothing is lost or counted twice, and the next run goes on. A daemon with the same \
pipelines may run beside it, here or elsewhere: they share the work.")]
    Run(StatsOf),
    /// Count a stretch of time anew, from all documents that are there
    #[command(after_help = "\
Examples:
  headcount stats backfill --config headcount.toml --from 2d --to 1d
  headcount stats backfill --config headcount.toml --pipeline clicks \\
    --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z

For documents that were mended, deleted or put aside as too late. A bucket that is touched is counted anew as a \
whole. What the sinks have stays until what replaces it is there, and a roll-up of which no document is left stays \
as it is. Reading of what is new pauses for `settle` (a minute) first; it may be stopped or killed at any time, and \
goes on with `headcount stats run` or the daemon.")]
    Backfill(StatsBackfill),
    /// How far the pipelines are
    #[command(after_help = "\
Examples:
  headcount stats status --config headcount.toml
  headcount stats status --config headcount.toml --json

Reads the state that is kept in MongoDB, so no daemon is needed. DOCUMENTS is how many have been read, of which a \
backfill reads some again; LAG is how many are still to be read, BEHIND how old the oldest of these is.")]
    Status(StatsStatus),
}

/// Which pipelines.
#[derive(Args, Debug)]
pub struct StatsOf {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// A pipeline by its name; may be repeated [default: all]
    #[arg(long = "pipeline", value_name = "NAME")]
    pub pipelines: Vec<String>,
}

/// `headcount stats backfill`.
#[derive(Args, Debug)]
pub struct StatsBackfill {
    /// Which
    #[command(flatten)]
    pub of: StatsOf,
    /// From when on: a time such as 2026-01-31T12:00:00Z, or a duration before now such as 2d
    #[arg(long, value_name = "TIME")]
    pub from: String,
    /// Until when, in the same manner
    #[arg(long, value_name = "TIME")]
    pub to: String,
}

/// `headcount stats status`.
#[derive(Args, Debug)]
pub struct StatsStatus {
    /// Which
    #[command(flatten)]
    pub of: StatsOf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `headcount stats tasks`.
#[derive(Args, Debug)]
pub struct StatsTasks {
    /// The running daemon
    #[command(flatten)]
    pub daemon: Daemon,
    /// Only this fleet
    #[arg(long, value_name = "NAME")]
    pub fleet: Option<String>,
    /// Only this task, or those that match a pattern such as 'sms.*'
    #[arg(long, value_name = "NAME")]
    pub task: Option<String>,
    /// From when on: a duration such as 2h, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub since: String,
    /// Apart for each so long a time, such as 1m, 5m or 1h, instead of all together
    #[arg(long, value_name = "SPAN")]
    pub step: Option<String>,
    /// Print JSON: what the daemon's API gives
    #[arg(long)]
    pub json: bool,
}

/// Further commands about jobs.
#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// Make [[job]] tables of a beat schedule
    #[command(after_help = "\
Example:
  python -c 'import json; from proj.celery import app; c = app.conf; print(
    json.dumps({\"timezone\": str(c.timezone or \"UTC\"),
    \"beat_schedule\": c.beat_schedule}, default=str))' > beat.json
  headcount jobs import beat.json --broker main >> headcount.toml

The tables go to standard output, and what cannot be expressed to standard error, a line for each. \
Exit code: 0 everything is in the tables, 1 something is not. beat counts intervals from its start, \
Headcount from 1970; a task that names no queue goes where [[broker.routes]] lead, else to `celery`.")]
    Import(ImportJobs),
}

/// `headcount jobs import`.
#[derive(Args, Debug)]
pub struct ImportJobs {
    /// The JSON of app.conf.beat_schedule, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The time zone of crontabs, where the file does not say [default: UTC, as Celery's]
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,
    /// The name of the broker to send them through, needed where the configuration has several
    #[arg(long, value_name = "NAME")]
    pub broker: Option<String>,
}

/// `headcount notify`.
#[derive(Debug, Subcommand)]
pub enum Notify {
    /// Send one test message through each notifier
    #[command(after_help = "\
Example:
  headcount notify test --config headcount.toml

Says for each notifier whether it took the message. Exit code: 0 all did, 1 one did not, 2 wrong \
configuration. Without --config only standard output is tried, and none of a daemon's notifiers.")]
    Test(NotifyTest),
}

/// `headcount notify test`.
#[derive(Args, Debug)]
pub struct NotifyTest {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The longest that a look may take: somebody, or a Nagios with a limit of its own, waits for it.
const MAX_TIMEOUT: Duration = Duration::from_secs(300);

/// `2`, `0.5`, or a duration with its unit.
fn read_timeout(text: &str) -> Result<Duration, String> {
    let timeout = match text.parse::<f64>() {
        Ok(secs) => Duration::try_from_secs_f64(secs).map_err(|error| error.to_string())?,
        Err(_) => text.parse::<Span>().map_err(|error| error.to_string())?.duration(),
    };
    if timeout.is_zero() || timeout > MAX_TIMEOUT {
        return Err(format!("expected more than 0 and at most {} s", MAX_TIMEOUT.as_secs()));
    }
    Ok(timeout)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_every_help_has_an_example() {
        fn visit(command: &mut clap::Command, leaves: &mut Vec<String>) {
            if !command.has_subcommands() || command.get_name() == "jobs" {
                let help = command.render_long_help().to_string();
                assert!(help.contains("Example"), "{help}");
                leaves.push(command.get_name().to_owned());
            }
            command.get_subcommands_mut().for_each(|sub| visit(sub, leaves));
        }
        Cli::command().debug_assert();
        let mut leaves = Vec::new();
        visit(&mut Cli::command(), &mut leaves);
        assert_eq!(
            leaves,
            [
                "run",
                "check",
                "probe",
                "status",
                "record",
                "replay",
                "simulate",
                "jobs",
                "import",
                "tasks",
                "run",
                "backfill",
                "status",
                "log-level",
                "test"
            ]
        );
    }

    /// clap wraps what is too long and keeps every line break, so a line break within a paragraph leaves words alone.
    #[test]
    fn help_is_wrapped_as_wide_as_the_terminal_allows() {
        fn visit(command: &mut clap::Command, width: usize) {
            let notes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for example in notes.lines().filter(|line| line.starts_with(' ')) {
                assert!(example.chars().count() <= 80, "does not fit a terminal: {example}");
            }
            let help = command.render_long_help().to_string();
            let lines: Vec<&str> = help.lines().collect();
            for pair in lines.windows(2) {
                let is_text = |line: &str| !line.is_empty() && !line.starts_with(' ') && !line.ends_with(':');
                let [line, next] = pair else { continue };
                if is_text(line) && is_text(next) {
                    let word = next.split(' ').next().unwrap_or_default();
                    let joined = line.chars().count() + 1 + word.chars().count();
                    assert!(joined > width, "{word:?} had room at {width} columns:\n{line}\n{next}");
                }
            }
            command.get_subcommands_mut().for_each(|sub| visit(sub, width));
        }
        for width in [80, 100] {
            let mut cli = Cli::command().term_width(width);
            cli.build();
            visit(&mut cli, width);
        }
    }

    #[test]
    fn help_says_what_can_be_given() {
        let mut cli = Cli::command();
        cli.build();
        let mut help = |name: &str| cli.find_subcommand_mut(name).unwrap().render_long_help().to_string();
        assert!(help("run").contains("Usage: headcount run [--broker <URL>]... [--config <FILE>]\n"));
        for command in ["run", "probe", "record"] {
            assert!(help(command).contains("Flower"), "{command}");
        }
    }

    #[test]
    fn timeouts_read_as_seconds_and_as_durations() {
        assert_eq!(read_timeout("2"), Ok(Duration::from_secs(2)));
        assert_eq!(read_timeout("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(read_timeout("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "NaN", "inf", "301", "1d", "soon"] {
            assert!(read_timeout(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_scenario_goes_on_for_an_hour_at_least() {
        assert_eq!(read_days("0.0417"), Ok(0.0417));
        assert_eq!(read_days("1000"), Ok(1_000.0));
        for wrong in ["0", "0.001", "-1", "NaN", "inf", "1001", "soon"] {
            assert!(read_days(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn run_needs_a_broker_or_a_file() {
        assert!(Cli::try_parse_from(["headcount", "run"]).is_err());
        assert!(Cli::try_parse_from(["headcount", "run", "--broker", "redis://a", "--broker", "redis://b"]).is_ok());
    }
}
