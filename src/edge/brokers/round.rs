//! One round of asking workers whether they live.

use std::time::{Duration, Instant};

use compact_str::CompactString;
use headcount_actors::ports::{Presence, Probe};
use rustc_hash::FxHashMap;

/// What is known of each target so far.
#[derive(Debug)]
pub(super) struct Round {
    targets: FxHashMap<CompactString, Standing>,
    /// What an answer says about presence: with some brokers nothing, as presence is asked for elsewhere.
    answer_shows: Presence,
}

#[derive(Debug)]
struct Standing {
    sent: Option<Instant>,
    answer: Option<Duration>,
    answers: u32,
    presence: Presence,
    /// It cannot be asked.
    left_out: bool,
}

impl Round {
    pub(super) fn new(targets: &[CompactString], answer_shows: Presence) -> Self {
        let nothing = || Standing {
            sent: None,
            answer: None,
            answers: 0,
            presence: Presence::Unknown,
            left_out: false,
        };
        Self {
            targets: targets.iter().map(|target| (target.clone(), nothing())).collect(),
            answer_shows,
        }
    }

    /// Each target once.
    pub(super) fn hostnames(&self) -> Vec<CompactString> {
        self.targets.keys().cloned().collect()
    }

    /// It is being asked now.
    pub(super) fn sent(&mut self, hostname: &str, at: Instant) {
        if let Some(standing) = self.targets.get_mut(hostname) {
            standing.sent = Some(at);
        }
    }

    /// It cannot be asked: nothing will be known of it, and it is not waited for.
    pub(super) fn leave_out(&mut self, hostname: &str) {
        if let Some(standing) = self.targets.get_mut(hostname) {
            standing.left_out = true;
        }
    }

    /// It answered. Answers of those who were not asked are ignored.
    pub(super) fn answered(&mut self, hostname: &str, at: Instant) {
        if let Some(standing) = self.targets.get_mut(hostname)
            && let Some(sent) = standing.sent
        {
            standing.answers += 1;
            standing.answer.get_or_insert(at.saturating_duration_since(sent));
            standing.presence = self.answer_shows;
        }
    }

    /// The broker knows no connection of it.
    pub(super) fn gone(&mut self, hostname: &str) {
        if let Some(standing) = self.targets.get_mut(hostname) {
            standing.presence = Presence::Gone;
        }
    }

    /// Nobody reads what it is asked: it is gone, unless it has answered.
    pub(super) fn unread(&mut self, hostname: &str) {
        if let Some(standing) = self.targets.get_mut(hostname)
            && standing.answers == 0
        {
            standing.presence = Presence::Gone;
        }
    }

    /// Nothing can be told to be gone any more: whoever was asked is there.
    pub(super) fn rest_is_here(&mut self) {
        for standing in self.targets.values_mut() {
            if standing.presence == Presence::Unknown && standing.sent.is_some() {
                standing.presence = Presence::Here;
            }
        }
    }

    /// Nothing is left to wait for.
    pub(super) fn is_settled(&self) -> bool {
        self.targets
            .values()
            .all(|standing| standing.answers > 0 || standing.presence == Presence::Gone || standing.left_out)
    }

    /// Whether anything has been learned: if not, it was the broker that did not answer.
    pub(super) fn is_blank(&self) -> bool {
        self.targets
            .values()
            .all(|standing| standing.answers == 0 && standing.presence == Presence::Unknown)
    }

    /// One entry for each of `targets`, in their order.
    pub(super) fn into_probes(self, targets: &[CompactString]) -> Vec<Probe> {
        let probe = |target: &CompactString| {
            let standing = self.targets.get(target);
            Probe {
                hostname: target.clone(),
                answer: standing.and_then(|standing| standing.answer),
                answers: standing.map_or(0, |standing| standing.answers),
                presence: standing.map_or(Presence::Unknown, |standing| standing.presence),
            }
        };
        targets.iter().map(probe).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_has_one_entry_in_the_order_of_the_question() {
        let targets: Vec<CompactString> = ["b@h", "a@h", "b@h", "c@h", "d@h"].map(CompactString::from).to_vec();
        let mut round = Round::new(&targets, Presence::Here);
        assert_eq!(round.hostnames().len(), 4);
        assert!(round.is_blank());
        let start = Instant::now();
        for hostname in ["a@h", "b@h", "c@h"] {
            round.sent(hostname, start);
        }
        round.answered("b@h", start + Duration::from_millis(3));
        round.answered("b@h", start + Duration::from_millis(9));
        round.answered("stranger@h", start);
        round.answered("d@h", start);
        round.gone("c@h");
        assert!(!round.is_settled() && !round.is_blank());
        round.rest_is_here();
        let probes = round.into_probes(&targets);
        let seen: Vec<_> = probes
            .iter()
            .map(|p| (p.hostname.as_str(), p.answers, p.presence))
            .collect();
        assert_eq!(
            seen,
            [
                ("b@h", 2, Presence::Here),
                ("a@h", 0, Presence::Here),
                ("b@h", 2, Presence::Here),
                ("c@h", 0, Presence::Gone),
                ("d@h", 0, Presence::Unknown),
            ]
        );
        assert_eq!(probes[0].answer, Some(Duration::from_millis(3)));
    }

    #[test]
    fn nobody_waits_for_one_that_cannot_be_asked() {
        let targets: Vec<CompactString> = ["a@h", "long@h"].map(CompactString::from).to_vec();
        let mut round = Round::new(&targets, Presence::Here);
        round.leave_out("long@h");
        round.sent("a@h", Instant::now());
        assert!(!round.is_settled() && round.is_blank(), "a@h is waited for");
        round.answered("a@h", Instant::now());
        assert!(round.is_settled());
        round.rest_is_here();
        let probe = &round.into_probes(&targets)[1];
        assert_eq!(
            (probe.answer, probe.answers, probe.presence),
            (None, 0, Presence::Unknown)
        );
    }
}
