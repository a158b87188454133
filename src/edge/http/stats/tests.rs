//! The roll-ups of tasks, from a store in memory.

use actix_web::http::StatusCode;
use headcount_actors::ports::{Kept, SharedStore};
use headcount_core::celery::TaskKind;
use headcount_core::status::Status;
use serde_json::{Value, json};

use super::*;
use crate::http::tests::{Answer, get, http};
use crate::store;

/// 2026-01-31T12:00:00Z.
const NOON: i64 = 1_769_860_800_000_000;
const MINUTE: i64 = 60_000_000;

fn rollup(minute: i64, task: &str, outcome: TaskKind, runtimes: &[f64]) -> TaskRollup {
    let mut times = Times::default();
    runtimes.iter().for_each(|seconds| times.runtime.add(*seconds));
    TaskRollup {
        key: TaskKey {
            width: Width::MINUTE,
            start: Wall::from_micros(NOON + minute * MINUTE),
            fleet: if task.starts_with("sms") { "sms" } else { "other" }.into(),
            task: task.into(),
            queue: "q".into(),
            outcome,
        },
        count: runtimes.len().max(1) as u64,
        times,
    }
}

async fn filled(rollups: Vec<TaskRollup>) -> SharedStore {
    let config = store::Config {
        url: "sqlite::memory:".to_owned(),
    };
    let store = store::open(&config).unwrap();
    store.add_task_rollups(rollups).await.unwrap();
    store
}

async fn ask(store: &SharedStore, query: &str) -> Answer {
    get(
        http(Status::default(), store.clone()),
        &format!("/api/v1/stats/tasks?{query}"),
    )
    .await
}

async fn rows(store: &SharedStore, query: &str) -> Vec<Value> {
    let answer = ask(store, query).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    answer.json()["rollups"].as_array().unwrap().clone()
}

const HOUR: &str = "from=2026-01-31T12:00:00Z&to=2026-01-31T13:00:00Z";

#[actix_web::test]
async fn they_are_added_up_over_the_time_that_is_asked_for() {
    use TaskKind::{Failed, Received, Succeeded};
    let store = filled(vec![
        rollup(-1, "sms.send", Succeeded, &[9.0]),
        rollup(0, "sms.send", Received, &[]),
        rollup(0, "sms.send", Succeeded, &[1.0, 2.0]),
        rollup(59, "sms.send", Succeeded, &[3.0]),
        rollup(60, "sms.send", Succeeded, &[9.0]),
        rollup(7, "billing", Failed, &[0.5]),
    ])
    .await;
    let answer = ask(&store, HOUR).await.json();
    assert_eq!(
        (&answer["from"], &answer["to"]),
        (&json!("2026-01-31T12:00:00Z"), &json!("2026-01-31T13:00:00Z"))
    );
    let all = answer["rollups"].as_array().unwrap();
    let shown: Vec<_> = all
        .iter()
        .map(|row| (&row["fleet"], &row["task"], &row["outcome"], &row["count"]))
        .collect();
    assert_eq!(
        shown,
        [
            (&json!("other"), &json!("billing"), &json!("failed"), &json!(1)),
            (&json!("sms"), &json!("sms.send"), &json!("received"), &json!(1)),
            (&json!("sms"), &json!("sms.send"), &json!("succeeded"), &json!(3)),
        ]
    );
    assert_eq!((&all[1]["runtime_s"], &all[2]["wait_s"]), (&Value::Null, &Value::Null));
    let runtime = &all[2]["runtime_s"];
    assert_eq!(
        (&runtime["count"], &runtime["mean"], &runtime["max"]),
        (&json!(3), &json!(2.0), &json!(3.0))
    );
    assert!((runtime["p50"].as_f64().unwrap() - 2.0).abs() <= 0.02);
    assert!(runtime["p99"].as_f64().unwrap() <= 3.0);
    assert_eq!(all[2].get("bucket"), None);

    assert_eq!(rows(&store, &format!("{HOUR}&fleet=other")).await.len(), 1);
    assert_eq!(rows(&store, &format!("{HOUR}&task=sms.*")).await.len(), 2);
    assert_eq!(rows(&store, &format!("{HOUR}&task=sms.send")).await.len(), 2);
    assert_eq!(rows(&store, &format!("{HOUR}&task=sms")).await.len(), 0);
    // A minute belongs to the time in which it begins, and the first counts as a whole.
    assert_eq!(
        rows(&store, "from=2026-01-31T12:00:30Z&to=2026-01-31T12:00:40Z")
            .await
            .len(),
        2
    );
    assert_eq!(rows(&store, "from=2h&to=1h").await.len(), 0);
}

