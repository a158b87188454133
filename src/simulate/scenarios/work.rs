//! Busy, idle and stalled workers.

use headcount_core::celery::inspect::Pool;
use headcount_core::detect::Diagnosis;

use crate::stage::{CALM, Stage};
use crate::truth::{Failure, Of};
use crate::world::{Action, Consuming, Leisure, MIN, SEC};

/// 18: a task every quarter of an hour or so for each worker, and beats between.
pub(super) fn solo_busy(stage: &mut Stage) {
    all_solo(stage);
    for slot in stage.slots() {
        let mut at = CALM + stage.between(0, 10 * MIN);
        loop {
            let end = at + stage.rng.magnitude(5 * SEC, 600 * SEC);
            if end >= stage.span {
                break;
            }
            stage.at(at, Action::Busy(slot, end));
            at = end + stage.between(30 * SEC, 10 * MIN);
        }
    }
}

/// 19: killed some time into a task of ten minutes.
pub(super) fn solo_killed(stage: &mut Stage) {
    all_solo(stage);
    for at in stage.turns(8 * MIN) {
        let slot = stage.anybody();
        stage.at(at, Action::Busy(slot, at + 10 * MIN));
        let killed = at + stage.between(10 * SEC, 4 * MIN);
        stage.at(killed, Action::Kill(slot));
        let back = killed + stage.between(MIN, 2 * MIN);
        let back = stage.restart(slot, back);
        stage.fails(slot, killed, back, true, &[Diagnosis::Crashed]);
    }
}

/// 20: after a reconnect, with messages waiting: half of them know that their consumer is gone, half do not. Somebody
/// starts them again after four minutes.
pub(super) fn stalled(stage: &mut Stage) {
    stage.backlog = vec![200; stage.fleets.len()];
    for (turn, at) in stage.turns(8 * MIN).into_iter().enumerate() {
        let slot = stage.anybody();
        let back = at + stage.between(SEC, 4 * SEC);
        let (consuming, variant) = if turn % 2 == 0 {
            (Consuming::Cancelled, "consumer absent")
        } else {
            (Consuming::Lost, "consumer lost")
        };
        stage.at(at, Action::Reset(slot, back));
        stage.at(at, Action::Consume(slot, consuming));
        let end = back + 4 * MIN;
        stage.at(end, Action::Shutdown(slot, end));
        stage.at(end + SEC, Action::Start(slot, None));
        let who = vec![(slot, stage.name(slot))];
        stage.failures.push(Failure {
            of: Of::Work,
            who,
            from: back,
            visible: back,
            to: end,
            scored: end < stage.span,
            diagnoses: &[Diagnosis::Stalled],
            variant,
        });
    }
}

/// 24: three fleets, each idle for a reason of its own.
pub(super) fn idle(stage: &mut Stage) {
    stage.split(stage.count(), 3);
    for worker in &mut stage.workers {
        (worker.leisure, worker.rate) = match worker.fleet {
            0 => (Leisure::Empty, 0.0),
            1 => (Leisure::Eta, 0.0),
            _ => (Leisure::RateLimit, 0.0),
        };
    }
    stage.backlog = vec![0, 0, 50];
}

fn all_solo(stage: &mut Stage) {
    for worker in &mut stage.workers {
        worker.pool = Pool::Solo;
    }
}
