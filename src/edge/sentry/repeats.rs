//! What has been told, so that the same error is sent once in a window, and how often it happened since with the next. The books
//! are the queue as well: what is to be sent stays in them until it is fetched, and what happens meanwhile is counted there.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use headcount_core::time::Mono;

use super::report::{Class, Key, Report};

/// The most errors of one class that are told apart at a time; all others share one place. Each costs some kilobytes.
pub(super) const MAX_ERRORS: usize = 1_000;

/// An error that is to be sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Due {
    pub(super) report: Report,
    /// How often it happened since it was sent last.
    pub(super) times: u64,
    /// When it happened last.
    pub(super) at: SystemTime,
}

/// What is fetched first of what is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// What has waited for the longest.
    Oldest,
    /// What happened most often: not all can be sent any more.
    MostFrequent,
}

/// The books of one configuration: a table for each class, so that a storm of one leaves the others their room.
#[derive(Debug)]
pub(super) struct Books {
    tables: [(Class, Repeats); Class::ALL.len()],
}

impl Books {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            tables: Class::ALL.map(|class| (class, Repeats::new(window))),
        }
    }

    /// An error has happened so many times. True if it is to be sent now, and not only counted.
    pub(super) fn note(&mut self, now: Mono, due: Due) -> bool {
        self.table(due.report.class).is_some_and(|table| table.note(now, due))
    }

    /// Whether an error would be sent if it happened now.
    pub(super) fn is_news(&mut self, now: Mono, report: &Report) -> bool {
        self.table(report.class).is_some_and(|table| table.is_news(now, report))
    }

    /// Ends the windows that are over.
    pub(super) fn turn(&mut self, now: Mono) {
        self.each().for_each(|table| table.turn(now));
    }

    /// All that was counted is to be sent: nothing will be counted any more.
    pub(super) fn close(&mut self) {
        self.each().for_each(Repeats::close);
    }

    /// The next that is to be sent, the gravest class first.
    pub(super) fn fetch(&mut self, order: Order) -> Option<Due> {
        self.each().find_map(|table| table.fetch(order))
    }

    /// How many wait to be sent.
    pub(super) fn waiting(&self) -> u64 {
        let tables = self.tables.iter().map(|(_, table)| table.waiting);
        tables.sum()
    }

    fn each(&mut self) -> impl Iterator<Item = &mut Repeats> {
        self.tables.iter_mut().map(|(_, table)| table)
    }

    fn table(&mut self, class: Class) -> Option<&mut Repeats> {
        let table = self.tables.iter_mut().find(|(of, _)| *of == class);
        table.map(|(_, table)| table)
    }
}

/// The table of one class.
#[derive(Debug)]
pub(super) struct Repeats {
    window: Duration,
    rows: HashMap<Key, Row>,
    /// How many rows have something to be sent.
    waiting: u64,
    /// How many ever had.
    turns: u64,
}

#[derive(Debug)]
struct Row {
    /// When its window began.
    began: Mono,
    /// To be sent, and its number among all that ever were.
    ready: Option<(u64, Due)>,
    /// What happened since, the last of it for all.
    since: Option<Due>,
}

impl Repeats {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            rows: HashMap::new(),
            waiting: 0,
            turns: 0,
        }
    }

    /// See [`Books::note`].
    pub(super) fn note(&mut self, now: Mono, due: Due) -> bool {
        let (key, due) = self.place(due);
        let Some(row) = self.rows.get_mut(&key) else {
            self.waiting += 1;
            self.turns += 1;
            let row = Row {
                began: now,
                ready: Some((self.turns, due)),
                since: None,
            };
            self.rows.insert(key, row);
            return true;
        };
        row.count(due);
        let over = now.since(row.began) >= self.window;
        if over {
            row.begin(now, &mut self.waiting, &mut self.turns);
        }
        over
    }

    fn is_news(&self, now: Mono, report: &Report) -> bool {
        let row = self.rows.get(&report.key());
        row.is_none_or(|row| now.since(row.began) >= self.window)
    }

    /// The row that an error is counted in, and as what.
    fn place(&self, due: Due) -> (Key, Due) {
        let key = due.report.key();
        if self.rows.len() < MAX_ERRORS || self.rows.contains_key(&key) {
            return (key, due);
        }
        let latest = format!("{}: {}", due.report.logger, due.report.subject());
        let mut report = Report::new("headcount", "more kinds of errors than are told apart");
        report.class = due.report.class;
        report.extra.insert("latest", latest.into());
        (report.key(), Due { report, ..due })
    }

    /// See [`Books::turn`]. What did not happen again is forgotten.
    pub(super) fn turn(&mut self, now: Mono) {
        let (window, waiting, turns) = (self.window, &mut self.waiting, &mut self.turns);
        self.rows.retain(|_, row| {
            let over = now.since(row.began) >= window;
            if over && row.since.is_some() {
                row.begin(now, waiting, turns);
            }
            !over || row.ready.is_some()
        });
    }

    /// See [`Books::close`].
    pub(super) fn close(&mut self) {
        for row in self.rows.values_mut() {
            row.begin(row.began, &mut self.waiting, &mut self.turns);
        }
    }

    /// See [`Books::fetch`].
    pub(super) fn fetch(&mut self, order: Order) -> Option<Due> {
        if self.waiting == 0 {
            return None;
        }
        let ready = self.rows.values_mut().filter(|row| row.ready.is_some());
        let next = match order {
            Order::Oldest => ready.min_by_key(|row| row.ready.as_ref().map(|(turn, _)| *turn)),
            Order::MostFrequent => ready.max_by_key(|row| row.ready.as_ref().map(|(_, due)| due.times)),
        };
        let (_, due) = next?.ready.take()?;
        self.waiting -= 1;
        Some(due)
    }
}

impl Row {
    fn count(&mut self, mut due: Due) {
        let before = self.since.as_ref().map_or(0, |since| since.times);
        due.times = due.times.saturating_add(before);
        self.since = Some(due);
    }

    /// Begins another window: what happened in the last one is to be sent, with what still waits of those before.
    fn begin(&mut self, now: Mono, waiting: &mut u64, turns: &mut u64) {
        self.began = now;
        let Some(mut since) = self.since.take() else { return };
        let turn = match self.ready.take() {
            Some((turn, before)) => {
                since.times = since.times.saturating_add(before.times);
                turn
            }
            None => {
                *waiting += 1;
                *turns += 1;
                *turns
            }
        };
        self.ready = Some((turn, since));
    }
}
