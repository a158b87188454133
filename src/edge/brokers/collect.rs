//! Replies to one inspect command.

use std::time::Instant;

use compact_str::CompactString;
use headcount_actors::ports::{BrokerError, Reply};

use super::waiting::Call;

/// Replies so far, and who is still to reply.
#[derive(Debug)]
pub(super) struct Collected<'a> {
    /// None where everybody was asked: nothing marks the last reply then.
    missing: Option<Vec<&'a CompactString>>,
    replies: Vec<Reply>,
}

impl<'a> Collected<'a> {
    pub(super) fn new(destination: Option<&'a [CompactString]>) -> Self {
        Self {
            missing: destination.map(|named| named.iter().collect()),
            replies: Vec::new(),
        }
    }

    /// Collects until all named have replied. The caller bounds the time; what has been collected stays.
    pub(super) async fn until_complete(&mut self, call: &mut Call, sent: Instant) -> Result<(), BrokerError> {
        while self.missing.as_ref().is_none_or(|missing| !missing.is_empty()) {
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

    pub(super) fn into_replies(self) -> Vec<Reply> {
        self.replies
    }
}
