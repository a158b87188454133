//! `SlackNotifier`, and every other notifier: one actor for each, which pays what the outbox says its channel is owed,
//! in order for each incident, until the channel has accepted it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, Supervised, WrapFuture};
use headcount_core::alert::{IncidentId, Notice, Turn};
use headcount_core::doubling::doubled;
use headcount_core::span::Span;
use headcount_core::time::{Mono, Wall};
use headcount_core::trace::incident as story;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::messages::{Finish, OutboxGrew};
use crate::meters::{Meters, NotificationLabel};
use crate::outbox::{self, Tidying};
use crate::ports::traces::SharedTracer;
use crate::ports::{Act, Debt, DebtId, NotifyError, Owed, Receipt, SharedNotifier, SharedStore, StoreError};

/// How often the outbox is looked at without being woken.
const TICK: Duration = Duration::from_secs(1);
/// Debts that are read at once, at first.
const BATCH: usize = 100;
/// Debts that are read at most, where many wait: so many can be found to be overtaken, or to be of incidents that rest.
/// Raising it holds more in memory after a long time without the channel.
const MOST: usize = 2_000;
/// While the channel is left alone the outbox is tidied so often, if it has grown: that needs only the store. Raising it
/// lets a flapping incident owe more in between.
const TIDY_EVERY: Duration = Duration::from_secs(10);
/// The first wait after a failure; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait of its own; a channel may ask for more.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long an incident's messages rest after the channel has refused one: others go on meanwhile.
const REFUSED_WAIT: Duration = Duration::from_secs(60);
/// How long a channel may take for one message. Channels have shorter limits of their own; this one is for a channel
/// that hangs, which would otherwise hold up everything for ever.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// What a notifier's actor is connected to.
#[derive(Clone)]
pub struct Notifying {
    /// The channel.
    pub notifier: SharedNotifier,
    /// Where the outbox is.
    pub store: SharedStore,
    /// The program's metrics.
    pub meters: Meters,
    /// Who is told of each attempt.
    pub tracer: SharedTracer,
}

/// The actor. All that it must not forget is in the store.
pub struct SlackNotifier {
    with: Notifying,
    shared: Shared,
    busy: bool,
    woken: bool,
    /// Whether something may have been put into the outbox since it was last tidied.
    grown: bool,
    next_tidying: Mono,
    failures: u32,
    refused: BTreeMap<IncidentId, Mono>,
    /// Whoever waits for the round that is under way.
    waiting: Vec<oneshot::Sender<()>>,
}

/// What a round shares with the actor, and what survives a panic of either.
#[derive(Clone, Default)]
struct Shared {
    /// What the channel has accepted and the store does not know yet. It must never be posted again.
    accepted: Rc<RefCell<Option<Accepted>>>,
    /// Until then the channel is left alone.
    rest_until: Rc<Cell<Mono>>,
    /// Nothing more is to be begun.
    finishing: Rc<Cell<bool>>,
    /// The debt that was last tried, and how often: it is tried again before any other of its incident is.
    tried: Rc<RefCell<BTreeMap<IncidentId, (DebtId, u32)>>>,
}

impl Shared {
    /// Which attempt at this debt this was. Of each incident only the debt that is tried is kept, and none once it is paid.
    fn count_attempt(&self, incident: &IncidentId, debt: DebtId, paid: bool) -> u32 {
        let mut tried = self.tried.borrow_mut();
        let before = tried
            .get(incident)
            .filter(|(last, _)| *last == debt)
            .map_or(0, |(_, n)| *n);
        let number = before.saturating_add(1);
        if paid {
            tried.remove(incident);
        } else {
            // What was waived meanwhile is never paid; to begin to count anew harms nobody.
            if tried.len() >= MOST {
                tried.clear();
            }
            tried.insert(incident.clone(), (debt, number));
        }
        number
    }
}

#[derive(Clone)]
struct Accepted {
    debt: DebtId,
    at: Wall,
    receipt: Option<Receipt>,
}

/// How a round through the outbox ended.
enum Round {
    /// The channel was left alone, and what is owed to it made less.
    Tidied,
    /// Everything that could be paid is paid.
    Done(BTreeSet<IncidentId>),
    /// The channel wants to be left alone.
    Later(Option<Duration>),
    /// The store failed.
    Store,
}

