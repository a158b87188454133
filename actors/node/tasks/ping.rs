//! `headcount.ping()`: whether tasks sent to Headcount are run, and their results come back.

use async_trait::async_trait;
use headcount_core::node::{Outcome, TaskSpec};

use crate::ports::node::{Call, Task};

/// Returns `"pong"`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ping;

#[async_trait]
impl Task for Ping {
    fn spec(&self) -> TaskSpec {
        TaskSpec::new("headcount.ping")
    }

    async fn run(&self, call: Call) -> Outcome {
        match call.arguments.bind("headcount.ping", []) {
            Ok([]) => Outcome::Success("pong".into()),
            Err(wrong) => Outcome::Failure(wrong),
        }
    }
}
