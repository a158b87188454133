//! `headcount check`.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use headcount_actors::ports::{Inspect, StoreError};
use headcount_edge::{brokers, http, results, stats, store};
use rustix::fs::{Access, access};
use tokio::time::timeout;

use crate::cli::Check;
use crate::config::{self, ResultBackend, Settings};

mod matches;
mod tells;

use self::matches::Matches;
use super::{CommandError, FAILED, Outcome, WRONG, count, refuse, to_stderr, to_stdout};

/// How long each broker gets: a healthy one answers in milliseconds, and a person waits.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long workers get to answer one ping, once the broker is reached.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Reads a configuration, and with `--connect` tries what it names.
///
/// # Errors
/// The result cannot be written.
pub async fn run(args: Check) -> Outcome {
    let settings = match config::load(&args.file) {
        Ok(settings) => settings,
        Err(problems) => return Ok(refuse(&problems)),
    };
    if let Err(why) = openable(&settings) {
        to_stderr(&format_args!("{}: {why}", args.file.display()));
        return Ok(ExitCode::from(WRONG));
    }
    to_stdout(&format!("{}: {}\n", args.file.display(), summary(&settings)))?;
    if !args.connect {
        return Ok(ExitCode::SUCCESS);
    }
    let reached = try_brokers(&settings).await?
        & try_results(&settings).await?
        & say("store", &settings.store.url, try_store(&settings.store).await)?
        & say(
            "listen",
            &settings.server.listen.to_string(),
            try_listening(settings.server.listen),
        )?
        & try_pipelines(&settings).await?
        & tells::try_all(&settings).await?;
    Ok(if reached {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

/// What can only be found by opening, such as a certificate that cannot be read. Connects to nothing.
fn openable(settings: &Settings) -> Result<(), String> {
    for broker in &settings.brokers {
        let name = &broker.config.name;
        brokers::open(broker.config.clone()).map_err(|error| format!("broker {name:?}: {error}"))?;
    }
    for notifier in &settings.notifiers {
        notifier
            .open()
            .map_err(|error| format!("notify {:?}: {error}", notifier.name()))?;
    }
    Ok(())
}

/// One line: what the configuration comes to.
fn summary(settings: &Settings) -> String {
    let discovering = settings.brokers.iter().filter(|broker| broker.discover).count();
    let found = match discovering {
        0 => String::new(),
        n => format!(" (those of {} discovered)", count(n, "broker")),
    };
    let jobs = match settings.jobs.len() {
        0 => String::new(),
        n => format!(", {}", count(n, "job")),
    };
    let pipelines = match settings.stats.len() {
        0 => String::new(),
        n => format!(", {}", count(n, "pipeline")),
    };
    let notifiers: Vec<&str> = settings.notifiers.iter().map(|notifier| notifier.name()).collect();
    format!(
        "OK: {}, {}{found}{jobs}{pipelines}, tells {}, listens on {}",
        count(settings.brokers.len(), "broker"),
        count(settings.fleets.len(), "fleet"),
        notifiers.join(", "),
        settings.server.listen,
    )
}

async fn try_brokers(settings: &Settings) -> Result<bool, CommandError> {
    let mut all = true;
    for broker in &settings.brokers {
        let name = broker.config.name.clone();
        let mut matches = String::new();
        let line = match brokers::open(broker.config.clone()) {
            Err(error) => Err(error.to_string()),
            Ok(broker) => {
                let ask = Inspect {
                    method: "ping",
                    arguments: serde_json::Map::new(),
                    destination: None,
                    timeout: ANSWER_WITHIN,
                };
                match timeout(CONNECT_WITHIN, broker.inspect(ask)).await {
                    Err(_) => Err(format!(
                        "{}: no answer within {} s",
                        broker.address(),
                        CONNECT_WITHIN.as_secs()
                    )),
                    Ok(Err(error)) => Err(format!("{}: {error}", broker.address())),
                    Ok(Ok(replies)) => {
                        matches = Matches::of(settings, &name, replies.iter().map(|reply| &reply.hostname)).text();
                        Ok(format!(
                            "{}: reached; workers that answer: {}",
                            broker.address(),
                            replies.len()
                        ))
                    }
                }
            }
        };
        all &= say("broker", &name, line)?;
        to_stdout(&matches)?;
    }
    Ok(all)
}

/// Opens the store where it is there already; a look should not leave a new file behind.
async fn try_store(config: &store::Config) -> Result<String, String> {
    let config = config.clone();
    let path = config.url.strip_prefix("sqlite:");
    let path = path.map(|path| std::path::Path::new(path.strip_prefix("//").unwrap_or(path)));
    match path {
        Some(path) if !path.exists() => {
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty())
                .unwrap_or(".".as_ref());
            if !folder.is_dir() {
                Err(format!("there is no folder {}", folder.display()))
            } else if access(folder, Access::WRITE_OK | Access::EXEC_OK).is_err() {
                Err(format!(
                    "nothing can be made in the folder {} by this user",
                    folder.display()
                ))
            } else {
                Ok("not there yet; the daemon will make it".to_owned())
            }
        }
        _ => match tokio::task::spawn_blocking(move || store::open(&config)).await {
            Ok(Ok(_)) => Ok("opened".to_owned()),
            // Whoever checks before a reload has one running; a store that can be held by one is in order.
            Ok(Err(StoreError::InUse(_))) => Ok("in use by a running Headcount".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        },
    }
}

/// Takes the address for a moment. Whoever checks before a reload has a daemon there.
fn try_listening(address: SocketAddr) -> Result<String, String> {
    match http::bind(address) {
        Ok(_) => Ok("free".to_owned()),
        Err(taken) if taken.cause.kind() == ErrorKind::AddrInUse => {
            Ok("taken: by this daemon, if it runs; if not, it cannot start".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Whether the MongoDBs and Elasticsearches of `[[stats]]` are there, and as a pipeline needs them.
async fn try_pipelines(settings: &Settings) -> Result<bool, CommandError> {
    let mut all = true;
    for pipeline in &settings.stats {
        let looks = match stats::look(pipeline).await {
            Ok(looks) => looks,
            Err(why) => {
                all &= say("stats", &pipeline.name, Err(why.to_string()))?;
                continue;
            }
        };
        for look in looks {
            let (what, address) = (look.what, look.address);
            let said = match look.said.map_err(|why| why.to_string()) {
                Ok(said) => Ok(format!("{what} {address}: {said}")),
                Err(why) if why.contains(&address) => Err(format!("{what} {why}")),
                Err(why) => Err(format!("{what} {address}: {why}")),
            };
            all &= say("stats", &pipeline.name, said)?;
        }
    }
    Ok(all)
}

/// The result backends of `[[node]]` that are a Redis; the others are the broker's own.
async fn try_results(settings: &Settings) -> Result<bool, CommandError> {
    let mut all = true;
    for node in &settings.nodes {
        if let ResultBackend::Redis(url) = &node.results {
            let said = timeout(CONNECT_WITHIN, results::look(url)).await;
            let said = said.unwrap_or_else(|_| Err(late()));
            all &= say("result_backend", &node.name, said)?;
        }
    }
    Ok(all)
}

fn late() -> String {
    format!("no answer within {} s", CONNECT_WITHIN.as_secs())
}

fn say(what: &str, name: &str, line: Result<String, String>) -> Result<bool, CommandError> {
    let (word, text, good) = match line {
        Ok(text) => ("ok", text, true),
        Err(text) => ("FAILED", text, false),
    };
    to_stdout(&format!("{word:<6}  {what} {name}: {}\n", super::table::clean(&text)))?;
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_a_daemon_holds_is_no_failure() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("headcount.db");
        let config = store::Config {
            url: format!("sqlite:{}", file.display()),
        };
        let held = store::open(&config).unwrap();
        let (tried, said) = (try_store(&config).await, "in use by a running Headcount");
        assert_eq!(tried, Ok(said.to_owned()));
        drop(held);
        assert_eq!(try_store(&config).await, Ok("opened".to_owned()));
        std::fs::write(&file, "no database, ".repeat(100)).unwrap();
        assert!(try_store(&config).await.is_err());
    }
}
