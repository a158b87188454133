//! The end of a call: what follows it is sent, what it came to is stored, and then its message is settled.

use std::time::Duration;

use headcount_core::celery::Publication;
use headcount_core::celery::result::TaskResult;
use headcount_core::node::{Conclusion, Tag};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use super::Results;
use super::session::Line;
use crate::ports::node::Order;

/// The rest between two tries to send or to store.
const AGAIN: Duration = Duration::from_secs(1);

/// How long it is tried to store a result, before it is given up for the sake of the message, which has to be settled: a
/// broker or a store that restarts is back by then.
const RESULT_FOR: Duration = Duration::from_secs(60);

/// Brings a call to its end.
pub(super) async fn conclude(conclusion: Conclusion, results: Results, mut line: watch::Receiver<Line>) {
    let tag = conclusion.settle.map(|(tag, _)| tag);
    for publication in conclusion.send {
        if !send(publication, tag, &mut line).await {
            // Its message has come again, and with it all of this.
            return;
        }
    }
    if let Some(result) = conclusion.result
        && timeout(RESULT_FOR, store(&result, &results, &mut line)).await.is_err()
    {
        tracing::error!(
            id = result.id,
            state = result.state.as_str(),
            "the result of a task could not be stored, and is lost"
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

/// Sends it, in whichever session stands, until the broker has it. False if the message that asks for it belongs to a session
/// that has ended, so that it comes again.
async fn send(publication: Publication, tag: Option<Tag>, line: &mut watch::Receiver<Line>) -> bool {
    loop {
        let open = line.wait_for(Option::is_some).await.ok().and_then(|line| line.clone());
        // Without sessions there is no node any more.
        let Some((session, orders)) = open else { return false };
        if tag.is_some_and(|tag| tag.session != session) {
            return false;
        }
        let (sent, heard) = oneshot::channel();
        let order = Order::Publish {
            publication: publication.clone(),
            sent: Some(sent),
        };
        if orders.send(order).await.is_ok() {
            match heard.await {
                Ok(Ok(())) => return true,
                Ok(Err(error)) => tracing::warn!(%error, "what follows a task could not be sent; trying again"),
                Err(_) => {}
            }
        }
        sleep(AGAIN).await;
    }
}

async fn store(result: &TaskResult, results: &Results, line: &mut watch::Receiver<Line>) {
    match results {
        Results::Nowhere => {}
        Results::Rpc => {
            if let Some(reply) = result.reply() {
                send(reply, None, line).await;
            }
        }
        Results::Store(store) => {
            while let Err(error) = store.store(result).await {
                tracing::warn!(%error, id = result.id, "the result of a task could not be stored; trying again");
                sleep(AGAIN).await;
            }
        }
    }
}
