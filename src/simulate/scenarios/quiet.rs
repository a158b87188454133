//! Nothing is wrong, or nothing that anybody should be told.

use crate::stage::Stage;
use crate::world::{Action, HOUR, SEC};

/// 1.
pub(super) fn clean(_: &mut Stage) {}

/// 2: every worker has a rate of its own.
pub(super) fn loss(stage: &mut Stage) {
    for slot in stage.slots() {
        stage.workers[slot as usize].loss = 0.001 + 0.009 * stage.rng.unit();
    }
}

/// 3.
pub(super) fn bursts(stage: &mut Stage) {
    for (at, slot) in stage.strokes(10.0) {
        let beats = u32::try_from(stage.rng.between(2, 4)).unwrap_or(2);
        stage.at(at, Action::LoseBeats(slot, beats));
    }
}

/// 4: exponential, so that one in a hundred takes 1.5 s or more.
pub(super) fn jitter(stage: &mut Stage) {
    for worker in &mut stage.workers {
        worker.delay = 1.5 / 100_f64.ln();
    }
}

/// 5.
pub(super) fn pauses(stage: &mut Stage) {
    for (at, slot) in stage.strokes(2.0) {
        let end = at + stage.between(SEC, 10 * SEC);
        stage.at(at, Action::Freeze(slot, end));
    }
}

/// 10: each worker about 20 times a day.
pub(super) fn reset(stage: &mut Stage) {
    for (at, slot) in stage.strokes(20.0) {
        let back = at + stage.between(SEC, 4 * SEC);
        stage.at(at, Action::Reset(slot, back));
    }
}

/// 21: a third of the workers each; all drift.
pub(super) fn clocks(stage: &mut Stage) {
    for slot in stage.slots() {
        let off = stage.rng.unit() * 7_200.0 - 3_600.0;
        // A bad clock drifts by 100 parts in a million.
        let drift = (stage.rng.unit() - 0.5) * 2e-4;
        let worker = &mut stage.workers[slot as usize];
        worker.drift = drift;
        if slot % 3 == 0 {
            worker.ahead = off;
        }
    }
    for at in stage.turns(HOUR / 6) {
        let slot = stage.anybody();
        let step = if stage.rng.chance(0.5) { 30.0 } else { -30.0 };
        stage.at(at, Action::StepClock(slot, step));
    }
}
