//! The composition root: the one place that names both actors and edge.

mod error;
mod faults;
mod house;
mod jobs;
mod nodes;
mod plan;
pub(crate) mod recording;
mod sites;
pub(crate) mod stats;
mod stop;
pub(crate) mod terms;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

pub use self::error::RunError;
use self::house::House;
use self::stop::Stop;
pub(crate) use self::terms::{roster, rules, spec};
use crate::config::{Origin, Problems, Settings};
use crate::greeting;
use crate::telemetry::Telemetry;

/// How long the whole of stopping takes at most, a little under what the contract gives it: what is sent elsewhere gets what is
/// left of it.
const WHOLE_STOP: Duration = Duration::from_millis(9_800);

/// Runs the daemon until it is told to stop. `origin` is where the settings came from, for SIGHUP.
///
/// # Errors
/// Why it could not start, or could not go on.
pub async fn run(settings: Settings, origin: Origin, telemetry: &Telemetry) -> Result<ExitCode, RunError> {
    let mut stopping = None;
    let ended = keep_running(settings, origin, telemetry, &mut stopping).await;
    match &ended {
        // Whoever gave it up has said so.
        Err(RunError::GivenUp(_)) | Ok(_) => {}
        Err(error) => telemetry.sentry().fatal(&error.to_string()),
    }
    let left = stopping.map_or(WHOLE_STOP, |began: Instant| WHOLE_STOP.saturating_sub(began.elapsed()));
    telemetry.close(left).await;
    ended
}

/// `stopping` is when it began to stop: with the signal, whatever was under way then.
async fn keep_running(
    mut settings: Settings,
    origin: Origin,
    telemetry: &Telemetry,
    stopping: &mut Option<Instant>,
) -> Result<ExitCode, RunError> {
    let mut stop = Stop::listen()?;
    let mut reload = signal(SignalKind::hangup())?;
    telemetry.configure(&settings).await;
    actix_rt::spawn(telemetry.logs.clone().keep());
    // What ran before, until what replaces it runs.
    let mut before: Option<Settings> = None;
    loop {
        // Whoever asked for an end meanwhile would wait for two of them: that of a house which nobody wants any more, too.
        let Some(built) = stop.unless(House::build(&settings, telemetry)).await else {
            break;
        };
        let mut house = match (built, before.take()) {
            (Ok(house), _) => house,
            (Err(error), Some(old)) => {
                tracing::error!(%error, "the new configuration cannot be started; the old one stays: mend it, and reload again");
                settings = old;
                telemetry.configure(&settings).await;
                continue;
            }
            (Err(error), None) => return Err(error),
        };
        let greeting = greeting::spawn(house.view.clone(), house.listens);
        // Read beside the signals: a file that never answers must not keep Headcount from stopping.
        let mut reading: Option<Reading> = None;
        let new = loop {
            tokio::select! {
                () = stop.asked() => break None,
                Some(actor) = house.given_up.recv() => {
                    *stopping = Some(Instant::now());
                    house.stop().await;
                    return Err(RunError::GivenUp(actor));
                }
                _ = reload.recv() => {
                    let origin = origin.clone();
                    reading = Some(actix_rt::task::spawn_blocking(move || origin.load()));
                }
                read = finished(&mut reading) => match read {
                    Ok(Ok(new)) => break Some(new),
                    Ok(Err(problems)) => {
                        tracing::error!("the configuration was read again and is refused; the old one stays: mend it, and reload again\n{problems}");
                    }
                    Err(error) => tracing::error!(%error, "reading the configuration failed, which is a mistake in Headcount: the old one stays; reload again, and please report it"),
                },
            }
        };
        drop(greeting);
        house.stop().await;
        let Some(new) = new.filter(|_| stop.since().is_none()) else {
            break;
        };
        tracing::info!("the configuration was read again; starting with the new one");
        before = Some(std::mem::replace(&mut settings, new));
        telemetry.configure(&settings).await;
    }
    *stopping = stop.since();
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// A configuration that is being read again.
type Reading = tokio::task::JoinHandle<Result<Settings, Problems>>;

/// The end of a reading; never comes while nothing is being read.
async fn finished(reading: &mut Option<Reading>) -> Result<Result<Settings, Problems>, tokio::task::JoinError> {
    match reading {
        Some(handle) => {
            let read = handle.await;
            *reading = None;
            read
        }
        None => std::future::pending().await,
    }
}
