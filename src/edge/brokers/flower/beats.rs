//! From counts to signs of life: what has grown since the last look has happened since the last look.

use std::time::Duration;

use compact_str::CompactString;
use rustc_hash::FxHashMap;
use serde::Serialize;
use tokio::time::Instant;

use super::rows::{Counts, Row};

/// A worker that beat so lately need not be asked whether it lives: Celery's interval, twice.
const LATELY: Duration = Duration::from_secs(4);

/// A worker whose silence began so long before the last event of all is no longer waited for: it is the detector's case,
/// and no sign of Flower's deafness.
const AWAITED_FOR: Duration = Duration::from_secs(60);

/// What Flower has heard of a worker since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It beats.
    Beat,
    /// It has started, or found its way back.
    Online,
    /// It has said goodbye.
    Goodbye,
    /// Events of its tasks alone.
    Tasks,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    counts: Counts,
    beat: Option<Instant>,
    left: bool,
    look: u64,
}

/// What the counts were at the last look.
#[derive(Debug, Default)]
pub(super) struct Beats {
    known: FxHashMap<CompactString, Known>,
    look: u64,
    /// When anything was last heard of anybody.
    heard: Option<Instant>,
}

impl Beats {
    /// Compares with the last look, and hands over each worker of whom there is news. Who is seen for the first time is
    /// only noted, and so is everybody after a restart of Flower: their counts may be old.
    pub(super) fn look<'a>(&mut self, now: Instant, rows: &'a [Row], mut each: impl FnMut(&'a Row, News)) {
        self.look += 1;
        for row in rows {
            let Some(known) = self.known.get_mut(&row.hostname) else {
                let known = Known {
                    counts: row.counts,
                    beat: None,
                    left: row.counts.goodbyes > 0 && row.newest.is_none(),
                    look: self.look,
                };
                self.known.insert(row.hostname.clone(), known);
                continue;
            };
            // Two rows of one name, which two names that cannot be read may come to: the first counts.
            if std::mem::replace(&mut known.look, self.look) == self.look {
                continue;
            }
            let before = std::mem::replace(&mut known.counts, row.counts);
            let Some(news) = news(before, row) else { continue };
            self.heard = Some(now);
            match news {
                News::Beat | News::Online => (known.beat, known.left) = (Some(now), false),
                News::Goodbye => known.left = true,
                News::Tasks => {}
            }
            each(row, news);
        }
        // Whom Flower has let go, or who never was.
        self.known.retain(|_, known| known.look == self.look);
    }

    /// How many workers Flower knows, dead ones too.
    pub(super) fn workers(&self) -> usize {
        self.known.len()
    }

    /// Whether a worker beat just now.
    pub(super) fn is_lively(&self, hostname: &str, now: Instant) -> bool {
        let beat = self.known.get(hostname).and_then(|known| known.beat);
        beat.is_some_and(|beat| now.duration_since(beat) < LATELY)
    }

    /// When anything was last heard of anybody.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.heard
    }

    /// Whether anybody is there whose silence would mean something: who beat not long before the last event of all, and
    /// has not left. Where nobody has been heard yet: whether anybody has not left.
    pub(super) fn awaits_anybody(&self) -> bool {
        let Some(heard) = self.heard else {
            return self.known.is_empty() || self.known.values().any(|known| !known.left);
        };
        self.known
            .values()
            .any(|known| !known.left && known.beat.is_some_and(|beat| beat + AWAITED_FOR >= heard))
    }
}

fn news(before: Counts, row: &Row) -> Option<News> {
    let now = row.counts;
    let counts = |of: fn(&Counts) -> u64| (of(&before), of(&now));
    let all = [
        counts(|counts| counts.beats),
        counts(|counts| counts.onlines),
        counts(|counts| counts.goodbyes),
        counts(|counts| counts.tasks),
    ];
    if all.iter().any(|(before, now)| now < before) {
        return None;
    }
    let [beat, online, goodbye, tasks] = all.map(|(before, now)| now > before);
    match (goodbye, online, beat) {
        // Which of the two came last: a goodbye takes the times of receipt with it.
        (true, true, _) if row.newest.is_some() => Some(News::Online),
        (true, ..) => Some(News::Goodbye),
        (false, true, _) => Some(News::Online),
        (false, false, true) => Some(News::Beat),
        (false, false, false) => tasks.then_some(News::Tasks),
    }
}

/// The event that the news was made from, as the worker sent it, as far as Flower shows it. None for news that no event
/// of its own made.
pub(super) fn event(row: &Row, news: News) -> Option<Vec<u8>> {
    #[derive(Serialize)]
    struct Event<'a> {
        r#type: &'static str,
        hostname: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        clock: Option<u64>,
        /// When Flower received it: it orders as well as the worker's own.
        #[serde(skip_serializing_if = "Option::is_none")]
        timestamp: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        freq: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        active: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        processed: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        sw_ident: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        sw_ver: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        sw_sys: Option<&'a str>,
    }
    let event = Event {
        r#type: match news {
            News::Beat => "worker-heartbeat",
            News::Online => "worker-online",
            News::Goodbye => "worker-offline",
            News::Tasks => return None,
        },
        hostname: &row.hostname,
        pid: row.pid,
        clock: row.clock,
        timestamp: row.newest,
        freq: row.freq,
        active: row.active,
        processed: row.processed,
        sw_ident: row.sw_ident.as_deref(),
        sw_ver: row.sw_ver.as_deref(),
        sw_sys: row.sw_sys.as_deref(),
    };
    serde_json::to_vec(&event).ok()
}

