//! Whether the program's own actors live: kept outside of them, so that a dead one cannot hide it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
