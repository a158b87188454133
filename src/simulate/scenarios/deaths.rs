//! Workers that die, freeze or are cut off.

use headcount_core::detect::Diagnosis;

use crate::stage::{CALM, Stage};
use crate::truth::{Failure, Of};
use crate::world::{Action, MIN, NEVER, SEC};

/// A process that the broker no longer sees.
const CRASHED: &[Diagnosis] = &[Diagnosis::Crashed];
/// One that it still sees.
const SILENT: &[Diagnosis] = &[Diagnosis::Frozen, Diagnosis::Unreachable];

/// 6: before every third kill another worker leaves with a goodbye, which must not hide it.
pub(super) fn sigkill(stage: &mut Stage) {
    for (turn, at) in stage.turns(4 * MIN).into_iter().enumerate() {
        let slot = stage.anybody();
        if turn % 3 == 2 {
            let leaver = (slot + 1) % stage.count();
            let leaves = at - stage.between(SEC, 30 * SEC);
            stage.at(leaves, Action::Shutdown(leaver, leaves + SEC));
            let back = at + stage.between(20 * SEC, 60 * SEC);
            stage.restart(leaver, back);
        }
        stage.at(at, Action::Kill(slot));
        let back = at + stage.between(30 * SEC, 120 * SEC);
        let back = stage.restart(slot, back);
        stage.fails(slot, at, back, true, CRASHED);
    }
}

/// 7.
pub(super) fn power_loss(stage: &mut Stage) {
    for at in stage.turns(6 * MIN) {
        let slot = stage.anybody();
        let lingers = stage.lingering(at);
        stage.at(at, Action::PowerLoss(slot, lingers));
        let back = at + stage.between(60 * SEC, 240 * SEC);
        let back = stage.restart(slot, back);
        stage.fails(slot, at, back, true, SILENT);
    }
}

/// 8: one in eight for good, which somebody ends with a restart after eight minutes.
pub(super) fn sigstop(stage: &mut Stage) {
    for at in stage.turns(10 * MIN) {
        let slot = stage.anybody();
        if stage.rng.chance(0.125) {
            stage.at(at, Action::Freeze(slot, NEVER));
            let killed = at + 8 * MIN;
            stage.at(killed, Action::Kill(slot));
            let back = stage.restart(slot, killed + SEC);
            stage.fails(slot, at, back, true, SILENT);
        } else {
            let end = at + stage.rng.magnitude(20 * SEC, 300 * SEC);
            stage.at(at, Action::Freeze(slot, end));
            stage.fails(slot, at, end, false, SILENT);
        }
    }
}

/// 9: where it lasts long enough the broker closes the connection meanwhile.
pub(super) fn partition(stage: &mut Stage) {
    for at in stage.turns(8 * MIN) {
        let slot = stage.anybody();
        let end = at + stage.rng.magnitude(20 * SEC, 300 * SEC);
        let closes = stage.lingering(at);
        stage.at(at, Action::Hold(slot, end, closes));
        stage.fails(slot, at, end, false, SILENT);
    }
}

/// 22: dead for 20 s, alive for 20 s, for ten minutes: one trouble.
pub(super) fn flapping(stage: &mut Stage) {
    for at in stage.turns(40 * MIN) {
        let slot = stage.anybody();
        let mut end = at;
        for flap in 0..15 {
            let killed = at + flap * 40 * SEC;
            stage.at(killed, Action::Kill(slot));
            end = killed + 20 * SEC;
            stage.at(end, Action::Start(slot, None));
        }
        stage.fails(slot, at, end, true, CRASHED);
    }
}

/// 23.
pub(super) fn all_crash(stage: &mut Stage) {
    for at in stage.turns(30 * MIN) {
        let mut last = at;
        for slot in stage.slots() {
            // One after the other within a tenth of a second, as a kill of a whole cluster does.
            let killed = at + stage.between(0, SEC / 10);
            stage.at(killed, Action::Kill(slot));
            let back = at + stage.between(5 * MIN, 6 * MIN);
            last = last.max(stage.restart(slot, back));
        }
        let who = stage.slots().map(|slot| (slot, stage.name(slot))).collect();
        stage.failures.push(Failure {
            of: Of::Workers,
            who,
            from: at,
            visible: at,
            to: last,
            scored: at >= CALM,
            diagnoses: CRASHED,
            variant: "",
        });
    }
}
