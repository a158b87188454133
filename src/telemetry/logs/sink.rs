//! How the log is written, by the crates' layers.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use serde::Deserialize;
use tracing::{Dispatch, Level, Metadata, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, fmt};

use super::storm::More;
use super::text::Text;

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The first of the others that fits: `text` on a terminal, `journald` where standard error is the journal, else `json`.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One object a line.
    Json,
    /// The journal's own fields.
    Journald,
}

/// The target of what the log says of itself.
const OWN: &str = "headcount::log";

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Text,
    Json,
    Journald,
}

impl Output {
    /// What a format comes to here and now.
    pub(super) fn of(format: Format) -> Self {
        match format {
            Format::Auto if std::io::stderr().is_terminal() => Output::Text,
            Format::Auto if is_journal() => Output::Journald,
            Format::Auto | Format::Json => Output::Json,
            Format::Text => Output::Text,
            Format::Journald => Output::Journald,
        }
    }
}

type Sink<S> = Box<dyn Layer<S> + Send + Sync>;

/// All that may write. Each is there from the start: a layer that has not heard of a span cannot write an event in it.
pub(super) struct Sinks<S> {
    pub(super) text: Sink<S>,
    pub(super) json: Sink<S>,
    pub(super) journal: Option<Sink<S>>,
}

impl<S> Sinks<S>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    pub(super) fn open() -> Self {
        Self {
            text: text(),
            json: json(),
            journal: journal().ok(),
        }
    }

    /// Where there is no journal, what is said in its place is JSON.
    pub(super) fn of(&self, output: Output) -> &Sink<S> {
        match output {
            Output::Text => &self.text,
            Output::Json => &self.json,
            Output::Journald => self.journal.as_ref().unwrap_or(&self.json),
        }
    }

    pub(super) fn each(&self, tell: impl Fn(&Sink<S>)) {
        [Some(&self.text), Some(&self.json), self.journal.as_ref()]
            .into_iter()
            .flatten()
            .for_each(tell);
    }
}

/// Opens what the log says of itself. A journal that is not there is said, in JSON.
pub(super) fn open(format: Format) -> (Output, Dispatch) {
    let output = Output::of(format);
    let own = match output {
        Output::Text => own(text()),
        Output::Json => own(json()),
        Output::Journald => match journal() {
            Ok(journal) => own(journal),
            Err(error) => {
                let own = own(json());
                tracing::dispatcher::with_default(&own, || {
                    tracing::warn!(
                        target: OWN,
                        %error,
                        "the journal cannot be reached: the log goes to standard error as JSON; see whether systemd-journald \
                         runs, or set another [log] format"
                    );
                });
                own
            }
        },
    };
    (output, own)
}

fn text<S>() -> Sink<S>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .event_format(Text)
        .boxed()
}

fn json<S>() -> Sink<S>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    fmt::layer()
        .json()
        .flatten_event(true)
        .with_writer(std::io::stderr)
        .boxed()
}

fn journal<S>() -> std::io::Result<Sink<S>>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let layer = tracing_journald::layer()?
        .with_syslog_identifier("headcount".to_owned())
        .with_priority_mappings(PRIORITIES);
    Ok(layer.boxed())
}

/// A subscriber for what the log says of itself, which must not make the program believe that somebody listens to the rest.
pub(super) fn own(sink: Sink<Registry>) -> Dispatch {
    let only = FilterFn::new((|metadata| metadata.target() == OWN) as fn(&Metadata<'_>) -> bool);
    Dispatch::new(
        Registry::default()
            .with(sink)
            .with(only.with_max_level_hint(Level::INFO)),
    )
}

/// As `syslog` and systemd understand these words; the crate's own have `info` as a notice.
const PRIORITIES: PriorityMappings = PriorityMappings {
    error: Priority::Error,
    warn: Priority::Warning,
    info: Priority::Informational,
    debug: Priority::Debug,
    trace: Priority::Debug,
};

/// Whether standard error is the journal: systemd says in `JOURNAL_STREAM` which device and inode that is.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(std::io::stderr().as_fd()).is_ok_and(|error| is_stream(&stream, error.st_dev, error.st_ino))
}

fn is_stream(stream: &str, device: u64, inode: u64) -> bool {
    stream
        .split_once(':')
        .is_some_and(|(a, b)| a.parse() == Ok(device) && b.parse() == Ok(inode))
}

/// Writes what is told of a storm, at its level, with whom it is about. Where nothing was left out it says nothing.
pub(super) fn write_more(sink: &Dispatch, more: &More, held: u64) {
    if held == 0 {
        return;
    }
    let seconds = more.within.as_secs_f64().round().max(1.0);
    let words = format!("… and {} more in {seconds} s: {}", grouped(held), more.message);
    let of = more.metadata.target();
    let about = |name| more.subject.get(name);
    /// The fields are those of `subject::FIELDS`.
    macro_rules! write {
        ($level:ident) => {
            tracing::event!(
                target: OWN,
                Level::$level,
                suppressed = held,
                of,
                broker = about("broker"),
                fleet = about("fleet"),
                node = about("node"),
                worker = about("worker"),
                hostname = about("hostname"),
                job = about("job"),
                task = about("task"),
                notifier = about("notifier"),
                pipeline = about("pipeline"),
                actor = about("actor"),
                subject = about("subject"),
                source = about("log.target"),
                "{words}"
            )
        };
    }
    tracing::dispatcher::with_default(sink, || match *more.metadata.level() {
        Level::ERROR => write!(ERROR),
        Level::WARN => write!(WARN),
        _ => write!(INFO),
    });
}

/// `9,321`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(
            [0, 999, 1_000, 9_321, 1_234_567].map(grouped),
            ["0", "999", "1,000", "9,321", "1,234,567"]
        );
    }

    #[test]
    fn the_journal_is_known_by_its_device_and_inode() {
        assert!(is_stream("8:42", 8, 42));
        for other in ["8:43", "9:42", "8", "", "x:42", "8:42:1"] {
            assert!(!is_stream(other, 8, 42), "{other}");
        }
    }
}
