//! A storm of one message: a few lines of it are written, the rest is counted, and told in one line.

use std::collections::HashMap;
use std::time::Duration;

use tracing::Metadata;
use tracing::callsite::Identifier;

use super::subject::Subject;

/// So many lines of one message about one subject are written in a window; ten show whether they are all alike.
pub(super) const BURST: u32 = 10;
/// How many in a window that follows one in which some were left out: that it goes on is news once a minute.
const GOES_ON: u32 = 1;
/// The length of a window. A longer one tells later that there were more.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// Messages about subjects that are counted apart, about 300 bytes each. Beyond, what else a message is about is counted
/// together, one row for each place in the program.
pub(super) const MAX_ROWS: usize = 2_000;

/// Where lines go that the limit lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sink {
    /// Standard error, or the journal.
    Log,
    /// An OTLP collector.
    Otlp,
}

/// How many were left out of what would have gone to each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) log: u64,
    pub(super) otlp: u64,
}

impl Held {
    const NONE: Self = Self { log: 0, otlp: 0 };

    fn of(&mut self, sink: Sink) -> &mut u64 {
        match sink {
            Sink::Log => &mut self.log,
            Sink::Otlp => &mut self.otlp,
        }
    }
}

/// What is told of a storm.
#[derive(Debug)]
pub(super) struct More {
    /// Where it comes from.
    pub(super) metadata: &'static Metadata<'static>,
    /// Whom it is about.
    pub(super) subject: Subject,
    /// The first that was left out.
    pub(super) message: String,
    /// How many were left out.
    pub(super) held: Held,
    /// Within how long.
    pub(super) within: Duration,
}

/// What to do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Write,
    /// Leave it out. Of the `first` of a window the message is wanted.
    Hold {
        first: bool,
    },
}

/// A place in the program, and a number for whom it speaks about; none where these are not counted apart.
pub(super) type Key = (Identifier, Option<u64>);

#[derive(Debug)]
struct Row {
    metadata: &'static Metadata<'static>,
    subject: Subject,
    since: Duration,
    room: u32,
    held: Held,
    message: String,
}

impl Row {
    /// Ends the window, where it is over: what is told of it, if there is anything. What comes next is a new one.
    fn turn(&mut self, now: Duration) -> Option<More> {
        let within = now.saturating_sub(self.since);
        if within < WINDOW {
            return None;
        }
        let more = self.take(now);
        self.since = now;
        self.room = if more.is_some() { GOES_ON } else { BURST };
        more
    }

    fn take(&mut self, now: Duration) -> Option<More> {
        let held = std::mem::take(&mut self.held);
        (held != Held::NONE).then(|| More {
            metadata: self.metadata,
            subject: self.subject.clone(),
            message: std::mem::take(&mut self.message),
            held,
            within: now.saturating_sub(self.since),
        })
    }
}

/// All that has been written of late. `now` is any clock that does not go back.
#[derive(Debug, Default)]
pub(super) struct Storm {
    rows: HashMap<Key, Row>,
}

impl Storm {
    /// What to do with an event that a sink would write, and what is to be told before. One that others would write as well is
    /// judged once: they go by the same, and say so ([`Storm::held_too`]).
    pub(super) fn judge(
        &mut self,
        metadata: &'static Metadata<'static>,
        subject: &Subject,
        now: Duration,
        sink: Sink,
    ) -> (Verdict, Key, Option<More>) {
        let mut key = (metadata.callsite(), Some(subject.number()));
        if self.rows.len() >= MAX_ROWS && !self.rows.contains_key(&key) {
            self.rows
                .retain(|_, row| row.held != Held::NONE || now.saturating_sub(row.since) < WINDOW);
            if self.rows.len() >= MAX_ROWS {
                key.1 = None;
            }
        }
        let apart = key.1.is_some();
        let row = self.rows.entry(key.clone()).or_insert_with(|| Row {
            metadata,
            subject: if apart { subject.clone() } else { Subject::default() },
            since: now,
            room: BURST,
            held: Held::NONE,
            message: String::new(),
        });
        let more = row.turn(now);
        let verdict = if row.room > 0 {
            row.room -= 1;
            Verdict::Write
        } else {
            let first = row.held == Held::NONE;
            *row.held.of(sink) += 1;
            Verdict::Hold { first }
        };
        (verdict, key, more)
    }

    /// One that was left out would have gone to this sink too.
    pub(super) fn held_too(&mut self, key: &Key, sink: Sink) {
        if let Some(row) = self.rows.get_mut(key) {
            *row.held.of(sink) += 1;
        }
    }

    /// Keeps the message of the first that was left out.
    pub(super) fn describe(&mut self, key: &Key, message: String) {
        if let Some(row) = self.rows.get_mut(key) {
            row.message = message;
        }
    }

    /// What is to be told of windows that are over; those in which nothing was left out are forgotten.
    pub(super) fn due(&mut self, now: Duration) -> Vec<More> {
        let mut all = Vec::new();
        self.rows.retain(|_, row| {
            let over = now.saturating_sub(row.since) >= WINDOW;
            let more = row.turn(now);
            let stays = !over || more.is_some();
            all.extend(more);
            stays
        });
        all
    }

