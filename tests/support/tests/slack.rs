//! The stand-in for Slack answers as Slack does, and fails as it is told to.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use headcount_testkit::{Answer, Call, SlackStandIn, poll_until, wait_until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
/// Long enough for an answer that comes; a slow machine makes the test weaker, and not wrong.
const NOTHING_COMES: Duration = Duration::from_millis(500);

/// The value of a key in a notifier's configuration.
fn setting(config: &str, key: &str) -> String {
    let line = config.lines().find(|line| line.starts_with(key)).unwrap();
    line.split('"').nth(1).unwrap().to_owned()
}

/// Posts as a client would; status, `Retry-After` and body, or none if no answer came.
fn post(url: &str, token: Option<&str>, body: &Value) -> Option<(u16, Option<String>, String)> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(SOON))
        .build()
        .into();
    let mut request = agent.post(url);
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let mut response = request.send(body.to_string()).ok()?;
    let after = response
        .headers()
        .get("retry-after")
        .map(|value| value.to_str().unwrap().to_owned());
    Some((
        response.status().as_u16(),
        after,
        response.body_mut().read_to_string().unwrap(),
    ))
}

#[test]
fn a_webhook_takes_messages_in_order_and_refuses_what_slack_refuses() {
    let slack = SlackStandIn::start();
    let url = setting(&slack.webhook_config(), "webhook_url");
    assert_eq!(post(&url, None, &json!({"text": "DOWN sms"})).unwrap().2, "ok");
    assert_eq!(post(&url, None, &json!({"text": ""})).unwrap().0, 400);
    slack.answer_next([Answer::TooMany(7), Answer::ServerError, Answer::Hang]);
    assert_eq!(post(&url, None, &json!({"text": "a"})).unwrap().1.as_deref(), Some("7"));
    assert_eq!(post(&url, None, &json!({"text": "b"})).unwrap().0, 500);
    let hanging = {
        let url = url.clone();
        std::thread::spawn(move || post(&url, None, &json!({"text": "c"})))
    };
    let came = || {
        slack
            .requests()
            .iter()
            .any(|message| message.text() == "c")
            .then_some(())
    };
    wait_until("what is left hanging", SOON, came);
    assert!(poll_until(NOTHING_COMES, || hanging.is_finished().then_some(())).is_none());
    assert_eq!(post(&url, None, &json!({"text": "RECOVERED sms"})).unwrap().0, 200);
    assert_eq!(slack.texts(), ["DOWN sms", "RECOVERED sms"]);
    assert_eq!(slack.requests().len(), 6);
    assert_eq!(
        slack.next("b", SOON, |message| message.text() == "b").call,
        Call::Webhook
    );
    assert_eq!(slack.next_text("RECOVERED", SOON).text(), "RECOVERED sms");
}

#[test]
fn the_api_knows_its_messages() {
    let slack = SlackStandIn::start();
    let config = slack.token_config();
    let (token, api) = (setting(&config, "token"), setting(&config, "api_url"));
    let call = |method: &str, token: &str, body: &Value| -> Value {
        let (status, _, body) = post(&format!("{api}{method}"), Some(token), body).unwrap();
        assert_eq!(status, 200);
        serde_json::from_str(&body).unwrap()
    };
    let first = call(
        "chat.postMessage",
        &token,
        &json!({"channel": "#ops", "text": "DOWN sms"}),
    );
    assert_eq!(first["ok"], true);
    let (ts, channel) = (&first["ts"], &first["channel"]);
    let under = json!({"channel": channel, "text": "RECOVERED sms", "thread_ts": ts});
    assert_eq!(call("chat.postMessage", &token, &under)["ok"], true);
    assert_eq!(
        call(
            "chat.update",
            &token,
            &json!({"channel": channel, "text": "over", "ts": ts})
        )["ok"],
        true
    );
    let lost = json!({"channel": channel, "text": "over", "ts": "1.2"});
    assert_eq!(call("chat.update", &token, &lost)["error"], "message_not_found");
    assert_eq!(call("chat.postMessage", "wrong", &under)["error"], "not_authed");
    assert_eq!(slack.texts(), ["DOWN sms", "RECOVERED sms"]);
    assert_eq!(slack.told()[1].thread(), ts.as_str());
}
