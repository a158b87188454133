//! The monitor itself stands still.

use headcount_core::detect::Diagnosis;

use crate::stage::Stage;
use crate::world::{Action, MIN, SEC};

/// 13.
pub(super) fn paused(stage: &mut Stage) {
    for at in stage.turns(5 * MIN) {
        let end = at + stage.rng.magnitude(3 * SEC, 120 * SEC);
        stage.at(at, Action::PauseMonitor(end));
    }
}

/// 14: the failure can be seen from the end of the pause on.
pub(super) fn paused_with_a_crash(stage: &mut Stage) {
    for at in stage.turns(6 * MIN) {
        let end = at + stage.rng.magnitude(3 * SEC, 120 * SEC);
        stage.at(at, Action::PauseMonitor(end));
        let slot = stage.anybody();
        let killed = stage.between(at, end);
        stage.at(killed, Action::Kill(slot));
        let back = end + stage.between(60 * SEC, 120 * SEC);
        let back = stage.restart(slot, back);
        stage.fails(slot, killed, back, true, &[Diagnosis::Crashed]);
        if let Some(failure) = stage.failures.last_mut() {
            failure.visible = end;
        }
    }
}
