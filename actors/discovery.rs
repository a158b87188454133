//! Discovery: a question to all workers of a broker now and then, for those that neither beat nor send events and of
//! whom nothing would ever be heard otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use compact_str::CompactString;
use headcount_core::detect::roster::Roster;

use crate::fleets::FleetDirectory;
use crate::messages::Found;
use crate::ports::{BrokerError, Inspect, Reply, SharedBroker};

/// How often all are asked. Whoever beats is known at once, so this is only how long one that does not stays unseen;
/// asking oftener costs each worker a reply.
pub(crate) const DISCOVER_EVERY: Duration = Duration::from_secs(60);

/// How long answers are collected. One that is busy for longer answers another time.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Asks everybody whether they live. Only an answer's existence matters: `ping` is the least that can be asked.
pub(crate) async fn ask_all(broker: SharedBroker) -> Result<Vec<Reply>, BrokerError> {
    let ask = Inspect {
        method: "ping",
        arguments: serde_json::Map::new(),
        destination: None,
        timeout: ANSWER_WITHIN,
    };
    broker.inspect(ask).await
}

/// Passes the answers on to the fleets that they belong to. Returns who belongs to none.
pub(crate) fn pass_on(
    replies: Vec<Reply>,
    broker: &str,
    roster: &Roster,
    directory: &FleetDirectory,
) -> Vec<CompactString> {
    let mut found: BTreeMap<CompactString, Vec<(CompactString, Duration)>> = BTreeMap::new();
    let mut strangers = Vec::new();
    for reply in replies {
        let Some(fleet) = roster.fleet_of(&reply.hostname) else {
            strangers.push(reply.hostname);
            continue;
        };
        found.entry(fleet).or_default().push((reply.hostname, reply.latency));
    }
    for (fleet, answers) in found {
        // Who is left out because a mailbox is full is found the next time.
        let Some(prober) = directory.of_answer(broker, &fleet) else {
            tracing::debug!(broker, %fleet, "answers of more fleets than one broker may have were left out");
            continue;
        };
        if prober.try_send(Found(answers)).is_err() {
            tracing::debug!(broker, %fleet, "the fleet's prober is busy; its answers are asked for again");
        }
    }
    strangers
}
