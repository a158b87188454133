//! A channel that accepts, puts off, refuses or hangs, as a test says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use headcount_core::alert::{IncidentId, Notice, Turn};

use super::{World, age, lock};
use crate::ports::{Act, Notifier, NotifyError, Receipt};

/// What a channel does with one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tests) enum Answer {
    Accepts,
    Later(Option<Duration>),
    Refuses,
    Hangs,
    /// Accepts, after so many milliseconds.
    Slowly(u64),
}

/// One thing that a channel has accepted.
#[derive(Clone, Debug)]
pub(in crate::tests) struct Heard {
    pub(in crate::tests) at: Duration,
    pub(in crate::tests) act: Act,
    pub(in crate::tests) turn: Turn,
    pub(in crate::tests) incident: IncidentId,
    pub(in crate::tests) missing: u32,
    pub(in crate::tests) in_thread: bool,
    pub(in crate::tests) text: String,
    /// The program was killed before the store knew that this was accepted.
    pub(in crate::tests) unknown: bool,
}

type Answers = Box<dyn FnMut(&Notice, Act) -> Answer + Send>;

pub(in crate::tests) struct Channel {
    world: Arc<World>,
    name: &'static str,
    threads: bool,
    answers: Mutex<Answers>,
    heard: Mutex<Vec<Heard>>,
    tried: Mutex<Vec<Duration>>,
}

impl Channel {
    pub(in crate::tests) fn new(world: &Arc<World>, name: &'static str, threads: bool) -> Arc<Self> {
        Arc::new(Self {
            world: world.clone(),
            name,
            threads,
            answers: Mutex::new(Box::new(|_, _| Answer::Accepts)),
            heard: Mutex::default(),
            tried: Mutex::default(),
        })
    }

    pub(in crate::tests) fn answer(&self, answers: impl FnMut(&Notice, Act) -> Answer + Send + 'static) {
        *lock(&self.answers) = Box::new(answers);
    }

    pub(in crate::tests) fn heard(&self) -> Vec<Heard> {
        lock(&self.heard).clone()
    }

    /// When something was tried.
    pub(in crate::tests) fn tried(&self) -> Vec<Duration> {
        lock(&self.tried).clone()
    }

    /// The turns of the messages it posted, in order.
    pub(in crate::tests) fn turns(&self) -> Vec<Turn> {
        let heard = lock(&self.heard);
        let posts = heard.iter().filter(|heard| heard.act == Act::Post);
        posts.map(|heard| heard.turn).collect()
    }

    /// After a kill: marks what the store never heard of.
    pub(in crate::tests) fn mark_unknown(&self) {
        if let Some(at) = self.world.unknown(self.name)
            && let Some(heard) = lock(&self.heard).get_mut(at)
        {
            heard.unknown = true;
        }
    }

    async fn hear(&self, act: Act, notice: &Notice, in_thread: bool) -> Result<Receipt, NotifyError> {
        self.world.step().await;
        lock(&self.tried).push(age());
        let answer = lock(&self.answers)(notice, act);
        match answer {
            Answer::Accepts => {}
            Answer::Slowly(ms) => tokio::time::sleep(super::ms(ms)).await,
            Answer::Hangs => std::future::pending().await,
            Answer::Later(after) => {
                let why = "try later".to_owned();
                return Err(NotifyError::Later { after, why });
            }
            Answer::Refuses => {
                let why = "no such channel".to_owned();
                return Err(NotifyError::Refused { why });
            }
        }
        self.world.step().await;
        let number = {
            let mut heard = lock(&self.heard);
            heard.push(Heard {
                at: age(),
                act,
                turn: notice.turn,
                incident: notice.incident.id.clone(),
                missing: notice.incident.scene.missing_count(),
                in_thread,
                text: notice.text(),
                unknown: false,
            });
            heard.len() - 1
        };
        self.world.accepted(self.name, number);
        self.world.step().await;
        Ok(Receipt(format!("{}-{number}", self.name)))
    }
}

#[async_trait]
impl Notifier for Channel {
    fn name(&self) -> &str {
        self.name
    }

    fn has_threads(&self) -> bool {
        self.threads
    }

    async fn post(&self, notice: &Notice, first: Option<&Receipt>) -> Result<Receipt, NotifyError> {
        self.hear(Act::Post, notice, first.is_some()).await
    }

    async fn refresh(&self, notice: &Notice, _: &Receipt) -> Result<(), NotifyError> {
        self.hear(Act::Refresh, notice, true).await.map(drop)
    }
}