    /// All that was left out and is not told yet.
    pub(super) fn finish(&mut self, now: Duration) -> Vec<More> {
        self.rows.values_mut().filter_map(|row| row.take(now)).collect()
    }

    #[cfg(test)]
    fn rows(&self) -> usize {
        self.rows.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Two places in the program.
    fn places() -> [&'static Metadata<'static>; 2] {
        use tracing_subscriber::layer::{Context, SubscriberExt};

        #[derive(Clone, Default)]
        struct Seen(Arc<Mutex<Vec<&'static Metadata<'static>>>>);
        impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Seen {
            fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
                self.0.lock().unwrap().push(event.metadata());
            }
        }
        let seen = Seen::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(seen.clone()), || {
            tracing::error!("one");
            tracing::warn!("another");
        });
        let seen = seen.0.lock().unwrap();
        [seen[0], seen[1]]
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_storm_is_a_few_lines_and_then_one_a_minute_with_a_count() {
        let ([place, _], mut storm) = (places(), Storm::default());
        let main = Subject::new("broker", "main");
        let (mut written, mut told) = (0, Vec::new());
        // A thousand a second, for five minutes.
        for n in 0..300_000 {
            let now = Duration::from_millis(n);
            if n % 1_000 == 0 {
                told.extend(storm.due(now));
            }
            let (verdict, key, more) = storm.judge(place, &main, now, Sink::Log);
            written += u64::from(verdict == Verdict::Write);
            if verdict == (Verdict::Hold { first: true }) {
                storm.describe(&key, "broker not heard".to_owned());
            }
            told.extend(more);
        }
        told.extend(storm.due(secs(301)));
        assert_eq!(written, 10 + 4);
        let counts: Vec<u64> = told.iter().map(|more| more.held.log).collect();
        assert_eq!(counts, [59_990, 59_999, 59_999, 59_999, 59_999]);
        assert_eq!(
            written + counts.iter().sum::<u64>(),
            300_000,
            "each is written or counted"
        );
        assert!(
            told.iter()
                .all(|more| more.message == "broker not heard" && more.subject == main)
        );
        assert_eq!(told[0].within, WINDOW);

        // It is over: the next time it is news again.
        assert!(storm.due(secs(362)).is_empty());
        assert_eq!(storm.rows(), 0);
        for _ in 0..BURST {
            assert_eq!(storm.judge(place, &main, secs(400), Sink::Log).0, Verdict::Write);
        }
    }

    #[test]
    fn what_is_about_others_or_comes_from_elsewhere_is_not_held() {
        let ([place, other], mut storm) = (places(), Storm::default());
        for _ in 0..1_000 {
            storm.judge(place, &Subject::new("broker", "main"), secs(1), Sink::Log);
        }
        assert_eq!(
            storm
                .judge(place, &Subject::new("broker", "second"), secs(1), Sink::Log)
                .0,
            Verdict::Write
        );
        assert_eq!(
            storm
                .judge(other, &Subject::new("broker", "main"), secs(1), Sink::Log)
                .0,
            Verdict::Write
        );
    }

    #[test]
    fn what_is_kept_is_bounded_and_each_place_still_speaks() {
        let ([place, other], mut storm) = (places(), Storm::default());
        let mut written = 0;
        for n in 0..10_000 {
            let (verdict, ..) = storm.judge(place, &Subject::new("subject", &n.to_string()), secs(1), Sink::Log);
            written += u64::from(verdict == Verdict::Write);
        }
        assert_eq!(storm.rows(), MAX_ROWS + 1);
        assert_eq!(written, MAX_ROWS as u64 + u64::from(BURST));
        assert_eq!(
            storm.judge(other, &Subject::default(), secs(1), Sink::Log).0,
            Verdict::Write
        );
        let told = storm.finish(secs(2));
        assert_eq!(told.iter().map(|more| more.held.log).sum::<u64>(), 10_000 - written);

        // A window later there is room again.
        let (verdict, ..) = storm.judge(place, &Subject::new("subject", "new"), secs(120), Sink::Log);
        assert_eq!((verdict, storm.rows()), (Verdict::Write, 1));
    }

    #[test]
    fn what_was_left_out_is_told_at_the_end() {
        let ([place, _], mut storm) = (places(), Storm::default());
        for _ in 0..15 {
            let (verdict, key, _) = storm.judge(place, &Subject::default(), secs(1), Sink::Log);
            if verdict != Verdict::Write {
                storm.held_too(&key, Sink::Otlp);
            }
        }
        storm.judge(place, &Subject::default(), secs(1), Sink::Otlp);
        let told = storm.finish(secs(6));
        let held = Held { log: 5, otlp: 6 };
        assert_eq!((told.len(), told[0].held, told[0].within), (1, held, secs(5)));
        assert!(storm.finish(secs(6)).is_empty(), "once");
    }
}
