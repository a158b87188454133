//! `CeleryNode`: one for each `[[node]]`. It joins a broker as a Celery worker does, and runs Headcount's own tasks. What it
//! decides is in the core (`core/node`); what happens in which order is in `node/run.rs`.

use actix::{Actor, AsyncContext, Context, Handler, ResponseFuture, Supervised, WrapFuture};
use tokio::sync::watch;

use crate::messages::LeaveBroker;
use crate::node::{Joined, run};

/// Whether a node is to leave, and whether it has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Leaving {
    No,
    Asked,
    Done,
}

/// The actor.
pub struct CeleryNode {
    with: Joined,
    leaving: watch::Sender<Leaving>,
}

impl CeleryNode {
    /// A node that has not joined yet.
    pub fn new(with: Joined) -> Self {
        Self {
            with,
            leaving: watch::Sender::new(Leaving::No),
        }
    }
}

impl Actor for CeleryNode {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        let (with, leaving) = (self.with.clone(), self.leaving.clone());
        context.spawn(run(with, leaving).into_actor(self));
    }
}

impl Supervised for CeleryNode {
    fn restarting(&mut self, _: &mut Context<Self>) {
        // The session and the tasks that ran end with the panic; what was not acknowledged comes again.
    }
}

impl Handler<LeaveBroker> for CeleryNode {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: LeaveBroker, _: &mut Context<Self>) -> ResponseFuture<()> {
        let mut left = self.leaving.subscribe();
        self.leaving.send_if_modified(|leaving| {
            let first = *leaving == Leaving::No;
            if first {
                *leaving = Leaving::Asked;
            }
            first
        });
        Box::pin(async move {
            // An error means that the actor is gone, and so has left.
            let _ = left.wait_for(|leaving| *leaving == Leaving::Done).await.map(drop);
        })
    }
}
