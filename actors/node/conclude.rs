//! The end of a call: what follows it is sent, what it came to is stored, and then its message is settled.

use std::rc::Rc;
use std::time::Duration;

use headcount_core::celery::Publication;
use headcount_core::celery::result::{State, TaskResult};
use headcount_core::node::{Conclusion, Signal, Tag};
use headcount_core::span::Span;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use super::session::Line;
use super::{Joined, Results};
use crate::clock::Clock;
use crate::ports::BrokerError;
use crate::ports::node::Order;

/// The rest between two tries to send or to store.
const AGAIN: Duration = Duration::from_secs(1);

/// How long it is tried to store a result, before it is given up for the sake of the message, which has to be settled: a
/// broker or a store that restarts is back by then.
const RESULT_FOR: Duration = Duration::from_secs(60);

/// How long it is tried in vain to send what follows, before it is given up for the sake of the slot. Time without a session
/// does not count.
const SEND_FOR: Duration = Duration::from_secs(60);

/// A message that is refused so often will not be taken: nothing leads where it goes, or no name is so long. The first time may
/// be about a queue that has just been deleted; it is then made.
const REFUSALS: u32 = 3;

/// What came of sending.
enum Sent {
    Yes,
    /// It cannot be sent.
    Never(BrokerError),
    /// Its session has ended: the message that asks for it comes again, and with it all of this.
    ComesAgain,
}

/// Brings a call to its end.
pub(super) async fn conclude(mut conclusion: Conclusion, with: Rc<Joined>, mut line: watch::Receiver<Line>) {
    let tag = conclusion.settle.map(|(tag, _)| tag);
    let (broker, node) = (with.broker.name(), with.spec.hostname.as_str());
    for mut publication in conclusion.send {
        let mut sent = send(&publication, tag, &with, &mut line).await;
        if let (Sent::Never(error), Some(queue)) = (&sent, &conclusion.detour) {
            tracing::warn!(
                broker, node, task = header(&publication, "task"), id = header(&publication, "id"), %error,
                "a task cannot be sent again by the way that it came, and goes to the node's own queue"
            );
            publication.to = queue.clone();
            sent = send(&publication, tag, &with, &mut line).await;
        }
        match sent {
            Sent::Yes => {}
            Sent::ComesAgain => return,
            Sent::Never(error) => {
                with.signal(&unsent(&publication, &error));
                // One that was to be tried again is not: whoever waits for it is told.
                if let Some(result) = conclusion.result.as_mut().filter(|result| result.state == State::Retry) {
                    result.state = State::Failure;
                }
            }
        }
    }
    if let Some(result) = conclusion.result
        && let Err(error) = keep(&result, &with, &mut line).await
    {
        tracing::error!(
            broker,
            node,
            task = result.task,
            id = result.id,
            state = result.state.as_str(),
            error,
            "the result of a task could not be stored, and is lost: who waits for it waits in vain; see to the result backend"
        );
    }
    let now = line.borrow().clone();
    let Some((session, orders)) = now else { return };
    if let Some((tag, how)) = conclusion.settle
        && tag.session == session
    {
        let number = tag.number;
        // An error means that the session has ended; then the message comes again.
        let _ = orders.send(Order::Settle { number, how }).await;
    }
    for publication in conclusion.events {
        let sent = None;
        let _ = orders.send(Order::Publish { publication, sent }).await;
    }
}

/// Sends it, in whichever session stands, until the broker has it or it is clear that it will not.
async fn send(publication: &Publication, tag: Option<Tag>, with: &Joined, line: &mut watch::Receiver<Line>) -> Sent {
    let (mut patience, mut refusals) = (SEND_FOR, 0);
    loop {
        let open = line.wait_for(Option::is_some).await.ok().and_then(|line| line.clone());
        // Without sessions there is no node any more.
        let Some((session, orders)) = open else {
            return Sent::ComesAgain;
        };
        if tag.is_some_and(|tag| tag.session != session) {
            return Sent::ComesAgain;
        }
        let began = Clock.mono();
        let (sent, heard) = oneshot::channel();
        let order = Order::Publish {
            publication: publication.clone(),
            sent: Some(sent),
        };
        let told = match orders.send(order).await {
            Ok(()) => heard.await.ok(),
            Err(_) => None,
        };
        let error = match told {
            Some(Ok(())) => return Sent::Yes,
            Some(Err(error)) => error,
            None => BrokerError::Lost("the session has ended".into()),
        };
        refusals += u32::from(matches!(error, BrokerError::Refused(_)));
        patience = patience.saturating_sub(Clock.mono().since(began) + AGAIN);
        if refusals >= REFUSALS || patience.is_zero() {
            return Sent::Never(error);
        }
        tracing::warn!(
            broker = with.broker.name(),
            node = with.spec.hostname,
            task = header(publication, "task"),
            id = header(publication, "id"),
            %error,
            "what a task leaves behind could not be sent; trying again, and the task is settled when it is: see `error`, and \
             whether its queue and exchange are there"
        );
        sleep(AGAIN).await;
    }
}

/// Stores a result, within [`RESULT_FOR`].
///
/// # Errors
/// Why it is not stored: what came of the last try.
async fn keep(result: &TaskResult, with: &Joined, line: &mut watch::Receiver<Line>) -> Result<(), String> {
    let mut last = None;
    let stored = timeout(RESULT_FOR, store(result, with, line, &mut last)).await;
    let why = || last.unwrap_or_else(|| format!("not done within {}", Span::about(RESULT_FOR)));
    match stored {
        Ok(stored) => stored,
        Err(_) => Err(why()),
    }
}

/// Stores it, trying again for as long as it takes. `last` is what came of the last try.
async fn store(
    result: &TaskResult,
    with: &Joined,
    line: &mut watch::Receiver<Line>,
    last: &mut Option<String>,
) -> Result<(), String> {
    match &with.results {
        Results::Nowhere => Ok(()),
        Results::Rpc => match result.reply() {
            Some(reply) => match send(&reply, None, with, line).await {
                Sent::Yes => Ok(()),
                Sent::Never(error) => Err(error.to_string()),
                Sent::ComesAgain => Err("the node has left its broker".to_owned()),
            },
            None => Ok(()),
        },
        Results::Store(store) => {
            while let Err(error) = store.store(result).await {
                tracing::warn!(
                    broker = with.broker.name(), node = with.spec.hostname, task = result.task, id = result.id, %error,
                    "the result of a task could not be stored; trying again: see whether the result backend runs, and takes it"
                );
                *last = Some(error.to_string());
                sleep(AGAIN).await;
            }
            Ok(())
        }
    }
}

/// A header of a task's message.
fn header<'a>(publication: &'a Publication, name: &str) -> Option<&'a str> {
    publication.headers.get(name)?.as_str()
}

fn unsent(publication: &Publication, error: &BrokerError) -> Signal {
    let header = |name: &str| header(publication, name).map(str::to_owned);
    Signal::TaskInternalError {
        name: header("task").unwrap_or_default(),
        id: header("id").unwrap_or_default(),
        parent_id: header("parent_id"),
        why: error.to_string(),
    }
}
