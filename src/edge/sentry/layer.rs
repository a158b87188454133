//! The layer that sees what is traced.

use sentry::protocol;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::line::Sentry;
use super::report::Told;

/// Makes reports of errors, and breadcrumbs of the rest.
#[derive(Clone, Debug)]
pub(super) struct Notices(pub(super) Sentry);

impl<S: Subscriber> Layer<S> for Notices {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let told = Told::of(event);
        if level == Level::ERROR {
            if let Some(report) = told.report(target) {
                self.0.tell(report, 1);
            }
        } else {
            let level = if level == Level::WARN {
                protocol::Level::Warning
            } else {
                protocol::Level::Info
            };
            self.0.leave(level, target, told);
        }
    }
}
