//! The limit on storms, for all that write lines: an event is judged once, and what of it is left out is left out everywhere, and
//! counted for each.

use std::cell::Cell;

use headcount_edge::otlp::Limit;
use tracing::callsite::Identifier;
use tracing::{Event, Level};

use super::storm::{Key, Sink, Verdict};
use super::{Shared, subject};

thread_local! {
    /// What the log was last told on this thread: whoever hears of the same event after it goes by that.
    static JUDGED: Cell<Option<Judged>> = const { Cell::new(None) };
}

struct Judged {
    /// Where the event is in memory. With its place in the program that is this event, or one that the log did not want and which
    /// came to the same address after one that it did: then one line is judged as the one before it.
    event: usize,
    place: Identifier,
    /// Under what it was left out.
    held: Option<Key>,
}

impl Judged {
    fn is_of(&self, event: &Event<'_>) -> bool {
        self.event == address(event) && self.place == event.metadata().callsite()
    }
}

fn address(event: &Event<'_>) -> usize {
    std::ptr::from_ref(event).cast::<()>().addr()
}

impl Shared {
    /// Whether a sink is to write an event.
    pub(super) fn lets_through(&self, event: &Event<'_>, sink: Sink) -> bool {
        // Who asks for these wants to see each.
        if *event.metadata().level() > Level::INFO {
            return true;
        }
        if sink == Sink::Otlp
            && let Some(judged) = JUDGED.take().filter(|judged| judged.is_of(event))
        {
            if let Some(key) = &judged.held {
                self.storm().held_too(key, sink);
            }
            return judged.held.is_none();
        }
        let (verdict, key) = self.judge(event, sink);
        let held = (verdict != Verdict::Write).then_some(key);
        let written = held.is_none();
        if sink == Sink::Log {
            JUDGED.set(Some(Judged {
                event: address(event),
                place: event.metadata().callsite(),
                held,
            }));
        }
        written
    }

    fn judge(&self, event: &Event<'_>, sink: Sink) -> (Verdict, Key) {
        // Before the lock: what is recorded here is others' code, which may log.
        let about = subject::Subject::of(event);
        let (verdict, key, more) = self.storm().judge(event.metadata(), &about, self.now(), sink);
        self.tell(more.into_iter().collect());
        if let Verdict::Hold { first } = verdict {
            self.suppressed.count(event.metadata().level().as_str());
            if first {
                let message = subject::message(event);
                self.storm().describe(&key, message);
            }
        }
        (verdict, key)
    }
}

/// The limit as a collector's lines know it.
pub(super) struct OfOtlp(pub(super) std::sync::Arc<Shared>);

impl Limit for OfOtlp {
    fn lets_through(&self, event: &Event<'_>) -> bool {
        self.0.lets_through(event, Sink::Otlp)
    }
}
