//! The broker fails, and with it all that is heard of anybody.

use crate::stage::Stage;
use crate::world::{Action, MIN, SEC};

/// 11: four fleets, and one trouble.
pub(super) fn out(stage: &mut Stage) {
    stage.split(stage.count(), 4);
    let all: Vec<_> = stage.slots().collect();
    for (turn, at) in stage.turns(15 * MIN).into_iter().enumerate() {
        let (outage, variant) = match turn % 4 {
            0 => (5 * SEC, "5 s"),
            1 => (60 * SEC, "60 s"),
            2 => (120 * SEC, "blocked"),
            _ => (600 * SEC, "600 s"),
        };
        let action = if variant == "blocked" {
            Action::Block(at + outage)
        } else {
            Action::BrokerOut(at + outage, all.clone())
        };
        stage.at(at, action);
        stage.broker_fails(at, at + outage, variant);
    }
}

/// 12: the monitor was connected to the node that failed; half of the workers were, too.
pub(super) fn failover(stage: &mut Stage) {
    stage.split(stage.count(), 4);
    for at in stage.turns(6 * MIN) {
        let half = stage.some(stage.count() / 2);
        stage.at(at, Action::BrokerOut(at + 8 * SEC, half));
        stage.broker_fails(at, at + 8 * SEC, "");
    }
}
