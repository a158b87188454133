//! `StatsReader`: takes parts, and steps through them. It goes from the tail to the backlog and back, so that neither waits for
//! the other's end.

use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, ResponseFuture, Supervised, WrapFuture};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{COUNT_EVERY, LOOK_EVERY, MAX_UNPUBLISHED, Pipelining, Trouble};
use crate::messages::Finish;
use crate::ports::stats::{Next, PartKind, StatsError, StatsPart};

/// Where no part was free, it is looked for one again after so long: somebody may have gone.
const TAKE_EVERY: Duration = Duration::from_secs(1);

/// The actor.
pub struct StatsReader {
    with: Pipelining,
    /// Whether the loop has ended.
    ended: watch::Sender<bool>,
}

impl StatsReader {
    /// A reader that has not begun.
    pub fn new(with: Pipelining) -> Self {
        Self {
            with,
            ended: watch::channel(false).0,
        }
    }
}

impl Actor for StatsReader {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        let (with, ended) = (self.with.clone(), self.ended.clone());
        let reading = async move {
            read(with).await;
            ended.send_replace(true);
        };
        context.spawn(reading.into_actor(self));
    }
}

impl Supervised for StatsReader {}

impl Handler<Finish> for StatsReader {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Finish, _: &mut Context<Self>) -> Self::Result {
        let mut ended = self.ended.subscribe();
        Box::pin(async move {
            // An error is that the actor has gone, and its loop with it.
            let _ = ended.wait_for(|ended| *ended).await;
        })
    }
}

/// A kind of part, and the one that is held.
struct Hand {
    kind: PartKind,
    part: Option<Box<dyn StatsPart>>,
    take_at: Instant,
}

impl Hand {
    fn new(kind: PartKind) -> Self {
        Self {
            kind,
            part: None,
            take_at: Instant::now(),
        }
    }
}

/// What a reader knows from one turn to the next.
struct Desk {
    /// Two parts of a backlog: while one is folded and committed, the server reads ahead for the other.
    hands: [Hand; 3],
    prepared: bool,
    /// When it is counted again what waits to be published.
    count_at: Instant,
}

async fn read(mut with: Pipelining) {
    let mut desk = Desk {
        hands: [PartKind::Tail, PartKind::Backlog, PartKind::Backlog].map(Hand::new),
        prepared: false,
        count_at: Instant::now(),
    };
    let mut trouble = Trouble::new(with.pipeline.name());
    while !with.is_stopping() {
        let rest = match turn(&with, &mut desk).await {
            Ok(true) => {
                trouble.over(with.pipeline.name());
                continue;
            }
            Ok(false) => {
                trouble.over(with.pipeline.name());
                LOOK_EVERY
            }
            Err(error) => {
                // What it needs may have gone: somebody may have dropped it.
                desk.prepared = false;
                trouble.wait(&with, &error)
            }
        };
        with.rest(rest).await;
    }
    for hand in desk.hands {
        if let Some(part) = hand.part {
            part.release().await;
        }
    }
}

/// One step of each part that is held or can be had. Whether anything has moved.
async fn turn(with: &Pipelining, desk: &mut Desk) -> Result<bool, StatsError> {
    if !desk.prepared {
        with.pipeline.prepare().await?;
        desk.prepared = true;
    }
    if Instant::now() >= desk.count_at {
        if with.pipeline.unpublished(MAX_UNPUBLISHED).await? >= MAX_UNPUBLISHED {
            with.changed.notify_one();
            return Ok(false);
        }
        desk.count_at = Instant::now() + COUNT_EVERY;
    }
    let mut moved = false;
    for hand in &mut desk.hands {
        moved |= step(with, hand).await?;
    }
    Ok(moved)
}

async fn step(with: &Pipelining, hand: &mut Hand) -> Result<bool, StatsError> {
    if hand.part.is_none() && Instant::now() >= hand.take_at {
        hand.part = with.pipeline.take(hand.kind).await?;
        hand.take_at = Instant::now() + TAKE_EVERY;
    }
    // What fails is of no use any more, so it is only put back when it went well.
    let Some(mut part) = hand.part.take() else {
        return Ok(false);
    };
    hand.take_at = Instant::now();
    let step = part.step().await?;
    let label = with.label();
    with.meters.stats.documents.get_or_create(&label).inc_by(step.documents);
    with.meters.stats.bad.get_or_create(&label).inc_by(step.bad);
    if step.cut_short {
        with.meters.stats.cut_short.get_or_create(&label).inc();
    }
    // What comes now goes to the sinks at once. A backlog's next step changes much of what this one has, and is as well written
    // together with it, when the publisher looks by itself.
    if step.documents > 0 && (hand.kind == PartKind::Tail || step.next == Next::Done) {
        with.changed.notify_one();
    }
    if step.next != Next::Done {
        hand.part = Some(part);
    }
    Ok(step.next != Next::Wait)
}
