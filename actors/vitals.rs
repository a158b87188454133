//! Whether the program's own actors live: kept outside of them, so that a dead one cannot hide it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use compact_str::CompactString;

/// How one actor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vital {
    /// It runs.
    Running,
    /// It panicked, and is waiting to be started again.
    Restarting,
    /// It panicked too often, and was given up: the program ends.
    Failed,
}

impl Vital {
    /// The word for people and for `/healthz`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Vital::Running => "running",
            Vital::Restarting => "restarting",
            Vital::Failed => "failed",
        }
    }
}

/// One actor's report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorVital {
    /// Its name, such as `FleetProber(sms)`.
    pub actor: CompactString,
    /// How it stands.
    pub vital: Vital,
    /// How often it was started again.
    pub restarts: u64,
}

/// The register of all actors. Cheap to clone; the supervisor writes, `/healthz` reads.
#[derive(Clone, Debug, Default)]
pub struct Vitals(Arc<Mutex<BTreeMap<CompactString, (Vital, u64)>>>);

impl Vitals {
    /// Notes how an actor stands; `restarted` adds one to its count.
    pub fn note(&self, actor: &str, vital: Vital, restarted: bool) {
        let mut register = self.register();
        let entry = register.entry(actor.into()).or_insert((vital, 0));
        entry.0 = vital;
        entry.1 += u64::from(restarted);
    }

    /// An actor that was stopped on purpose is no longer asked after.
    pub fn remove(&self, actor: &str) {
        self.register().remove(actor);
    }

    /// All actors, by name.
    pub fn report(&self) -> Vec<ActorVital> {
        self.register()
            .iter()
            .map(|(actor, (vital, restarts))| ActorVital {
                actor: actor.clone(),
                vital: *vital,
                restarts: *restarts,
            })
            .collect()
    }

    fn register(&self) -> MutexGuard<'_, BTreeMap<CompactString, (Vital, u64)>> {
        // A panic cannot leave the map half written: each call makes one change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kind of duty of a task that runs for a node or a job.
pub const TASK: &str = "task";

/// Who is at work on a thread: whoever tells of a panic there knows it by this alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duty {
    /// The kind of an actor, such as `FleetProber`, or [`TASK`].
    pub kind: &'static str,
    /// Which of that kind: the name of its fleet, its broker, or the task.
    pub of: Option<CompactString>,
}

impl fmt::Display for Duty {
    /// As `/healthz` names it, such as `FleetProber(sms)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of {
            Some(of) => write!(f, "{}({of})", self.kind),
            None => f.write_str(self.kind),
        }
    }
}

thread_local! {
    static ON_DUTY: RefCell<Option<Rc<Duty>>> = const { RefCell::new(None) };
}

/// Who is at work on this thread.
pub fn duty() -> Option<Rc<Duty>> {
    ON_DUTY.try_with(|duty| duty.try_borrow().ok()?.clone()).ok().flatten()
}

/// Puts somebody to work on this thread, until what is returned is dropped.
pub(crate) fn on_duty(duty: Rc<Duty>) -> OnDuty {
    OnDuty(ON_DUTY.with(|now| now.replace(Some(duty))))
}

/// Until what is returned is dropped, what is told on this thread is told in nobody's name.
pub(crate) fn off_duty() -> OnDuty {
    OnDuty(ON_DUTY.with(RefCell::take))
}

/// Ends a duty when it is dropped; whoever was at work before is again.
pub(crate) struct OnDuty(Option<Rc<Duty>>);

impl Drop for OnDuty {
    fn drop(&mut self) {
        let before = self.0.take();
        ON_DUTY.with(|now| now.replace(before));
    }
}

/// A future that is somebody's duty.
pub(crate) struct OfDuty<F> {
    pub(crate) duty: Rc<Duty>,
    pub(crate) future: Pin<Box<F>>,
}

impl<F: Future> Future for OfDuty<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _duty = on_duty(self.duty.clone());
        self.future.as_mut().poll(context)
    }
}
