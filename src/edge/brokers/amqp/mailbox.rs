//! Mailboxes that outlive their workers, and how those are seen to be gone all the same.
//!
//! By Celery's settings (`control_queue_exclusive`, `control_queue_durable`) a mailbox may stand without its worker: a
//! ping to it is then neither answered nor returned. The consumers that a passive declaration counts decide. On an
//! exclusive mailbox that fails, closes the channel and is written to the broker's log as an error, so it is not for
//! routine use: only those are looked up who were silent before, and an exclusive mailbox once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use compact_str::CompactString;
use futures_util::StreamExt;
use futures_util::stream;
use headcount_actors::ports::{BrokerError, Presence, Probe};
use lapin::ErrorKind;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use rustc_hash::FxHashMap;

use super::connect::broken;
use super::control::Control;
use super::short::short;

/// Mailboxes that are looked up for the first time in one round: each may cost a channel, and a line in the broker's log.
/// The others get their turn in the next; raising it makes a sudden silence of many dearer.
const MAX_NEW: usize = 64;
/// Of those, so many at once: a quarter of the connection's channels.
const AT_ONCE: usize = 8;
/// Silent workers that are kept in mind; of more of them no mailbox is looked up.
const MAX_SILENT: usize = 10_000;

/// What is known of a silent worker's mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mailbox {
    /// Nobody has looked yet.
    New,
    /// Its consumers can be counted.
    Open,
    /// It is exclusive, so that it stands as long as its worker's connection; or we are not allowed to look.
    Closed,
}

/// The mailboxes of those who did not answer when they were last asked.
#[derive(Debug, Default)]
pub(super) struct Mailboxes {
    silent: Mutex<FxHashMap<CompactString, Mailbox>>,
}

impl Mailboxes {
    /// Those of the workers that nobody reads any more.
    pub(super) async fn unread(&self, broker: &super::Amqp, control: &Control, hostnames: &[CompactString]) -> Unread {
        let suspects: Vec<CompactString> = {
            let silent = self.lock();
            let open = |hostname: &&CompactString| silent.get(*hostname) == Some(&Mailbox::Open);
            let new = |hostname: &&CompactString| silent.get(*hostname) == Some(&Mailbox::New);
            let open = hostnames.iter().filter(open);
            let new = hostnames.iter().filter(new).take(MAX_NEW);
            open.chain(new).cloned().collect()
        };
        let looking = suspects.into_iter().map(|hostname| look_up(broker, control, hostname));
        let mut looked_up = stream::iter(looking).buffer_unordered(AT_ONCE);
        let mut unread = Unread::default();
        while let Some((hostname, consumers)) = looked_up.next().await {
            let Ok(consumers) = consumers else { continue };
            if let Some(mailbox) = self.lock().get_mut(&hostname) {
                *mailbox = match consumers {
                    Consumers::Hidden => Mailbox::Closed,
                    Consumers::None | Consumers::Some => Mailbox::Open,
                };
            }
            if matches!(consumers, Consumers::None) {
                unread.0.push(hostname);
            }
        }
        unread
    }

    /// Notes what a round brought: whose mailbox may have to be looked up in the next.
    pub(super) fn note(&self, probes: &[Probe]) {
        let mut silent = self.lock();
        for probe in probes {
            match probe.presence {
                Presence::Here if probe.answers == 0 => {
                    if silent.len() < MAX_SILENT && !silent.contains_key(&probe.hostname) {
                        silent.insert(probe.hostname.clone(), Mailbox::New);
                    }
                }
                // It answers. That its mailbox is exclusive stays known, so that it is not looked up for each of its pauses.
                Presence::Here if silent.get(&probe.hostname) != Some(&Mailbox::Closed) => {
                    silent.remove(&probe.hostname);
                }
                // What it has when it is back is another mailbox. One that stands without a reader is looked up again.
                Presence::Gone if silent.get(&probe.hostname) == Some(&Mailbox::Closed) => {
                    silent.remove(&probe.hostname);
                }
                Presence::Here | Presence::Gone | Presence::Unknown => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<CompactString, Mailbox>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Workers whose mailboxes stand, or have just gone, without a reader.
#[derive(Debug, Default)]
pub(super) struct Unread(pub(super) Vec<CompactString>);

/// What a passive declaration shows.
enum Consumers {
    None,
    Some,
    Hidden,
}

async fn look_up(
    broker: &super::Amqp,
    control: &Control,
    hostname: CompactString,
) -> (CompactString, Result<Consumers, BrokerError>) {
    let consumers = consumers(control, &broker.wire.mailbox(&hostname)).await;
    (hostname, consumers)
}

/// Who reads a mailbox.
async fn consumers(control: &Control, mailbox: &str) -> Result<Consumers, BrokerError> {
    /// `NOT_FOUND`
    const NOT_FOUND: u16 = 404;
    /// `RESOURCE_LOCKED`: exclusive to another connection. `ACCESS_REFUSED`: we may not look.
    const CLOSED: [u16; 2] = [405, 403];
    let mailbox = short(mailbox)?;
    let channel = control.channel().await?;
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    match channel.queue_declare(mailbox, passive, FieldTable::default()).await {
        Ok(queue) if queue.consumer_count() == 0 => Ok(Consumers::None),
        Ok(_) => Ok(Consumers::Some),
        Err(error) => match error.kind() {
            ErrorKind::ProtocolError(amqp) if amqp.get_id() == NOT_FOUND => Ok(Consumers::None),
            ErrorKind::ProtocolError(amqp) if CLOSED.contains(&amqp.get_id()) => Ok(Consumers::Hidden),
            _ => Err(broken(error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn probe(presence: Presence, answers: u32) -> [Probe; 1] {
        [Probe {
            hostname: "a@h".into(),
            answer: (answers > 0).then_some(Duration::from_millis(2)),
            answers,
            presence,
        }]
    }

    #[test]
    fn only_those_who_were_silent_are_looked_up_and_the_exclusive_once() {
        let mailboxes = Mailboxes::default();
        let known = || mailboxes.lock().get("a@h").copied();
        mailboxes.note(&probe(Presence::Here, 1));
        assert_eq!(known(), None);
        mailboxes.note(&probe(Presence::Here, 0));
        assert_eq!(known(), Some(Mailbox::New));
        mailboxes.note(&probe(Presence::Here, 1));
        assert_eq!(known(), None, "a pause that is over");
        mailboxes.lock().insert("a@h".into(), Mailbox::Closed);
        for answers in [0, 1, 0] {
            mailboxes.note(&probe(Presence::Here, answers));
            assert_eq!(known(), Some(Mailbox::Closed));
        }
        mailboxes.note(&probe(Presence::Gone, 0));
        assert_eq!(known(), None, "its next mailbox may be another kind");
        mailboxes.lock().insert("a@h".into(), Mailbox::Open);
        mailboxes.note(&probe(Presence::Gone, 0));
        assert_eq!(known(), Some(Mailbox::Open), "it stands without its worker");
    }
}
