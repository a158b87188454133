//! What was told against what is true.

use std::collections::BTreeMap;

use compact_str::CompactString;
use headcount_core::alert::{Kind, Turn};

use crate::baselines::Alarm;
use crate::headcount::Message;
use crate::truth::{Failure, Of};
use crate::world::{Moment, NEVER};

/// So many false alarms of a tally are kept to be looked at.
const EXAMPLES: usize = 20;

/// One detector's figures, of one scenario or of all. Times are in microseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Workers, times days.
    pub worker_days: f64,
    /// Alarms about nobody who had failed.
    pub false_alarms: u64,
    /// Failures that must be found.
    pub failures: u64,
    /// Those that were not.
    pub missed: u64,
    /// Stretches of trouble that people were told of.
    pub incidents: u64,
    /// Alarms that people got: openings and worsenings. That all is well again is told besides, and not counted.
    pub messages: u64,
    /// Failures that were found with the right reason.
    pub diagnosis_right: u64,
    /// Failures that were found and have a reason to be given.
    pub diagnosed: u64,
    /// From each failure to its first alarm.
    pub detect: Vec<Moment>,
    /// From the end of each failure to when that was told.
    pub clear: Vec<Moment>,
    /// Detection times of each variant, where a scenario has several.
    pub variants: BTreeMap<&'static str, Vec<Moment>>,
    /// False alarms and misses, in words.
    pub examples: Vec<String>,
}

impl Tally {
    /// Adds another's figures.
    pub fn add(&mut self, other: &Tally) {
        self.worker_days += other.worker_days;
        self.false_alarms += other.false_alarms;
        self.failures += other.failures;
        self.missed += other.missed;
        self.incidents += other.incidents;
        self.messages += other.messages;
        self.diagnosis_right += other.diagnosis_right;
        self.diagnosed += other.diagnosed;
        self.detect.extend_from_slice(&other.detect);
        self.clear.extend_from_slice(&other.clear);
        for (variant, times) in &other.variants {
            self.variants.entry(variant).or_default().extend_from_slice(times);
        }
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.iter().take(room).cloned());
    }

    /// False alarms in each 1,000 worker-days.
    pub fn false_rate(&self) -> f64 {
        if self.worker_days > 0.0 {
            self.false_alarms as f64 * 1_000.0 / self.worker_days
        } else {
            0.0
        }
    }

    fn found(&mut self, failure: &Failure, at: Moment) {
        let took = at.saturating_sub(failure.visible);
        self.detect.push(took);
        if !failure.variant.is_empty() {
            self.variants.entry(failure.variant).or_default().push(took);
        }
    }

    fn example(&mut self, words: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(words());
        }
    }

    fn missed(&mut self, failure: &Failure) {
        self.missed += 1;
        self.example(|| {
            let who = failure.who.first().map_or("the broker", |(_, name)| name.as_str());
            format!(
                "missed: {who} from {:.1} s to {:.1} s",
                seconds(failure.from),
                seconds(failure.to)
            )
        });
    }
}

fn seconds(moment: Moment) -> f64 {
    moment as f64 / 1e6
}

/// What has become of a failure.
#[derive(Clone, Debug, Default)]
struct Fate {
    found: Option<Moment>,
    reason_right: bool,
}

/// Headcount's messages of one episode.
pub fn headcount(failures: &[Failure], messages: &[Message], worker_days: f64) -> Tally {
    let mut tally = Tally {
        worker_days,
        ..Tally::default()
    };
    let mut fates = vec![Fate::default(); failures.len()];
    let mut conversations: BTreeMap<&CompactString, Conversation> = BTreeMap::new();
    for message in messages {
        let conversation = conversations.entry(&message.incident).or_default();
        if message.turn == Turn::Recovered {
            if let Some(over) = conversation.over(failures)
                && over <= message.at
            {
                tally.clear.push(message.at - over);
            }
            continue;
        }
        if !message.is_alarm() {
            conversation.eases(message);
            continue;
        }
        tally.messages += 1;
        tally.incidents += u64::from(message.turn == Turn::Opened);
        let (matched, mut strangers) = conversation.match_up(failures, message);
        if matched.is_empty() && conversation.failures.is_empty() && strangers.is_empty() {
            strangers.push("nobody".into());
        }
        for stranger in strangers {
            tally.false_alarms += 1;
            tally.example(|| {
                format!(
                    "false at {:.1} s about {stranger}: {}",
                    seconds(message.at),
                    message.text
                )
            });
        }
        for index in matched {
            if !conversation.failures.contains(&index) {
                conversation.failures.push(index);
            }
            let (failure, fate) = (&failures[index], &mut fates[index]);
            if fate.found.is_none() {
                fate.found = Some(message.at);
                fate.reason_right = message
                    .named
                    .iter()
                    .filter(|(name, _)| failure.names(name))
                    .all(|(_, reason)| reason.is_some_and(|reason| failure.diagnoses.contains(&reason)));
            }
        }
    }
    for (failure, fate) in failures.iter().zip(&fates).filter(|(failure, _)| failure.scored) {
        tally.failures += 1;
        let Some(at) = fate.found else {
            tally.missed(failure);
            continue;
        };
        tally.found(failure, at);
        if !failure.diagnoses.is_empty() {
            tally.diagnosed += 1;
            tally.diagnosis_right += u64::from(fate.reason_right);
        }
    }
    tally
}

