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
    let own = |lines: &Lines| sink::own(lines.clone().boxed());
    let collector = Lines::default();
    let (layer, logs) = assemble(level, sinks, (Output::Text, own(&lines)), own(&collector));
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
fn nothing_that_prints_secrets_is_written_whatever_the_filter_says() {
    let asked = [
        "trace",
        "lapin=trace",
        "info,lapin::frames=trace,hyper=trace,reqwest::connect=trace,rustls=trace",
        "off,[within]=trace,lapin[within]=trace",
    ];
    for filter in asked {
        let lines = logged("info", |logs| {
            logs.set(filter, None).unwrap();
            let span = tracing::error_span!(target: "headcount_edge", "within");
            span.in_scope(|| {
                tracing::trace!(target: "lapin::frames", "secret");
                tracing::trace!(target: "lapin", "secret");
                tracing::warn!(target: "lapin::returned_messages", "secret");
                tracing::trace!(target: "hyper_util::client", "secret");
                tracing::trace!(target: "reqwest::connect", "secret");
                tracing::trace!(target: "rustls::client::hs", "secret");
            });
        });
        assert_eq!(lines, Vec::<String>::new(), "{filter}");
    }
    let lines = logged("lapin=trace,hyper=debug", |_| {
        tracing::debug!(target: "lapin::channels", "create channel");
        tracing::debug!(target: "hyper::client", "connects");
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
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

/// As the layer of a collector: it writes what the limit lets through.
struct Collector(Lines, Arc<dyn Limit>);

impl<S: Subscriber> Layer<S> for Collector {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if self.1.lets_through(event) {
            self.0.on_event(event, context);
        }
    }
}

/// What the log and a collector have, and how many lines were counted as left out.
fn both(level: &str) -> ([usize; 2], [Vec<String>; 2], String) {
    let [log, collector] = [Lines::default(), Lines::default()];
    let own = |lines: &Lines| sink::own(lines.clone().boxed());
    let sinks = Sinks {
        text: log.clone().boxed(),
        json: Lines::default().boxed(),
        journal: None,
    };
    let (layer, logs) = assemble(level, sinks, (Output::Text, own(&log)), own(&collector));
    let second = Collector(collector.clone(), logs.limit()).with_filter(LevelFilter::INFO);
    tracing::subscriber::with_default(Registry::default().with(layer).with(second), || {
        for n in 0..3_000 {
            tracing::warn!(task = "sms.send", id = n, "task failed");
        }
        tracing::error!(task = "sms.send", "another");
        logs.finish();
    });
    let taken = |lines: &Lines| lines.0.lock().unwrap().clone();
    let (log, collector) = (taken(&log), taken(&collector));
    let count = |lines: &[String]| {
        let plain = lines.iter().filter(|line| line.contains("message=task failed"));
        plain.count()
    };
    (
        [count(&log), count(&collector)],
        [log, collector],
        format!("{:?}", logs.suppressed()),
    )
}

#[test]
fn a_line_that_is_held_back_is_held_back_everywhere_and_counted_once() {
    let (plain, lines, suppressed) = both("info");
    assert_eq!(plain, [10, 10]);
    for lines in &lines {
        assert_eq!(lines.len(), 10 + 1 + 1, "{lines:#?}");
        assert!(lines[11].contains("… and 2,990 more in 1 s: task failed"), "{lines:#?}");
        assert!(lines[11].contains("suppressed=2990"), "{lines:#?}");
    }
    assert!(suppressed.contains("2990"), "{suppressed}");
}

#[test]
fn what_only_a_collector_is_to_have_is_told_to_it_alone() {
    let (plain, [log, collector], suppressed) = both("error");
    assert_eq!(plain, [0, 10]);
    assert_eq!((log.len(), collector.len()), (1, 10 + 1 + 1), "{log:#?} {collector:#?}");
    assert!(collector[11].contains("suppressed=2990"), "{collector:#?}");
    assert!(suppressed.contains("2990"), "{suppressed}");
}

#[test]
fn what_comes_behind_does_not_make_the_program_believe_that_somebody_listens() {
    let (layer, _logs) = layer::<Registry>("warn", &Otlp::default());
    // Asked of itself: what a callsite remembers is made of all subscribers of the process, those of the tests beside this one too.
    let subscriber = Registry::default().with(layer);
    assert_eq!(subscriber.max_level_hint(), Some(LevelFilter::WARN));
}

#[test]
fn no_line_of_the_greeting_is_held_back_however_many_fleets_there_are() {
    use headcount_core::detect::{BrokerState, FleetState};
    use headcount_core::status::Status;

    use crate::greeting::tests as greeting;

    let broker = |n: usize| greeting::broker(&format!("broker{n}"), BrokerState::Heard, None);
    let fleet = |n: usize| {
        let broker = format!("broker{}", n % 12);
        greeting::fleet(&format!("fleet{n}"), &broker, FleetState::Unknown)
    };
    // The second time more than the limit tells apart: those that are too many are counted, and what frames them is said.
    for (fleets, all) in [(30, true), (storm::MAX_ROWS + 100, false)] {
        let status = Status {
            brokers: (0..12).map(broker).collect(),
            fleets: (0..fleets).map(fleet).collect(),
            ..Status::default()
        };
        let lines = logged("info", |_| {
            let greeting = crate::greeting::lines(&status, ([127, 0, 0, 1], 8787).into());
            greeting.iter().for_each(crate::greeting::Line::log);
        });
        assert!(!all || lines.len() == 1 + 12 + fleets + 1, "{} lines", lines.len());
        assert!(lines[0].contains("is watching"), "{}", lines[0]);
        let last = lines.last().unwrap();
        assert!(last.contains("alerts follow here"), "{last}");
    }
}
