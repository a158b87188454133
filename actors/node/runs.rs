//! Tasks while they run.

use std::collections::BTreeMap;
use std::rc::Rc;

use headcount_core::celery::result::Failure;
use headcount_core::node::{CallInfo, Outcome, RunId};
use headcount_core::trace::TRACEPARENT;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tracing::Instrument;
use tracing::field::Empty;

use crate::ports::node::{Arguments, Call, SharedTask};
use crate::vitals::{Duty, OfDuty, TASK};

/// The runs that are under way.
#[derive(Default)]
pub(crate) struct Runs {
    watched: JoinSet<(RunId, Outcome)>,
    known: BTreeMap<RunId, (AbortHandle, watch::Sender<bool>)>,
}

impl Runs {
    pub(crate) fn start(
        &mut self,
        id: RunId,
        task: SharedTask,
        info: Box<CallInfo>,
        args: Vec<Value>,
        kwargs: Map<String, Value>,
    ) {
        let (hurry_in, hurry) = watch::channel(false);
        let mut impatient = hurry.clone();
        let heeds = task.heeds_hurry();
        // What a task logs says whose it is; a tracer sees it as one piece of work.
        let traceparent = info.headers.get(TRACEPARENT).and_then(Value::as_str);
        let span = tracing::info_span!(
            "task",
            name = info.name,
            id = info.id,
            root_id = info.root_id,
            parent_id = info.parent_id,
            retries = info.retries,
            traceparent,
            state = Empty
        );
        let name = info.name.as_str().into();
        let call = Call {
            info,
            arguments: Arguments { args, kwargs },
            hurry,
        };
        // A task of its own, so that a panic in it ends nothing else.
        let duty = Rc::new(Duty {
            kind: TASK,
            of: Some(name),
        });
        let future = Box::pin(async move {
            let outcome = task.run(call).await;
            tracing::Span::current().record("state", state(&outcome));
            outcome
        });
        let mut running = actix::spawn(OfDuty { duty, future }.instrument(span));
        self.known.insert(id, (running.abort_handle(), hurry_in));
        self.watched.spawn_local(async move {
            let over = async {
                let hurried = impatient.wait_for(|hurry| *hurry).await.is_ok();
                if heeds || !hurried {
                    std::future::pending::<()>().await;
                }
            };
            let outcome = tokio::select! {
                ended = &mut running => ended.unwrap_or_else(|error| Outcome::Failure(broken(error))),
                () = over => {
                    running.abort();
                    Outcome::Failure(Failure::soft_time_limit())
                }
            };
            (id, outcome)
        });
    }

    pub(crate) fn hurry(&self, id: RunId) {
        if let Some((_, hurry)) = self.known.get(&id) {
            hurry.send_replace(true);
        }
    }

    pub(crate) fn stop(&mut self, id: RunId) {
        if let Some((running, _)) = self.known.remove(&id) {
            running.abort();
        }
    }

    /// The next run that has ended; never, while none is under way.
    pub(crate) async fn next(&mut self) -> (RunId, Outcome) {
        loop {
            match self.watched.join_next().await {
                Some(Ok((id, outcome))) => {
                    self.known.remove(&id);
                    return (id, outcome);
                }
                // Those who watch neither panic nor are they ended while this lives.
                Some(Err(error)) => {
                    tracing::error!(%error, "a run of a task was lost sight of: its message comes again after a restart; this is a mistake in Headcount, please report it")
                }
                None => std::future::pending().await,
            }
        }
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.known.values().for_each(|(running, _)| running.abort());
    }
}

/// In Celery's word.
const fn state(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Success(_) => "SUCCESS",
        Outcome::Failure(_) => "FAILURE",
        Outcome::Retry { .. } => "RETRY",
    }
}

fn broken(error: JoinError) -> Failure {
    if !error.is_panic() {
        return Failure::builtin("RuntimeError", "the task was ended");
    }
    let payload = error.into_panic();
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    Failure::panicked(&text.unwrap_or_default())
}