impl SlackNotifier {
    /// A notifier that has not looked at its outbox yet.
    pub fn new(with: Notifying) -> Self {
        // From zero, so that the first is an increase.
        for outcome in ["delivered", "retried", "refused", "waived"] {
            let label = NotificationLabel {
                notifier: with.notifier.name().to_owned(),
                outcome,
            };
            drop(with.meters.notifications.get_or_create(&label));
        }
        Self {
            with,
            shared: Shared::default(),
            busy: false,
            woken: true,
            grown: true,
            next_tidying: Clock.mono(),
            failures: 0,
            refused: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    fn tick(&mut self, context: &mut Context<Self>) {
        self.woken = true;
        self.work(context);
    }

    fn work(&mut self, context: &mut Context<Self>) {
        let now = Clock.mono();
        let rests = now < self.shared.rest_until.get();
        let due = if rests {
            self.grown && now >= self.next_tidying
        } else {
            self.woken
        };
        if self.busy || !due || self.shared.finishing.get() {
            return;
        }
        self.busy = true;
        self.grown = false;
        self.next_tidying = now + TIDY_EVERY;
        if !rests {
            self.woken = false;
            self.refused.retain(|_, until| *until > now);
        }
        let (with, shared) = (self.with.clone(), self.shared.clone());
        let resting = self.refused.keys().cloned().collect();
        let round = async move {
            match to_pay(&with, &shared).await {
                Err(_) => Round::Store,
                Ok(_) if rests => Round::Tidied,
                Ok(debts) => pay_all(&with, &shared, debts, resting).await,
            }
        };
        context.spawn(round.into_actor(self).map(|round, actor, context| {
            actor.busy = false;
            actor.waiting.clear();
            actor.ended(round);
            actor.work(context);
        }));
    }

    fn ended(&mut self, round: Round) {
        let (now, notifier) = (Clock.mono(), self.with.notifier.name().to_owned());
        match round {
            Round::Tidied => {}
            Round::Done(refused) => {
                self.failures = 0;
                let until = now + REFUSED_WAIT;
                self.refused.extend(refused.into_iter().map(|id| (id, until)));
            }
            Round::Later(asked) => {
                let own = doubled(FIRST_WAIT, self.failures, LONGEST_WAIT);
                self.failures = self.failures.saturating_add(1);
                let wait = asked.unwrap_or(own);
                self.rest(now + wait);
                tracing::warn!(notifier, retry_in = %Span::about(wait), "the channel takes no messages now: they wait in the outbox, in order, trying again");
            }
            Round::Store => {
                self.rest(now + FIRST_WAIT);
                self.grown = true;
            }
        }
    }

    /// What the channel itself has asked for stands.
    fn rest(&self, until: Mono) {
        self.shared.rest_until.set(self.shared.rest_until.get().max(until));
    }
}

/// What is owed and not overtaken, oldest first.
async fn to_pay(with: &Notifying, shared: &Shared) -> Result<Vec<Debt>, StoreError> {
    settle(with, shared).await?;
    loop {
        let debts = owed(with).await?;
        let tidying = outbox::tidy(&debts);
        if tidying.is_empty() {
            return Ok(debts);
        }
        for tidying in tidying {
            match tidying {
                Tidying::Merge(debts, into) => with.store.merge(debts, *into).await?,
                Tidying::Waive(debts) => with.store.waive(debts).await?,
            }
        }
        // What lay beyond what was read comes closer: again, until nothing more is overtaken. Each turn leaves fewer.
    }
}

async fn owed(with: &Notifying) -> Result<Vec<Debt>, StoreError> {
    let mut limit = BATCH;
    loop {
        let debts = with.store.owed(with.notifier.name(), limit).await?;
        if debts.len() < limit || limit >= MOST {
            return Ok(debts);
        }
        limit = (limit * 4).min(MOST);
    }
}

/// Notes in the store what the channel has accepted.
async fn settle(with: &Notifying, shared: &Shared) -> Result<(), StoreError> {
    let accepted = shared.accepted.borrow().clone();
    if let Some(Accepted { debt, at, receipt }) = accepted {
        with.store.paid(debt, at, receipt).await?;
        shared.accepted.take();
    }
    Ok(())
}

async fn pay_all(with: &Notifying, shared: &Shared, debts: Vec<Debt>, mut resting: BTreeSet<IncidentId>) -> Round {
    let notifier = with.notifier.name();
    let mut refused = BTreeSet::new();
    for debt in debts {
        let incident = &debt.owed.notice.incident.id;
        if shared.finishing.get() {
            break;
        }
        if resting.contains(incident) {
            continue;
        }
        match pay(with, shared, &debt).await {
            Ok(outcome) => count(with, outcome),
            Err(Unpaid::Store) => return Round::Store,
            Err(Unpaid::Channel(error)) => {
                let text = debt.owed.notice.text();
                match &error {
                    NotifyError::Later { .. } => tracing::warn!(
                        notifier, %incident, %error, text,
                        "a message was not accepted now: it stays in the outbox, trying again"
                    ),
                    NotifyError::Refused { .. } => tracing::error!(
                        notifier, %incident, %error, text,
                        "the channel refuses a message, and nobody has been told: trying again each minute; mend what `error` \
                         says, and try it with `headcount notify test --config FILE`"
                    ),
                }
                if let NotifyError::Later { after: Some(after), .. } = &error {
                    shared.rest_until.set(Clock.mono() + *after);
                }
                if with.store.unpaid(debt.id, error.to_string()).await.is_err() {
                    return Round::Store;
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
    Round::Done(refused)
}

enum Unpaid {
    Channel(NotifyError),
    Store,
}

impl From<StoreError> for Unpaid {
    fn from(_: StoreError) -> Self {
        Self::Store
    }
}

/// Does one thing that is owed, and notes that it is done. Returns the outcome's name in the metrics.
async fn pay(with: &Notifying, shared: &Shared, debt: &Debt) -> Result<&'static str, Unpaid> {
    let Owed { act, notice, .. } = &debt.owed;
    let (store, notifier) = (&with.store, &with.notifier);
    let first = store.receipt(&notice.incident.id, notifier.name()).await?;
    let receipt = match (act, &first) {
        (Act::Post, Some(first)) => Some(attempt(with, shared, debt, notifier.post(notice, Some(first))).await?),
        (Act::Post, None) => match first_notice(notice) {
            Some(notice) => Some(attempt(with, shared, debt, notifier.post(&notice, None)).await?),
            None => {
                store.waive(vec![debt.id]).await?;
                return Ok("waived");
            }
        },
        (Act::Refresh, Some(first)) => {
            attempt(with, shared, debt, notifier.refresh(notice, first)).await?;
            None
        }
        // This channel has had no message of the incident: there is nothing to refresh.
        (Act::Refresh, None) => None,
    };
    let accepted = Accepted {
        debt: debt.id,
        at: Clock.now().wall,
        receipt,
    };
    shared.accepted.replace(Some(accepted));
    settle(with, shared).await?;
    Ok("delivered")
}

/// What a channel is told that has had no message of the incident: one that is configured while the incident is open
/// was not told of its opening. So a worsening is the opening to it, and an end the end of nothing.
fn first_notice(notice: &Notice) -> Option<Notice> {
    match notice.turn {
        Turn::Recovered | Turn::Eased | Turn::Relapsed | Turn::Shifted => None,
        Turn::Worsened => Some(Notice {
            turn: Turn::Opened,
            ..notice.clone()
        }),
        Turn::Opened | Turn::OpenedAndRecovered | Turn::Test => Some(notice.clone()),
    }
}

/// Tries once to tell a channel something, and tells the tracer how that went.
async fn attempt<T>(
    with: &Notifying,
    shared: &Shared,
    debt: &Debt,
    telling: impl Future<Output = Result<T, NotifyError>>,
) -> Result<T, Unpaid> {
    let Owed { act, notice, .. } = &debt.owed;
    let began = Clock.now().wall;
    let told = patiently(telling).await;
    let ended = Clock.now().wall;
    let number = shared.count_attempt(&notice.incident.id, debt.id, told.is_ok());
    if with.tracer.is_open() {
        let errand = story::Errand {
            notifier: with.notifier.name(),
            debt: debt.id.0,
            act: match act {
                Act::Post => "post",
                Act::Refresh => "refresh",
            },
        };
        let failed = match &told {
            Err(Unpaid::Channel(error)) => Some(error.to_string()),
            _ => None,
        };
        let accepted = failed.is_none();
        let span = story::attempt(notice, errand, number, (began, ended), failed);
        with.tracer.take(span);
        if accepted {
            with.tracer.take(story::waited(notice, errand, ended));
        }
    }
    told
}

/// Waits for the channel, but not for ever.
async fn patiently<T>(telling: impl Future<Output = Result<T, NotifyError>>) -> Result<T, Unpaid> {
    let told = tokio::time::timeout(HANGS_AFTER, telling).await.unwrap_or_else(|_| {
        Err(NotifyError::Later {
            after: None,
            why: format!("no answer within {} s", HANGS_AFTER.as_secs()),
        })
    });
    told.map_err(Unpaid::Channel)
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
        // What the channel has accepted, and for how long it wants to be left alone, is true after a panic too.
        *self = Self {
            shared: self.shared.clone(),
            ..Self::new(self.with.clone())
        };
    }
}

impl Handler<OutboxGrew> for SlackNotifier {
    type Result = ();

    fn handle(&mut self, _: OutboxGrew, context: &mut Context<Self>) {
        self.woken = true;
        self.grown = true;
        self.work(context);
    }
}

impl Handler<Finish> for SlackNotifier {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Finish, _: &mut Context<Self>) -> ResponseFuture<()> {
        self.shared.finishing.set(true);
        let (done, finished) = oneshot::channel();
        if self.busy {
            self.waiting.push(done);
        }
        Box::pin(async move {
            // The other end is dropped when the round ends, and at once if there is none.
            let _ = finished.await;
        })
    }
}
