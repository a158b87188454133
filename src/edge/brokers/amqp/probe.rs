//! The mailbox ping: a worker's mailbox is a queue that exists exactly as long as the worker's connection, unless settings
//! say otherwise (see `mailbox.rs`).

use std::time::{Duration, Instant};

use compact_str::CompactString;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use headcount_actors::ports::{BrokerError, Presence, Probe};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use rustc_hash::FxHashMap;
use tokio::time::timeout_at;

use super::connect::broken;
use super::control::Control;
use super::request;
use super::short::short;
use crate::brokers::round::Round;
use crate::brokers::waiting::Call;

/// See [`headcount_actors::ports::Broker::probe`].
pub(super) async fn probe(
    broker: &super::Amqp,
    control: &Control,
    targets: &[CompactString],
    timeout: Duration,
) -> Result<Vec<Probe>, BrokerError> {
    let mut round = Round::new(targets, Presence::Here);
    let mut call = control.waiting.call()?;
    let deadline = tokio::time::Instant::now() + timeout;
    // Time that runs out ends the round; what is known by then stands.
    let (asked, unread) = tokio::join!(
        timeout_at(deadline, ask(broker, control, &mut round, &mut call, timeout)),
        timeout_at(deadline, broker.mailboxes.unread(broker, control, targets)),
    );
    match asked {
        Ok(Err(error)) => return Err(error),
        // The broker confirms at once what it has taken: silence of all is its own, not the workers'.
        Err(_) if round.is_blank() => return Err(BrokerError::Timeout(timeout)),
        Ok(Ok(())) | Err(_) => {}
    }
    for hostname in unread.map(|unread| unread.0).unwrap_or_default() {
        round.unread(&hostname);
    }
    let probes = round.into_probes(targets);
    broker.mailboxes.note(&probes);
    Ok(probes)
}

async fn ask(
    broker: &super::Amqp,
    control: &Control,
    round: &mut Round,
    call: &mut Call,
    timeout: Duration,
) -> Result<(), BrokerError> {
    let mut mailboxes: FxHashMap<ShortString, CompactString> = FxHashMap::default();
    for hostname in round.hostnames() {
        match short(&broker.wire.mailbox(&hostname)) {
            Ok(mailbox) => {
                mailboxes.insert(mailbox, hostname);
            }
            // RabbitMQ has no queue of such a name, so this worker cannot be asked: the others are.
            Err(_) => round.leave_out(&hostname),
        }
    }
    if mailboxes.is_empty() {
        return Ok(());
    }
    let channel = control.channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .map_err(broken)?;
    let mandatory = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let mut confirms = FuturesUnordered::new();
    for (mailbox, hostname) in &mailboxes {
        let ping = request::body(
            ("ping", serde_json::Map::new()),
            Some(&[hostname.as_str()]),
            call.ticket(),
            control.reply_queue.as_str(),
        );
        round.sent(hostname, Instant::now());
        let published = channel
            .basic_publish(
                "".into(),
                mailbox.clone(),
                mandatory,
                &ping,
                request::properties(timeout)?,
            )
            .await;
        confirms.push(published.map_err(broken)?);
    }
    let mut returns_to_come = true;
    while !round.is_settled() {
        tokio::select! {
            reply = call.next() => match reply {
                Some(heard) => round.answered(&heard.hostname, heard.at),
                None => return Err(BrokerError::Lost("the control connection ended while workers were asked".into())),
            },
            confirmed = confirms.next(), if returns_to_come => match confirmed {
                // A return comes before its confirmation, yet the client may hand it out with another one when the
                // broker confirms several at once: so the message itself has to say whose mailbox is missing.
                Some(confirmed) => {
                    if let Some(returned) = confirmed.map_err(broken)?.take_message()
                        && let Some(hostname) = mailboxes.get(returned.routing_key.as_str())
                    {
                        round.gone(hostname);
                    }
                }
                None => {
                    returns_to_come = false;
                    round.rest_is_here();
                }
            },
        }
    }
    Ok(())
}
