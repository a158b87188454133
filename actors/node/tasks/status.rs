//! `headcount.status(fleet=None)`: the fleets, as `GET /api/v1/fleets` shows them.

use async_trait::async_trait;
use headcount_core::celery::result::Failure;
use headcount_core::celery::task::iso8601;
use headcount_core::node::{Outcome, TaskSpec};
use headcount_core::status::FleetStatus;
use serde_json::{Value, json};

use crate::ports::StatusView;
use crate::ports::node::{Call, Task};

/// Returns all fleets, or the named one.
#[derive(Clone, Debug)]
pub struct StatusOf(pub StatusView);

#[async_trait]
impl Task for StatusOf {
    fn spec(&self) -> TaskSpec {
        TaskSpec::new("headcount.status")
    }

    async fn run(&self, call: Call) -> Outcome {
        let fleet = match call.arguments.bind("headcount.status", ["fleet"]) {
            Ok([fleet]) => fleet.filter(|fleet| !fleet.is_null()),
            Err(wrong) => return Outcome::Failure(wrong),
        };
        let status = self.0.borrow().clone();
        let mut fleets = status.fleets.iter();
        match fleet {
            None => Outcome::Success(fleets.map(shown).collect()),
            Some(Value::String(name)) => match fleets.find(|fleet| fleet.name == name.as_str()) {
                Some(fleet) => Outcome::Success(shown(fleet)),
                None => Outcome::Failure(Failure::builtin(
                    "LookupError",
                    format!("there is no fleet named {name}"),
                )),
            },
            Some(_) => Outcome::Failure(Failure::arguments("fleet must be a name")),
        }
    }
}

fn shown(fleet: &FleetStatus) -> Value {
    let queue = |queue: &headcount_core::status::QueueStatus| json!({"name": queue.name, "length": queue.length, "consumers": queue.consumers});
    json!({
        "name": fleet.name,
        "broker": fleet.broker,
        "state": fleet.state.as_str(),
        "expected": fleet.expected,
        "minimum": fleet.minimum,
        "up": fleet.up,
        "suspect": fleet.suspect,
        "down": fleet.down,
        "stalled": fleet.stalled,
        "since": iso8601(fleet.since),
        "queues": fleet.queues.iter().map(queue).collect::<Vec<_>>(),
    })
}
