//! Workers come and go on purpose.

use compact_str::format_compact;
use headcount_core::detect::Diagnosis;

use crate::stage::Stage;
use crate::truth::{Failure, Of};
use crate::world::{Action, MIN, SEC, Slot};

/// 15: tasks go on for up to ten minutes after the goodbye; a new process starts later under the same name.
pub(super) fn warm_shutdown(stage: &mut Stage) {
    for at in stage.turns(15 * MIN) {
        let many = u32::try_from(stage.rng.between(1, 5)).unwrap_or(1);
        for slot in stage.some(many) {
            let end = at + stage.between(10 * SEC, 10 * MIN);
            stage.at(at, Action::Shutdown(slot, end));
            let back = end + stage.between(SEC, 2 * MIN);
            stage.restart(slot, back);
        }
    }
}

/// 16: one after the other within ten minutes, each with up to 30 s of tasks to finish; the new one starts up to 10 s
/// before the old one is told to stop, or up to 15 s after.
pub(super) fn rolling_deploy(stage: &mut Stage) {
    for (generation, at) in stage.turns(30 * MIN).into_iter().enumerate() {
        let mut order = stage.some(stage.count());
        let step = 10 * MIN / (order.len() as u64).max(1);
        for (turn, slot) in (0_u64..).zip(order.drain(..)) {
            let stop = at + turn * step;
            let end = stop + stage.between(0, 30 * SEC);
            stage.at(stop, Action::Shutdown(slot, end));
            let start = end + stage.between(SEC, 15 * SEC);
            if start < stage.span {
                let name = format_compact!("sms@d{generation}-{slot:03}");
                stage.at(start, Action::Start(slot, Some(name)));
            }
        }
    }
}

/// 17: the upper half of the slots is let go and taken again with goodbyes. Of the lower half, which stays, one spot
/// machine in a while is killed without a word, and another of a new name takes its place after one to three minutes:
/// whether that is told is a question of the count, and not scored. When most of the half is reclaimed at once while the
/// other is away, the fleet is short by any count, and that must be told.
pub(super) fn autoscale(stage: &mut Stage) {
    let half = stage.count() / 2;
    let mut generation = 0;
    for (turn, at) in stage.turns(10 * MIN).into_iter().enumerate() {
        generation += 1;
        for slot in half..stage.count() {
            let moment = at + stage.between(0, MIN);
            if turn % 2 == 0 {
                let end = moment + stage.between(0, 20 * SEC);
                stage.at(moment, Action::Shutdown(slot, end));
            } else {
                let name = format_compact!("sms@g{generation}-{slot:03}");
                stage.at(moment, Action::Start(slot, Some(name)));
            }
        }
        let killed = at + stage.between(3 * MIN, 5 * MIN);
        let reclaimed = turn % 4 == 2;
        let first = Slot::try_from(stage.rng.below(u64::from(half.max(1)))).unwrap_or(0);
        let slots = if reclaimed { 0..half * 4 / 5 } else { first..first + 1 };
        let who: Vec<_> = slots.map(|slot| (slot, stage.name(slot))).collect();
        let mut last = killed;
        for (slot, _) in &who {
            stage.at(killed, Action::Kill(*slot));
            let back = killed + stage.between(MIN, 3 * MIN);
            last = last.max(back);
            let name = format_compact!("sms@s{generation}-{slot:03}");
            stage.rename(*slot, name.clone());
            stage.at(back, Action::Start(*slot, Some(name)));
        }
        stage.failures.push(Failure {
            of: Of::Workers,
            who,
            from: killed,
            visible: killed,
            to: last,
            scored: reclaimed && killed + MIN < stage.span,
            diagnoses: &[Diagnosis::Crashed],
            variant: "",
        });
    }
}
