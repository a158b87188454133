//! The directory of fleets: which prober a fleet's sightings go to. Configured fleets are in it from the start, others
//! when their first worker is heard.

use std::sync::{Arc, Mutex, PoisonError};

use actix::{Addr, Recipient};
use compact_str::{CompactString, format_compact};
use headcount_core::detect::FleetSpec;
use headcount_core::detect::table::MAX_FLEETS;

use crate::fleet_prober::FleetProber;
use crate::messages::Sighted;

/// Starts the prober of a fleet.
pub type StartProber = Arc<dyn Fn(FleetSpec) -> Addr<FleetProber> + Send + Sync>;

/// Makes the specification of a fleet that nobody configured, from its broker's name and its own.
pub type Discovered = Arc<dyn Fn(&str, CompactString) -> FleetSpec + Send + Sync>;

/// One fleet in the directory.
struct Entry {
    broker: CompactString,
    /// What the roster of its broker calls it.
    heard_as: CompactString,
    /// What everybody else calls it: the same, unless two brokers have a fleet of that name.
    name: CompactString,
    prober: Addr<FleetProber>,
}

/// The directory. Cheap to clone. It is asked once for each fleet and session, never for an event.
#[derive(Clone)]
pub struct FleetDirectory {
    fleets: Arc<Mutex<Vec<Entry>>>,
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
        let entry = |spec: FleetSpec| Entry {
            broker: spec.broker.clone(),
            heard_as: spec.name.clone(),
            name: spec.name.clone(),
            prober: start(spec),
        };
        let fleets = Arc::new(Mutex::new(configured.into_iter().map(entry).collect()));
        Self {
            fleets,
            start,
            discovered,
        }
    }

    /// Takes up a fleet that was discovered before a restart, under the name that it had: its workers may all be dead,
    /// and then nobody would ever be heard of it.
    pub fn resume(&self, broker: &str, name: &str) {
        let mut fleets = self.fleets.lock().unwrap_or_else(PoisonError::into_inner);
        if fleets.iter().any(|entry| entry.name == name) {
            return;
        }
        let heard_as = name
            .strip_suffix(broker)
            .and_then(|rest| rest.strip_suffix('@'))
            .unwrap_or(name);
        let prober = (self.start)((self.discovered)(broker, name.into()));
        fleets.push(Entry {
            broker: broker.into(),
            heard_as: heard_as.into(),
            name: name.into(),
            prober,
        });
    }

    /// The name of a fleet, and where its sightings go. A fleet that is heard of for the first time gets its prober;
    /// if another broker has one of that name, the broker's name is added to it.
    pub fn of(&self, broker: &str, fleet: &str) -> (CompactString, Recipient<Sighted>) {
        let (name, prober) = self.prober(broker, fleet);
        (name, prober.recipient())
    }

    /// The prober of a fleet that a worker's answer names. However often made-up names answer, a broker's fleets stay
    /// within [`MAX_FLEETS`]: beyond it a new one has none.
    pub fn of_answer(&self, broker: &str, fleet: &str) -> Option<Addr<FleetProber>> {
        let room = {
            let fleets = self.fleets.lock().unwrap_or_else(PoisonError::into_inner);
            let mut own = fleets.iter().filter(|entry| entry.broker == broker);
            own.clone().count() < MAX_FLEETS || own.any(|entry| entry.heard_as == fleet)
        };
        room.then(|| self.prober(broker, fleet).1)
    }

    /// The name of a fleet and its prober, which is started if there is none.
    fn prober(&self, broker: &str, fleet: &str) -> (CompactString, Addr<FleetProber>) {
        // A panic cannot leave it half changed: each call makes one push.
        let mut fleets = self.fleets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = fleets
            .iter()
            .find(|entry| entry.broker == broker && entry.heard_as == fleet)
        {
            return (known.name.clone(), known.prober.clone());
        }
        let taken = fleets.iter().any(|entry| entry.name == fleet);
        let name = if taken {
            format_compact!("{fleet}@{broker}")
        } else {
            fleet.into()
        };
        let prober = (self.start)((self.discovered)(broker, name.clone()));
        fleets.push(Entry {
            broker: broker.into(),
            heard_as: fleet.into(),
            name: name.clone(),
            prober: prober.clone(),
        });
        (name, prober)
    }
}
