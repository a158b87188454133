//! Panics, wherever they are: whoever catches one later knows neither where it was nor what led there. Each is one line of the log,
//! in whatever form that has, and one event of Sentry's.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::sync::Once;

use headcount_actors::vitals;
use tracing::Level;

use super::line::Sentry;
use super::report::Report;

/// Who tells of a panic in the log.
const TARGET: &str = "headcount::panic";

/// Sees every panic from now on. Once for the program: a hook cannot be taken back.
pub(super) fn watch(sentry: &Sentry) {
    static WATCHED: Once = Once::new();
    let sentry = sentry.clone();
    WATCHED.call_once(move || {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let panic = Panic::of(info);
            // Before there is a log, and where its filter leaves errors out, it is written as by any program.
            if tracing::enabled!(target: TARGET, Level::ERROR) {
                panic.log();
            } else {
                before(info);
            }
            panic.tell(&sentry);
        }));
    });
}

struct Panic {
    place: String,
    message: String,
}

impl Panic {
    fn of(info: &PanicHookInfo<'_>) -> Self {
        let place = info.location().map_or_else(
            || "an unknown place".to_owned(),
            |place| format!("{}:{}", from_source(place.file()), place.line()),
        );
        let payload = info.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = message.unwrap_or("a panic without a message").to_owned();
        Self { place, message }
    }

    fn log(&self) {
        let (place, reason) = (&self.place, &self.message);
        let thread = std::thread::current();
        let thread = thread.name();
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        let backtrace = backtrace.as_deref();
        let duty = vitals::duty();
        match duty.as_deref() {
            Some(duty) if duty.kind == vitals::TASK => tracing::error!(
                target: TARGET, panic = true, task = duty.of.as_deref(), thread, place, backtrace,
                "a task panicked, which is a mistake in Headcount: the task fails, and nothing else; please report the place"
            ),
            Some(duty) => tracing::error!(
                target: TARGET, panic = true, actor = %duty, thread, place, reason, backtrace,
                "an actor panicked, which is a mistake in Headcount: it starts anew from the store, and the others go on; please report \
                 the place and the reason"
            ),
            None => tracing::error!(
                target: TARGET, panic = true, thread, place, reason, backtrace,
                "a thread panicked, which is a mistake in Headcount: whoever waits for it goes on without it, or the program ends; \
                 please report the place and the reason"
            ),
        }
    }

    fn tell(&self, sentry: &Sentry) {
        sentry.panicked(|stack| {
            Report::panic(&self.place, &self.message, || {
                stack
                    .then(sentry::integrations::backtrace::current_stacktrace)
                    .flatten()
            })
        });
    }
}

/// A path in the sources, without where they lay when they were compiled.
fn from_source(file: &str) -> &str {
    let roots = ["/registry/src/", "/rustc/"];
    let root = roots.iter().find_map(|root| file.find(root).map(|at| at + root.len()));
    root.and_then(|at| file.get(at..))
        .and_then(|path| path.split_once('/'))
        .map_or(file, |(_, path)| path)
}