#[cfg(test)]
mod tests {
    use headcount_core::celery::{Decoder, Event, RawMessage, WorkerKind};

    use super::*;

    fn row(hostname: &str, beats: u64, onlines: u64, goodbyes: u64) -> Row {
        Row {
            hostname: hostname.into(),
            counts: Counts {
                beats,
                onlines,
                goodbyes,
                tasks: 0,
            },
            newest: Some(1.5),
            ..Row::default()
        }
    }

    fn left(row: Row) -> Row {
        Row { newest: None, ..row }
    }

    fn look(beats: &mut Beats, now: Instant, rows: &[Row]) -> Vec<News> {
        let mut all = Vec::new();
        beats.look(now, rows, |_, news| all.push(news));
        all
    }

    #[test]
    fn only_growth_is_a_sign_of_life() {
        let (mut beats, now) = (Beats::default(), Instant::now());
        let mut step = |row: Row| look(&mut beats, now, &[row]);
        assert_eq!(step(row("a@h", 500, 1, 0)), [], "an old count is no beat");
        assert_eq!(step(row("a@h", 500, 1, 0)), []);
        assert_eq!(step(row("a@h", 501, 1, 0)), [News::Beat]);
        assert_eq!(step(row("a@h", 503, 1, 0)), [News::Beat]);
        assert_eq!(step(row("a@h", 3, 0, 0)), [], "Flower was restarted");
        assert_eq!(step(row("a@h", 4, 0, 0)), [News::Beat]);
        assert_eq!(step(left(row("a@h", 5, 0, 1))), [News::Goodbye]);
        assert_eq!(step(row("a@h", 5, 1, 1)), [News::Online]);
        assert_eq!(step(row("a@h", 5, 2, 2)), [News::Online], "a reconnect within one look");
        assert_eq!(
            step(left(row("a@h", 6, 3, 3))),
            [News::Goodbye],
            "up and away within one look"
        );
        let tasks = |tasks| {
            let mut row = row("a@h", 6, 3, 3);
            row.counts.tasks = tasks;
            row
        };
        assert_eq!(step(tasks(2)), [News::Tasks]);
        assert_eq!(step(row("b@h", 1, 1, 0)), []);
        assert_eq!(step(row("a@h", 7, 3, 3)), [], "it was away from the list");
    }

    #[test]
    fn of_two_rows_of_one_name_the_first_counts() {
        let (mut beats, now) = (Beats::default(), Instant::now());
        let mut step = |a, b| look(&mut beats, now, &[row("a@h", a, 1, 0), row("a@h", b, 1, 0)]);
        assert_eq!(step(5, 900), []);
        assert_eq!(step(5, 900), []);
        assert_eq!(step(5, 901), []);
        assert_eq!(step(6, 902), [News::Beat]);
    }

    #[test]
    fn who_is_lively_and_whether_anybody_is_awaited() {
        let (mut beats, start) = (Beats::default(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        assert!(beats.awaits_anybody(), "whoever there may be");
        look(&mut beats, at(0), &[left(row("a@h", 9, 1, 1))]);
        assert!(!beats.awaits_anybody(), "all have left");
        let rows = |a, b| [row("a@h", a, 2, 1), row("b@h", b, 1, 0)];
        look(&mut beats, at(1), &rows(9, 1));
        assert!(beats.is_lively("a@h", at(2)) && !beats.is_lively("b@h", at(2)) && !beats.is_lively("c@h", at(2)));
        look(&mut beats, at(2), &rows(10, 2));
        assert!(beats.is_lively("b@h", at(5)) && !beats.is_lively("b@h", at(6)));
        assert!(beats.awaits_anybody());
        let gone = [left(row("a@h", 10, 2, 2)), row("b@h", 2, 1, 0)];
        look(&mut beats, at(3), &gone);
        assert!(beats.awaits_anybody(), "b@h vanished together with the rest");
        let others = [left(row("a@h", 10, 3, 3)), row("b@h", 2, 1, 0)];
        look(&mut beats, at(70), &others);
        assert!(
            !beats.awaits_anybody(),
            "b@h had been silent for long when others were still heard"
        );
    }

    #[test]
    fn the_event_is_what_the_event_lane_understands() {
        let mut row = row("a\"b@h", 1, 0, 0);
        (row.pid, row.clock, row.freq) = (Some(7), Some(9), Some(2.0));
        for (news, expected) in [
            (News::Beat, WorkerKind::Heartbeat),
            (News::Online, WorkerKind::Online),
            (News::Goodbye, WorkerKind::Offline),
        ] {
            let body = event(&row, news).unwrap();
            let raw = RawMessage::Amqp {
                content_type: "application/json",
                content_encoding: "utf-8",
                compression: "",
                body: &body,
            };
            let mut kinds = Vec::new();
            let decoded = Decoder::new().decode(raw, |event| match event {
                Event::Worker(event) => {
                    assert_eq!((event.hostname, event.pid, event.clock), ("a\"b@h", Some(7), Some(9)));
                    kinds.push(event.kind);
                }
                other => panic!("{other:?}"),
            });
            assert_eq!((decoded.malformed, kinds), (0, vec![expected]));
        }
        assert_eq!(event(&row, News::Tasks), None);
    }
}
