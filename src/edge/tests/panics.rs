//! A panic is one record of the log, once there is one. In a program of its own: a hook is the program's.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use headcount_edge::sentry::Sentry;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// How often the hook was called that was there before, which writes three lines.
static WRITTEN: AtomicUsize = AtomicUsize::new(0);

type Record = (Level, BTreeMap<String, String>);

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Record>>>);

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.0.lock().unwrap().push((*event.metadata().level(), fields.0));
        assert!(!fields.1, "a panic in the log itself");
    }
}

#[derive(Default)]
struct Fields(BTreeMap<String, String>, bool);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
        self.1 |= field.name() == "breaks_the_log";
    }
}

fn panics(act: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name("bad".to_owned()).spawn(act).unwrap();
    thread.join().unwrap_err();
}

#[test]
fn a_panic_is_one_record_and_what_it_was_before_where_there_is_no_log() {
    std::panic::set_hook(Box::new(|_| {
        WRITTEN.fetch_add(1, Ordering::Relaxed);
    }));
    Sentry::new().install();
    let written = || WRITTEN.load(Ordering::Relaxed);

    panics(|| panic!("before there is a log"));
    assert_eq!(written(), 1);

    let log = Log::default();
    tracing_subscriber::registry().with(log.clone()).init();
    panics(|| panic!("two\nlines"));
    assert_eq!(written(), 1);
    let records = std::mem::take(&mut *log.0.lock().unwrap());
    let [(Level::ERROR, fields)] = &records[..] else {
        panic!("one error: {records:?}");
    };
    assert_eq!((&*fields["thread"], &*fields["reason"]), ("\"bad\"", "\"two\\nlines\""));
    assert!(fields["place"].contains("tests/panics.rs:"), "{fields:?}");
    assert!(fields["message"].contains("please report"), "{fields:?}");

    // Whoever logs is in the midst of it: the panic is told of as any other, and nobody waits for himself.
    panics(|| tracing::info!(breaks_the_log = true, "this"));
    assert_eq!(written(), 1);
    assert_eq!(log.0.lock().unwrap().len(), 2);
}
