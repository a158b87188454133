//! What a replay came to, for people and for programs.

use std::io::Read;
use std::path::Path;

use headcount_core::alert::Incident;
use headcount_core::alert::text::Span;
use headcount_core::time::Wall;
use headcount_edge::http::views::Time;
use headcount_simulate::replay::{Outcome, Story};
use headcount_simulate::trace::{Reader, Source};
use serde_json::{Value, json};

use crate::commands::count;
use crate::commands::table::{Cell, Columns, Tone, clean};

/// As the contract has it.
pub(super) fn to_json(outcome: &Outcome) -> Value {
    let incidents: Vec<Value> = outcome.stories.iter().map(|story| incident(&story.incident)).collect();
    json!({ "incidents": incidents })
}

fn incident(incident: &Incident) -> Value {
    json!({
        "id": incident.id.0,
        "kind": incident.kind.as_str(),
        "subject": incident.subject,
        "diagnosis": incident.diagnosis.map(|diagnosis| diagnosis.as_str()),
        "opened_at": Time(incident.opened_at),
        "resolved_at": incident.resolved_at.map(Time),
    })
}

/// One row for each incident, and below what people would have read.
pub(super) fn to_text(outcome: &Outcome, colours: bool) -> String {
    if outcome.stories.is_empty() {
        return "no incidents\n".to_owned();
    }
    let mut columns = Columns::new(&["OPENED", "RESOLVED", "LASTED", "KIND", "SUBJECT", "DIAGNOSIS", "ID"]);
    for Story { incident, .. } in &outcome.stories {
        let (resolved, lasted) = match incident.resolved_at {
            Some(at) => (Cell::from(Time(at)), Cell::from(Span(at.since(incident.opened_at)))),
            None => (Cell::new("open", Tone::Bad), Cell::from("")),
        };
        columns.row(vec![
            Time(incident.opened_at).into(),
            resolved,
            lasted,
            incident.kind.as_str().into(),
            incident.subject.as_str().into(),
            incident.diagnosis.map_or("", |diagnosis| diagnosis.as_str()).into(),
            (&incident.id).into(),
        ]);
    }
    let mut text = columns.render(colours);
    let mut messages: Vec<&(Wall, String)> = outcome.stories.iter().flat_map(|story| &story.messages).collect();
    messages.sort_by_key(|(at, _)| *at);
    text.push_str("\nWhat people would have read:\n");
    for (at, message) in messages {
        text.push_str(&format!("{}  {}\n", Time(*at), clean(message)));
    }
    if outcome.left_out > 0 {
        text.push_str(&format!("and {} changes of further incidents\n", outcome.left_out));
    }
    text
}

/// One line about the trace.
pub(super) fn summary<R: Read>(path: &Path, source: &Source, outcome: &Outcome, reader: &Reader<R>) -> String {
    let (frames, bytes, unpacked) = reader.size();
    let each = if outcome.events > 0 {
        format!(", {:.1} for each event", bytes as f64 / outcome.events as f64)
    } else {
        String::new()
    };
    let Some((from, to)) = outcome.span else {
        return format!("headcount: {}: nothing was recorded in it", path.display());
    };
    let mut text = format!(
        "headcount: {}: {} from {} to {}; {}; {} of {} questions after workers answered by the recording; {bytes} bytes{each} \
         ({unpacked} unpacked, {frames} frames)",
        path.display(),
        clean(&source.address),
        Time(from),
        Time(to),
        count(outcome.events, "event"),
        outcome.answered,
        outcome.asked,
    );
    if outcome.malformed > 0 {
        text.push_str(&format!(
            "; {} messages could not be read when it was recorded",
            outcome.malformed
        ));
    }
    if outcome.pauses > 0 {
        let (paused, times) = (Span(outcome.paused), outcome.pauses);
        text.push_str(&format!(
            "; the recorder stood still for {paused} in all (pauses: {times})"
        ));
    }
    if reader.unknown() > 0 {
        text.push_str(&format!(
            "; {} records of a newer Headcount were left out",
            reader.unknown()
        ));
    }
    text
}
