//! `[[stats]]`: mistakes are named by line, column and key, and no URL is shown.

use super::{read_with, variables};

const GOOD: &str = r#"[[stats]]
name = "clicks"
source = "mongodb://me:s3cret@127.0.0.1:27017/app.clicks"
time = "at"
bucket = "1m"
group_by = ["campaign"]
sinks = ["mongodb://127.0.0.1:27017/app.clicks_1m", "elasticsearch+http://127.0.0.1:9200/clicks-1m"]
[stats.measures]
n = "count"
paid = "sum(price)"
"#;

#[test]
fn a_pipeline_needs_no_broker() {
    let settings = read_with(GOOD, &variables(&[])).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((settings.brokers.len(), settings.stats.len()), (0, 1));
}

#[test]
fn each_mistake_has_its_place() {
    for (from, to, place) in [
        ("app.clicks\"", "app\"", "3:10: stats[0].source: expected a path"),
        (
            "\"1m\"",
            "\"7m\"",
            "5:10: stats[0].bucket: a bucket is whole minutes long",
        ),
        (
            "elasticsearch+http",
            "http",
            "7:53: stats[0].sinks[1]: expected mongodb://",
        ),
        (
            "sum(price)",
            "avg(price)",
            "10:8: stats[0].measures.paid: column 1: unknown measure `avg`",
        ),
        (
            "n = ",
            "campaign = ",
            "9:12: stats[0].measures.campaign: `campaign` cannot be",
        ),
        (
            "time = ",
            "tiem = ",
            "4:1: stats[0].tiem: unknown key; did you mean `time`?",
        ),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let problems = read_with(&GOOD.replacen(from, to, 1), &variables(&[]))
            .unwrap_err()
            .to_string();
        assert!(problems.contains(place), "{to}: {problems}");
        assert!(!problems.contains("s3cret"), "{problems}");
    }
    let twice = format!("{GOOD}\n{GOOD}");
    let problems = read_with(&twice, &variables(&[])).unwrap_err().to_string();
    assert!(
        problems.contains("stats[1].name: there is another pipeline named \"clicks\""),
        "{problems}"
    );
}
