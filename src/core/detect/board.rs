//! A fleet's queues as the broker last showed them, with what is known of who consumes them.

use std::time::Duration;

use compact_str::CompactString;

use super::observed::Seen;
use super::work::Work;
use crate::status::QueueStatus;

/// How old what the broker said of its queues may be to judge by it: two looks at a worker's work, and some patience.
const FRESH_FOR: Duration = Duration::from_secs(15);

/// One queue.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: CompactString,
    /// Messages that wait in it.
    pub(super) length: u64,
    /// Consumers that the broker sees, where it can tell.
    pub(super) consumers: Option<u32>,
    /// How many live workers of the fleet say that they consume it.
    pub(super) claimed: u32,
    /// When one of those last got on with its work.
    pub(super) moved: Option<Seen>,
}

/// All of them, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Board {
    /// The queues that the fleet was told it has.
    configured: Vec<CompactString>,
    lines: Vec<Line>,
    at: Option<Seen>,
    /// How many connections of the whole broker wait for messages or have just taken one, where the broker can tell.
    takers: Option<(Seen, u32)>,
}

impl Board {
    /// A board on which nothing has been written yet.
    pub(super) fn new(configured: &[CompactString]) -> Self {
        Self {
            configured: configured.to_vec(),
            ..Self::default()
        }
    }

    /// Takes what the broker shows of the queues at `t`.
    pub(super) fn show(&mut self, t: Seen, queues: &[QueueStatus]) {
        self.lines.clear();
        self.lines.extend(queues.iter().map(|queue| Line {
            name: queue.name.clone(),
            length: queue.length,
            consumers: queue.consumers,
            claimed: 0,
            moved: None,
        }));
        self.lines.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        self.at = Some(t);
    }

    /// Notes what a live worker claims to consume, and when it last got on.
    pub(super) fn claim(&mut self, work: &Work) {
        for name in work.queues().into_iter().flatten() {
            if let Ok(place) = self.lines.binary_search_by(|line| line.name.cmp(name))
                && let Some(line) = self.lines.get_mut(place)
            {
                line.claimed += 1;
                line.moved = line.moved.max(work.moved());
            }
        }
    }

    /// Takes how many connections wait for messages.
    pub(super) fn take(&mut self, t: Seen, takers: Option<u32>) {
        self.takers = takers.map(|takers| (t, takers));
    }

    /// Whether nobody at all takes messages from the broker, as far as it can tell.
    pub(super) fn nobody_takes(&self, t: Seen) -> bool {
        matches!(self.takers, Some((at, 0)) if t.since(at) <= FRESH_FOR)
    }

    /// The queues that the fleet was told it has.
    pub(super) fn configured(&self) -> &[CompactString] {
        &self.configured
    }

    /// A queue.
    pub(super) fn line(&self, name: &CompactString) -> Option<&Line> {
        let place = self.lines.binary_search_by(|line| line.name.cmp(name)).ok()?;
        self.lines.get(place)
    }

    /// A queue in which messages wait.
    pub(super) fn waiting(&self, name: &CompactString) -> Option<&Line> {
        self.line(name).filter(|line| line.length > 0)
    }

    /// Whether it may be judged by.
    pub(super) fn is_fresh(&self, t: Seen) -> bool {
        self.at.is_some_and(|at| t.since(at) <= FRESH_FOR)
    }
}
