//! `headcount.sleep(seconds)`: something that takes its time, for trying out limits, revocation and restarts.

use std::time::Duration;

use async_trait::async_trait;
use headcount_core::celery::result::Failure;
use headcount_core::node::{Outcome, TaskSpec};
use serde_json::{Value, json};

use crate::ports::node::{Call, Task};

/// The longest sleep, in seconds: each takes one of the node's slots.
const LONGEST: f64 = 3600.0;

/// Returns the number of seconds that it slept. Acknowledged when it has ended, as whoever tries out restarts wants it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sleep;

#[async_trait]
impl Task for Sleep {
    fn spec(&self) -> TaskSpec {
        TaskSpec {
            acks_late: true,
            ..TaskSpec::new("headcount.sleep")
        }
    }

    async fn run(&self, call: Call) -> Outcome {
        let seconds = match call.arguments.bind("headcount.sleep", ["seconds"]) {
            Ok([seconds]) => seconds.as_ref().and_then(Value::as_f64),
            Err(wrong) => return Outcome::Failure(wrong),
        };
        match seconds.filter(|seconds| (0.0..=LONGEST).contains(seconds)) {
            Some(seconds) => {
                tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
                Outcome::Success(json!(seconds))
            }
            None => Outcome::Failure(Failure::builtin(
                "ValueError",
                format!("seconds must be a number from 0 to {LONGEST}"),
            )),
        }
    }
}
