//! By the Web API: `chat.postMessage`, in a thread from the second message on, and `chat.update` of the first.

use async_trait::async_trait;
use headcount_actors::ports::{Notifier, NotifyError, Receipt};
use headcount_core::alert::{Notice, Turn};
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::blocks::message;
use super::verdict::{self, Refusal};
use crate::notifiers::http;

pub(super) struct Api {
    pub(super) name: String,
    pub(super) client: Client,
    pub(super) url: Url,
    pub(super) token: SecretString,
    pub(super) channel: String,
}

/// Where a message is, in Slack's own terms; a [`Receipt`] is this as JSON.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// The channel's id: an update does not take its name.
    channel: String,
    /// The message's time stamp, which is its name within the channel.
    ts: String,
}

impl Place {
    fn of(receipt: &Receipt) -> Option<Self> {
        serde_json::from_str(&receipt.0).ok()
    }
}

impl Api {
    async fn call(&self, method: &str, body: &Value) -> Result<Value, Refusal> {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(method);
        }
        let request = self.client.post(url).bearer_auth(self.token.expose_secret()).json(body);
        verdict::api(&http::send(request).await?)
    }

    /// Calls, and where Slack will not have the layout, or the thread is gone, calls again without it: an alert in a
    /// poor form is worth more than none.
    async fn insist(&self, method: &str, body: &mut Value, notice: &Notice) -> Result<Value, Refusal> {
        let mut answer = self.call(method, body).await;
        if answer.as_ref().is_err_and(Refusal::is_of_thread) {
            tracing::warn!(
                notifier = self.name,
                channel = self.channel,
                incident = %notice.incident.id,
                "the thread of an incident is gone; its message goes to the channel"
            );
            verdict::strip_thread(body);
            answer = self.call(method, body).await;
        }
        if answer.as_ref().is_err_and(Refusal::is_of_layout) {
            tracing::warn!(
                notifier = self.name,
                channel = self.channel,
                incident = %notice.incident.id,
                "Slack refused the layout of a message; it goes as plain text"
            );
            verdict::strip_layout(body);
            answer = self.call(method, body).await;
        }
        answer
    }
}

#[async_trait]
impl Notifier for Api {
    fn name(&self) -> &str {
        &self.name
    }

    fn has_threads(&self) -> bool {
        true
    }

    async fn post(&self, notice: &Notice, first: Option<&Receipt>) -> Result<Receipt, NotifyError> {
        let mut body = message(notice);
        match first.and_then(Place::of) {
            Some(place) => {
                body["channel"] = place.channel.into();
                body["thread_ts"] = place.ts.into();
                // A reply alone reaches only who follows the thread; that it got worse must reach the channel.
                if notice.turn == Turn::Worsened {
                    body["reply_broadcast"] = true.into();
                }
            }
            None => {
                body["channel"] = self.channel.clone().into();
                body["metadata"] = json!({
                    "event_type": "headcount_incident",
                    "event_payload": { "incident": notice.incident.id, "turn": notice.turn },
                });
            }
        }
        let answer = self
            .insist("chat.postMessage", &mut body, notice)
            .await
            .map_err(Refusal::into_error)?;
        // A message without a name cannot be found again; it has been told all the same.
        let place = Place::deserialize(&answer)
            .ok()
            .and_then(|place| serde_json::to_string(&place).ok());
        Ok(Receipt(place.unwrap_or_default()))
    }

    async fn refresh(&self, notice: &Notice, first: &Receipt) -> Result<(), NotifyError> {
        let Some(place) = Place::of(first) else {
            tracing::warn!(
                notifier = self.name,
                channel = self.channel,
                incident = %notice.incident.id,
                "the first message of an incident cannot be found; it stays as it is"
            );
            return Ok(());
        };
        let mut body = message(notice);
        body["channel"] = place.channel.into();
        body["ts"] = place.ts.into();
        match self.insist("chat.update", &mut body, notice).await {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.is_of_message() => {
                // Deleted, or too old to be edited: what the reader wants is done, or nobody can do it.
                tracing::warn!(
                    notifier = self.name, channel = self.channel, incident = %notice.incident.id, reason = %refusal,
                    "the first message of an incident stays as it is"
                );
                Ok(())
            }
            Err(refusal) => Err(refusal.into_error()),
        }
    }
}
