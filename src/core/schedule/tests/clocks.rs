//! Both switches of a year in three zones.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

const ZONES: [&str; 3] = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"];
const MINUTE: i64 = 60_000_000;

/// The rule, said in another way and followed minute by minute: a pattern that names hours has a slot whenever the clock
/// comes to a minute of it or leaps over one, for the first time; another one, whenever the clock shows a minute of it.
fn by_brute_force(pattern: &str, zone: &TimeZone, from: Wall, to: Wall) -> Vec<Wall> {
    let cron = Cron::parse(pattern).unwrap();
    let local = |at: i64| zone.to_datetime(Timestamp::from_microsecond(at).unwrap());
    // Long enough before that a repeated hour is known as such.
    let begin = from.as_micros() - 3 * 3600 * 1_000_000;
    let mut reached = local(begin);
    let mut found = Vec::new();
    let mut at = begin;
    while at < to.as_micros() {
        at += MINUTE;
        let shows = local(at);
        let mut hit = !cron.names_hours() && cron.names(shows);
        while reached < shows {
            reached = reached.checked_add(jiff::ToSpan::minutes(1)).unwrap();
            hit |= cron.names_hours() && cron.names(reached);
        }
        if hit && at > from.as_micros() {
            found.push(Wall::from_micros(at));
        }
    }
    found
}

#[test]
fn the_months_of_both_switches_in_three_zones_are_as_the_rule_says() {
    let spring = (wall("2026-03-01T00:00:00Z"), wall("2026-04-15T00:00:00Z"));
    let autumn = (wall("2026-09-25T00:00:00Z"), wall("2026-11-10T00:00:00Z"));
    for (zone_name, (from, to)) in ZONES.into_iter().flat_map(|name| [(name, spring), (name, autumn)]) {
        for pattern in [
            "30 2 * * *",
            "0 2 * * *",
            "15 2 * * *",
            "45 1 * * *",
            "0 3 * * *",
            "*/15 2 * * *",
            "* 1-3 * * *",
            "30 1,2,3 * * 0",
            "0 */2 * * *",
            "30 * * * *",
            "*/20 * * * *",
            "@daily",
            "@hourly",
            "0 0 1 * *",
        ] {
            let timing = cron(pattern, zone_name);
            let expected = by_brute_force(pattern, &zone(zone_name), from, to);
            assert_eq!(slots(&timing, from, to), expected, "{pattern} in {zone_name}");
        }
    }
}

/// What the table says, for people to check against a calendar.
#[test]
fn the_switches_one_by_one() {
    for (zone_name, pattern, from, expected) in [
        // Berlin leaps from 02:00 to 03:00 on 29 March, and back from 03:00 to 02:00 on 25 October.
        (
            "Europe/Berlin",
            "30 2 * * *",
            "2026-03-28T12:00:00Z",
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
        ),
        (
            "Europe/Berlin",
            "*/30 2 * * *",
            "2026-03-28T12:00:00Z",
            ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"],
        ),
        (
            "Europe/Berlin",
            "30 2 * * *",
            "2026-10-24T12:00:00Z",
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        ),
        (
            "Europe/Berlin",
            "30 * * * *",
            "2026-03-29T00:00:00Z",
            ["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"],
        ),
        (
            "Europe/Berlin",
            "30 * * * *",
            "2026-10-25T00:00:00Z",
            ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"],
        ),
        // New York: 8 March and 1 November.
        (
            "America/New_York",
            "30 2 * * *",
            "2026-03-07T12:00:00Z",
            ["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"],
        ),
        (
            "America/New_York",
            "30 1 * * *",
            "2026-10-31T12:00:00Z",
            ["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"],
        ),
        (
            "America/New_York",
            "0 3 * * *",
            "2026-03-07T12:00:00Z",
            ["2026-03-08T07:00:00Z", "2026-03-09T07:00:00Z"],
        ),
        // Lord Howe: half an hour, from 02:00 to 02:30 on 4 October, and back from 02:00 to 01:30 on 5 April.
        (
            "Australia/Lord_Howe",
            "15 2 * * *",
            "2026-10-03T12:00:00Z",
            ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"],
        ),
        (
            "Australia/Lord_Howe",
            "45 2 * * *",
            "2026-10-03T12:00:00Z",
            ["2026-10-03T15:45:00Z", "2026-10-04T15:45:00Z"],
        ),
        (
            "Australia/Lord_Howe",
            "45 1 * * *",
            "2026-04-04T12:00:00Z",
            ["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"],
        ),
        (
            "Australia/Lord_Howe",
            "45 * * * *",
            "2026-04-04T14:00:00Z",
            ["2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z"],
        ),
    ] {
        let timing = cron(pattern, zone_name);
        let first = timing.next(wall(from)).unwrap();
        let second = timing.next(first).unwrap();
        assert_eq!([shown(first), shown(second)], expected, "{pattern} in {zone_name}");
    }
}

