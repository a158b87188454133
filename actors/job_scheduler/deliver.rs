//! One run, from its claim to the broker's yes, or to the end of a task of Headcount's own.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use headcount_core::celery::task::{Destination, TaskMessage};
use headcount_core::schedule::{News, Run, Word};
use headcount_core::span::Span;
use headcount_core::time::Wall;
use tokio::sync::watch;

use super::job::{Job, Way};
use super::{Precedence, Scheduling, Turn, own};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::ports::BrokerError;
use crate::ports::jobs::SharedSender;

/// How long it is tried to send a task that never expires.
const SEND_FOR: Duration = Duration::from_secs(24 * 3600);

/// What a run that is being sent shares with its scheduler.
pub(super) struct Line {
    /// Its job's.
    pub(super) turn: Turn,
    /// Whether it goes on.
    pub(super) precedence: Rc<Precedence>,
    /// Whether the program is about to end.
    pub(super) finishing: watch::Receiver<bool>,
}

/// Sees to it that a run is sent, however often that has to be tried, or run here. Returns what came of it; none where the
/// program ends before, and the run stays claimed.
pub(super) async fn deliver(job: Arc<Job>, run: Run, with: Scheduling, mut line: Line) -> Option<News> {
    match &job.way {
        Way::Broker { sender, to } => {
            let until = job.expires_at(&run).unwrap_or(run.claimed_at + SEND_FOR);
            let mut message = job.message(&run, &with.origin);
            message.others = with.trace_headers(&run.id);
            send(&run, until, sender, (&message, to), line).await
        }
        Way::Own(task) => {
            tokio::select! {
                news = own::run(task, &job, &run, &with) => Some(news),
                _ = line.finishing.wait_for(|finishing| *finishing) => None,
            }
        }
    }
}

async fn send(
    run: &Run,
    until: Wall,
    sender: &SharedSender,
    (message, to): (&TaskMessage, &Destination),
    mut line: Line,
) -> Option<News> {
    let _turn = tokio::select! {
        turn = line.turn.lock() => turn,
        _ = line.finishing.wait_for(|finishing| *finishing) => return None,
    };
    let mut backoff = Backoff::for_brokers(sender.broker());
    let mut failure: Option<BrokerError> = None;
    loop {
        let now = Clock.now().wall;
        if now >= until {
            let why = match &failure {
                Some(error) => format!("could not be sent in time: {error}"),
                None => "it was too late to send it".to_owned(),
            };
            tracing::error!(job = %run.job, id = %run.id, why, "a job's task was not sent, and will not be: the run has expired, and the next slot runs as planned; mend what `why` says, and send it by hand if it matters");
            return Some(News::new(run.id.clone(), Word::Expired, now).because(why));
        }
        line.precedence.asked.set(true);
        let sent = sender.send(message, to).await;
        line.precedence.asked.set(false);
        let error = match sent {
            Ok(()) => return Some(News::new(run.id.clone(), Word::Sent, Clock.now().wall)),
            Err(error) => error,
        };
        if line.precedence.given_up.get() {
            return Some(superseded(run.id.clone()));
        }
        let rest = match &error {
            BrokerError::Refused(_) => backoff.after_refusal(),
            _ => backoff.after_failure(),
        };
        let rest = rest.min(until.since(Clock.now().wall));
        tracing::warn!(
            job = %run.job, broker = sender.broker(), %error, retry_in = %Span::about(rest),
            "a job's task cannot be sent, trying again until it expires"
        );
        failure = Some(error);
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            _ = line.finishing.wait_for(|finishing| *finishing) => return None,
        }
    }
}

/// A run gave way to the next one.
pub(super) fn superseded(id: CompactString) -> News {
    let news = News::new(id, Word::Superseded, Clock.now().wall);
    news.because("it could not be sent before the next one was due")
}
