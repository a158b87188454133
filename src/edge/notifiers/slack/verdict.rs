//! What Slack's answers mean, and what the reader can do about each.

use std::fmt;

use headcount_actors::ports::NotifyError;
use serde_json::Value;

use crate::notifiers::http::{Answer, later};

/// Why Slack did not take a message.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It said a word that it documents.
    Word(Word),
    /// Anything else.
    Other(NotifyError),
}

/// One of Slack's words for an error: lower case, digits and `_`, and of no great length, so safe to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word(String);

impl Word {
    /// The longest of Slack's own has under 50 characters.
    const MAX: usize = 64;

    fn read(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= Self::MAX;
        let plain = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        (fits && plain).then(|| Self(text.to_owned()))
    }
}

impl From<NotifyError> for Refusal {
    fn from(error: NotifyError) -> Self {
        Self::Other(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(Word(word)) => f.write_str(word),
            Self::Other(error) => error.fmt(f),
        }
    }
}

impl Refusal {
    fn is(&self, words: &[&str]) -> bool {
        matches!(self, Self::Word(Word(word)) if words.contains(&word.as_str()))
    }

    /// It does not like the blocks; the plain line may still pass.
    pub(super) fn is_of_layout(&self) -> bool {
        self.is(&[
            "invalid_blocks",
            "invalid_blocks_format",
            "invalid_payload",
            "invalid_metadata_format",
        ])
    }

    /// The message that the thread hangs on is gone.
    pub(super) fn is_of_thread(&self) -> bool {
        self.is(&[
            "thread_not_found",
            "cannot_reply_to_message",
            "restricted_action_thread_locked",
        ])
    }

    /// The message that was to be changed cannot be.
    pub(super) fn is_of_message(&self) -> bool {
        self.is(&["message_not_found", "cant_update_message", "edit_window_closed"])
    }

    pub(super) fn into_error(self) -> NotifyError {
        match self {
            Self::Other(error) => error,
            Self::Word(Word(word)) => match advice(&word) {
                None => later(None, format!("Slack asks to try again ({word})")),
                Some(advice) => NotifyError::Refused {
                    why: format!("Slack refuses ({word}): {advice}"),
                },
            },
        }
    }
}

/// What the reader can do; none where trying again is all.
/// Words: docs.slack.dev, methods chat.postMessage and chat.update; "Sending messages using incoming webhooks".
fn advice(word: &str) -> Option<&'static str> {
    Some(match word {
        "ratelimited" | "rate_limited" | "message_limit_exceeded" => return None,
        "internal_error" | "fatal_error" | "service_unavailable" | "request_timeout" | "rollup_error" => return None,
        "team_added_to_org" | "accesslimited" | "external_channel_migrating" => return None,
        "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" | "account_inactive" => {
            "set `token` to the app's bot token (xoxb-…) as its page \"OAuth & Permissions\" shows it now"
        }
        "missing_scope" | "no_permission" | "not_allowed_token_type" => {
            "give the app's bot the scope chat:write and install it into the workspace again"
        }
        "channel_not_found" => "check `channel`, and invite the app to it if it is private",
        "not_in_channel" => "invite the app to the channel (/invite @its-name), or give it the scope chat:write.public",
        "is_archived" | "channel_is_archived" => "the channel is archived; unarchive it, or name another",
        "no_service" | "no_service_id" | "no_active_hooks" | "invalid_token" | "no_team" | "team_disabled" => {
            "the webhook no longer exists; make a new one and set `webhook_url`"
        }
        "action_prohibited"
        | "posting_to_general_channel_denied"
        | "restricted_action"
        | "ekm_access_denied"
        | "restricted_action_read_only_channel"
        | "team_access_not_granted"
        | "access_denied" => {
            "a setting of the workspace forbids posting there; ask its administrator, or name another channel"
        }
        "msg_too_long"
        | "no_text"
        | "invalid_blocks"
        | "invalid_blocks_format"
        | "invalid_payload"
        | "invalid_arguments"
        | "too_many_attachments"
        | "invalid_metadata_format" => {
            "the message is not as Slack wants it, which is a mistake of Headcount's; please report it"
        }
        _ => "see this word in Slack's documentation of chat.postMessage or of incoming webhooks",
    })
}

/// Judges what a webhook answered: a word as plain text, `ok` if all is well.
pub(super) fn webhook(answer: &Answer) -> Result<(), Refusal> {
    let text = String::from_utf8_lossy(&answer.body);
    let text = text.trim();
    if answer.status.is_success() {
        // A page for people comes from something between here and Slack (a login page), so nothing has been told.
        return if text.starts_with('<') {
            Err(stranger(answer))
        } else {
            Ok(())
        };
    }
    Err(Word::read(text).map_or_else(|| stranger(answer), Refusal::Word))
}

/// Judges what the Web API answered: an object with `ok`, and with `error` if that is false.
pub(super) fn api(answer: &Answer) -> Result<Value, Refusal> {
    let object: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match (
        object.get("ok").and_then(Value::as_bool),
        object.get("error").and_then(Value::as_str),
    ) {
        (Some(true), _) if answer.status.is_success() => Ok(object),
        (Some(false), Some(error)) => Err(Word::read(error).map_or_else(|| stranger(answer), Refusal::Word)),
        _ => Err(stranger(answer)),
    }
}

/// Not Slack's way of answering.
fn stranger(answer: &Answer) -> Refusal {
    let status = answer.status.as_u16();
    Refusal::Other(if answer.status.is_redirection() {
        let why = format!("a redirect (HTTP {status}) is not followed: the address is not Slack's own; check it");
        NotifyError::Refused { why }
    } else if answer.status.is_client_error() {
        let why = format!("HTTP {status}, and no word of Slack's; check the address, and any proxy on the way to it");
        NotifyError::Refused { why }
    } else {
        later(
            None,
            format!("an answer that is not Slack's (HTTP {status}); is a proxy or a login page in between?"),
        )
    })
}

/// Leaves the line of plain text.
pub(super) fn strip_layout(message: &mut Value) {
    remove(message, &["blocks", "metadata"]);
}

/// Leaves the thread.
pub(super) fn strip_thread(message: &mut Value) {
    remove(message, &["thread_ts", "reply_broadcast"]);
}

fn remove(message: &mut Value, keys: &[&str]) {
    if let Some(object) = message.as_object_mut() {
        object.retain(|key, _| !keys.contains(&key.as_str()));
    }
}
