//! The embedded store passes the kit; and what only a file has.

use std::sync::Arc;

use crate::store::conformance::{Open, conformance};
use crate::store::{Config, open};

/// A file in a directory of its own, which goes when the last opener does.
fn fresh() -> Open {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        url: format!("sqlite:{}", dir.path().join("headcount.db").display()),
    };
    Box::new(move || {
        let _keep = &dir;
        open(&config).unwrap()
    })
}

conformance!(fresh);

mod jobs {
    use crate::store::conformance::jobs::{OpenJobs, job_conformance};
    use crate::store::{Config, open_all};

    fn fresh() -> OpenJobs {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            url: format!("sqlite:{}", dir.path().join("headcount.db").display()),
        };
        Box::new(move || {
            let _keep = &dir;
            open_all(&config).unwrap().jobs
        })
    }

    job_conformance!(fresh);
}

#[tokio::test]
async fn two_headcounts_cannot_share_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        url: format!("sqlite:{}", dir.path().join("headcount.db").display()),
    };
    let first = open(&config).unwrap();
    let second = open(&config).map(|_| ()).unwrap_err().to_string();
    assert!(
        second.contains("headcount.db is in use by another Headcount"),
        "{second}"
    );
    assert!(first.load().await.is_ok(), "the first is not disturbed");
    drop(first);
    assert!(open(&config).is_ok());
}

#[tokio::test]
async fn the_memory_forgets() {
    let config = Config {
        url: "sqlite::memory:".to_owned(),
    };
    let store = open(&config).unwrap();
    store
        .save_incidents(vec![crate::store::conformance::incident("a", 0)])
        .await
        .unwrap();
    assert_eq!(store.load().await.unwrap().incidents.len(), 1);
    assert!(Arc::strong_count(&store) == 1);
    drop(store);
    assert!(open(&config).unwrap().load().await.unwrap().incidents.is_empty());
}
