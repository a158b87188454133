//! `headcount notify test`.

use std::process::ExitCode;
use std::time::Duration;

use headcount_actors::ports::{Notifier, NotifyError};
use headcount_core::alert::Notice;
use headcount_core::time::Wall;

use crate::cli::NotifyTest;
use crate::config;

use super::{FAILED, Outcome, refuse, to_stderr, to_stdout};

/// How long a notifier gets; the daemon would try again, a person waits.
const WITHIN: Duration = Duration::from_secs(20);

/// Said where no configuration is given: whoever is woken by a channel that fails must not take a line on standard output for
/// an answer about it.
const NOT_THE_REAL_ONES: &str = "headcount: no configuration was given, so that only standard output is tried, and none of the \
    daemon's notifiers; for those: headcount notify test --config FILE, with the file that the daemon runs with";

/// Sends one test message through each notifier.
///
/// # Errors
/// The result cannot be written.
pub async fn run(args: NotifyTest) -> Outcome {
    let (notifiers, link) = match args.config.as_deref().map(config::load).transpose() {
        Ok(Some(settings)) => (settings.notifiers, settings.server.public_url),
        Ok(None) => {
            to_stderr(&NOT_THE_REAL_ONES);
            (config::default_notifiers(), None)
        }
        Err(problems) => return Ok(refuse(&problems)),
    };
    let notice = test_notice(link);
    let mut all = true;
    for config in &notifiers {
        let outcome = match config.open() {
            Ok(notifier) => post(&*notifier, &notice).await,
            Err(error) => Err(error.to_string()),
        };
        all &= outcome.is_ok();
        let line = match outcome {
            Ok(()) => format!("ok      {}: delivered\n", config.name()),
            Err(why) => format!("FAILED  {}: {}\n", config.name(), super::table::clean(&why)),
        };
        to_stdout(&line)?;
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn test_notice(link: Option<String>) -> Notice {
    let at = Wall::from_micros(jiff::Timestamp::now().as_microsecond());
    Notice {
        link,
        ..Notice::test(at)
    }
}

async fn post(notifier: &dyn Notifier, notice: &Notice) -> Result<(), String> {
    match tokio::time::timeout(WITHIN, notifier.post(notice, None)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(NotifyError::Later {
            after: Some(after),
            why,
        })) => Err(format!("{why} (it wants to be left alone for {} s)", after.as_secs())),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", WITHIN.as_secs())),
    }
}
