//! The directory of fleets: which prober a fleet's sightings go to. Configured fleets are in it from the start, others
//! when their first worker is heard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix::{Addr, Recipient};
use compact_str::{CompactString, format_compact};
use headcount_core::detect::FleetSpec;

use crate::fleet_prober::FleetProber;
use crate::messages::Sighted;

/// Starts the prober of a fleet.
pub type StartProber = Arc<dyn Fn(FleetSpec) -> Addr<FleetProber> + Send + Sync>;

/// Makes the specification of a fleet that nobody configured, from its broker's name and its own.
pub type Discovered = Arc<dyn Fn(&str, CompactString) -> FleetSpec + Send + Sync>;

/// The directory. Cheap to clone. It is asked once for each fleet and session, never for an event.
#[derive(Clone)]
pub struct FleetDirectory {
    /// By broker, and by the name that the roster gives it.
    fleets: Arc<Mutex<BTreeMap<(CompactString, CompactString), (CompactString, Addr<FleetProber>)>>>,
    start: StartProber,
    discovered: Discovered,
}

impl std::fmt::Debug for FleetDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FleetDirectory").finish_non_exhaustive()
    }
}

impl FleetDirectory {
    /// A directory of the configured fleets.
    pub fn new(configured: Vec<FleetSpec>, start: StartProber, discovered: Discovered) -> Self {
        let fleets = configured
            .into_iter()
            .map(|spec| {
                (
                    (spec.broker.clone(), spec.name.clone()),
                    (spec.name.clone(), start(spec)),
                )
            })
            .collect();
        Self {
            fleets: Arc::new(Mutex::new(fleets)),
            start,
            discovered,
        }
    }

    /// The name of a fleet, and where its sightings go. A fleet that is heard of for the first time gets its prober;
    /// if another broker has one of that name, the broker's name is added to it.
    pub fn of(&self, broker: &str, fleet: &str) -> (CompactString, Recipient<Sighted>) {
        let mut fleets = self.fleets.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (CompactString::from(broker), CompactString::from(fleet));
        if let Some((name, prober)) = fleets.get(&key) {
            return (name.clone(), prober.clone().recipient());
        }
        let taken = fleets.values().any(|(name, _)| name == fleet);
        let name = if taken {
            format_compact!("{fleet}@{broker}")
        } else {
            fleet.into()
        };
        let prober = (self.start)((self.discovered)(broker, name.clone()));
        fleets.insert(key, (name.clone(), prober.clone()));
        (name, prober.recipient())
    }

    /// The names of one broker's fleets.
    pub fn names(&self, broker: &str) -> Vec<CompactString> {
        let fleets = self.fleets.lock().unwrap_or_else(PoisonError::into_inner);
        fleets
            .iter()
            .filter(|((of, _), _)| of == broker)
            .map(|(_, (name, _))| name.clone())
            .collect()
    }

    /// All probers, by fleet.
    pub fn probers(&self) -> Vec<(CompactString, Addr<FleetProber>)> {
        let fleets = self.fleets.lock().unwrap_or_else(PoisonError::into_inner);
        fleets.values().cloned().collect()
    }
}
