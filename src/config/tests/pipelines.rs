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
    // All of them at once, whether a value cannot be read, a key is missing, or they contradict each other.
    let many = GOOD
        .replacen("\"1m\"", "\"7m\"", 1)
        .replacen("time = \"at\"\n", "lease = \"1ms\"\n", 1)
        .replacen("app.clicks\"", "app\"", 1)
        .replacen("n = \"count\"", "campaign = \"count\"\n_id = \"count\"", 1)
        .replacen("elasticsearch+http", "http", 1);
    let problems = read_with(&many, &variables(&[])).unwrap_err();
    let keys: Vec<&str> = problems.list.iter().map(|problem| problem.key.as_str()).collect();
    let expected = [
        "stats[0].time",
        "stats[0].source",
        "stats[0].lease",
        "stats[0].bucket",
        "stats[0].sinks[1]",
        "stats[0].measures.campaign",
        "stats[0].measures._id",
    ];
    assert_eq!(keys, expected, "{problems}");
    assert!(
        problems.to_string().contains("stats[0].time: this key is required"),
        "{problems}"
    );
    let twice = format!("{GOOD}\n{GOOD}");
    let problems = read_with(&twice, &variables(&[])).unwrap_err().to_string();
    assert!(
        problems.contains("stats[1].name: there is another pipeline named \"clicks\""),
        "{problems}"
    );
}
