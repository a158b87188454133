//! What a fleet's prober asks of workers by inspect commands, and what it makes of their replies.

use std::time::Duration;

use compact_str::CompactString;
use headcount_core::celery::inspect::{self, Stats};
use headcount_core::detect::{Learned, Means, WorkLook};

use crate::ports::{BrokerError, COMMANDS, Inspect, Reply, SharedBroker};

/// How long workers may take to reply to one command, and to all that are sent together.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// What some workers said, each with its name.
type Said<T> = Vec<(CompactString, T)>;

/// What was seen of some workers' work.
#[derive(Debug)]
pub(crate) struct WorkSeen {
    /// With what they work.
    pub(crate) means: Said<Means>,
    /// Connections of the broker that take messages; none where it cannot tell.
    pub(crate) takers: Option<u32>,
    /// What each said of its work.
    pub(crate) looks: Said<WorkLook>,
}

/// Asks workers for their pool, their queues, and what else they have.
pub(crate) async fn learn(
    broker: &SharedBroker,
    hostnames: &[CompactString],
) -> Result<(Said<Learned>, Said<Means>), BrokerError> {
    let (stats, queues, registered) = tokio::try_join!(
        ask(broker, "stats", hostnames),
        ask(broker, "active_queues", hostnames),
        ask(broker, "registered", hostnames),
    )?;
    let pools = stats.iter().map(|reply| Learned {
        pool: Stats::read(&reply.body).and_then(|stats| stats.pool),
        queues: None,
    });
    let consumed = queues.iter().map(|reply| Learned {
        pool: None,
        queues: inspect::active_queues(&reply.body),
    });
    let names = stats.iter().chain(&queues).map(|reply| reply.hostname.clone());
    let rates = registered.iter().map(|reply| {
        let means = Means {
            slowest_rate: inspect::slowest_rate(&reply.body),
            ..Means::default()
        };
        (reply.hostname.clone(), means)
    });
    let learned = names.zip(pools.chain(consumed)).collect();
    let means = read_means(&stats).chain(read_queues(&queues)).chain(rates);
    Ok((learned, means.collect()))
}

/// Asks workers about their work, and the broker whether anybody takes anything from it.
pub(crate) async fn look_at_work(broker: &SharedBroker, hostnames: &[CompactString]) -> Result<WorkSeen, BrokerError> {
    let (stats, queues, active, reserved, scheduled, takers) = tokio::try_join!(
        ask(broker, "stats", hostnames),
        ask(broker, "active_queues", hostnames),
        ask(broker, "active", hostnames),
        ask(broker, "reserved", hostnames),
        ask(broker, "scheduled", hostnames),
        broker.takers(),
    )?;
    let body = |replies: &[Reply], hostname: &CompactString| {
        let reply = replies.iter().find(|reply| reply.hostname == *hostname);
        reply.map(|reply| reply.body.clone())
    };
    let length = |replies: &[Reply], hostname: &CompactString| {
        let listed = body(replies, hostname).and_then(|body| inspect::active(&body));
        listed.and_then(|listed| u32::try_from(listed).ok())
    };
    let looks = hostnames.iter().filter_map(|hostname| {
        let look = WorkLook {
            queues: body(&queues, hostname).and_then(|body| inspect::active_queues(&body)),
            running: length(&active, hostname),
            reserved: length(&reserved, hostname),
            scheduled: length(&scheduled, hostname),
        };
        // Who said nothing at all has not been looked at.
        (look != WorkLook::default()).then(|| (hostname.clone(), look))
    });
    Ok(WorkSeen {
        looks: looks.collect(),
        means: read_means(&stats).chain(read_queues(&queues)).collect(),
        takers,
    })
}

fn read_means(stats: &[Reply]) -> impl Iterator<Item = (CompactString, Means)> {
    stats.iter().filter_map(|reply| {
        let stats = Stats::read(&reply.body)?;
        let means = Means {
            slots: stats.slots,
            prefetch: stats.prefetch_count,
            time_limit: stats.time_limit,
            slowest_rate: None,
            serves_one: None,
        };
        Some((reply.hostname.clone(), means))
    })
}

fn read_queues(queues: &[Reply]) -> impl Iterator<Item = (CompactString, Means)> {
    queues.iter().filter_map(|reply| {
        let means = Means {
            serves_one: Some(inspect::serves_one(&reply.body)?),
            ..Means::default()
        };
        Some((reply.hostname.clone(), means))
    })
}

async fn ask(
    broker: &SharedBroker,
    method: &'static str,
    hostnames: &[CompactString],
) -> Result<Vec<Reply>, BrokerError> {
    debug_assert!(COMMANDS.contains(&method), "brokers are checked for {method}");
    let asked = broker.inspect(Inspect {
        method,
        arguments: serde_json::Map::new(),
        destination: Some(hostnames.to_vec()),
        timeout: TIMEOUT,
    });
    asked.await
}
