//! The program: reads the command line and calls the command.

use std::process::ExitCode;

use clap::Parser;
use headcount::cli::{Cli, Command, Notify};
use headcount::{commands, telemetry};

fn main() -> ExitCode {
    // First of all: whoever opens a TLS connection later uses this provider, and there is no other in the program.
    // It only fails where one is installed already, which nobody did.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    telemetry::install(if matches!(cli.command, Command::Run(_)) {
        "info"
    } else {
        "warn"
    });
    let system = actix_rt::System::new();
    let code = system.block_on(async {
        match cli.command {
            Command::Run(run) => commands::run::run(run).await,
            Command::Check(check) => commands::check::run(check).await,
            Command::Probe(probe) => commands::probe::run(probe).await,
            Command::Record(record) => commands::record::run(record).await,
            Command::Replay(replay) => commands::replay::run(&replay),
            Command::Status(status) => commands::status::run(status).await,
            Command::Simulate(simulate) => commands::simulate::run(simulate),
            Command::Jobs(jobs) => commands::jobs::run(jobs).await,
            Command::Stats(stats) => commands::stats::run(stats).await,
            Command::Notify(Notify::Test(test)) => commands::notify::run(test).await,
        }
    });
    // Not dropped: that would wait for whatever still blocks a thread, such as a name server that does not answer, and
    // the program has ten seconds to end. All that must be finished is.
    std::mem::forget(system);
    code.unwrap_or_else(|error| {
        // What is printed may be gone, such as a pipe into `head`; then there is nobody to tell.
        commands::to_stderr(&error);
        ExitCode::from(error.code())
    })
}

/// Help, the version, or what is wrong with the command line. `probe` has the exit codes of a Nagios plugin throughout.
fn explain(error: &clap::Error) -> ExitCode {
    // Whoever has closed the stream does not want to read it.
    let _ = error.print();
    let probes = std::env::args_os().nth(1).is_some_and(|command| command == "probe");
    if probes && error.use_stderr() {
        commands::probe::tell_misuse(error, std::env::args_os().any(|argument| argument == "--json"));
    }
    ExitCode::from(match (error.use_stderr(), probes) {
        (false, _) => 0,
        (true, true) => commands::probe::UNKNOWN,
        (true, false) => commands::WRONG,
    })
}
