//! Both ways against a stand-in: what is sent, and what each answer means.

use std::sync::Arc;

use headcount_actors::ports::{Notifier, NotifyError, Receipt};
use serde::Deserialize;
use serde_json::json;

use super::Config;
use crate::notifiers::stand_in::{Say, StandIn};
use crate::notifiers::{Table, conformance, samples};

const TOKEN: &str = "xoxb-1111-SECRETTOKEN";
const PATH: &str = "T000/B000/SECRETHOOK";
const OK: &str = r#"{"ok": true, "channel": "C123", "ts": "1700000000.000100", "message": {}}"#;

fn config(table: serde_json::Value) -> Config {
    Config::deserialize(table).unwrap()
}

async fn api() -> (StandIn, Arc<dyn Notifier>) {
    let server = StandIn::start(Say::answer(200, OK)).await;
    let table =
        json!({ "kind": "slack", "token": TOKEN, "channel": "#ops", "api_url": format!("{}/api/", server.url) });
    let notifier = config(table).open().unwrap();
    (server, notifier)
}

async fn webhook() -> (StandIn, Arc<dyn Notifier>) {
    let server = StandIn::start(Say::answer(200, "ok")).await;
    let table = json!({ "webhook_url": format!("{}/services/{PATH}", server.url) });
    let notifier = config(table).open().unwrap();
    (server, notifier)
}

#[tokio::test]
async fn both_pass_the_kit() {
    let (server, notifier) = api().await;
    conformance::takes_everything(&*notifier).await;
    conformance::fails_well(&*notifier, &server, &[TOKEN]).await;
    let (server, notifier) = webhook().await;
    conformance::takes_everything(&*notifier).await;
    conformance::fails_well(&*notifier, &server, &[PATH, "SECRETHOOK"]).await;
}

#[tokio::test]
async fn an_incident_is_one_thread() {
    let (server, notifier) = api().await;
    assert!(notifier.has_threads());
    let first = notifier.post(&samples::opened(), None).await.unwrap();
    assert_eq!(first, Receipt(r#"{"channel":"C123","ts":"1700000000.000100"}"#.into()));
    notifier.post(&samples::worsened(), Some(&first)).await.unwrap();
    notifier.refresh(&samples::worsened(), &first).await.unwrap();
    notifier.post(&samples::recovered(), Some(&first)).await.unwrap();

    let asked = server.asked();
    for (one, path) in asked.iter().zip([
        "chat.postMessage",
        "chat.postMessage",
        "chat.update",
        "chat.postMessage",
    ]) {
        assert!(
            one.head.starts_with(&format!("POST /api/{path} HTTP/1.1\r\n")),
            "{}",
            one.head
        );
        assert!(one.head.contains(&format!("authorization: Bearer {TOKEN}\r\n")));
        assert_eq!(one.body["unfurl_links"], false);
    }
    let bodies: Vec<_> = asked.iter().map(|one| &one.body).collect();
    assert_eq!(bodies[0]["channel"], "#ops");
    assert_eq!(bodies[0]["text"], samples::opened().text());
    assert_eq!(bodies[0]["thread_ts"], json!(null));
    assert_eq!(
        bodies[0]["metadata"],
        json!({ "event_type": "headcount_incident", "event_payload": { "incident": "k3f9", "turn": "opened" } })
    );
    assert_eq!(bodies[0]["blocks"][0]["text"]["text"], "DEGRADED sms");
    for later in [bodies[1], bodies[3]] {
        assert_eq!(
            (&later["channel"], &later["thread_ts"]),
            (&json!("C123"), &json!("1700000000.000100"))
        );
    }
    assert_eq!(
        bodies[1]["reply_broadcast"], true,
        "that it is worse reaches the channel"
    );
    assert_eq!(bodies[3]["reply_broadcast"], json!(null));
    assert_eq!(
        (&bodies[2]["channel"], &bodies[2]["ts"]),
        (&json!("C123"), &json!("1700000000.000100"))
    );
    assert_eq!(bodies[2]["blocks"][0]["text"]["text"], "DOWN sms");
    assert_eq!(bodies[3]["blocks"][0]["text"]["text"], "RECOVERED sms");
}

/// The same again as a process whose environment names a proxy that is not there, and whose system trusts nobody.
#[test]
fn a_stand_in_on_this_machine_needs_no_proxy_and_no_certificates() {
    let again = "notifiers::slack::tests::an_incident_is_one_thread";
    let mut test = std::process::Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", again])
        .env_remove("NO_PROXY")
        .env_remove("no_proxy");
    for key in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        test.env(key, "http://127.0.0.1:1");
    }
    for key in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        test.env(key, "/nonexistent");
    }
    let output = test.output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && out.contains("1 passed"), "{out}");
}

