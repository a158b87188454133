//! `headcount.echo(value)`: what is sent comes back, so that it is seen what becomes of a value on its way.

use async_trait::async_trait;
use headcount_core::node::{Outcome, TaskSpec};
use serde_json::json;

use crate::ports::node::{Call, Task};

/// Returns its only argument, or all of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

#[async_trait]
impl Task for Echo {
    fn spec(&self) -> TaskSpec {
        TaskSpec::new("headcount.echo")
    }

    async fn run(&self, call: Call) -> Outcome {
        let given = call.arguments;
        Outcome::Success(match (given.args.as_slice(), given.kwargs.is_empty()) {
            ([one], true) => one.clone(),
            _ => json!({"args": given.args, "kwargs": given.kwargs}),
        })
    }
}