/// One incident, as people have been told of it.
#[derive(Clone, Debug, Default)]
struct Conversation {
    /// Whom people hold for missing: those whom the last alarm named, less those whom no later message names.
    standing: Vec<CompactString>,
    failures: Vec<usize>,
}

impl Conversation {
    /// A message that is no alarm: whom it no longer names is well again, and may be alarmed about anew. Whom it names
    /// newly is alarmed about by the next alarm.
    fn eases(&mut self, message: &Message) {
        self.standing
            .retain(|name| message.named.iter().any(|(named, _)| named == name));
    }

    /// The failures that an alarm is about, and all whom it names anew and who have not failed: each is as false as an
    /// alarm of a baseline's about one worker.
    fn match_up(&mut self, failures: &[Failure], message: &Message) -> (Vec<usize>, Vec<CompactString>) {
        let active =
            |of: &[Of], index: &usize| of.contains(&failures[*index].of) && failures[*index].covers(message.at);
        if message.kind == Kind::Broker {
            let brokers = (0..failures.len()).filter(|index| active(&[Of::Broker], index));
            return (brokers.collect(), Vec::new());
        }
        let workers = &[Of::Workers, Of::Work];
        let mut matched = Vec::new();
        let mut strangers = Vec::new();
        for (name, _) in &message.named {
            let mut about = (0..failures.len()).filter(|index| failures[*index].names(name) && active(workers, index));
            match about.next() {
                Some(index) => matched.push(index),
                None if !self.standing.contains(name) => strangers.push(name.clone()),
                None => {}
            }
        }
        self.standing = message.named.iter().map(|(name, _)| name.clone()).collect();
        // More are missing than are named: whoever else has failed may be meant.
        let unnamed = (message.missing as usize).saturating_sub(message.named.len());
        if unnamed > 0 {
            let others = (0..failures.len()).filter(|index| active(workers, index) && !matched.contains(index));
            let others: Vec<_> = others.take(unnamed).collect();
            matched.extend(others);
        }
        matched.sort_unstable();
        matched.dedup();
        (matched, strangers)
    }

    /// When the last of its failures was over.
    fn over(&self, failures: &[Failure]) -> Option<Moment> {
        self.failures.iter().map(|index| failures[*index].to).max()
    }
}

/// A baseline's alarms of one episode, at one threshold. They are read generously: an alarm about any worker while the
/// broker is out finds that, and a failure of somebody who was held dead already is not missed, though nobody was told of
/// it then and so there is no detection time.
pub fn baseline(failures: &[Failure], alarms: &[Alarm], after_outage: Moment, worker_days: f64) -> Tally {
    let mut tally = Tally {
        worker_days,
        ..Tally::default()
    };
    let mut found = vec![None; failures.len()];
    let mut stood = vec![false; failures.len()];
    let mut alarms = alarms.to_vec();
    alarms.sort_by_key(|alarm| (alarm.at, alarm.slot));
    for alarm in &alarms {
        tally.messages += 1;
        tally.incidents += 1;
        let about = |failure: &Failure| match failure.of {
            // Their rules know nothing of work.
            Of::Work => false,
            Of::Workers => failure.is_of(alarm.slot) && failure.covers(alarm.at),
            Of::Broker => failure.from <= alarm.at && alarm.at <= failure.to.saturating_add(after_outage),
        };
        let mut any = false;
        for (failure, stood) in failures.iter().zip(&mut stood) {
            let of_it = failure.of == Of::Workers && failure.is_of(alarm.slot);
            *stood |= of_it && alarm.at < failure.from && alarm.cleared > failure.from;
        }
        for (failure, found) in failures.iter().zip(&mut found).filter(|(failure, _)| about(failure)) {
            any = true;
            if found.is_none() && failure.covers(alarm.at) {
                *found = Some(alarm.at);
            }
            if failure.of == Of::Workers && alarm.cleared != NEVER && alarm.cleared >= failure.to {
                tally.clear.push(alarm.cleared - failure.to);
            }
        }
        if !any {
            tally.false_alarms += 1;
            tally.example(|| format!("false at {:.1} s about slot {}", seconds(alarm.at), alarm.slot));
        }
    }
    for ((failure, found), stood) in failures
        .iter()
        .zip(&found)
        .zip(&stood)
        .filter(|((one, _), _)| one.scored)
    {
        tally.failures += 1;
        match found {
            Some(at) => tally.found(failure, *at),
            None if *stood => {}
            None => tally.missed(failure),
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use headcount_core::alert::Severity;

    use super::*;

    fn message(at: Moment, turn: Turn, named: &[&str]) -> Message {
        Message {
            at,
            turn,
            incident: "1".into(),
            kind: Kind::Fleet,
            severity: Severity::Degraded,
            named: named.iter().map(|name| ((*name).into(), None)).collect(),
            missing: u32::try_from(named.len()).unwrap(),
            text: String::new(),
        }
    }

    #[test]
    fn each_worker_that_is_named_without_reason_is_a_false_alarm() {
        let told = [
            message(1, Turn::Opened, &["a", "b"]),
            // Who stands is not alarmed about again.
            message(2, Turn::Worsened, &["a", "b", "c"]),
            message(3, Turn::Eased, &["b", "c"]),
            message(4, Turn::Worsened, &["a", "b", "c"]),
            message(5, Turn::Recovered, &[]),
        ];
        assert_eq!(headcount(&[], &told, 1.0).false_alarms, 4);
        assert_eq!(headcount(&[], &[message(1, Turn::Opened, &[])], 1.0).false_alarms, 1);
    }
}
