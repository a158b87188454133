//! Asking workers and looking at queues, through Redis.

use std::time::{Duration, Instant};

use compact_str::CompactString;
use headcount_actors::ports::{BrokerError, Connection, Inspect, Presence, Probe, Queue, Reply};
use redis::{ErrorKind, RedisError, ServerErrorKind, Value};
use serde_json::Map;
use tokio::time::timeout_at;

use super::control::Control;
use super::{Redis, clients};
use crate::brokers::collect::Collected;
use crate::brokers::round::Round;
use crate::brokers::waiting::Call;

/// How long a second answer under the same name is waited for once everybody has answered. Two workers of one name get
/// the ping at the same moment, and their answers are a few milliseconds apart. Every probe takes so much longer; a
/// second answer that is missed comes with another probe.
const NAMESAKE: Duration = Duration::from_millis(20);

/// See [`headcount_actors::ports::Broker::probe`].
pub(super) async fn probe(
    broker: &Redis,
    control: &Control,
    targets: &[CompactString],
    timeout: Duration,
) -> Result<Vec<Probe>, BrokerError> {
    let deadline = tokio::time::Instant::now() + timeout;
    // Who is connected is asked by `connections`: an answer that is pushed to a list proves no connection.
    let mut round = Round::new(targets, Presence::Unknown);
    let mut call = control.waiting.call()?;
    let mut taken = false;
    let ended = timeout_at(
        deadline,
        ping(broker, control, &mut round, &mut call, timeout, &mut taken),
    )
    .await;
    if !round.is_settled() {
        broker.list.may_come_late();
    }
    match ended {
        Ok(Err(error)) => Err(error),
        // Redis has not even taken the ping: the silence is its own, not the workers'.
        Err(_) if !taken => Err(BrokerError::Timeout(timeout)),
        Ok(Ok(())) | Err(_) => Ok(round.into_probes(targets)),
    }
}

async fn ping(
    broker: &Redis,
    control: &Control,
    round: &mut Round,
    call: &mut Call,
    timeout: Duration,
    taken: &mut bool,
) -> Result<(), BrokerError> {
    let hostnames = round.hostnames();
    let now = Instant::now();
    for hostname in &hostnames {
        round.sent(hostname, now);
    }
    let destination: Vec<&str> = hostnames.iter().map(CompactString::as_str).collect();
    send(broker, control, ("ping", Map::new()), Some(&destination), call, timeout).await?;
    *taken = true;
    while !round.is_settled() {
        let heard = call.next().await.ok_or_else(ended)?;
        round.answered(&heard.hostname, heard.at);
    }
    let namesakes = async {
        while let Some(heard) = call.next().await {
            round.answered(&heard.hostname, heard.at);
        }
    };
    let _ = tokio::time::timeout(NAMESAKE, namesakes).await;
    Ok(())
}

/// See [`headcount_actors::ports::Broker::inspect`].
pub(super) async fn inspect(broker: &Redis, control: &Control, ask: &Inspect) -> Result<Vec<Reply>, BrokerError> {
    let deadline = tokio::time::Instant::now() + ask.timeout;
    let mut call = control.waiting.call()?;
    let mut collected = Collected::new(ask.destination.as_deref());
    let asking = async {
        let destination: Option<Vec<&str>> = ask
            .destination
            .as_ref()
            .map(|named| named.iter().map(CompactString::as_str).collect());
        let sent = Instant::now();
        let command = (ask.method, ask.arguments.clone());
        send(broker, control, command, destination.as_deref(), &call, ask.timeout).await?;
        collected.sent(sent);
        collected.until_complete(&mut call).await
    };
    match timeout_at(deadline, asking).await {
        Ok(ended) => ended?,
        Err(_) => broker.list.may_come_late(),
    }
    collected.into_replies(ask.timeout)
}

async fn send(
    broker: &Redis,
    control: &Control,
    command: (&str, Map<String, serde_json::Value>),
    destination: Option<&[&str]>,
    call: &Call,
    timeout: Duration,
) -> Result<(), BrokerError> {
    let payload = broker.list.request(
        command,
        destination,
        call.ticket(),
        &broker.wire.control_exchange(),
        timeout,
    );
    broker
        .publish_by(control, &broker.wire.control_channel(broker.address.db), payload)
        .await
}

/// See [`headcount_actors::ports::Broker::queues`].
pub(super) async fn queues(
    broker: &Redis,
    control: &Control,
    names: &[CompactString],
) -> Result<Vec<Queue>, BrokerError> {
    let lists: Vec<Vec<String>> = names.iter().map(|name| broker.wire.queue_lists(name)).collect();
    if lists.is_empty() {
        return Ok(Vec::new());
    }
    let mut lengths = redis::pipe();
    for key in lists.iter().flatten() {
        lengths.llen(key);
    }
    // One that is no list makes an error of its own, not of all.
    lengths.ignore_errors();
    let answers: Vec<Value> = lengths
        .query_async(&mut control.commands.handle())
        .await
        .map_err(|error| control.commands.what(&error))?;
    let mut answers = answers.into_iter();
    let mut queues = Vec::with_capacity(names.len());
    for (name, lists) in names.iter().zip(&lists) {
        let lengths: Option<u64> = answers.by_ref().take(lists.len()).map(length).sum();
        queues.extend(lengths.map(|length| Queue {
            name: name.clone(),
            length,
            consumers: None,
        }));
    }
    Ok(queues)
}

fn length(answer: Value) -> Option<u64> {
    match answer {
        Value::Int(length) => u64::try_from(length).ok(),
        _ => None,
    }
}

/// See [`headcount_actors::ports::Broker::connections`].
pub(super) async fn connections(broker: &Redis, control: &Control) -> Result<Option<Vec<Connection>>, BrokerError> {
    let list = clients(control, "pubsub").await?;
    let ours = broker.own_connections().clone();
    Ok(list.map(|list| clients::subscribers(&list, broker.address.db, |id| ours.contains(&id))))
}

/// See [`headcount_actors::ports::Broker::takers`].
pub(super) async fn takers(control: &Control) -> Result<Option<u32>, BrokerError> {
    let list = clients(control, "normal").await?;
    Ok(list.map(|list| clients::takers(&list)))
}

/// The clients of one type that Redis lists; none where that is not permitted.
async fn clients(control: &Control, kind: &str) -> Result<Option<String>, BrokerError> {
    let mut list = redis::cmd("CLIENT");
    list.arg("LIST").arg("TYPE").arg(kind);
    match list.query_async::<Vec<u8>>(&mut control.commands.handle()).await {
        Ok(list) => Ok(Some(String::from_utf8_lossy(&list).into_owned())),
        Err(error) if is_not_permitted(&error) => Ok(None),
        Err(error) => Err(control.commands.what(&error)),
    }
}

/// Our user may not, or the provider has taken the command away.
fn is_not_permitted(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoPerm) => true,
        ErrorKind::Server(ServerErrorKind::ResponseError) | ErrorKind::Extension => error
            .detail()
            .is_some_and(|detail| detail.contains("unknown command") || detail.contains("unknown subcommand")),
        _ => false,
    }
}

fn ended() -> BrokerError {
    BrokerError::Lost("the control connection ended while workers were asked".into())
}
