//! Panics, wherever they are: whoever catches one later knows neither where it was nor what led there.

use std::panic::PanicHookInfo;
use std::sync::Once;

use super::line::Sentry;
use super::report::Report;

/// Sees every panic from now on, after whoever saw them before. Once for the program: a hook cannot be taken back.
pub(super) fn watch(sentry: &Sentry) {
    static WATCHED: Once = Once::new();
    let sentry = sentry.clone();
    WATCHED.call_once(move || {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            before(info);
            seen(&sentry, info);
        }));
    });
}

fn seen(sentry: &Sentry, info: &PanicHookInfo<'_>) {
    let place = info.location().map_or_else(
        || "an unknown place".to_owned(),
        |place| format!("{}:{}", from_source(place.file()), place.line()),
    );
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("a panic without a message");
    sentry.panicked(|stack| {
        Report::panic(&place, message, || {
            stack
                .then(sentry::integrations::backtrace::current_stacktrace)
                .flatten()
        })
    });
}

/// A path in the sources, without where they lay when they were compiled.
fn from_source(file: &str) -> &str {
    let roots = ["/registry/src/", "/rustc/"];
    let root = roots.iter().find_map(|root| file.find(root).map(|at| at + root.len()));
    root.and_then(|at| file.get(at..))
        .and_then(|path| path.split_once('/'))
        .map_or(file, |(_, path)| path)
}
