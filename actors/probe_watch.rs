//! Probes as people hear of them: what fails at a broker is told once for all of its fleets.
//!
//! A broker that does not take questions takes none of any fleet's. Each prober knows only of its own, and with hundreds of them
//! one hiccup would be as many lines, and as many again when it is over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use compact_str::CompactString;
use headcount_core::time::Mono;

use crate::clock::Clock;
use crate::ports::BrokerError;
use crate::vitals;

/// So long after the first failure it is told, with the fleets that have met it by then: longer, and it is told late; shorter,
/// and it is told with fewer of them.
const GATHER: Duration = Duration::from_secs(2);
/// How soon it is told again that there are more fleets.
const SAID_AGAIN: Duration = Duration::from_secs(60);
/// A fleet that has not failed again for so long is not asked any more: it ends nothing, and keeps nothing from ending.
const STALE: Duration = Duration::from_secs(600);
/// So many fleets are named.
const NAMED: usize = 5;

/// One broker's probes.
#[derive(Debug)]
pub struct ProbeWatch {
    /// The broker's name.
    broker: String,
    trouble: Mutex<Trouble>,
}

impl ProbeWatch {
    /// A watch over the probes of the broker of this name.
    pub fn new(broker: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            broker: broker.into(),
            trouble: Mutex::default(),
        })
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        // A panic cannot leave it half changed in a way that matters: at worst something is said once more.
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A probe of a fleet could not be made.
    pub(crate) fn failed(&self, fleet: &CompactString, error: &BrokerError) {
        tracing::debug!(broker = self.broker, %fleet, %error, "a probe could not be made");
        self.trouble().failed(Clock.mono(), fleet, error.to_string());
    }

    /// A probe of a fleet could be made.
    pub(crate) fn worked(&self, fleet: &CompactString) {
        let over = self.trouble().worked(Clock.mono(), fleet);
        if let Some(failed) = over {
            let _nobody = vitals::off_duty();
            tracing::info!(broker = self.broker, failed, "workers can be asked again");
        }
    }

    /// Tells what is due, whoever asks.
    pub(crate) fn tell(&self) {
        let due = self.trouble().due(Clock.mono());
        if let Some(Failing { fleets, names, error }) = due {
            // It is the broker's trouble, not that of the fleet which happened to ask.
            let _nobody = vitals::off_duty();
            tracing::warn!(
                broker = self.broker,
                fleets,
                names,
                error,
                "workers cannot be asked, and are judged by their events alone: trying again, and logged again when it works; see \
                 `error`, and whether the user may do what asking needs"
            );
        }
    }
}

/// What is said of a broker whose workers cannot be asked.
#[derive(Debug, PartialEq, Eq)]
struct Failing {
    fleets: usize,
    /// The first of them.
    names: String,
    /// The last that was heard.
    error: String,
}

#[derive(Debug, Default)]
struct Trouble {
    /// Since when it is to be told, and none where there is nothing that was not told.
    due: Option<Mono>,
    /// When it was told last in this trouble.
    said: Option<Mono>,
    /// When each fleet's probe failed last.
    fleets: BTreeMap<CompactString, Mono>,
    /// Probes that failed in this trouble.
    failed: u64,
    error: String,
}

impl Trouble {
    fn failed(&mut self, now: Mono, fleet: &CompactString, error: String) {
        self.failed += 1;
        self.error = error;
        if self.fleets.insert(fleet.clone(), now).is_none() && self.due.is_none() {
            let soon = now + GATHER;
            self.due = Some(self.said.map_or(soon, |said| soon.max(said + SAID_AGAIN)));
        }
    }

    /// How many probes had failed, where that was told and is over.
    fn worked(&mut self, now: Mono, fleet: &CompactString) -> Option<u64> {
        if self.fleets.is_empty() {
            return None;
        }
        self.fleets
            .retain(|own, failed| own != fleet && now.since(*failed) < STALE);
        if !self.fleets.is_empty() {
            return None;
        }
        let over = std::mem::take(self);
        over.said.map(|_| over.failed)
    }

    fn due(&mut self, now: Mono) -> Option<Failing> {
        self.due.filter(|due| *due <= now)?;
        self.due = None;
        self.said = Some(now);
        let names: Vec<&str> = self.fleets.keys().take(NAMED).map(CompactString::as_str).collect();
        Some(Failing {
            fleets: self.fleets.len(),
            names: names.join(", "),
            error: self.error.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(n: usize) -> CompactString {
        format!("f{n:03}").into()
    }

    #[test]
    fn a_hiccup_of_a_broker_is_one_line_and_one_more_when_it_is_over() {
        let (mut trouble, start) = (Trouble::default(), Mono::default());
        let mut said = Vec::new();
        for n in 0..500 {
            let now = start + Duration::from_millis(n as u64);
            trouble.failed(now, &fleet(n), "reset".to_owned());
            said.extend(trouble.due(now));
        }
        for n in 0..500 {
            let now = start + Duration::from_millis(3_000 + n);
            said.extend(trouble.due(now));
        }
        let all = Failing {
            fleets: 500,
            names: "f000, f001, f002, f003, f004".to_owned(),
            error: "reset".to_owned(),
        };
        assert_eq!(said, [all]);
        let now = start + Duration::from_secs(9);
        let over: Vec<u64> = (0..500).filter_map(|n| trouble.worked(now, &fleet(n))).collect();
        assert_eq!(over, [500]);
    }

    #[test]
    fn fleets_that_join_a_trouble_are_told_once_a_minute_and_one_that_is_gone_does_not_keep_it() {
        let (mut trouble, start) = (Trouble::default(), Mono::default());
        let mut said = Vec::new();
        for n in 0..120 {
            let now = start + Duration::from_secs(n as u64);
            trouble.failed(now, &fleet(n), "refused".to_owned());
            said.extend(trouble.due(now).map(|failing| failing.fleets));
        }
        assert_eq!(said, [3, 63]);
        let now = start + STALE + Duration::from_secs(120);
        assert_eq!(
            trouble.worked(now, &fleet(0)),
            Some(120),
            "the others are not asked any more"
        );
        assert_eq!(trouble.worked(now, &fleet(0)), None, "once");
    }
}
