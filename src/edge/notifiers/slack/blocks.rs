//! How a notice looks in Slack: its blocks, within the limits of Block Kit.
//!
//! Limits: docs.slack.dev, "Blocks" (50 in a message), "Header block", "Section block", "Context block", and
//! "chat.postMessage" for the text.

use headcount_core::alert::text::{Span, plight};
use headcount_core::alert::{Evidence, Incident, Kind, Notice, Turn};
use serde_json::{Value, json};

use super::words::{Text, code, escape, link, moment, sentence};

/// The longest header, in characters.
const MAX_HEADER: usize = 150;

/// The longest text of a section or of a context's element, in characters.
const MAX_SECTION: usize = 3_000;

/// The longest top-level text that Slack takes as one message, in characters; it advises no more.
const MAX_TEXT: usize = 4_000;

/// How many workers, fleets or observations are listed. More is a page, not a message: the link leads there.
const LISTED: usize = 15;

/// What is posted, but for where: `text` for phones and readers without blocks, and the blocks.
pub(super) fn message(notice: &Notice) -> Value {
    let mut text = Text::new(MAX_TEXT);
    text.plain(&notice.text());
    json!({
        "text": text.finish(),
        "blocks": blocks(notice),
        // Nothing in it is markup, a name to link, or a page to show.
        "mrkdwn": false,
        "link_names": false,
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

fn blocks(notice: &Notice) -> Vec<Value> {
    let incident = &notice.incident;
    let mut header = Text::new(MAX_HEADER);
    header.plain(&notice.title());
    let mut line = Text::new(MAX_SECTION);
    line.plain(&notice.text());
    let mut blocks = vec![
        json!({ "type": "header", "text": plain_text(header) }),
        json!({ "type": "section", "text": plain_text(line) }),
    ];
    let missing = incident.scene.missing.iter().map(|one| {
        let seen = one
            .last_seen
            .map_or_else(String::new, |at| format!(", last seen {}", moment(at)));
        format!("• {} {}{seen}", code(&one.hostname), escape(&plight(one, notice.at)))
    });
    let all = incident
        .scene
        .missing
        .len()
        .max(usize::try_from(incident.scene.missing_count()).unwrap_or(usize::MAX));
    blocks.extend(list("Missing", missing, all));
    let fleets = &incident.scene.fleets;
    blocks.extend(list(
        "Unknown meanwhile",
        fleets.iter().map(|fleet| format!("• {}", code(fleet))),
        fleets.len(),
    ));
    // Once it is over, what it rested on is history: the link leads there.
    if notice.turn != Turn::Recovered {
        let witnesses = witnesses(&incident.evidence);
        let all = witnesses.len();
        blocks.extend(list("Evidence", witnesses.into_iter().map(witness), all));
    }
    blocks.push(json!({ "type": "context", "elements": [markdown(footer(notice))] }));
    blocks
}

/// A heading and its lines, as many as fit, and how many more there are; none where there is nothing.
fn list(heading: &str, lines: impl Iterator<Item = String>, all: usize) -> Option<Value> {
    /// What `… and N more` needs at most.
    const TAIL: usize = 40;

    let mut text = Text::new(MAX_SECTION - TAIL);
    text.markup(&format!("*{heading}*"));
    let shown = lines
        .take(LISTED)
        .take_while(|line| text.markup(&format!("\n{line}")))
        .count();
    if shown == 0 {
        return None;
    }
    let mut text = text.finish();
    if all > shown {
        text.push_str(&format!("\n… and {} more", all - shown));
    }
    Some(json!({ "type": "section", "text": markdown(text) }))
}

/// The newest observation of each signal, by whom it is about, in the order in which they were first heard of.
fn witnesses(evidence: &[Evidence]) -> Vec<Vec<&Evidence>> {
    let mut witnesses: Vec<Vec<&Evidence>> = Vec::new();
    for new in evidence {
        match witnesses
            .iter_mut()
            .find(|of| of.iter().any(|one| one.subject == new.subject))
        {
            None => witnesses.push(vec![new]),
            Some(of) => match of.iter_mut().find(|one| one.signal == new.signal) {
                Some(old) => *old = new,
                None => of.push(new),
            },
        }
    }
    witnesses
}

/// What is observed of one: `sms@h1, 09:05:36 UTC: heartbeat …; presence …`.
fn witness(observations: Vec<&Evidence>) -> String {
    let (Some(first), Some(newest)) = (observations.first(), observations.iter().map(|one| one.at).max()) else {
        return String::new();
    };
    let said = observations.iter().map(|one| {
        let signal = one.signal.map_or_else(String::new, |signal| format!("{signal}: "));
        format!("{signal}{}", sentence(&one.says))
    });
    format!(
        "• {} as of {}: {}",
        code(&first.subject),
        moment(newest),
        said.collect::<Vec<_>>().join("; ")
    )
}

/// Since when, until when, which incident, where more is.
fn footer(notice: &Notice) -> String {
    let incident = &notice.incident;
    let mut parts = Vec::new();
    match (notice.turn, incident.resolved_at) {
        (Turn::Test, _) => parts.push(format!("Sent {}", moment(notice.at))),
        (_, Some(end)) => parts.push(format!(
            "From {} to {}, {}",
            moment(incident.opened_at),
            moment(end),
            Span(end.since(incident.opened_at))
        )),
        (_, None) => parts.push(format!("Since {}", moment(incident.opened_at))),
    }
    if notice.turn != Turn::Test {
        parts.extend(diagnosis(incident));
        if incident.kind != Kind::Broker {
            parts.push(format!("broker {}", code(&incident.broker)));
        }
        parts.push(format!("incident {}", code(&incident.id.0)));
    }
    parts.extend(notice.link.as_deref().and_then(|url| link(url, "open in Headcount")));
    parts.join(" · ")
}

fn diagnosis(incident: &Incident) -> Option<String> {
    incident.diagnosis.map(|diagnosis| format!("diagnosis {diagnosis}"))
}

fn plain_text(text: Text) -> Value {
    json!({ "type": "plain_text", "text": text.finish(), "emoji": false })
}

/// `verbatim`: without it Slack makes links and mentions of what only looks like them.
fn markdown(text: String) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}
