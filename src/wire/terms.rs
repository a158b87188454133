//! What the configuration means in the words of the detector.

use headcount_core::detect::roster::Roster;
use headcount_core::detect::{FleetSpec, Minimum, Rules};

use super::nodes;
use crate::config::{Detect, Fleet, Settings};

/// Which of a broker's workers belong to which fleet.
pub(crate) fn roster(settings: &Settings, broker: &str) -> Roster {
    let discovers = settings.brokers.iter().any(|b| b.config.name == broker && b.discover);
    let own = settings.fleets.iter().filter(|fleet| fleet.broker == broker);
    let roster = if discovers {
        Roster::discovering()
    } else {
        Roster::of(own.map(|fleet| (fleet.name.clone(), fleet.hostnames.clone())))
    };
    roster.without(nodes::own_names(settings, broker))
}

/// What the detector is told of a configured fleet.
pub(crate) fn spec(fleet: &Fleet) -> FleetSpec {
    FleetSpec {
        name: fleet.name.clone(),
        broker: fleet.broker.clone(),
        expected: fleet.expected.clone(),
        minimum: fleet.minimum.map_or(Minimum::OneOnceSeen, Minimum::Given),
        queues: fleet.queues.clone(),
        rules: rules(&fleet.detect),
    }
}

/// The deadlines that the configuration means.
pub(crate) fn rules(detect: &Detect) -> Rules {
    Rules {
        probe_every: detect.probe_every.duration(),
        down_after: detect.down_after.duration(),
        forget_after: detect.forget_after.duration(),
        stalled_after: detect.stalled_after.duration(),
        stuck_after: detect.stuck_after.duration(),
    }
}
