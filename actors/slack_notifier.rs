//! `SlackNotifier`, and every other notifier: one actor for each, which pays what the outbox says its channel is owed,
//! in order for each incident, until the channel has accepted it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Supervised, WrapFuture};
use headcount_core::alert::{IncidentId, Turn};
use headcount_core::time::Mono;

use crate::clock::Clock;
use crate::messages::OutboxGrew;
use crate::meters::{Meters, NotificationLabel};
use crate::ports::{Act, Debt, DebtId, NotifyError, Owed, Receipt, SharedNotifier, SharedStore, StoreError};

/// How often the outbox is looked at without being woken.
const TICK: Duration = Duration::from_secs(1);
/// Debts that are read at once.
const BATCH: usize = 100;
/// The first wait after a failure; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait of its own; a channel may ask for more.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long an incident's messages rest after the channel has refused one: others go on meanwhile.
const REFUSED_WAIT: Duration = Duration::from_secs(60);

/// What a notifier's actor is connected to.
#[derive(Clone)]
pub struct Notifying {
    /// The channel.
    pub notifier: SharedNotifier,
    /// Where the outbox is.
    pub store: SharedStore,
    /// The program's metrics.
    pub meters: Meters,
}

/// The actor. All that it must not forget is in the store.
pub struct SlackNotifier {
    with: Notifying,
    busy: bool,
    woken: bool,
    failures: u32,
    rest_until: Mono,
    refused: BTreeMap<IncidentId, Mono>,
}

/// How a round through the outbox ended.
enum Round {
    /// Everything that could be paid is paid.
    Done { refused: BTreeSet<IncidentId>, more: bool },
    /// The channel wants to be left alone.
    Later(Option<Duration>),
    /// The store failed.
    Store(StoreError),
}

impl SlackNotifier {
    /// A notifier that has not looked at its outbox yet.
    pub fn new(with: Notifying) -> Self {
        let now = Clock.mono();
        Self {
            with,
            busy: false,
            woken: true,
            failures: 0,
            rest_until: now,
            refused: BTreeMap::new(),
        }
    }

    fn tick(&mut self, context: &mut Context<Self>) {
        self.woken = true;
        self.work(context);
    }

    fn work(&mut self, context: &mut Context<Self>) {
        let now = Clock.mono();
        if self.busy || !self.woken || now < self.rest_until {
            return;
        }
        self.busy = true;
        self.woken = false;
        self.refused.retain(|_, until| *until > now);
        let (with, resting) = (self.with.clone(), self.refused.keys().cloned().collect());
        let round = async move { round(&with, resting).await };
        context.spawn(round.into_actor(self).map(|round, actor, context| {
            actor.busy = false;
            let now = Clock.mono();
            match round {
                Round::Done { refused, more } => {
                    actor.failures = 0;
                    actor
                        .refused
                        .extend(refused.into_iter().map(|id| (id, now + REFUSED_WAIT)));
                    actor.woken |= more;
                }
                Round::Later(asked) => {
                    let own = FIRST_WAIT.saturating_mul(1 << actor.failures.min(16)).min(LONGEST_WAIT);
                    actor.failures = actor.failures.saturating_add(1);
                    actor.rest_until = now + asked.unwrap_or(own);
                    let notifier = actor.with.notifier.name();
                    tracing::warn!(notifier, retry_in = ?asked.unwrap_or(own), "messages wait in the outbox");
                }
                Round::Store(error) => {
                    actor.rest_until = now + FIRST_WAIT;
                    tracing::error!(notifier = actor.with.notifier.name(), %error, "cannot read or write the outbox");
                }
            }
            actor.work(context);
        }));
    }
}

