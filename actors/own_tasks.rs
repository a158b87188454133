//! Headcount's own tasks that need nothing but Headcount.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::ports::jobs::{OwnCall, OwnTask, OwnTasks};

/// Those that every Headcount has.
pub fn built_in() -> OwnTasks {
    OwnTasks::default().with(Arc::new(Ping))
}

/// `headcount.ping`: answers `pong`, so that a schedule, a queue or a result backend can be tried without harm.
struct Ping;

#[async_trait]
impl OwnTask for Ping {
    fn name(&self) -> &'static str {
        "headcount.ping"
    }

    async fn run(&self, call: OwnCall) -> Result<Value, String> {
        if call.args.is_empty() && call.kwargs.is_empty() {
            Ok(json!("pong"))
        } else {
            Err("headcount.ping takes no arguments".to_owned())
        }
    }
}
