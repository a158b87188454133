//! The layer with its filter, its limit and what comes behind it.

use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt;

use super::*;

/// What was written, one line an event.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                self.0.push_str(&format!(" {}={value:?}", field.name()));
            }
        }
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
}

/// Runs something with a log, and returns what it wrote.
fn logged(level: &str, what: impl FnOnce(&Logs)) -> Vec<String> {
    let lines = Lines::default();
    let sinks = Sinks {
        text: lines.clone().boxed(),
        json: Lines::default().boxed(),
        journal: None,
    };
    let (layer, logs) = assemble(level, sinks, (Output::Text, sink::own(lines.clone().boxed())));
    tracing::subscriber::with_default(Registry::default().with(layer), || what(&logs));
    lines.0.lock().unwrap().clone()
}

#[test]
fn a_filter_counts_from_the_moment_on_which_it_is_set() {
    let lines = logged("info", |logs| {
        let say = |n: u32| {
            tracing::debug!(target: "headcount_actors::lane", "debug {n}");
            tracing::info!(target: "headcount_edge", "info {n}");
        };
        say(1);
        logs.set("warn,headcount_actors=debug", None).unwrap();
        say(2);
        assert!(
            logs.set("headcount_actors=loud", None)
                .unwrap_err()
                .contains("headcount_actors=loud")
        );
        say(3);
        logs.reset();
        say(4);
        logs.configure(&Filter::parse("off").unwrap(), Format::Text);
        say(5);
    });
    let wanted = [
        "INFO message=info 1",
        "DEBUG message=debug 2",
        "DEBUG message=debug 3",
        "INFO message=info 4",
    ];
    assert_eq!(lines, wanted.map(str::to_owned));
}

#[test]
fn a_storm_leaves_a_few_lines_and_its_count_with_whom_it_is_about() {
    let lines = logged("debug", |logs| {
        for n in 0..1_000 {
            for broker in ["main", "second"] {
                tracing::warn!(broker, id = n, "broker not heard");
            }
        }
        for n in 0..100 {
            tracing::error!(subject = %format_args!("fleet{n}"), "each is another");
            tracing::debug!("asked for");
        }
        logs.finish();
        let suppressed = format!("{:?}", logs.suppressed());
        assert!(suppressed.contains("1980"), "{suppressed}");
    });
    let count = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
    assert_eq!(count("message=broker not heard"), 20);
    assert_eq!(
        count("each is another"),
        100,
        "an error about somebody else is never held back"
    );
    assert_eq!(count("asked for"), 100, "who asks for details sees each");
    for broker in ["main", "second"] {
        let words = format!("suppressed=990 of=\"headcount::telemetry::logs::tests\" broker=\"{broker}\"");
        let line = lines.iter().find(|line| line.contains(&words));
        let line = line.unwrap_or_else(|| panic!("{words}: {lines:#?}"));
        assert!(
            line.starts_with("WARN message=… and 990 more in 1 s: broker not heard"),
            "{line}"
        );
    }
    assert_eq!(lines.len(), 20 + 100 + 100 + 2);
}

#[test]
fn what_comes_behind_does_not_make_the_program_believe_that_somebody_listens() {
    let (layer, _logs) = layer::<Registry>("warn");
    // Asked of itself: what a callsite remembers is made of all subscribers of the process, those of the tests beside this one too.
    let subscriber = Registry::default().with(layer);
    assert_eq!(subscriber.max_level_hint(), Some(LevelFilter::WARN));
}
