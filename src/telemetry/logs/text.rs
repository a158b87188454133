//! A line of the log for people: the time, the level, what happened, and the details.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// `2026-01-31T12:00:00Z WARN  broker not heard  broker=main retry_in=2s`, in UTC, as everything else that Headcount says.
pub(super) struct Text;

const RESET: &str = "\x1b[0m";
const DIM: &str = "\x1b[2m";

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let colours = writer.has_ansi_escapes();
        line(&mut writer, event, jiff::Timestamp::now(), colours)?;
        let (dim, reset) = if colours { (DIM, RESET) } else { ("", "") };
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            let fields = extensions
                .get::<FormattedFields<N>>()
                .map_or("", |fields| fields.fields.as_str());
            write!(writer, "  {dim}{}{{{reset}{fields}{dim}}}{reset}", span.name())?;
        }
        writeln!(writer)
    }
}

/// Writes one event, without the end of its line.
fn line(out: &mut dyn Write, event: &Event<'_>, now: jiff::Timestamp, colours: bool) -> fmt::Result {
    let level = *event.metadata().level();
    let mut parts = Parts {
        colours,
        ..Parts::default()
    };
    event.record(&mut parts);
    let (dim, colour, reset) = if colours {
        (DIM, colour(level), RESET)
    } else {
        ("", "", "")
    };
    write!(out, "{dim}{now:.0}{reset} {colour}{level:<5}{reset} {}", parts.message)?;
    if !parts.rest.is_empty() {
        write!(out, " {}", parts.rest)?;
    }
    // What is shown only to whoever asks for it comes from many places; who looks for one needs its name for the filter.
    if level > Level::INFO {
        write!(out, "  {dim}{}{reset}", event.metadata().target())?;
    }
    Ok(())
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[36m",
    }
}

#[derive(Default)]
struct Parts {
    message: String,
    rest: String,
    colours: bool,
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            // Some have lines of their own, such as what is wrong with a configuration.
            "message" => self.message = visible(&text, true),
            // Where a library has called the crate `log`; nothing that helps.
            "log.module_path" | "log.file" | "log.line" => {}
            name => {
                let (dim, reset) = if self.colours { (DIM, RESET) } else { ("", "") };
                let text = visible(&text, false);
                let quote = if text.is_empty() || text.contains([' ', '"', '=']) {
                    "\""
                } else {
                    ""
                };
                let text = if quote.is_empty() {
                    text
                } else {
                    text.replace('"', "\\\"")
                };
                // Writing to a string does not fail.
                let _ = write!(self.rest, " {dim}{name}={reset}{quote}{text}{quote}");
            }
        }
    }
}

/// What is no control character and yet makes a terminal or an editor show a line as it is not: what sets the direction of
/// writing, and what separates lines and paragraphs.
const fn disguises(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Without what would move the cursor or forge a line: some of it comes from brokers and from workers.
fn visible(text: &str, lines: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if disguises(c) || c.is_control() && !(lines && c == '\n') {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing_subscriber::layer::{Context, SubscriberExt};

    use super::*;

    /// What is written of the events of `trace`.
    fn written(colours: bool, trace: impl FnOnce()) -> String {
        struct Lines(std::sync::Arc<Mutex<String>>, bool);
        impl<S: Subscriber> tracing_subscriber::Layer<S> for Lines {
            fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                let noon = "2026-01-31T12:00:00.123Z".parse().unwrap();
                let mut text = self.0.lock().unwrap();
                line(&mut *text, event, noon, self.1).unwrap();
                text.push('\n');
            }
        }
        let text = std::sync::Arc::new(Mutex::new(String::new()));
        let lines = Lines(text.clone(), colours);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), trace);
        text.lock().unwrap().clone()
    }

    #[test]
    fn lines_are_short_and_aligned() {
        let text = written(false, || {
            tracing::info!("stopped");
            tracing::warn!(broker = "main", error = %"Connection refused (os error 111)", n = 3, "broker not heard");
            tracing::debug!(target: "headcount_actors::lane", "told");
        });
        let lines = "\
2026-01-31T12:00:00Z INFO  stopped
2026-01-31T12:00:00Z WARN  broker not heard  broker=main error=\"Connection refused (os error 111)\" n=3
2026-01-31T12:00:00Z DEBUG told  headcount_actors::lane
";
        assert_eq!(text, lines);
    }

    #[test]
    fn nothing_from_outside_forges_a_line_or_moves_the_cursor() {
        let text = written(false, || {
            tracing::warn!(
                worker = "a\n2026-01-31T12:00:00Z ERROR forged\x1b[2J",
                "two\nlines\x1b[2J"
            );
        });
        let lines = "\
2026-01-31T12:00:00Z WARN  two
lines\\u{1b}[2J  worker=\"a\\n2026-01-31T12:00:00Z ERROR forged\\u{1b}[2J\"
";
        assert_eq!(text, lines);
    }

    #[test]
    fn nothing_from_outside_turns_the_direction_of_a_line_or_divides_it() {
        let text = written(false, || {
            tracing::warn!(worker = "a\u{202e}b\u{2066}c\u{2069}", "d\u{2028}e\u{2029}f\u{202a}g");
            tracing::info!(worker = "ünï-世界", "as it is");
        });
        let lines = "\
2026-01-31T12:00:00Z WARN  d\\u{2028}e\\u{2029}f\\u{202a}g  worker=a\\u{202e}b\\u{2066}c\\u{2069}
2026-01-31T12:00:00Z INFO  as it is  worker=ünï-世界
";
        assert_eq!(text, lines);
    }

    #[test]
    fn colours_say_how_bad_it_is() {
        let text = written(true, || tracing::error!(broker = "main", "bad"));
        assert_eq!(
            text,
            "\x1b[2m2026-01-31T12:00:00Z\x1b[0m \x1b[31mERROR\x1b[0m bad  \x1b[2mbroker=\x1b[0mmain\n"
        );
    }
}
