//! From what is due to what is claimed.

use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use compact_str::CompactString;
use headcount_core::schedule::{Due, Missed, Run};
use headcount_core::time::Wall;

use super::deliver::superseded;
use super::job::Job;
use super::{JobScheduler, LEASE, RETRY, Sending};
use crate::meters::{JobLabel, Meters};
use crate::ports::jobs::Claimed;

/// Says and counts slots of a job that are passed over for good.
fn tell_missed(job: &str, slots: u64, run: usize, meters: &Meters) {
    tracing::warn!(
        job,
        slots,
        run,
        "slots of the job were missed and are passed over, as `missed` of the [[job]] says"
    );
    let label = JobLabel { job: job.to_owned() };
    meters.jobs.slots_missed.get_or_create(&label).inc_by(slots);
}

/// How far the slots of one job were settled.
struct Settled {
    runs: Vec<Run>,
    upto: Option<Wall>,
    failed: bool,
}

impl JobScheduler {
    /// Asks the store up to when a job is settled.
    pub(super) fn learn(&mut self, at: usize, job: Arc<Job>, now: Wall, context: &mut Context<Self>) {
        let store = self.with.store.clone();
        let asking = async move { store.settled(&job.plan.job, &job.plan.timing.fingerprint(), now).await };
        context.spawn(
            asking
                .into_actor(self)
                .map(move |settled, actor, context| match settled {
                    Ok(settled) => {
                        if let Some(desk) = actor.desks.get_mut(at) {
                            (desk.settled, desk.busy) = (Some(settled), false);
                        }
                        actor.tick(context);
                    }
                    Err(_) => Self::retry(at, context),
                }),
        );
    }

    fn retry(at: usize, context: &mut Context<Self>) {
        context.run_later(RETRY, move |actor, _| {
            if let Some(desk) = actor.desks.get_mut(at) {
                (desk.busy, desk.looked) = (false, false);
            }
        });
    }

    /// Claims what is due of a job, one slot after the other: an order that survives a crash between them.
    pub(super) fn settle(&mut self, at: usize, job: Arc<Job>, due: Due, now: Wall, context: &mut Context<Self>) {
        let (store, owner, meters) = (
            self.with.store.clone(),
            self.with.owner.clone(),
            self.with.meters.clone(),
        );
        let claiming = async move {
            let mut settled = Settled {
                runs: Vec::new(),
                upto: None,
                failed: false,
            };
            // Those that are passed over lie before the first that is claimed, and are settled with it, by whoever takes it.
            let mut passed_over = due.skipped;
            for claim in job.claims(&due, &owner, now, now + LEASE) {
                let (slot, run) = (claim.run.slot, claim.run.clone());
                let claimed = store.claim(claim).await;
                if let Ok(claimed) = &claimed {
                    let passed_over = std::mem::take(&mut passed_over);
                    if passed_over > 0 && !matches!(claimed, Claimed::Taken) {
                        tell_missed(&job.plan.job, passed_over, due.run.len(), &meters);
                    }
                }
                match claimed {
                    Ok(Claimed::Won) => {
                        meters.jobs.count(&run);
                        if run.state.is_open() {
                            settled.runs.push(run);
                        }
                    }
                    Ok(Claimed::Taken) => {}
                    Ok(Claimed::Full(open)) => {
                        tracing::warn!(job = %run.job, open, "a slot of the job is skipped, as `overlap` of the [[job]] says: runs of it are still under way");
                        meters.jobs.count_skipped(&run);
                    }
                    Err(_) => {
                        settled.failed = true;
                        return settled;
                    }
                }
                settled.upto = Some(slot);
            }
            settled
        };
        context.spawn(claiming.into_actor(self).map(move |settled, actor, context| {
            if let Some(desk) = actor.desks.get_mut(at) {
                desk.settled = desk.settled.max(settled.upto);
            }
            for run in settled.runs {
                actor.supersede(at, context);
                actor.send(at, run, context);
            }
            if settled.failed {
                Self::retry(at, context);
            } else if let Some(desk) = actor.desks.get_mut(at) {
                desk.busy = false;
            }
        }));
    }

    /// A run of the job that could not be sent yet gives way to the next one, unless each is wanted. One that the broker may just
    /// be taking does so if it is not taken.
    fn supersede(&mut self, at: usize, context: &mut Context<Self>) {
        if self
            .with
            .jobs
            .get(at)
            .is_none_or(|job| job.plan.missed == Missed::All || job.is_own())
        {
            return;
        }
        let of_job = |(_, sending): &(&CompactString, &Sending)| sending.job == at;
        let mut waiting = Vec::new();
        for (id, sending) in self.sending.iter().filter(of_job) {
            if sending.precedence.asked.get() {
                sending.precedence.given_up.set(true);
            } else {
                waiting.push(id.clone());
            }
        }
        for id in waiting {
            if let Some(sending) = self.sending.remove(&id) {
                context.cancel_future(sending.handle);
            }
            self.heard(superseded(id), context);
        }
    }
}
