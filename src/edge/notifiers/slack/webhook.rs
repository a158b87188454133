//! By an incoming webhook: no thread, no receipt, every turn a message of its own.

use async_trait::async_trait;
use headcount_actors::ports::{Notifier, NotifyError, Receipt};
use headcount_core::alert::Notice;
use reqwest::Client;
use serde_json::Value;
use url::Url;

use super::blocks::message;
use super::verdict::{self, Refusal};
use crate::notifiers::http;

pub(super) struct Webhook {
    pub(super) name: String,
    pub(super) client: Client,
    pub(super) url: Url,
}

impl Webhook {
    async fn send(&self, message: &Value) -> Result<(), Refusal> {
        let answer = http::send(self.client.post(self.url.clone()).json(message)).await?;
        verdict::webhook(&answer)
    }
}

#[async_trait]
impl Notifier for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn has_threads(&self) -> bool {
        false
    }

    async fn post(&self, notice: &Notice, _first: Option<&Receipt>) -> Result<Receipt, NotifyError> {
        let mut message = message(notice);
        let mut sent = self.send(&message).await;
        if sent.as_ref().is_err_and(Refusal::is_of_layout) {
            // The line alone is worth more than no message at all.
            tracing::warn!(
                notifier = self.name,
                "Slack refused the layout of a message; it goes as plain text"
            );
            verdict::strip_layout(&mut message);
            sent = self.send(&message).await;
        }
        sent.map_err(Refusal::into_error)?;
        Ok(Receipt(String::new()))
    }

    async fn refresh(&self, _notice: &Notice, _first: &Receipt) -> Result<(), NotifyError> {
        Ok(())
    }
}
