//! A worker is dead when it has not answered so many pings in a row.

use compact_str::{CompactString, ToCompactString};
use headcount_core::celery::WorkerKind;
use rustc_hash::FxHashMap;

use super::{Alarm, Baseline};
use crate::world::{Answer, Moment, NEVER, Question, Questions, SEC, Said, Says, Slot, Watcher};

/// How many misses make a worker dead.
const THRESHOLDS: [u32; 9] = [1, 2, 3, 4, 5, 6, 8, 12, 24];
/// How often all are asked: as often as Headcount asks those who seem well.
const EVERY: Moment = 5 * SEC;

/// The rule.
#[derive(Debug, Default)]
pub struct Ping {
    workers: Vec<Watched>,
    by_name: FxHashMap<CompactString, Slot>,
    next: Moment,
    asks: bool,
    connected: bool,
    alarms: Vec<Vec<Alarm>>,
}

#[derive(Clone, Debug, Default)]
struct Watched {
    hostname: CompactString,
    /// It has been heard, and has not said goodbye.
    watched: bool,
    misses: u32,
    /// For each threshold the place of its alarm that stands.
    open: [Option<usize>; THRESHOLDS.len()],
}

impl Ping {
    /// With its threshold swept.
    pub fn new() -> Self {
        Self {
            alarms: vec![Vec::new(); THRESHOLDS.len()],
            ..Self::default()
        }
    }

    fn missed(&mut self, slot: Slot, now: Moment) {
        let Some(worker) = self.workers.get_mut(slot as usize) else {
            return;
        };
        worker.misses += 1;
        for ((threshold, open), alarms) in THRESHOLDS.iter().zip(&mut worker.open).zip(&mut self.alarms) {
            if worker.misses >= *threshold && open.is_none() {
                *open = Some(alarms.len());
                alarms.push(Alarm {
                    slot,
                    at: now,
                    cleared: NEVER,
                });
            }
        }
    }

    fn lives(&mut self, slot: Slot, now: Moment) {
        let Some(worker) = self.workers.get_mut(slot as usize) else {
            return;
        };
        worker.misses = 0;
        for (open, alarms) in worker.open.iter_mut().zip(&mut self.alarms) {
            if let Some(alarm) = open.take().and_then(|place| alarms.get_mut(place)) {
                alarm.cleared = now;
            }
        }
    }
}

impl Watcher for Ping {
    fn connected(&mut self, _: Moment, connected: bool) {
        self.connected = connected;
    }

    fn blocked(&mut self, _: Moment, _: bool) {}

    fn canary(&mut self, _: Moment) {}

    /// It has the names from the events, and judges by the answers alone.
    fn said(&mut self, now: Moment, hostname: &str, said: &Said) {
        let place = said.slot as usize;
        if place >= self.workers.len() {
            self.workers.resize(place + 1, Watched::default());
        }
        let leaves = said.kind == WorkerKind::Offline;
        let worker = &mut self.workers[place];
        if worker.hostname != hostname {
            worker.hostname = hostname.to_compact_string();
            self.by_name.insert(worker.hostname.clone(), said.slot);
        }
        let news = worker.watched == leaves;
        worker.watched = !leaves;
        if news {
            self.lives(said.slot, now);
        }
    }

    fn due(&self) -> Moment {
        self.next
    }

    fn tick(&mut self, now: Moment) {
        self.next = (now / EVERY + 1) * EVERY;
        self.asks = true;
    }

    fn questions(&mut self, into: &mut Questions) {
        if std::mem::take(&mut self.asks) {
            let watched = self.workers.iter().filter(|worker| worker.watched);
            let names: Vec<_> = watched.map(|worker| worker.hostname.clone()).collect();
            into.push((0, Question::Probe(names)));
        }
    }

    fn answered(&mut self, now: Moment, answer: Answer) {
        // A monitor that cannot ask has missed nothing: it is read generously.
        let Says::Probed(probes) = answer.says else {
            return;
        };
        for (hostname, probed) in probes {
            let Some(&slot) = self.by_name.get(&hostname) else {
                continue;
            };
            let watched = self
                .workers
                .get(slot as usize)
                .is_some_and(|worker| worker.watched && worker.hostname == hostname);
            match probed.answer {
                _ if !watched => {}
                Some(_) => self.lives(slot, now),
                None => self.missed(slot, now),
            }
        }
    }
}

impl Baseline for Ping {
    fn name(&self) -> &'static str {
        "ping"
    }

    fn thresholds(&self) -> Vec<f64> {
        THRESHOLDS.iter().map(|misses| f64::from(*misses)).collect()
    }

    fn finish(&mut self, _: Moment) -> Vec<Vec<Alarm>> {
        std::mem::take(&mut self.alarms)
    }
}
