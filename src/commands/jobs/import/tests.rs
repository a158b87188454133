//! What real Celery dumps, and what cannot be expressed.

use serde_json::json;

use super::*;

/// What the one-liner of the module made of `tests/apps/beat.py`, with Celery 5.7.
const BEAT: &str = include_str!("../data/beat.json");

fn imported(json: &Value) -> Imported {
    import(json, &Wishes::default()).unwrap()
}

fn table<'a>(jobs: &'a toml::Table, name: &str) -> &'a toml::Table {
    let jobs = jobs["job"].as_array().unwrap();
    let found = jobs.iter().find(|job| job["name"].as_str() == Some(name));
    found
        .unwrap_or_else(|| panic!("no {name} in {jobs:?}"))
        .as_table()
        .unwrap()
}

#[test]
fn a_real_beat_schedule_becomes_tables_and_what_does_not_is_said() {
    let imported = import(
        &serde_json::from_str(BEAT).unwrap(),
        &Wishes {
            broker: Some("main".to_owned()),
            timezone: None,
        },
    )
    .unwrap();
    let jobs: toml::Table = imported.toml.parse().unwrap();
    assert_eq!((imported.entries, imported.jobs, imported.whole), (14, 10, false));
    for (name, key, value) in [
        ("purge", "cron", "0 3 * * *"),
        ("purge", "timezone", "Europe/Berlin"),
        ("purge", "queue", "sms"),
        ("purge", "broker", "main"),
        ("quarter", "cron", "*/15 8-17 * * mon-fri"),
        ("set", "cron", "0,30 1,2 * * 0,6"),
        ("spaces", "cron", "5 7,8 * jan,mar *"),
        ("delta", "every", "10m"),
        ("delta", "expires", "30s"),
        ("long", "every", "337h"),
        ("long", "expires", "2h"),
        ("seconds", "every", "30s"),
        ("freq", "every", "90s"),
        ("countdown", "task", "sms.later"),
        ("slash-name", "cron", "0 */2 1-31/2 * *"),
    ] {
        assert_eq!(
            table(&jobs, name).get(key).and_then(toml::Value::as_str),
            Some(value),
            "{name}.{key}"
        );
    }
    assert_eq!(table(&jobs, "purge")["args"], toml::Value::from(vec![30]));
    let kwargs = &table(&jobs, "delta")["kwargs"];
    assert_eq!(kwargs["names"][1].as_str(), Some("b\"c"));
    assert_eq!(
        (kwargs["deep"]["x"].as_float(), kwargs["dry_run"].as_bool()),
        (Some(1.5), Some(false))
    );
    assert_eq!(table(&jobs, "delta")["priority"].as_integer(), Some(5));
    assert!(
        !table(&jobs, "seconds").contains_key("timezone"),
        "only patterns have one"
    );

    let said = |name: &str, words: &str| {
        let found = imported
            .remarks
            .iter()
            .any(|remark| remark.starts_with(&format!("{name}: ")) && remark.contains(words));
        assert!(found, "{name}, {words}: {:#?}", imported.remarks);
    };
    said("sunset", "left out: a solar schedule");
    said("both/days", "left out: for Celery both");
    said("often", "left out: every 500ms is more often");
    said("none", "left out: args: TOML has no null");
    said("countdown", "options.countdown cannot be expressed");
    said("freq", "rounded");
    said("slash/name", "is now called \"slash-name\"");
    assert_eq!(imported.remarks.len(), 7, "{:#?}", imported.remarks);
}

#[test]
fn what_it_makes_is_a_configuration() {
    let imported = imported(&serde_json::from_str(BEAT).unwrap());
    let text = format!(
        "[[broker]]\nname = \"main\"\nurl = \"redis://127.0.0.1\"\n\n{}",
        imported.toml
    );
    let dir = std::env::temp_dir().join(format!("headcount-import-{}", std::process::id()));
    std::fs::write(&dir, text).unwrap();
    let settings = crate::config::load(&dir);
    std::fs::remove_file(&dir).unwrap();
    assert_eq!(settings.unwrap_or_else(|problems| panic!("{problems}")).jobs.len(), 10);
}

#[test]
fn without_a_zone_utc_is_meant_and_said() {
    let beat = json!({"a": {"task": "t", "schedule": "<crontab: 0 3 * * * (m/h/dM/MY/d)>"}});
    let imported = imported(&beat);
    assert!(!imported.toml.contains("timezone") && imported.whole);
    assert!(imported.remarks[0].contains("UTC"), "{:?}", imported.remarks);
    let wishes = Wishes {
        timezone: Some("Asia/Tokyo".to_owned()),
        broker: None,
    };
    let told = import(&beat, &wishes).unwrap();
    assert!(told.toml.contains("timezone = \"Asia/Tokyo\"") && told.remarks.is_empty());
}

#[test]
fn what_is_no_beat_schedule_is_refused_and_a_bad_entry_stops_no_other() {
    for wrong in [json!([]), json!("x"), json!(null), json!({"beat_schedule": 3})] {
        assert!(import(&wrong, &Wishes::default()).is_err(), "{wrong}");
    }
    let imported = imported(&json!({
        "a": 3,
        "b": {"schedule": 3},
        "c": {"task": "t"},
        "d": {"task": "t", "schedule": 60, "args": {}},
        "e": {"task": "t", "schedule": 60, "kwargs": {"k": "<app.Lazy object at 0x7f2a>"}},
        "f": {"task": "t", "schedule": 60, "args": ["env:SECRET"]},
        "g": {"task": "t", "schedule": 60, "args": [18446744073709551615_u64]},
        "h": {"task": "t", "schedule": 60, "surprise": 1},
        "i": {"task": "t", "schedule": 60, "options": {"expires": "2026-01-01 00:00:00", "priority": 10}},
        "": {"task": "it's \"quoted\"\n", "schedule": 60},
        "x".repeat(200): {"task": "t", "schedule": 60},
    }));
    let jobs: toml::Table = imported.toml.parse().unwrap();
    assert_eq!((imported.entries, imported.jobs), (11, 4));
    assert_eq!(table(&jobs, "job")["task"].as_str(), Some("it's \"quoted\"\n"));
    assert_eq!(table(&jobs, &"x".repeat(64))["every"].as_str(), Some("1m"));
    let left_out = imported
        .remarks
        .iter()
        .filter(|remark| remark.contains(": left out: "))
        .count();
    assert_eq!(left_out, 7, "{:#?}", imported.remarks);
    assert!(imported.remarks.iter().any(|remark| remark.contains("surprise")));
    assert!(imported.remarks.iter().any(|remark| remark.contains("options.expires")));
    assert!(
        imported
            .remarks
            .iter()
            .any(|remark| remark.contains("options.priority"))
    );
}