#[test]
fn a_whole_day_that_a_clock_leaps_over_runs_once() {
    // Samoa had no 30 December 2011.
    let timing = cron("0 9 * * *", "Pacific/Apia");
    let from = wall("2011-12-29T00:00:00Z");
    let found: Vec<String> = slots(&timing, from, wall("2011-12-31T12:00:00Z"))
        .into_iter()
        .map(shown)
        .collect();
    assert_eq!(
        found,
        ["2011-12-29T19:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T19:00:00Z"]
    );
}

#[test]
fn what_is_rare_is_found_and_what_ends_ends() {
    let leap_day = cron("0 0 29 2 *", "Europe/Berlin");
    assert_eq!(
        leap_day.next(wall("2096-03-01T00:00:00Z")),
        Some(wall("2104-02-28T23:00:00Z"))
    );
    let leap_friday = cron("0 12 */28 2 5", "UTC");
    assert_eq!(
        leap_friday.next(wall("2026-01-01T00:00:00Z")),
        Some(wall("2030-02-01T12:00:00Z"))
    );
    for far in [Wall::from_micros(i64::MAX), Wall::from_micros(i64::MIN)] {
        assert_eq!(leap_day.next(far), None);
    }
    assert_eq!(leap_day.next(wall("9999-12-30T00:00:00Z")), None);
}

#[test]
fn every_never_drifts() {
    let every = Timing::Every("10m".parse().unwrap());
    let from = wall("2026-01-01T00:03:07.123456Z");
    let found: Vec<String> = slots(&every, from, from + std::time::Duration::from_secs(1_800))
        .into_iter()
        .map(shown)
        .collect();
    assert_eq!(
        found,
        ["2026-01-01T00:10:00Z", "2026-01-01T00:20:00Z", "2026-01-01T00:30:00Z"]
    );
    assert_eq!(
        every.next(wall("2026-01-01T00:10:00Z")),
        Some(wall("2026-01-01T00:20:00Z"))
    );
    assert_eq!(
        every.next(wall("1969-12-31T23:55:00Z")),
        Some(wall("1970-01-01T00:00:00Z"))
    );
    assert_eq!(every.next(Wall::from_micros(i64::MAX)), None);
}

fn field(max: u8, min: u8) -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("*".to_owned()),
        2 => (1..=(max - min)).prop_map(|step| format!("*/{step}")),
        4 => (min..=max).prop_map(|number| number.to_string()),
        2 => (min..=max, min..=max).prop_map(|(a, b)| format!("{a}-{b}")),
        2 => (min..=max, min..=max, 1..=(max - min)).prop_map(move |(a, b, step)| format!("{a}-{b}/{step},{min}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_pattern_around_any_switch_is_as_the_rule_says(
        minute in field(59, 0),
        hour in field(23, 0),
        weekday in prop_oneof![3 => Just("*".to_owned()), 1 => field(6, 0)],
        zone_at in 0..ZONES.len(),
        spring in any::<bool>(),
        offset in 0..2_000_i64,
    ) {
        let switches = [
            ("2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"),
            ("2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z"),
            ("2026-10-03T15:30:00Z", "2026-04-04T15:00:00Z"),
        ];
        let switch = wall(if spring { switches[zone_at].0 } else { switches[zone_at].1 });
        let from = Wall::from_micros(switch.as_micros() - offset * MINUTE);
        let to = Wall::from_micros(switch.as_micros() + 2_000 * MINUTE);
        let pattern = format!("{minute} {hour} * * {weekday}");
        let expected = by_brute_force(&pattern, &zone(ZONES[zone_at]), from, to);
        prop_assert_eq!(slots(&cron(&pattern, ZONES[zone_at]), from, to), expected, "{} {}", pattern, ZONES[zone_at]);
    }
}