#[tokio::test]
async fn a_webhook_sends_each_turn() {
    let (server, notifier) = webhook().await;
    assert!(!notifier.has_threads());
    for notice in [samples::opened(), samples::recovered()] {
        notifier.post(&notice, None).await.unwrap();
        let asked = server.asked().remove(0);
        assert!(asked.head.starts_with(&format!("POST /services/{PATH} HTTP/1.1\r\n")));
        assert!(!asked.head.to_lowercase().contains("authorization"));
        assert_eq!(asked.body["text"], notice.text());
        for key in ["channel", "metadata", "thread_ts"] {
            assert_eq!(asked.body[key], json!(null), "{key}");
        }
    }
}

/// What the message asks of the reader; `None` for a word that is tried again.
async fn meaning(notifier: &dyn Notifier) -> Option<String> {
    match notifier.post(&samples::opened(), None).await.unwrap_err() {
        NotifyError::Later { after, .. } => {
            assert_eq!(after, None);
            None
        }
        NotifyError::Refused { why } => Some(why),
    }
}

#[tokio::test]
async fn each_word_of_the_api_has_its_meaning() {
    let (server, notifier) = api().await;
    for word in ["ratelimited", "internal_error", "fatal_error", "service_unavailable"] {
        server.next(Say::answer(200, &json!({ "ok": false, "error": word }).to_string()));
        assert_eq!(meaning(&*notifier).await, None, "{word}");
    }
    for (word, advice) in [
        ("invalid_auth", "set `token`"),
        ("token_revoked", "set `token`"),
        ("missing_scope", "chat:write"),
        ("channel_not_found", "check `channel`"),
        ("not_in_channel", "/invite"),
        ("is_archived", "archived"),
        ("a_word_of_tomorrow", "documentation"),
    ] {
        server.next(Say::answer(200, &json!({ "ok": false, "error": word }).to_string()));
        let why = meaning(&*notifier).await.unwrap();
        assert!(why.contains(word) && why.contains(advice), "{why}");
    }
    for odd in ["null", "[]", "{}", r#"{"ok": "yes"}"#, r#"{"ok": false}"#, "", "\u{0}"] {
        server.next(Say::answer(200, odd));
        assert_eq!(
            meaning(&*notifier).await,
            None,
            "{odd:?}: not Slack's answer, so perhaps later"
        );
    }
}

#[tokio::test]
async fn each_word_of_a_webhook_has_its_meaning() {
    let (server, notifier) = webhook().await;
    for (status, word, advice) in [
        (403, "action_prohibited", "administrator"),
        (403, "invalid_token", "`webhook_url`"),
        (404, "no_service", "`webhook_url`"),
        (404, "channel_not_found", "`channel`"),
        (410, "channel_is_archived", "archived"),
        (400, "no_text", "report"),
    ] {
        server.next(Say::answer(status, word));
        let why = meaning(&*notifier).await.unwrap();
        assert!(why.contains(word) && why.contains(advice), "{why}");
    }
}