#[actix_web::test]
async fn a_step_is_as_long_as_asked_or_as_what_is_kept() {
    let minutes = (0..180).map(|minute| rollup(minute, "sms.send", TaskKind::Succeeded, &[1.0]));
    let store = filled(minutes.collect()).await;
    let kept = Kept {
        minutes_from: Wall::from_micros(NOON + 60 * MINUTE),
        from: Wall::default(),
        bytes: u64::MAX,
    };
    while store.thin_task_rollups(kept).await.unwrap() {}
    let three = "from=2026-01-31T12:00:00Z&to=2026-01-31T15:00:00Z";
    let steps = |rows: Vec<Value>| -> Vec<(String, String, u64)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        rows.iter()
            .map(|row| {
                (
                    text(&row["bucket"]),
                    text(&row["width"]),
                    row["count"].as_u64().unwrap(),
                )
            })
            .collect()
    };
    let found = steps(rows(&store, &format!("{three}&step=30m")).await);
    let expected = [
        ("12:00", "1h", 60),
        ("13:00", "30m", 30),
        ("13:30", "30m", 30),
        ("14:00", "30m", 30),
        ("14:30", "30m", 30),
    ]
    .map(|(time, width, count)| (format!("2026-01-31T{time}:00Z"), width.to_owned(), count));
    assert_eq!(found, expected);
    assert_eq!(
        steps(rows(&store, &format!("{three}&step=1d")).await),
        [("2026-01-31T00:00:00Z".to_owned(), "1d".to_owned(), 180)]
    );
    assert_eq!(steps(rows(&store, &format!("{three}&step=1m")).await).len(), 121);
}

/// More than one page, and more than one answer may hold.
#[actix_web::test]
async fn a_long_time_is_read_in_pages_up_to_a_bound() {
    let minutes = |count: i64| (0..count).map(|minute| rollup(minute, "t", TaskKind::Succeeded, &[1.0]));
    let store = filled(minutes(MAX_ROLLUPS as i64 + 1).collect()).await;
    let month = "from=2026-01-31T12:00:00Z&to=2026-03-01T12:00:00Z";
    let all = rows(&store, month).await;
    assert_eq!((all.len(), &all[0]["count"]), (1, &json!(MAX_ROLLUPS + 1)));
    let refused = ask(&store, &format!("{month}&step=1m")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        refused.json()["detail"],
        "more than 10000 roll-ups: ask for a shorter time, a longer step, one fleet or one task"
    );
}

#[actix_web::test]
async fn what_cannot_be_meant_is_refused() {
    let store = filled(vec![]).await;
    for (query, says) in [
        ("from=yesterday", "from: expected a time such as"),
        ("to=soon", "to: expected a time such as"),
        ("from=1h&to=2h", "is not before"),
        ("step=7m", "step: a bucket is whole minutes long"),
        ("step=x", "step: expected a duration"),
        ("task=", "task: an empty pattern matches nothing"),
        ("task=%5Ba", "task: `[` without `]`"),
        ("since=1h", "unknown field `since`"),
    ] {
        let answer = ask(&store, query).await;
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            answer.status == StatusCode::BAD_REQUEST && detail.contains(says),
            "{query}: {detail}"
        );
    }
    assert_eq!(ask(&store, "").await.json()["rollups"], json!([]));
}
