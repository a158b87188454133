//! What a worker's trouble rests on, for a person.

use super::super::observed::Seen;
use super::{How, Work};

impl Work {
    /// What its trouble rests on, for a person.
    pub(in crate::detect) fn account(&self, t: Seen) -> Option<String> {
        let troubled = self.trouble.as_ref()?;
        let queue = if troubled.queue.is_empty() {
            &self.backlog.queue
        } else {
            &troubled.queue
        };
        let messages = match self.backlog.length {
            0 => "nothing waits there now".to_owned(),
            1 => "1 message waits there".to_owned(),
            many => format!("{many} messages wait there"),
        };
        let trouble = troubled.how.trouble();
        let idle = super::super::account::seconds(t.since(self.moved.unwrap_or(self.begun)));
        let says = match troubled.how {
            How::Unsubscribed => format!("it says that it consumes {queue} no longer; {messages}"),
            How::NoConsumer => {
                format!("it believes that it consumes {queue}, and the broker sees no consumer; {messages}")
            }
            How::FewConsumers => format!(
                "{queue} has fewer consumers than workers, and this one has taken nothing for {idle}; {messages}"
            ),
            How::NobodyTakes => {
                format!("it believes that it consumes {queue}, and nobody takes messages from the broker; {messages}")
            }
            How::NotTaking => {
                let peers = if self.backlog.peers_go_on {
                    "its peers go on"
                } else {
                    "nobody else takes them"
                };
                format!("it has free slots, and has taken nothing from {queue} for {idle}; {messages}; {peers}")
            }
            How::Stuck => {
                let tasks = match self.active.unwrap_or(0) {
                    1 => "1 task runs".to_owned(),
                    more => format!("{more} tasks run"),
                };
                format!("{tasks}, and none has begun or ended for {idle}")
            }
            How::Remembered(_) => "found before Headcount was restarted".to_owned(),
        };
        Some(format!("{trouble}: {says}"))
    }
}