/// Goes through what is owed once.
async fn round(with: &Notifying, mut resting: BTreeSet<IncidentId>) -> Round {
    let notifier = with.notifier.name();
    let debts = match with.store.owed(notifier, BATCH).await {
        Ok(debts) => debts,
        Err(error) => return Round::Store(error),
    };
    let more = debts.len() == BATCH;
    match merge_overtaken(with, &debts).await {
        Ok(false) => {}
        Ok(true) => {
            return Round::Done {
                refused: BTreeSet::new(),
                more: true,
            };
        }
        Err(error) => return Round::Store(error),
    }
    let mut refused = BTreeSet::new();
    let mut paid = 0_usize;
    for debt in debts {
        let incident = &debt.owed.notice.incident.id;
        if resting.contains(incident) {
            continue;
        }
        match pay(with, &debt).await {
            Ok(()) => {
                count(with, "delivered");
                paid += 1;
            }
            Err(Unpaid::Store(error)) => return Round::Store(error),
            Err(Unpaid::Channel(error)) => {
                tracing::warn!(notifier, %incident, %error, text = debt.owed.notice.text(), "a message was not accepted");
                if let Err(error) = with.store.unpaid(debt.id, error.to_string()).await {
                    return Round::Store(error);
                }
                match error {
                    NotifyError::Later { after, .. } => {
                        count(with, "retried");
                        return Round::Later(after);
                    }
                    NotifyError::Refused { .. } => {
                        count(with, "refused");
                        resting.insert(incident.clone());
                        refused.insert(incident.clone());
                    }
                }
            }
        }
    }
    Round::Done {
        refused,
        more: more && paid > 0,
    }
}

enum Unpaid {
    Channel(NotifyError),
    Store(StoreError),
}

/// Does one thing that is owed, and notes that it is done.
async fn pay(with: &Notifying, debt: &Debt) -> Result<(), Unpaid> {
    let Owed { act, notice, .. } = &debt.owed;
    let (store, notifier) = (&with.store, &with.notifier);
    let first = store
        .receipt(&notice.incident.id, notifier.name())
        .await
        .map_err(Unpaid::Store)?;
    let receipt: Option<Receipt> = match (act, &first) {
        (Act::Post, first) => Some(notifier.post(notice, first.as_ref()).await.map_err(Unpaid::Channel)?),
        (Act::Refresh, Some(first)) => {
            notifier.refresh(notice, first).await.map_err(Unpaid::Channel)?;
            None
        }
        // The first message is not known (it went out before this notifier had threads): nothing to refresh.
        (Act::Refresh, None) => None,
    };
    store
        .paid(debt.id, Clock.now().wall, receipt)
        .await
        .map_err(Unpaid::Store)
}

/// An opening that still waits although the incident is over becomes one message that says both.
async fn merge_overtaken(with: &Notifying, debts: &[Debt]) -> Result<bool, StoreError> {
    let is = |debt: &Debt, turn| debt.owed.act == Act::Post && debt.owed.notice.turn == turn;
    let mut merged = false;
    for over in debts.iter().filter(|debt| is(debt, Turn::Recovered)) {
        let id = &over.owed.notice.incident.id;
        let of_it = || {
            debts
                .iter()
                .filter(|debt| debt.owed.notice.incident.id == *id && debt.id <= over.id)
        };
        if !of_it().any(|debt| is(debt, Turn::Opened)) {
            continue;
        }
        let mut notice = over.owed.notice.clone();
        notice.turn = Turn::OpenedAndRecovered;
        let into = Owed {
            notifier: over.owed.notifier.clone(),
            act: Act::Post,
            notice,
        };
        // What follows the recovery, a refresh, has nothing left to refresh.
        let ids: Vec<DebtId> = debts
            .iter()
            .filter(|debt| debt.owed.notice.incident.id == *id)
            .map(|debt| debt.id)
            .collect();
        with.store.merge(ids, into).await?;
        merged = true;
    }
    Ok(merged)
}

fn count(with: &Notifying, outcome: &'static str) {
    let label = NotificationLabel {
        notifier: with.notifier.name().to_owned(),
        outcome,
    };
    with.meters.notifications.get_or_create(&label).inc();
}

impl Actor for SlackNotifier {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.work(context);
        context.run_interval(TICK, Self::tick);
    }
}

impl Supervised for SlackNotifier {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.with.clone());
    }
}

impl Handler<OutboxGrew> for SlackNotifier {
    type Result = ();

    fn handle(&mut self, _: OutboxGrew, context: &mut Context<Self>) {
        self.woken = true;
        self.work(context);
    }
}
