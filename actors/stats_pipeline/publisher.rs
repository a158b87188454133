//! `StatsPublisher`: one for each pipeline. It brings what has changed to the sinks, and shows how the pipeline stands.

use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, ResponseFuture, Supervised, WrapFuture};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Pipelining, Trouble};
use crate::messages::Finish;

/// What other Headcounts have left is looked for so often.
const PUBLISH_EVERY: Duration = Duration::from_millis(500);
/// How the pipeline stands is shown so often.
const SHOW_EVERY: Duration = Duration::from_secs(5);

/// The actor.
pub struct StatsPublisher {
    with: Pipelining,
    ended: watch::Sender<bool>,
}

impl StatsPublisher {
    /// A publisher that has not begun.
    pub fn new(with: Pipelining) -> Self {
        Self {
            with,
            ended: watch::channel(false).0,
        }
    }
}

impl Actor for StatsPublisher {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        let (with, ended) = (self.with.clone(), self.ended.clone());
        let publishing = async move {
            publish(with).await;
            ended.send_replace(true);
        };
        context.spawn(publishing.into_actor(self));
    }
}

impl Supervised for StatsPublisher {}

impl Handler<Finish> for StatsPublisher {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Finish, _: &mut Context<Self>) -> Self::Result {
        let mut ended = self.ended.subscribe();
        Box::pin(async move {
            // An error is that the actor has gone, and its loop with it.
            let _ = ended.wait_for(|ended| *ended).await;
        })
    }
}

async fn publish(mut with: Pipelining) {
    let mut trouble = Trouble::new(with.pipeline.name());
    let mut show_at = Instant::now();
    let label = with.label();
    while !with.is_stopping() {
        match with.pipeline.publish().await {
            Ok(done) => {
                trouble.over(with.pipeline.name());
                with.meters.stats.rollups.get_or_create(&label).inc_by(done.rollups);
                with.meters.stats.refused.get_or_create(&label).inc_by(done.refused);
                if !done.more {
                    let changed = with.changed.clone();
                    // Whichever comes first; the end wakes it as well.
                    let _ = tokio::time::timeout(PUBLISH_EVERY, changed.notified()).await;
                }
            }
            Err(error) => {
                let wait = trouble.wait(&with, &error);
                with.rest(wait).await;
            }
        }
        if Instant::now() >= show_at {
            show_at = Instant::now() + SHOW_EVERY;
            // Where this fails, what was shown stays; publishing says what is wrong.
            if let Ok(standing) = with.pipeline.standing().await {
                with.meters.stats.show(&label, &standing);
            }
        }
    }
}