#[tokio::test]
async fn a_refused_layout_goes_as_plain_text() {
    let (server, notifier) = api().await;
    server.next(Say::answer(200, r#"{"ok": false, "error": "invalid_blocks"}"#));
    notifier.post(&samples::opened(), None).await.unwrap();
    let (server_too, hook) = webhook().await;
    server_too.next(Say::answer(400, "invalid_payload"));
    hook.post(&samples::opened(), None).await.unwrap();
    for asked in [server.asked(), server_too.asked()] {
        assert_eq!(asked.len(), 2);
        assert!(asked[0].body["blocks"].is_array());
        assert_eq!(asked[1].body["blocks"], json!(null));
        assert_eq!(asked[1].body["text"], samples::opened().text());
    }
    // Refused twice: no third time.
    for _ in 0..2 {
        server_too.next(Say::answer(400, "invalid_payload"));
    }
    assert!(meaning(&*hook).await.unwrap().contains("report"));
    assert_eq!(server_too.asked().len(), 2);
}

#[tokio::test]
async fn a_thread_that_is_gone_stops_no_message() {
    let (server, notifier) = api().await;
    let first = notifier.post(&samples::opened(), None).await.unwrap();
    server.asked();
    server.next(Say::answer(200, r#"{"ok": false, "error": "thread_not_found"}"#));
    notifier.post(&samples::worsened(), Some(&first)).await.unwrap();
    let asked = server.asked();
    assert_eq!(asked[1].body["channel"], "C123");
    assert_eq!(
        (&asked[1].body["thread_ts"], &asked[1].body["reply_broadcast"]),
        (&json!(null), &json!(null))
    );

    for word in ["message_not_found", "cant_update_message", "edit_window_closed"] {
        server.next(Say::answer(200, &json!({ "ok": false, "error": word }).to_string()));
        notifier.refresh(&samples::recovered(), &first).await.unwrap();
    }
    server.next(Say::answer(200, r#"{"ok": false, "error": "invalid_auth"}"#));
    assert!(matches!(
        notifier.refresh(&samples::recovered(), &first).await,
        Err(NotifyError::Refused { .. })
    ));
    // Told, although it cannot be found again.
    server.next(Say::answer(200, r#"{"ok": true}"#));
    let lost = notifier.post(&samples::opened(), None).await.unwrap();
    server.asked();
    notifier.refresh(&samples::recovered(), &lost).await.unwrap();
    assert!(server.asked().is_empty());
    notifier.post(&samples::recovered(), Some(&lost)).await.unwrap();
    assert_eq!(server.asked()[0].body["channel"], "#ops");
}

#[test]
fn a_wrong_table_says_which_key() {
    let table = [
        (json!({}), None, "either webhook_url, or token and channel"),
        (
            json!({ "webhook_url": "https://h/x", "token": "x" }),
            Some("token"),
            "not both",
        ),
        (
            json!({ "webhook_url": "https://h/x", "channel": "#c" }),
            Some("channel"),
            "goes with token",
        ),
        (
            json!({ "webhook_url": "https://h/x", "api_url": "https://h" }),
            Some("api_url"),
            "goes with token",
        ),
        (json!({ "webhook_url": "SECRET" }), Some("webhook_url"), "is not a URL"),
        (
            json!({ "webhook_url": "http://hooks.example/SECRET" }),
            Some("webhook_url"),
            "https://",
        ),
        (json!({ "token": "xoxb-SECRET" }), Some("channel"), "needs a channel"),
        (
            json!({ "token": "xoxb-SECRET", "channel": " " }),
            Some("channel"),
            "needs a channel",
        ),
        (
            json!({ "token": "SEC\nRET", "channel": "#c" }),
            Some("token"),
            "expected a bot token",
        ),
        (
            json!({ "token": "", "channel": "#c" }),
            Some("token"),
            "expected a bot token",
        ),
        (
            json!({ "token": "x", "channel": "#c", "api_url": "http://slack.com" }),
            Some("api_url"),
            "https://",
        ),
        (
            json!({ "name": "", "webhook_url": "https://h/x" }),
            Some("name"),
            "expected",
        ),
    ];
    for (table, key, why) in table {
        let config = config(table.clone());
        let error = config.check().expect_err(&table.to_string());
        assert_eq!(error.key, key, "{table}");
        assert!(error.why.contains(why), "{table}: {error}");
        assert!(!format!("{error} {error:?} {config:?}").contains("SECRET"), "{error}");
        assert!(config.open().is_err());
    }
    // A newline at the end of a file with a secret is none of it.
    assert!(config(json!({ "token": "xoxb-1\n", "channel": "#c" })).check().is_ok());
}
