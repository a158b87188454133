//! What a pattern means, and what is wrong with one.

use super::*;
use crate::schedule::CronError;

fn first(pattern: &str, from: &str, count: usize) -> Vec<String> {
    let timing = cron(pattern, "UTC");
    let mut at = wall(from);
    let mut found = Vec::new();
    while found.len() < count {
        at = timing.next(at).unwrap();
        found.push(shown(at).replace(":00Z", ""));
    }
    found
}

#[test]
fn patterns_mean_what_cron_and_celery_mean() {
    // 2026-01-01 is a Thursday.
    for (pattern, expected) in [
        ("* * * * *", ["2026-01-01T00:01", "2026-01-01T00:02"]),
        ("*/15 * * * *", ["2026-01-01T00:15", "2026-01-01T00:30"]),
        ("5-59/20 * * * *", ["2026-01-01T00:05", "2026-01-01T00:25"]),
        ("0 22-2 * * *", ["2026-01-01T01:00", "2026-01-01T02:00"]),
        ("0 0 * * 1-5", ["2026-01-02T00:00", "2026-01-05T00:00"]),
        ("0 0 * * sat,SUN", ["2026-01-03T00:00", "2026-01-04T00:00"]),
        ("0 0 * * 0", ["2026-01-04T00:00", "2026-01-11T00:00"]),
        ("0 0 * * 7", ["2026-01-04T00:00", "2026-01-11T00:00"]),
        ("0 0 * * fri-mon", ["2026-01-02T00:00", "2026-01-03T00:00"]),
        ("0 0 * * 5-7", ["2026-01-02T00:00", "2026-01-03T00:00"]),
        ("0 0 * * Monday", ["2026-01-05T00:00", "2026-01-12T00:00"]),
        ("0 0 1 feb,March *", ["2026-02-01T00:00", "2026-03-01T00:00"]),
        ("0 0 31 * *", ["2026-01-31T00:00", "2026-03-31T00:00"]),
        // Both given: either fits. One of them with a star: both must fit.
        ("0 0 13 * 5", ["2026-01-02T00:00", "2026-01-09T00:00"]),
        ("0 0 */2 * 5", ["2026-01-09T00:00", "2026-01-23T00:00"]),
        ("@weekly", ["2026-01-04T00:00", "2026-01-11T00:00"]),
        ("@Monthly", ["2026-02-01T00:00", "2026-03-01T00:00"]),
        ("@yearly", ["2027-01-01T00:00", "2028-01-01T00:00"]),
        ("  0\t3  * * *  ", ["2026-01-01T03:00", "2026-01-02T03:00"]),
    ] {
        assert_eq!(first(pattern, "2026-01-01T00:00:00Z", 2), expected, "{pattern}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (pattern, part, word) in [
        ("0 25 * * *", "25", "expected 0 to 23 for the hour"),
        ("60 * * * *", "60", "0 to 59 for the minute"),
        ("0 3 * * mo", "mo", "a name such as sun"),
        ("0 3 * foo *", "foo", "1 to 12 for the month"),
        ("0 3 0 * *", "0", "1 to 31 for the day of the month"),
        ("0 3 * * 8", "8", "0 to 7 for the day of the week"),
        ("1,,2 * * * *", ",", "an empty item"),
        ("*/0 * * * *", "0", "step from 1 to 59"),
        ("*/90 * * * *", "90", "step from 1 to 59"),
        ("*/ * * * *", " ", "step from 1 to 59"),
        ("5/15 * * * *", "5/15", "write 5-59/15 or */15"),
        ("0 3 L * *", "L", "extensions"),
        ("0 3 15W * *", "15W", "extensions"),
        ("0 3 * * 5#2", "5#2", "extensions"),
        ("0 3 ? * *", "?", "extensions"),
        ("1-2-3 * * * *", "2-3", "0 to 59 for the minute"),
        ("-1 * * * *", "-", "0 to 59 for the minute"),
        ("0 3 30 2 *", "30 2", "it would never come"),
        ("0 3 31 feb,apr,jun *", "31 feb,apr,jun", "it would never come"),
        ("0 3 * *", "", "found 4"),
        ("", "", "found 0"),
        ("0 0 3 * * *", "*", "there is none for seconds"),
        ("@reboot", "@reboot", "is no time"),
        ("@every 10m", "", "found 2"),
        ("@dayly", "@dayly", "@daily"),
        ("１ * * * *", "１", "0 to 59 for the minute"),
        ("99999999999999999999 * * * *", "99999999999999999999", "minute"),
    ] {
        let CronError { at, why } = Cron::parse(pattern).unwrap_err();
        assert!(why.contains(word), "{pattern}: {why}");
        assert!(!at.is_empty() && at.end <= pattern.len() + 1, "{pattern}: {at:?}");
        assert_eq!(
            pattern.get(at.start..at.end.min(pattern.len())),
            Some(part),
            "{pattern}: {why}"
        );
    }
}

#[test]
fn a_pattern_is_shown_as_it_is_written() {
    assert_eq!(cron(" 0   3 * * MON ", "UTC").to_string(), "0 3 * * MON");
    assert_eq!(
        cron("@daily", "Europe/Berlin").fingerprint(),
        "cron @daily Europe/Berlin"
    );
    assert_eq!(Timing::Every("90s".parse().unwrap()).fingerprint(), "every 90s");
}

proptest::proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "[0-9*/,\\-a-zA-Z@#?LW \\t§é]{0,40}") {
        if let Err(CronError { at, .. }) = Cron::parse(&text) {
            proptest::prop_assert!(at.start < at.end && at.end <= text.len() + 1, "{:?} in {:?}", at, text);
        }
    }
}
