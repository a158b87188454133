//! Replies to one inspect command.

use std::time::{Duration, Instant};

use compact_str::CompactString;
use headcount_actors::ports::{BrokerError, Reply};

use super::waiting::Call;

/// Replies that one command can have. Each worker sends one; this many are only sent by somebody who floods us.
const MAX_REPLIES: usize = 16_384;

/// Replies so far, and who is still to reply.
#[derive(Debug)]
pub(super) struct Collected<'a> {
    /// None where everybody was asked: nothing marks the last reply then.
    missing: Option<Vec<&'a CompactString>>,
    sent: Option<Instant>,
    replies: Vec<Reply>,
}

impl<'a> Collected<'a> {
    pub(super) fn new(destination: Option<&'a [CompactString]>) -> Self {
        Self {
            missing: destination.map(|named| named.iter().collect()),
            sent: None,
            replies: Vec::new(),
        }
    }

    /// The broker has taken the command, which set out at `at`. Until then, silence is the broker's own.
    pub(super) fn sent(&mut self, at: Instant) {
        self.sent = Some(at);
    }

    /// Collects until all named have replied. The caller bounds the time; what has been collected stays.
    pub(super) async fn until_complete(&mut self, call: &mut Call) -> Result<(), BrokerError> {
        let sent = self.sent.unwrap_or_else(Instant::now);
        let is_missing = |missing: &Option<Vec<_>>| missing.as_ref().is_none_or(|missing| !missing.is_empty());
        while is_missing(&self.missing) && self.replies.len() < MAX_REPLIES {
            let lost = || BrokerError::Lost("the control connection ended while replies were collected".into());
            let heard = call.next().await.ok_or_else(lost)?;
            if let Some(missing) = &mut self.missing {
                missing.retain(|hostname| **hostname != heard.hostname);
            }
            let latency = heard.at.saturating_duration_since(sent);
            self.replies.push(Reply {
                hostname: heard.hostname,
                body: heard.body,
                latency,
            });
        }
        Ok(())
    }

    /// What has been collected.
    ///
    /// # Errors
    /// If the command was not even taken by the broker within `timeout`.
    pub(super) fn into_replies(self, timeout: Duration) -> Result<Vec<Reply>, BrokerError> {
        if self.sent.is_some() {
            Ok(self.replies)
        } else {
            Err(BrokerError::Timeout(timeout))
        }
    }
}
