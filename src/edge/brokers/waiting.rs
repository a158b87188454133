//! Who waits for which reply: one router hears all replies and hands each to the call with its ticket.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use compact_str::CompactString;
use headcount_actors::ports::BrokerError;
use rustc_hash::FxHashMap;
use tokio::sync::mpsc;
use uuid::Uuid;

/// Calls to one broker at a time. Each fleet makes one or two; raising it costs one queue of [`MAX_UNREAD`] each.
const MAX_CALLS: usize = 1024;

/// Replies that a call has not read yet. A call does nothing but read, so this fills only where somebody floods us;
/// what comes then is dropped, as if it had been late.
const MAX_UNREAD: usize = 16_384;

/// One reply, as it was heard.
#[derive(Debug)]
pub(super) struct Heard {
    /// Who replied.
    pub(super) hostname: CompactString,
    /// What.
    pub(super) body: serde_json::Value,
    /// When it was read from the socket.
    pub(super) at: Instant,
}

/// All calls that wait for replies from one broker.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    calls: Mutex<FxHashMap<String, mpsc::Sender<Heard>>>,
}

/// One call; while it lives, replies with its ticket come to it.
#[derive(Debug)]
pub(super) struct Call {
    ticket: String,
    replies: mpsc::Receiver<Heard>,
    waiting: Arc<Waiting>,
}

impl Waiting {
    /// Begins to wait, under a new ticket.
    pub(super) fn call(self: &Arc<Self>) -> Result<Call, BrokerError> {
        let ticket = Uuid::new_v4().to_string();
        let (sender, replies) = mpsc::channel(MAX_UNREAD);
        let mut calls = self.lock();
        if calls.len() >= MAX_CALLS {
            return Err(BrokerError::Protocol(format!(
                "{MAX_CALLS} calls wait for replies already"
            )));
        }
        calls.insert(ticket.clone(), sender);
        Ok(Call {
            ticket,
            replies,
            waiting: Arc::clone(self),
        })
    }

    /// Hands over one reply. One that nobody waits for (any more) is dropped: late replies are the rule.
    pub(super) fn hand_over(&self, ticket: &str, heard: Heard) {
        if let Some(call) = self.lock().get(ticket) {
            let _ = call.try_send(heard);
        }
    }

    /// Everybody stops waiting: the connection is gone.
    pub(super) fn give_up(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<String, mpsc::Sender<Heard>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    pub(super) fn ticket(&self) -> &str {
        &self.ticket
    }

    /// The next reply; none when no more can come.
    pub(super) async fn next(&mut self) -> Option<Heard> {
        self.replies.recv().await
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(hostname: &str) -> Heard {
        Heard {
            hostname: hostname.into(),
            body: serde_json::Value::Null,
            at: Instant::now(),
        }
    }

    #[tokio::test]
    async fn each_reply_goes_to_its_own_call_and_strangers_are_dropped() {
        let waiting = Arc::new(Waiting::default());
        let mut one = waiting.call().unwrap();
        let mut two = waiting.call().unwrap();
        waiting.hand_over(two.ticket(), heard("b@h"));
        waiting.hand_over(one.ticket(), heard("a@h"));
        waiting.hand_over("not a ticket", heard("c@h"));
        waiting.hand_over(&Uuid::new_v4().to_string(), heard("d@h"));
        assert_eq!(one.next().await.unwrap().hostname, "a@h");
        assert_eq!(two.next().await.unwrap().hostname, "b@h");
        waiting.give_up();
        assert!(one.next().await.is_none());
    }

    #[tokio::test]
    async fn a_call_that_ended_leaves_nothing_and_too_many_are_refused() {
        let waiting = Arc::new(Waiting::default());
        let calls: Vec<Call> = (0..MAX_CALLS).map(|_| waiting.call().unwrap()).collect();
        waiting.call().unwrap_err();
        drop(calls);
        assert!(waiting.lock().is_empty());
    }
}
