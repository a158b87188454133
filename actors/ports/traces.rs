//! Where spans go: what actors have done for an alert or a job, told when it is over.

use std::sync::Arc;

use headcount_core::trace::{Span, TraceId};

/// Takes spans. Nothing that it does makes an actor wait or fail.
pub trait Tracer: Send + Sync + 'static {
    /// Whether anybody wants spans. While nobody does, none need be made.
    fn is_open(&self) -> bool;

    /// Whether the spans of a trace are kept: of some only a part is wanted.
    fn keeps(&self, trace: TraceId) -> bool;

    /// Takes a span. One that nobody wants, or that there is no room for, is dropped.
    fn take(&self, span: Span);
}

/// See [`super::SharedBroker`].
pub type SharedTracer = Arc<dyn Tracer>;

/// Wants nothing: where no tracing is configured, and in tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTracer;

impl Tracer for NoTracer {
    fn is_open(&self) -> bool {
        false
    }

    fn keeps(&self, _: TraceId) -> bool {
        false
    }

    fn take(&self, _: Span) {}
}
