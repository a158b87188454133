//! What has been sent, so that the same error is sent once in a window, and how often it happened since with the next.

use std::collections::HashMap;
use std::time::Duration;

use headcount_core::time::Mono;

use super::report::{Key, Report};

/// The most errors that are told apart at a time; all others share one place. Each costs about a kilobyte.
pub(super) const MAX_ERRORS: usize = 1_000;

/// The books of one configuration.
#[derive(Debug)]
pub(super) struct Repeats {
    window: Duration,
    rows: HashMap<Key, Row>,
}

#[derive(Debug)]
struct Row {
    report: Report,
    sent: Mono,
    /// How often it happened since it was sent.
    since: u64,
}

/// An error that is sent, and how often it happened since it was sent last.
pub(super) type Due = (Report, u64);

impl Repeats {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            rows: HashMap::new(),
        }
    }

    /// An error has happened so many times. It is sent now, or counted.
    pub(super) fn note(&mut self, now: Mono, report: Report, times: u64) -> Option<Due> {
        let (mut key, mut report) = (report.key(), report);
        if self.rows.len() >= MAX_ERRORS && !self.rows.contains_key(&key) {
            let latest = format!("{}: {}", report.logger, report.template);
            report = Report::new("headcount", "more kinds of errors than are told apart");
            report.extra.insert("latest", latest.into());
            key = report.key();
        }
        match self.rows.get_mut(&key) {
            Some(row) if now.since(row.sent) < self.window => {
                row.since = row.since.saturating_add(times);
                None
            }
            Some(row) => {
                let times = std::mem::take(&mut row.since).saturating_add(times);
                (row.sent, row.report) = (now, report.clone());
                Some((report, times))
            }
            None => {
                let row = Row {
                    report: report.clone(),
                    sent: now,
                    since: 0,
                };
                self.rows.insert(key, row);
                Some((report, times))
            }
        }
    }

    /// The errors whose window is over and which happened again in it: another begins for them. The rest is forgotten.
    pub(super) fn close(&mut self, now: Mono) -> Vec<Due> {
        let mut due = Vec::new();
        let window = self.window;
        self.rows.retain(|_, row| {
            let over = now.since(row.sent) >= window;
            if over && row.since > 0 {
                due.push((row.report.clone(), std::mem::take(&mut row.since)));
                row.sent = now;
                return true;
            }
            !over
        });
        due
    }

    /// All that happened and was not sent: nothing will be counted any more.
    pub(super) fn close_all(&mut self) -> Vec<Due> {
        let rows = self.rows.drain().map(|(_, row)| (row.report, row.since));
        rows.filter(|(_, since)| *since > 0).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}
