//! Holding on to what is claimed and not sent, and following those who died with it.

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use headcount_core::schedule::Run;

use super::{JobScheduler, LEASE};
use crate::clock::Clock;

impl JobScheduler {
    /// Holds on to what is not sent yet, and takes over what another one has left.
    pub(super) fn renew(&mut self, context: &mut Context<Self>) {
        if !self.newsroom.begin_to_note() {
            return;
        }
        let (store, owner, now) = (self.with.store.clone(), self.with.owner.clone(), Clock.now().wall);
        let adopting = async move {
            store.renew(&owner, now + LEASE).await?;
            store.adopt(&owner, now, now + LEASE).await
        };
        context.spawn(adopting.into_actor(self).map(|adopted, actor, context| {
            let noted = actor.newsroom.noted();
            let runs = adopted.into_iter().flatten();
            for run in runs.filter(|run| !noted.contains(&run.id)) {
                actor.take_over(run, context);
            }
        }));
    }

    fn take_over(&mut self, run: Run, context: &mut Context<Self>) {
        if self.is_finishing() || self.sending.contains_key(&run.id) || self.newsroom.knows(&run.id) {
            return;
        }
        match self.with.jobs.iter().position(|job| job.plan.job == run.job.as_str()) {
            Some(at) => {
                tracing::info!(job = %run.job, id = %run.id, "a run that was claimed and not sent is sent now");
                self.send(at, run, context);
            }
            None => self.gone(run.id, context),
        }
    }
}
