//! What the event lane hears of the runs of jobs. Nearly every event is of some other task: one byte tells them apart.

use actix::Recipient;
use actix::prelude::SendError;
use headcount_core::celery::{TaskEvent, TaskKind};
use headcount_core::schedule::run::may_be_a_run;
use headcount_core::schedule::{News, Word};
use headcount_core::time::Wall;

use crate::messages::TasksHeard;

/// The most news that wait for a scheduler whose mailbox is full; of what comes beyond the runs are `lost`.
const MAX_NEWS: usize = 10_000;
/// The longest id and the longest name of a worker that are believed, in bytes.
const MAX_TEXT: usize = 255;

/// See the module.
#[derive(Debug)]
pub(super) struct JobEar {
    scheduler: Recipient<TasksHeard>,
    news: Vec<News>,
}

impl JobEar {
    pub(super) fn new(scheduler: Recipient<TasksHeard>) -> Self {
        Self {
            scheduler,
            news: Vec::new(),
        }
    }

    /// Listens to one event.
    pub(super) fn hear(&mut self, now: Wall, event: &TaskEvent<'_>) {
        if !may_be_a_run(event.uuid) || self.news.len() >= MAX_NEWS {
            return;
        }
        let word = match event.kind {
            TaskKind::Received => Word::Received,
            TaskKind::Started => Word::Started,
            TaskKind::Succeeded => Word::Succeeded,
            TaskKind::Failed => Word::Failed,
            TaskKind::Retried => Word::Retried,
            TaskKind::Revoked => Word::Revoked,
            TaskKind::Rejected => Word::Rejected,
            TaskKind::Sent | TaskKind::Cancelled | TaskKind::Custom => return,
        };
        if event.uuid.len() > MAX_TEXT || event.hostname.len() > MAX_TEXT {
            return;
        }
        let news = News::new(event.uuid.into(), word, now);
        let news = match event.exception {
            Some(class) => news.because(class),
            None => news,
        };
        self.news.push(News {
            worker: Some(event.hostname.into()),
            runtime: event.runtime,
            ..news
        });
    }

    /// Hands over what was heard; what is not taken is offered again with the next.
    pub(super) fn hand_over(&mut self) {
        if self.news.is_empty() {
            return;
        }
        match self.scheduler.try_send(TasksHeard(std::mem::take(&mut self.news))) {
            Ok(()) | Err(SendError::Closed(_)) => {}
            Err(SendError::Full(TasksHeard(kept))) => self.news = kept,
        }
    }
}
