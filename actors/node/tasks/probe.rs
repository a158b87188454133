//! `headcount.probe(broker=None, timeout=2)`: one look at a broker, now: which workers answer, and how fast.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use compact_str::CompactString;
use headcount_core::celery::result::Failure;
use headcount_core::node::{Outcome, TaskSpec};
use serde_json::{Map, Value, json};

use crate::ports::node::{Call, Task};
use crate::ports::{BrokerError, Inspect, SharedBroker};

/// How long answers are waited for, in seconds, where the call does not say; and the longest that it may say.
const TIMEOUT: f64 = 2.0;
const LONGEST: f64 = 60.0;

/// Returns a map of those who answered, with the seconds that each took. Tried again where the broker cannot be reached.
#[derive(Clone)]
pub struct Probe {
    /// The brokers that can be looked at.
    pub brokers: BTreeMap<CompactString, SharedBroker>,
    /// The one that is meant where the call names none: the node's own.
    pub own: CompactString,
}

#[async_trait]
impl Task for Probe {
    fn spec(&self) -> TaskSpec {
        TaskSpec::new("headcount.probe")
    }

    async fn run(&self, call: Call) -> Outcome {
        let asked = call.arguments.bind("headcount.probe", ["broker", "timeout"]);
        let (broker, timeout) = match asked.and_then(|asked| self.read(asked)) {
            Ok(read) => read,
            Err(wrong) => return Outcome::Failure(wrong),
        };
        let ping = Inspect {
            method: "ping",
            arguments: serde_json::Map::new(),
            destination: None,
            timeout,
        };
        match broker.inspect(ping).await {
            Ok(replies) => {
                let answered = replies
                    .into_iter()
                    .map(|reply| (reply.hostname.to_string(), json!(reply.latency.as_secs_f64())));
                Outcome::Success(Value::Object(answered.collect::<Map<_, _>>()))
            }
            Err(error) => {
                let failure = Failure::builtin("ConnectionError", format!("{}: {error}", broker.name()));
                match error {
                    BrokerError::Refused(_) | BrokerError::Protocol(_) => Outcome::Failure(failure),
                    BrokerError::Connect(_) | BrokerError::Lost(_) | BrokerError::Timeout(_) => {
                        Outcome::Retry { failure, after: None }
                    }
                }
            }
        }
    }
}

impl Probe {
    fn read(&self, [broker, timeout]: [Option<Value>; 2]) -> Result<(SharedBroker, Duration), Failure> {
        let name = match &broker {
            None | Some(Value::Null) => self.own.as_str(),
            Some(Value::String(name)) => name,
            Some(_) => return Err(Failure::arguments("broker must be a name")),
        };
        let broker = self.brokers.get(name).cloned();
        let broker =
            broker.ok_or_else(|| Failure::builtin("LookupError", format!("there is no broker named {name}")))?;
        let seconds = match timeout {
            None | Some(Value::Null) => Some(TIMEOUT),
            Some(seconds) => seconds.as_f64().filter(|seconds| *seconds > 0.0 && *seconds <= LONGEST),
        };
        let seconds = seconds.ok_or_else(|| {
            Failure::builtin(
                "ValueError",
                format!("timeout must be more than 0 and at most {LONGEST} seconds"),
            )
        })?;
        Ok((broker, Duration::from_secs_f64(seconds)))
    }
}
